//! What becomes of a device's messages whose handling is acknowledged: told by their agent, read by their session in their order.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The messages of one session that are to be handled. Holds nothing until there is one.
#[derive(Debug, Default)]
pub struct Unhandled(Option<Arc<Shared>>);

/// One such message on its way; it was not handled when this is dropped.
#[derive(Debug)]
pub struct ToHandle {
    shared: Arc<Shared>,
    number: u64,
    handled: bool,
}

#[derive(Debug, Default)]
struct Shared {
    window: Mutex<Window>,
    /// The oldest message was told of.
    told: Notify,
}

#[derive(Debug, Default)]
struct Window {
    /// The number of the oldest message here.
    first: u64,
    /// What became of each; unknown while it is on its way. As long as the protocol lets messages wait.
    messages: VecDeque<Option<bool>>,
}

impl Unhandled {
    /// Counts one more message, from 0 on.
    pub fn one_more(&mut self) -> ToHandle {
        let shared = Arc::clone(self.0.get_or_insert_default());
        let mut window = shared.lock();
        let number = window.first + window.messages.len() as u64;
        window.messages.push_back(None);
        drop(window);
        ToHandle { shared, number, handled: false }
    }

    /// Waits until it is known what became of the oldest message. May be dropped while waiting.
    pub async fn told(&self) {
        match &self.0 {
            Some(shared) => shared.told.notified().await,
            None => pending().await,
        }
    }

    /// Calls `say` for each run of messages of which the same became, oldest first, with the number of the first message after it, and
    /// forgets them.
    pub fn take(&mut self, mut say: impl FnMut(u64, bool)) {
        let Some(shared) = &self.0 else { return };
        let mut window = shared.lock();
        while let Some(Some(handled)) = window.messages.front().copied() {
            let run = window.messages.iter().take_while(|message| **message == Some(handled)).count();
            window.messages.drain(..run);
            window.first += run as u64;
            say(window.first, handled);
        }
        if window.messages.is_empty() {
            window.messages = VecDeque::new();
        }
    }
}

impl ToHandle {
    /// A handler of the agent took the message and returned.
    pub fn handled(mut self) {
        self.handled = true;
    }
}

impl Drop for ToHandle {
    fn drop(&mut self) {
        let mut window = self.shared.lock();
        let place = self.number.saturating_sub(window.first);
        if let Some(message) = usize::try_from(place).ok().and_then(|place| window.messages.get_mut(place)) {
            *message = Some(self.handled);
        }
        drop(window);
        // Whoever waits for an older one finds this one beside it.
        if place == 0 {
            self.shared.told.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn taken(unhandled: &mut Unhandled) -> Vec<(u64, bool)> {
        let mut said = Vec::new();
        unhandled.take(|next, handled| said.push((next, handled)));
        said
    }

    #[tokio::test]
    async fn what_became_of_messages_is_told_in_their_order_and_in_runs() {
        let mut unhandled = Unhandled::default();
        let mut messages: VecDeque<ToHandle> = (0..5).map(|_| unhandled.one_more()).collect();
        messages.pop_back().unwrap().handled();
        assert!(timeout(Duration::from_millis(20), unhandled.told()).await.is_err());
        assert!(taken(&mut unhandled).is_empty(), "the oldest is on its way");
        messages.pop_front().unwrap().handled();
        messages.pop_front().unwrap().handled();
        timeout(Duration::from_secs(10), unhandled.told()).await.unwrap();
        assert_eq!(taken(&mut unhandled), [(2, true)]);
        drop(messages.pop_front());
        messages.pop_front().unwrap().handled();
        timeout(Duration::from_secs(10), unhandled.told()).await.unwrap();
        assert_eq!(taken(&mut unhandled), [(3, false), (5, true)]);
        unhandled.one_more().handled();
        assert_eq!(taken(&mut unhandled), [(6, true)]);
        assert!(taken(&mut unhandled).is_empty());
    }

    #[tokio::test]
    async fn without_such_messages_nothing_is_held_and_nothing_told() {
        let mut unhandled = Unhandled::default();
        assert!(unhandled.0.is_none());
        assert!(taken(&mut unhandled).is_empty());
        assert!(timeout(Duration::from_millis(20), unhandled.told()).await.is_err());
    }
}
