//! The timers of one app: ordered by due time, then by the order they were set in.

use std::collections::BTreeMap;

/// Timers fall due on multiples of this after they are set, milliseconds.
const GRAIN_MS: u64 = 10;
/// The longest a timer may wait, seconds.
const SECONDS_MAX: f64 = 10_737_418.0;

/// Names one timer for its whole life; never used twice in one app.
pub(crate) type TimerId = u64;

/// What is done when a timer falls due.
#[derive(Debug)]
pub(crate) struct Timer<C> {
    pub(crate) callback: C,
    pub(crate) name: Option<Vec<u8>>,
}

/// A bounded set of timers.
#[derive(Debug)]
pub(crate) struct Timers<C> {
    by_due: BTreeMap<(u64, TimerId), Timer<C>>,
    /// The id given last.
    next: TimerId,
    most: usize,
}

impl<C> Timers<C> {
    pub(crate) fn new(most: usize) -> Self {
        Self { by_due: BTreeMap::new(), next: 0, most }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.by_due.len() >= self.most
    }

    /// A new name for a timer.
    pub(crate) fn next_id(&mut self) -> TimerId {
        self.next += 1;
        self.next
    }

    /// The caller asked [`Self::is_full`] first.
    pub(crate) fn set(&mut self, id: TimerId, due_ms: u64, timer: Timer<C>) {
        self.by_due.insert((due_ms, id), timer);
    }

    /// The timer if it was still waiting; a fired or cancelled one is nothing.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<Timer<C>> {
        let key = *self.by_due.keys().find(|(_, found)| *found == id)?;
        self.by_due.remove(&key)
    }

    pub(crate) fn cancel_named(&mut self, name: &[u8]) -> Option<Timer<C>> {
        let key = *self.by_due.iter().find(|(_, timer)| timer.name.as_deref() == Some(name))?.0;
        self.by_due.remove(&key)
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// The timer that has been due for the longest time.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Timer<C>> {
        let entry = self.by_due.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        Some(entry.remove())
    }
}

/// Milliseconds that a script means by `seconds`: anything above zero is rounded up to the grain.
/// `None` if it is not a time a timer can wait.
pub(crate) fn delay_ms(seconds: f64) -> Option<u64> {
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return None;
    }
    // A 32-bit 0.1 is a little more than a tenth: its rounding error does not make a timer a grain longer.
    let grains = seconds * 1000.0 / GRAIN_MS as f64;
    let error = (grains * f64::from(f32::EPSILON)).min(0.5);
    let least = if seconds > 0.0 { 1.0 } else { 0.0 };
    Some((grains - error).ceil().max(least) as u64 * GRAIN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(callback: u8) -> Timer<u8> {
        Timer { callback, name: None }
    }

    #[test]
    fn due_order_then_set_order() {
        let mut timers = Timers::new(8);
        for (due_ms, callback) in [(20, 1), (10, 2), (20, 3), (10, 4)] {
            let id = timers.next_id();
            timers.set(id, due_ms, timer(callback));
        }
        assert_eq!(timers.next_due(), Some(10));
        assert!(timers.pop_due(9).is_none());
        let order: Vec<u8> = std::iter::from_fn(|| timers.pop_due(20)).map(|timer| timer.callback).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn a_cancelled_timer_leaves_nothing_behind() {
        let mut timers = Timers::new(1);
        let id = timers.next_id();
        timers.set(id, 10, timer(1));
        assert!(timers.is_full());
        assert!(timers.cancel(id).is_some());
        assert!(timers.cancel(id).is_none());
        assert!(!timers.is_full());
        timers.set(id + 1, 10, Timer { callback: 2, name: Some(b"watchdog".to_vec()) });
        assert!(timers.cancel_named(b"other").is_none());
        assert!(timers.cancel_named(b"watchdog").is_some());
        assert_eq!(timers.next_due(), None);
    }

    #[test]
    fn delays_round_up_to_ten_milliseconds() {
        for (seconds, ms) in [
            (0.0, 0),
            (0.001, 10),
            (0.01, 10),
            (0.011, 20),
            (1.0, 1000),
            (f64::from(0.1f32), 100),
            (f64::from(20.2f32), 20_200),
        ] {
            assert_eq!(delay_ms(seconds), Some(ms), "{seconds}");
        }
        assert_eq!(delay_ms(SECONDS_MAX), Some(10_737_418_000));
        for wrong in [SECONDS_MAX + 1.0, -0.001, f64::NAN, f64::INFINITY] {
            assert_eq!(delay_ms(wrong), None, "{wrong}");
        }
    }
}
