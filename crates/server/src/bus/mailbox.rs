//! A bounded queue with one reader that costs nothing while it is empty.
//!
//! A channel of tokio keeps a block of 32 slots for each queue; with one queue for each idle device that would be its largest part.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A message that found no room, returned to its sender.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// A message on its way: resolves to `true` when it is queued, `false` when the reader is gone.
pub type Sending = Pin<Box<dyn Future<Output = bool> + Send + 'static>>;

/// What became of a message that could not wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused<T> {
    Full(T),
    Ended,
}

/// What becomes of a notice beyond the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It is queued nevertheless.
    Queue,
    /// The queue says it already.
    Known,
    /// It and the last message of the queue cancel each other.
    CancelsLast,
}

struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    arrived: Notify,
    room: Notify,
}

struct State<T, E> {
    queue: VecDeque<T>,
    capacity: usize,
    /// Whether remarks wake the reader.
    listens: bool,
    ended: Option<E>,
}

/// The writing end. Cheap to clone; the reader notices only [`Sender::end`], not that all senders are gone.
pub(super) struct Sender<T, E>(Arc<Shared<T, E>>);

/// The reading end. When it is dropped, senders are told that the reader is gone.
pub(super) struct Receiver<T, E: Copy>(Arc<Shared<T, E>>, E);

/// A mailbox for `capacity` messages; `gone` is the end that is noted when the reader goes first.
pub(super) fn mailbox<T, E: Copy>(capacity: usize, gone: E) -> (Sender<T, E>, Receiver<T, E>) {
    let state = State { queue: VecDeque::new(), capacity: capacity.max(1), listens: true, ended: None };
    let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Notify::new(), room: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared, gone))
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: E) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(end);
            state.queue = VecDeque::new();
        }
        drop(state);
        self.arrived.notify_one();
        self.room.notify_waiters();
    }
}

impl<T, E> Clone for Sender<T, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, E> Sender<T, E> {
    /// Queues a message if there is room.
    pub(super) fn try_send(&self, message: T) -> Result<(), Refused<T>> {
        let mut state = self.0.lock();
        if state.ended.is_some() {
            return Err(Refused::Ended);
        }
        if state.queue.len() >= state.capacity {
            return Err(Refused::Full(message));
        }
        state.queue.push_back(message);
        drop(state);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Queues a notice that must not be lost. Beyond the bound `beyond` is asked what to do, so that notices cannot pile up.
    pub(super) fn notice(&self, message: T, beyond: impl Fn(&VecDeque<T>) -> Beyond) {
        let full = |state: &State<T, E>| state.queue.len() >= state.capacity;
        if self.post(message, full, beyond) {
            self.0.arrived.notify_one();
        }
    }

    /// As [`Sender::notice`], but a reader that does not listen is not woken; then `beyond` is asked whatever room there is.
    pub(super) fn remark(&self, message: T, beyond: impl Fn(&VecDeque<T>) -> Beyond) {
        let full = |state: &State<T, E>| state.queue.len() >= state.capacity || !state.listens;
        if self.post(message, full, beyond) && self.0.lock().listens {
            self.0.arrived.notify_one();
        }
    }

    fn post(&self, message: T, full: impl Fn(&State<T, E>) -> bool, beyond: impl Fn(&VecDeque<T>) -> Beyond) -> bool {
        let mut state = self.0.lock();
        if state.ended.is_some() {
            return false;
        }
        match if full(&state) { beyond(&state.queue) } else { Beyond::Queue } {
            Beyond::Queue => state.queue.push_back(message),
            Beyond::Known => return false,
            Beyond::CancelsLast => {
                state.queue.pop_back();
                return false;
            }
        }
        true
    }

    /// Ends the mailbox at once, whatever is queued; the first end counts.
    pub(super) fn end(&self, end: E) {
        self.0.end(end);
    }

    /// Queues a message, waiting for room.
    pub(super) async fn send(self, mut message: T) -> bool {
        loop {
            let room = self.0.room.notified();
            tokio::pin!(room);
            // Registered before the queue is looked at, so that room made in between is not missed.
            room.as_mut().enable();
            match self.try_send(message) {
                Ok(()) => return true,
                Err(Refused::Ended) => return false,
                Err(Refused::Full(back)) => message = back,
            }
            room.await;
        }
    }
}

impl<T, E: Copy> Receiver<T, E> {
    /// The next message, or the end. May be dropped while waiting; nothing is lost.
    pub(super) async fn recv(&mut self) -> Result<T, E> {
        loop {
            if let Some(message) = self.try_recv()? {
                return Ok(message);
            }
            self.0.arrived.notified().await;
        }
    }

    /// Waits for the end and leaves the messages where they are.
    pub(super) async fn ended(&mut self) -> E {
        loop {
            if let Some(end) = self.0.lock().ended {
                return end;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Whether remarks wake the reader from now on. Those in the queue are found by the next [`Receiver::recv`] in any case.
    pub(super) fn listen(&self, listens: bool) {
        self.0.lock().listens = listens;
    }

    /// The next message if there is one, or the end.
    pub(super) fn try_recv(&mut self) -> Result<Option<T>, E> {
        let mut state = self.0.lock();
        if let Some(end) = state.ended {
            return Err(end);
        }
        let message = state.queue.pop_front();
        if state.queue.is_empty() {
            // An idle device keeps no buffer.
            state.queue = VecDeque::new();
        }
        drop(state);
        if message.is_some() {
            self.0.room.notify_one();
        }
        Ok(message)
    }
}

impl<T, E: Copy> Drop for Receiver<T, E> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn holds_as_many_as_its_bound_and_not_one_more() {
        let (sender, mut receiver) = mailbox::<u32, u8>(2, 0);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(Refused::Full(3)));
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(sender.try_send(3), Ok(()));
        assert_eq!(receiver.try_recv(), Ok(Some(2)));
        assert_eq!(receiver.try_recv(), Ok(Some(3)));
        assert_eq!(receiver.try_recv(), Ok(None));
    }

    fn opposite_of(other: i32) -> impl Fn(&VecDeque<i32>) -> Beyond {
        move |queue| if queue.back() == Some(&other) { Beyond::CancelsLast } else { Beyond::Queue }
    }

    #[test]
    fn a_notice_that_the_full_queue_holds_already_is_not_repeated() {
        let (sender, mut receiver) = mailbox::<i32, u8>(1, 0);
        sender.try_send(10).unwrap();
        for _ in 0..1_000 {
            sender.notice(1, |queue| if queue.contains(&1) { Beyond::Known } else { Beyond::Queue });
        }
        assert_eq!(receiver.try_recv(), Ok(Some(10)));
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(receiver.try_recv(), Ok(None));
    }

    #[test]
    fn notices_never_grow_the_queue_beyond_its_bound_and_one() {
        let (sender, mut receiver) = mailbox::<i32, u8>(2, 0);
        sender.try_send(10).unwrap();
        sender.try_send(11).unwrap();
        for _ in 0..1_000 {
            sender.notice(1, opposite_of(-1));
            sender.notice(-1, opposite_of(1));
        }
        sender.notice(1, opposite_of(-1));
        let mut seen = Vec::new();
        while let Ok(Some(message)) = receiver.try_recv() {
            seen.push(message);
        }
        assert_eq!(seen, [10, 11, 1]);
    }

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a reader that waits for a message is woken by what is done.
    fn wakes(receiver: &mut Receiver<i32, u8>, done: impl FnOnce()) -> bool {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let mut waiting = std::pin::pin!(receiver.0.arrived.notified());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
        done();
        woken.0.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_remark_wakes_only_who_listens_and_is_found_in_its_order() {
        let (sender, mut receiver) = mailbox::<i32, u8>(8, 0);
        receiver.listen(false);
        assert!(!wakes(&mut receiver, || sender.remark(1, opposite_of(-1))));
        assert!(wakes(&mut receiver, || sender.try_send(10).unwrap()));
        assert_eq!(receiver.recv().await, Ok(1));
        assert_eq!(receiver.try_recv(), Ok(Some(10)));
        // A new one listens.
        let (sender, mut receiver) = mailbox::<i32, u8>(8, 0);
        assert!(wakes(&mut receiver, || sender.remark(-1, opposite_of(1))));
    }

    #[test]
    fn remarks_to_a_reader_that_does_not_listen_cancel_each_other() {
        let (sender, mut receiver) = mailbox::<i32, u8>(8, 0);
        receiver.listen(false);
        for _ in 0..1_000 {
            sender.remark(1, opposite_of(-1));
            sender.remark(-1, opposite_of(1));
        }
        sender.remark(1, opposite_of(-1));
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(receiver.try_recv(), Ok(None));
    }

    #[tokio::test]
    async fn an_end_overtakes_what_is_queued_and_the_first_one_counts() {
        let (sender, mut receiver) = mailbox::<u32, u8>(4, 0);
        sender.try_send(1).unwrap();
        sender.end(7);
        sender.end(8);
        assert_eq!(timeout(PATIENCE, receiver.recv()).await.unwrap(), Err(7));
        assert_eq!(sender.try_send(2), Err(Refused::Ended));
    }

    #[tokio::test]
    async fn the_end_is_heard_by_who_takes_no_messages() {
        let (sender, mut receiver) = mailbox::<u32, u8>(4, 0);
        sender.try_send(1).unwrap();
        assert!(timeout(Duration::from_millis(20), receiver.ended()).await.is_err());
        assert_eq!(timeout(PATIENCE, receiver.recv()).await.unwrap(), Ok(1));
        let ending = tokio::spawn(async move { receiver.ended().await });
        tokio::task::yield_now().await;
        sender.end(7);
        assert_eq!(timeout(PATIENCE, ending).await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_sender_waits_for_room_and_keeps_the_order() {
        let (sender, mut receiver) = mailbox::<u32, u8>(1, 0);
        sender.try_send(0).unwrap();
        let writer = tokio::spawn({
            let sender = sender.clone();
            async move {
                for number in 1..100 {
                    assert!(sender.clone().send(number).await);
                }
            }
        });
        for number in 0..100 {
            assert_eq!(timeout(PATIENCE, receiver.recv()).await.unwrap(), Ok(number));
        }
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn many_waiting_senders_all_get_through() {
        let (sender, mut receiver) = mailbox::<u32, u8>(1, 0);
        let writers: Vec<_> = (0..50).map(|number| tokio::spawn(sender.clone().send(number))).collect();
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen.push(timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        for writer in writers {
            assert!(writer.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_reader_that_goes_frees_the_waiting() {
        let (sender, receiver) = mailbox::<u32, u8>(1, 9);
        sender.try_send(0).unwrap();
        let waiting = tokio::spawn(sender.clone().send(1));
        tokio::task::yield_now().await;
        drop(receiver);
        assert!(!timeout(PATIENCE, waiting).await.unwrap().unwrap());
    }
}
