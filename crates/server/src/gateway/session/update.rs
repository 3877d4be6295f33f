//! OS updates in a session: what is to be installed, its pieces, its key and what proves it.

use protocol::os::Trust;
use protocol::session::ServerEvent;

use super::Session;

impl Session {
    /// Acts on what the device asks and says about OS updates.
    pub(super) fn act_on_update(&mut self, event: &ServerEvent) {
        // What finds no room is asked for again.
        let _ = match event {
            ServerEvent::WantOs { .. } | ServerEvent::WantOsKey { .. } => self.machine.os_removed(),
            ServerEvent::WantTrust { subject, .. } => self.machine.trust(*subject, Trust::default()),
            _ => Ok(()),
        };
    }
}
