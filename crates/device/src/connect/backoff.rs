//! The pauses between two rounds of attempts: exponential, with full jitter, bounded, and led by the server where it asks.

use std::time::Duration;

use crate::limits::Limits;

/// Counts failures and draws the next pause.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    directed_most: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// A back-off between rounds of connection attempts. Each device needs a seed of its own.
    pub fn between_rounds(limits: &Limits, seed: u64) -> Backoff {
        Backoff::new(limits.backoff_first, limits.backoff_most, limits.backoff_directed, seed)
    }

    /// The pause of a device that was revoked: it goes on asking, rarely.
    pub fn while_revoked(limits: &Limits, seed: u64) -> Backoff {
        Backoff::new(limits.backoff_most, limits.backoff_revoked, limits.backoff_directed, seed)
    }

    fn new(first: Duration, most: Duration, directed_most: Duration, seed: u64) -> Backoff {
        Backoff { first, most, directed_most, failures: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The pause after one more failure: evenly spread between nothing and a ceiling that doubles up to the cap
    /// ("full jitter"), so that a fleet that lost its server together does not come back together.
    pub fn next_pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        let ceiling = self.first.saturating_mul(factor).min(self.most);
        self.failures = self.failures.saturating_add(1);
        self.between(Duration::ZERO, ceiling)
    }

    /// The pause that the server asked for, never shorter, a little longer, never over the bound.
    pub fn directed_pause(&mut self, asked: Duration) -> Duration {
        let asked = asked.min(self.directed_most);
        let spread = (asked / 4).min(self.most);
        self.between(asked, asked.saturating_add(spread)).min(self.directed_most)
    }

    /// Starts again from the shortest pause.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random.u64(millis(low)..=millis(high).max(millis(low))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    #[test]
    fn the_ceiling_doubles_and_stops_at_the_cap() {
        let mut longest = [Duration::ZERO; 40];
        for seed in 0..200 {
            let mut backoff = Backoff::between_rounds(&LIMITS, seed);
            for (round, longest) in longest.iter_mut().enumerate() {
                let pause = backoff.next_pause();
                let doubled = LIMITS.backoff_first.saturating_mul(1 << round.min(20));
                assert!(pause <= doubled.min(LIMITS.backoff_most), "round {round}: {pause:?}");
                *longest = (*longest).max(pause);
            }
        }
        // Jitter is full: over many devices the pauses reach close to the ceiling, and the cap is reached.
        assert!(longest[0] > LIMITS.backoff_first.mul_f32(0.9), "{:?}", longest[0]);
        assert!(longest[39] > LIMITS.backoff_most.mul_f32(0.9), "{:?}", longest[39]);
    }

    #[test]
    fn the_same_seed_draws_the_same_pauses_and_another_seed_others() {
        let draw = |seed| {
            let mut backoff = Backoff::between_rounds(&LIMITS, seed);
            std::array::from_fn::<_, 8, _>(|_| backoff.next_pause())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_reset_makes_pauses_short_again() {
        let mut backoff = Backoff::between_rounds(&LIMITS, 1);
        for _ in 0..20 {
            backoff.next_pause();
        }
        backoff.reset();
        assert!(backoff.next_pause() <= LIMITS.backoff_first);
    }

    #[test]
    fn a_server_leads_but_only_within_the_bound() {
        let mut backoff = Backoff::between_rounds(&LIMITS, 1);
        for _ in 0..100 {
            let asked = Duration::from_secs(60);
            let pause = backoff.directed_pause(asked);
            assert!(pause >= asked && pause <= asked * 5 / 4, "{pause:?}");
            assert_eq!(backoff.directed_pause(Duration::MAX), LIMITS.backoff_directed);
        }
        assert_eq!(backoff.directed_pause(Duration::ZERO), Duration::ZERO);
    }
}
