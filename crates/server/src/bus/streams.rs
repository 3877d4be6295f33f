//! Log streams: who follows which devices, with a bounded lag.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::hashes::random;
use keys::public::SpkiHash;
use tokio::sync::Notify;

use super::shards::Shards;
use crate::fleet::{AccountId, LogEntry, StreamId};
use crate::limits::Limits;

/// All log streams of this process.
pub struct Streams {
    streams: Mutex<HashMap<StreamId, Arc<Stream>>>,
    followers: Shards<SpkiHash, Vec<Arc<Stream>>>,
    per_account: usize,
    devices: usize,
    queue: usize,
    idle: Duration,
}

struct Stream {
    account: AccountId,
    opened: Instant,
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    devices: VecDeque<SpkiHash>,
    queue: VecDeque<StreamEvent>,
    missed: u64,
    closed: bool,
    /// Counts the readers so far; an older reader ends when a newer one comes.
    reader: u64,
    idle_since: Option<Instant>,
}

/// What a reader of a log stream is told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// From now on this device's lines come.
    Subscribed(SpkiHash),
    /// No more lines of this device come.
    Unsubscribed(SpkiHash),
    /// A line.
    Message(LogEntry),
    /// So many lines were dropped because the reader was too slow.
    Missed(u64),
    /// The stream is over and will not come back.
    Closed,
}

/// The reading end of a log stream.
pub struct StreamReader {
    stream: Arc<Stream>,
    number: u64,
}

impl Streams {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            streams: Mutex::default(),
            followers: Shards::default(),
            per_account: limits.streams_per_account.max(1),
            devices: limits.devices_per_stream.max(1),
            queue: limits.stream_queue.max(1),
            idle: limits.stream_idle,
        }
    }

    /// Opens a stream. The account's oldest is closed when it has too many.
    pub fn open(&self, account: AccountId) -> StreamId {
        let mut streams = self.lock();
        self.sweep(&mut streams);
        while streams.values().filter(|stream| stream.account == account).count() >= self.per_account {
            let oldest =
                streams.iter().filter(|(_, stream)| stream.account == account).min_by_key(|(_, stream)| stream.opened);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { break };
            self.remove(&mut streams, &id);
        }
        let id = StreamId::from_bits(random());
        let state = State {
            devices: VecDeque::new(),
            queue: VecDeque::new(),
            missed: 0,
            closed: false,
            reader: 0,
            idle_since: Some(Instant::now()),
        };
        let stream = Stream { account, opened: Instant::now(), state: Mutex::new(state), arrived: Notify::new() };
        streams.insert(id.clone(), Arc::new(stream));
        id
    }

    /// Begins to read a stream; an earlier reader of it ends. `None` when there is no such stream (any more).
    pub fn read(&self, id: &StreamId) -> Option<StreamReader> {
        let mut streams = self.lock();
        self.sweep(&mut streams);
        let stream = Arc::clone(streams.get(id)?);
        drop(streams);
        let mut state = stream.lock();
        state.reader += 1;
        state.idle_since = None;
        let number = state.reader;
        drop(state);
        stream.arrived.notify_waiters();
        Some(StreamReader { stream, number })
    }

    /// Adds a device to a stream; the one added first makes room beyond the limit. `false` when the account has no such stream.
    pub fn subscribe(&self, id: &StreamId, account: AccountId, device: SpkiHash) -> bool {
        let streams = self.lock();
        let Some(stream) = streams.get(id).filter(|stream| stream.account == account) else { return false };
        let mut dropped = None;
        let mut state = stream.lock();
        if !state.devices.contains(&device) {
            if state.devices.len() >= self.devices {
                dropped = state.devices.pop_front();
            }
            state.devices.push_back(device);
        }
        drop(state);
        if let Some(dropped) = dropped {
            self.unfollow(stream, &dropped);
            self.push(stream, StreamEvent::Unsubscribed(dropped));
        }
        self.push(stream, StreamEvent::Subscribed(device));
        let mut followers = self.followers.lock(&device);
        let followers = followers.entry(device).or_default();
        if !followers.iter().any(|follower| Arc::ptr_eq(follower, stream)) {
            followers.push(Arc::clone(stream));
        }
        true
    }

    /// Takes a device from a stream. `false` when the account has no such stream.
    pub fn unsubscribe(&self, id: &StreamId, account: AccountId, device: SpkiHash) -> bool {
        let streams = self.lock();
        let Some(stream) = streams.get(id).filter(|stream| stream.account == account) else { return false };
        stream.lock().devices.retain(|other| *other != device);
        self.unfollow(stream, &device);
        self.push(stream, StreamEvent::Unsubscribed(device));
        true
    }

    /// Closes every stream: the server is stopping.
    pub fn close_all(&self) {
        let mut streams = self.lock();
        let ids: Vec<StreamId> = streams.keys().cloned().collect();
        for id in ids {
            self.remove(&mut streams, &id);
        }
    }

    pub(super) fn publish(&self, entry: &LogEntry) {
        if let Some(followers) = self.followers.lock(&entry.device).get(&entry.device) {
            for stream in followers {
                self.push(stream, StreamEvent::Message(entry.clone()));
            }
        }
    }

    fn push(&self, stream: &Stream, event: StreamEvent) {
        let mut state = stream.lock();
        if state.queue.len() >= self.queue {
            state.missed += 1;
        } else {
            if state.missed > 0 {
                let missed = std::mem::take(&mut state.missed);
                state.queue.push_back(StreamEvent::Missed(missed));
            }
            state.queue.push_back(event);
        }
        drop(state);
        stream.arrived.notify_waiters();
    }

    fn unfollow(&self, stream: &Arc<Stream>, device: &SpkiHash) {
        let mut followers = self.followers.lock(device);
        if let Some(of_device) = followers.get_mut(device) {
            of_device.retain(|follower| !Arc::ptr_eq(follower, stream));
            if of_device.is_empty() {
                followers.remove(device);
            }
        }
    }

    fn sweep(&self, streams: &mut HashMap<StreamId, Arc<Stream>>) {
        let over = |stream: &Stream| stream.lock().idle_since.is_some_and(|since| since.elapsed() >= self.idle);
        let idle: Vec<StreamId> = streams.iter().filter(|(_, stream)| over(stream)).map(|(id, _)| id.clone()).collect();
        for id in idle {
            self.remove(streams, &id);
        }
    }

    fn remove(&self, streams: &mut HashMap<StreamId, Arc<Stream>>, id: &StreamId) {
        let Some(stream) = streams.remove(id) else { return };
        let mut state = stream.lock();
        state.closed = true;
        let devices = std::mem::take(&mut state.devices);
        drop(state);
        for device in devices {
            self.unfollow(&stream, &device);
        }
        stream.arrived.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamReader {
    /// The next event; [`StreamEvent::Closed`] is the last one, `None` means that a newer reader took over. May be dropped while waiting.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            let arrived = self.stream.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            {
                let mut state = self.stream.lock();
                if state.reader != self.number {
                    return None;
                }
                if let Some(event) = state.queue.pop_front() {
                    return Some(event);
                }
                if state.missed > 0 {
                    return Some(StreamEvent::Missed(std::mem::take(&mut state.missed)));
                }
                if state.closed {
                    return Some(StreamEvent::Closed);
                }
            }
            arrived.await;
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        if state.reader == self.number {
            state.idle_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::LogType;
    use crate::limits::LIMITS;

    const DEVICE: SpkiHash = SpkiHash([1; 32]);

    fn line(text: &str) -> LogEntry {
        LogEntry { device: DEVICE, at_ms: 0, kind: LogType::Status, production: false, text: text.into() }
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_has_missed_nothing() {
        let streams = Streams::new(&LIMITS);
        let account = AccountId::random();
        let id = streams.open(account);
        assert!(streams.subscribe(&id, account, DEVICE));
        let mut reader = streams.read(&id).unwrap();
        assert_eq!(reader.next().await, Some(StreamEvent::Subscribed(DEVICE)));
        drop(reader);
        streams.publish(&line("meanwhile"));
        let mut reader = streams.read(&id).unwrap();
        assert_eq!(reader.next().await, Some(StreamEvent::Message(line("meanwhile"))));
    }

    #[tokio::test]
    async fn a_stream_belongs_to_its_account() {
        let streams = Streams::new(&LIMITS);
        let id = streams.open(AccountId::random());
        assert!(!streams.subscribe(&id, AccountId::random(), DEVICE));
        assert!(!streams.unsubscribe(&id, AccountId::random(), DEVICE));
    }

    #[test]
    fn subscribing_twice_gives_each_line_once() {
        let streams = Streams::new(&LIMITS);
        let account = AccountId::random();
        let id = streams.open(account);
        assert!(streams.subscribe(&id, account, DEVICE));
        assert!(streams.subscribe(&id, account, DEVICE));
        assert_eq!(streams.followers.lock(&DEVICE)[&DEVICE].len(), 1);
    }

    #[test]
    fn streams_that_end_leave_nothing_behind() {
        let streams = Streams::new(&Limits { streams_per_account: 1, ..LIMITS });
        let account = AccountId::random();
        for _ in 0..100 {
            let id = streams.open(account);
            assert!(streams.subscribe(&id, account, DEVICE));
        }
        assert_eq!((streams.lock().len(), streams.followers.len()), (1, 1));
        streams.close_all();
        assert_eq!((streams.lock().len(), streams.followers.len()), (0, 0));
    }
}
