//! How long a host waits before it starts a failed app again: soon at first, then ever later, never for ever.

use keys::time::Now;

/// The wait after the first failure, milliseconds.
const FIRST_MS: u64 = 1_000;
/// The longest wait, milliseconds.
const LONGEST_MS: u64 = 60_000;
/// An app that ran this long before it failed starts a new series, milliseconds.
const HEALTHY_MS: u64 = 120_000;

/// Counts one app's failures. One per app slot, kept across its restarts.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestartDelay {
    started_ms: u64,
    failures: u32,
}

impl RestartDelay {
    /// Notes that the app was started.
    pub fn started(&mut self, now: Now) {
        self.started_ms = now.mono_ms;
    }

    /// Notes that the app failed; milliseconds to wait before it is started again.
    pub fn failed(&mut self, now: Now) -> u64 {
        if now.mono_ms.saturating_sub(self.started_ms) >= HEALTHY_MS {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(16);
        (FIRST_MS << doublings).min(LONGEST_MS)
    }

    /// Forgets the past: a new app was delivered.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, unix_ms: 0 }
    }

    #[test]
    fn failures_in_a_row_wait_longer_up_to_a_bound() {
        let mut delay = RestartDelay::default();
        let waits: Vec<u64> = (0..9).map(|_| delay.failed(at(0))).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn an_app_that_ran_long_enough_starts_a_new_series() {
        let mut delay = RestartDelay::default();
        delay.started(at(0));
        delay.failed(at(10));
        delay.failed(at(20));
        delay.started(at(1_000));
        assert_eq!(delay.failed(at(1_000 + HEALTHY_MS - 1)), 4_000);
        delay.started(at(2_000));
        assert_eq!(delay.failed(at(2_000 + HEALTHY_MS)), 1_000);
    }
}
