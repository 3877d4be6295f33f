//! The clocks as agent apps are told them.

use std::time::Duration;

use apphost::Now;
use tokio::time::Instant;

use crate::store::unix_ms;

/// The monotonic clock of all agents, from the start of the server on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Now {
        let mono_ms = u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms, unix_ms: unix_ms() }
    }

    /// When [`Self::now`] will show `mono_ms`.
    pub(super) fn instant(self, mono_ms: u64) -> Instant {
        self.0 + Duration::from_millis(mono_ms)
    }
}
