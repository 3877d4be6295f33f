//! Whether a device takes what waits for it.

use tokio::time::Instant;

use crate::gateway::edge::Edge;
use crate::gateway::session_socket::SessionSocket;

/// How much the device has taken, and since when nothing more.
pub(super) struct WriteProgress {
    pub(super) sent: u64,
    pub(super) stuck_since: Option<Instant>,
}

impl WriteProgress {
    pub(super) fn look(&mut self, socket: &SessionSocket) {
        if !socket.wants_write() {
            self.stuck_since = None;
        } else if self.stuck_since.is_none() || self.sent != socket.sent() {
            self.sent = socket.sent();
            self.stuck_since = Some(Instant::now());
        }
    }

    pub(super) fn stuck_for(&self, edge: &Edge) -> bool {
        self.stuck_since.is_some_and(|since| since.elapsed() >= edge.limits.write_deadline)
    }
}
