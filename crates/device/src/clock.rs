//! The device's time: its own clock, the server's word, and a floor that never goes back.
//!
//! There is no NTP. A device without a battery wakes up in 1970: the floor keeps certificates that have expired since
//! the last session from being taken for valid.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keys::pki::CertificateFacts;
use keys::time::{Now, TimeProvider};
use tokio_rustls::rustls::pki_types::UnixTime;

/// No running copy of this program is older than this: 2026-01-01T00:00:00Z, in milliseconds since 1970.
pub const BUILD_FLOOR_UNIX_MS: i64 = 1_767_225_600_000;

/// Tells the time, never before the floor.
#[derive(Debug)]
pub struct DeviceClock {
    started: Instant,
    system: fn() -> i64,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    floor_unix_ms: i64,
    /// What the server said, and when by the monotonic clock.
    told: Option<(i64, u64)>,
}

/// The server's time is later than its own certificate allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's time is later than its own certificate allows; it is not taken")]
pub struct ServerClockLost;

impl DeviceClock {
    /// A clock over the system's, with the floor that the folder keeps.
    pub fn new(floor_unix_ms: i64) -> DeviceClock {
        DeviceClock::over(system_unix_ms, floor_unix_ms)
    }

    fn over(system: fn() -> i64, floor_unix_ms: i64) -> DeviceClock {
        let floor_unix_ms = floor_unix_ms.max(BUILD_FLOOR_UNIX_MS);
        DeviceClock { started: Instant::now(), system, known: Mutex::new(Known { floor_unix_ms, told: None }) }
    }

    /// The time now: the server's word carried on by the monotonic clock, else the system's; never below the floor.
    pub fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = self.known();
        let clock = match known.told {
            Some((unix_ms, at)) => unix_ms.saturating_add_unsigned(mono_ms.saturating_sub(at)),
            None => (self.system)(),
        };
        Now { mono_ms, unix_ms: clock.max(known.floor_unix_ms) }
    }

    /// The time as TLS checks certificates against it.
    pub fn unix_time(&self) -> UnixTime {
        let millis = u64::try_from(self.now().unix_ms).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_millis(millis))
    }

    /// Takes the time of an authenticated server and returns the floor, raised where it was lower.
    ///
    /// # Errors
    /// [`ServerClockLost`] when the server's own certificate would have expired at that time. It is not taken: a floor
    /// raised by it would lock this device out for ever.
    pub fn told_by(&self, server_unix_ms: i64, server: &CertificateFacts) -> Result<i64, ServerClockLost> {
        if server_unix_ms.div_euclid(1000) > server.not_after_unix_s {
            return Err(ServerClockLost);
        }
        Ok(self.told(server_unix_ms))
    }

    fn told(&self, server_unix_ms: i64) -> i64 {
        let mono_ms = self.now().mono_ms;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.told = Some((server_unix_ms, mono_ms));
        known.floor_unix_ms = known.floor_unix_ms.max(server_unix_ms);
        known.floor_unix_ms
    }

    /// The floor in milliseconds since 1970.
    pub fn floor_unix_ms(&self) -> i64 {
        self.known().floor_unix_ms
    }

    /// The monotonic moment `mono_ms` as the runtime's timers count it.
    pub(crate) fn instant(&self, mono_ms: u64) -> tokio::time::Instant {
        let at = self.started.checked_add(Duration::from_millis(mono_ms));
        tokio::time::Instant::from_std(at.unwrap_or_else(far_future))
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeProvider for DeviceClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.unix_time())
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600)
}

fn system_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: i64 = BUILD_FLOOR_UNIX_MS + 1_000_000_000;

    #[test]
    fn a_clock_that_woke_up_in_1970_counts_from_the_floor() {
        assert_eq!(DeviceClock::over(|| 0, LATER).now().unix_ms, LATER);
        assert_eq!(DeviceClock::over(|| 0, 0).now().unix_ms, BUILD_FLOOR_UNIX_MS);
        assert_eq!(DeviceClock::over(|| LATER + 1, LATER).now().unix_ms, LATER + 1);
    }

    #[test]
    fn a_session_raises_the_floor_and_never_lowers_it() {
        let clock = DeviceClock::over(|| 0, LATER);
        assert_eq!(clock.told(LATER + 5), LATER + 5);
        assert_eq!(clock.told(LATER - 5), LATER + 5);
        assert_eq!(clock.floor_unix_ms(), LATER + 5);
        assert!(clock.now().unix_ms >= LATER + 5);
        assert_eq!(clock.current_time().unwrap().as_secs(), u64::try_from(LATER + 5).unwrap() / 1000);
    }

    #[test]
    fn a_server_that_lost_its_clock_cannot_lock_a_device_out() {
        let server = CertificateFacts {
            subject: String::new(),
            issuer: String::new(),
            spki_hash: keys::public::SpkiHash([0; 32]),
            not_before_unix_s: 0,
            not_after_unix_s: LATER / 1000,
        };
        let clock = DeviceClock::over(|| 0, 0);
        assert_eq!(clock.told_by(LATER + 1000, &server), Err(ServerClockLost));
        assert_eq!(clock.floor_unix_ms(), BUILD_FLOOR_UNIX_MS);
        assert_eq!(clock.told_by(LATER, &server), Ok(LATER));
    }

    #[test]
    fn the_servers_word_corrects_a_clock_that_runs_ahead() {
        let clock = DeviceClock::over(|| LATER + 3_600_000, 0);
        clock.told(LATER);
        assert!(clock.now().unix_ms < LATER + 60_000);
    }
}
