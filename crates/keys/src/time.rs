//! The two clocks a state machine is handed, and the clocks certificates are checked against.

use std::sync::atomic::{AtomicI64, Ordering};

use rustls_pki_types::UnixTime;

pub use rustls::time_provider::TimeProvider;

/// The present, as handed to every state machine: none of them reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its zero means nothing.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
}

impl Now {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub fn unix_s(self) -> i64 {
        self.unix_ms.div_euclid(1000)
    }

    pub(crate) fn to_unix_time(self) -> UnixTime {
        unix_time(self.unix_ms)
    }
}

/// The system's clock, but never before a floor that only rises.
///
/// A device may start with a wrong clock; its floor (build time, then the newest time it has proof of)
/// keeps certificates that expired long ago from being accepted again.
#[derive(Debug, Default)]
pub struct FloorClock {
    floor_ms: AtomicI64,
}

impl FloorClock {
    /// A clock that never shows a time before `floor_unix_ms`.
    pub fn new(floor_unix_ms: i64) -> FloorClock {
        FloorClock { floor_ms: AtomicI64::new(floor_unix_ms) }
    }

    /// Raises the floor; a lower value changes nothing.
    pub fn raise(&self, floor_unix_ms: i64) {
        self.floor_ms.fetch_max(floor_unix_ms, Ordering::AcqRel);
    }

    /// The floor, in milliseconds since 1970.
    pub fn floor_unix_ms(&self) -> i64 {
        self.floor_ms.load(Ordering::Acquire)
    }

    /// The later of the system's clock and the floor, in milliseconds since 1970.
    pub fn unix_ms(&self) -> i64 {
        let system = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        system.saturating_mul(1000).max(self.floor_unix_ms())
    }
}

impl TimeProvider for FloorClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.unix_ms()))
    }
}

/// A clock that stands still until it is set: for tests and simulations.
#[derive(Debug, Default)]
pub struct SetClock {
    unix_ms: AtomicI64,
}

impl SetClock {
    /// A clock that shows `unix_ms` until it is set.
    pub fn new(unix_ms: i64) -> SetClock {
        SetClock { unix_ms: AtomicI64::new(unix_ms) }
    }

    /// Sets what the clock shows, in milliseconds since 1970.
    pub fn set(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::Release);
    }
}

impl TimeProvider for SetClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.unix_ms.load(Ordering::Acquire)))
    }
}

/// Times before 1970 become 1970: every certificate is "not yet valid" then.
fn unix_time(unix_ms: i64) -> UnixTime {
    let ms = u64::try_from(unix_ms).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_never_goes_back() {
        let far = 9_000_000_000_000;
        let clock = FloorClock::new(far);
        clock.raise(far - 1);
        assert_eq!(clock.unix_ms(), far);
        clock.raise(far + 1000);
        assert_eq!(clock.unix_ms(), far + 1000);
        assert_eq!(clock.current_time().map(|t| t.as_secs()), Some(9_000_000_001));
    }

    #[test]
    fn a_floor_in_the_past_leaves_the_system_clock() {
        assert!(FloorClock::new(0).unix_ms() > 1_700_000_000_000);
    }

    #[test]
    fn seconds_round_down_also_before_1970() {
        assert_eq!(Now { mono_ms: 0, unix_ms: 1999 }.unix_s(), 1);
        assert_eq!(Now { mono_ms: 0, unix_ms: -1 }.unix_s(), -1);
    }
}
