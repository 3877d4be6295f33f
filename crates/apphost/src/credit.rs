//! How many requests an agent may still make: a burst, then a steady rate.

/// What one request costs.
const REQUEST: u64 = 1_000;
/// The most that is kept: a burst of 40 requests.
const MOST: u64 = 40 * REQUEST;
/// What a millisecond gives: 2 requests a second.
const PER_MS: u64 = 2;

/// Credit for requests, as the imp counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    left: u64,
    at_ms: u64,
}

impl Credit {
    pub(crate) fn full(now_ms: u64) -> Self {
        Self { left: MOST, at_ms: now_ms }
    }

    /// Takes one request's credit; false when there is not enough.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.at_ms).saturating_mul(PER_MS);
        self.left = self.left.saturating_add(earned).min(MOST);
        self.at_ms = now_ms;
        let enough = self.left >= REQUEST;
        if enough {
            self.left -= REQUEST;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_at_once_then_two_a_second() {
        let mut credit = Credit::full(0);
        assert!((0..40).all(|_| credit.take(0)));
        assert!(!credit.take(0));
        assert!(!credit.take(499));
        assert!(credit.take(500));
        assert!(!credit.take(500));
        assert_eq!((0..100).filter(|_| credit.take(1_000_000)).count(), 40, "no more is kept than the burst");
    }
}
