//! The connection diary: the last attempts, in the vault and in memory until the server keeps them.

use std::collections::VecDeque;

use protocol::report::{DiaryEntry, RingId};
use tokio::task::JoinHandle;
use vault::Record;
use zeroize::Zeroizing;

use crate::connect::attempt::{Attempt, AttemptResult};
use crate::limits::Limits;
use crate::store::{Store, StoreError};

/// Remembers attempts and keeps those that the server does not keep yet, numbered as log lines are.
#[derive(Debug)]
pub struct Diary {
    store: Store,
    entries_most: usize,
    bytes_most: usize,
    /// The newest attempts as they are stored, one JSON object each.
    lines: VecDeque<String>,
    bytes: usize,
    /// There are lines that are not stored.
    is_changed: bool,
    /// The last write, each of which waits for the one before it.
    writing: Option<JoinHandle<Result<(), StoreError>>>,
    ring: RingId,
    waiting: VecDeque<Attempt>,
    /// The number of the first attempt that waits.
    first: u64,
    /// The number of the first attempt that this session has not sent.
    unsent: u64,
}

impl Diary {
    /// Opens the diary of a device. What came after the last successful login is still to be sent.
    ///
    /// # Errors
    /// [`StoreError`] when the vault does not give it.
    pub fn open(store: &Store, limits: &Limits) -> Result<Diary, StoreError> {
        let mut diary = Diary {
            store: store.clone(),
            entries_most: limits.diary_entries,
            bytes_most: limits.diary_bytes,
            lines: VecDeque::new(),
            bytes: 0,
            is_changed: false,
            writing: None,
            ring: keys::hashes::random(),
            waiting: VecDeque::new(),
            first: 0,
            unsent: 0,
        };
        for attempt in Diary::stored(store)? {
            diary.write_line(&attempt);
            if attempt.result == AttemptResult::Welcomed {
                diary.waiting.clear();
            } else {
                diary.keep(attempt);
            }
        }
        (diary.first, diary.unsent, diary.is_changed) = (0, 0, false);
        Ok(diary)
    }

    /// The attempts that a device has stored, oldest first. Those of another version that cannot be read are passed over.
    ///
    /// # Errors
    /// [`StoreError`] when the vault does not give them.
    pub fn stored(store: &Store) -> Result<Vec<Attempt>, StoreError> {
        let Some(bytes) = store.read(Record::Diary)? else { return Ok(Vec::new()) };
        let lines = bytes.expose().split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Remembers one attempt. It is stored with the next [`Diary::begin_write`].
    pub fn add(&mut self, attempt: &Attempt) {
        self.keep(attempt.clone());
        self.write_line(attempt);
    }

    /// Begins to store what is new, in the background.
    pub fn begin_write(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let mut text = Zeroizing::new(Vec::with_capacity(self.bytes));
        for line in &self.lines {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        let (store, before) = (self.store.clone(), self.writing.take());
        self.writing = Some(tokio::spawn(async move {
            // Never an older text over a newer one.
            if let Some(before) = before {
                let _ = before.await;
            }
            store.keep(Record::Diary, Some(text)).await
        }));
    }

    /// Waits until all is stored that was to be.
    ///
    /// # Errors
    /// [`StoreError`] when the last write failed.
    pub async fn written(&mut self) -> Result<(), StoreError> {
        match self.writing.take() {
            Some(writing) => writing.await.map_err(|_| StoreError::Interrupted)?,
            None => Ok(()),
        }
    }

    fn write_line(&mut self, attempt: &Attempt) {
        // An attempt is made of texts, numbers and addresses; all of them can be written.
        let Ok(line) = serde_json::to_string(attempt) else { return };
        self.bytes = self.bytes.saturating_add(line.len() + 1);
        self.lines.push_back(line);
        self.is_changed = true;
        while self.lines.len() > self.entries_most || self.bytes > self.bytes_most {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.len() + 1);
        }
    }

    /// A session begins: what the server does not keep is to be sent to it, also what an earlier one has sent.
    pub fn begin(&mut self) {
        self.unsent = self.first;
    }

    /// Offers the attempts that this session has not sent, oldest first, with the name of their count and the number of the first of them;
    /// `send` says how many of them it took. It is not called when there is nothing to send.
    pub fn offer(&mut self, send: impl FnOnce(RingId, u64, &[DiaryEntry]) -> usize) {
        let sent = usize::try_from(self.unsent.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let entries: Vec<_> = self.waiting.iter().skip(sent).map(Attempt::to_entry).collect();
        if !entries.is_empty() {
            let taken = send(self.ring, self.unsent, &entries).min(entries.len());
            self.unsent = self.unsent.saturating_add(taken as u64);
        }
    }

    /// The server keeps every attempt with a lower number. A number beyond what was sent counts as what was sent.
    pub fn kept(&mut self, next: u64) {
        while self.first < next.min(self.unsent) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.waiting.pop_front();
        self.first = self.first.saturating_add(1);
        self.unsent = self.unsent.max(self.first);
    }

    fn keep(&mut self, attempt: Attempt) {
        if self.waiting.len() >= self.entries_most {
            self.forget_first();
        }
        self.waiting.push_back(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::attempt::ConnectionPurpose;
    use crate::limits::LIMITS;

    fn attempt(unix_ms: i64, result: AttemptResult) -> Attempt {
        Attempt {
            unix_ms,
            took_ms: 1,
            purpose: ConnectionPurpose::Session,
            server: "iot.example".into(),
            lookup: None,
            proxy: None,
            address: None,
            rule_port: Some(443),
            port: Some(443),
            certificate: None,
            tls: None,
            result,
        }
    }

    fn times(diary: &Diary) -> Vec<i64> {
        diary.waiting.iter().map(|attempt| attempt.unix_ms).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::tests::store(dir.path());
        (dir, store)
    }

    async fn written(mut diary: Diary) {
        diary.begin_write();
        diary.written().await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_for_the_server_is_bounded_and_the_oldest_goes() {
        let (_dir, store) = store();
        let limits = Limits { diary_entries: 3, ..LIMITS };
        let mut diary = Diary::open(&store, &limits).unwrap();
        for at in 0..3 {
            diary.add(&attempt(at, AttemptResult::TcpRefused));
        }
        assert_eq!(times(&diary), [0, 1, 2]);
        diary.add(&attempt(3, AttemptResult::TcpRefused));
        assert_eq!(times(&diary), [1, 2, 3]);
        written(diary).await;
        assert_eq!(times(&Diary::open(&store, &limits).unwrap()), [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_is_stored_is_bounded_however_long_it_fails() {
        let (_dir, store) = store();
        let line = serde_json::to_string(&attempt(100, AttemptResult::TcpRefused)).unwrap().len() + 1;
        for (bytes, expected) in [(5 * line, 5), (5 * line - 1, 4)] {
            let limits = Limits { diary_bytes: bytes, ..LIMITS };
            let mut diary = Diary::open(&store, &limits).unwrap();
            for at in 100..150 {
                diary.add(&attempt(at, AttemptResult::TcpRefused));
            }
            written(diary).await;
            let stored = Diary::stored(&store).unwrap();
            assert_eq!((stored.len(), stored.last().unwrap().unix_ms), (expected, 149));
        }
    }

    #[test]
    fn the_vault_takes_the_longest_diary() {
        assert!(LIMITS.diary_bytes <= Record::Diary.most());
    }

    #[tokio::test]
    async fn after_a_restart_only_what_follows_the_last_login_is_unsent() {
        let (_dir, store) = store();
        let mut diary = Diary::open(&store, &LIMITS).unwrap();
        diary.add(&attempt(1, AttemptResult::TcpRefused));
        diary.add(&attempt(2, AttemptResult::Welcomed));
        diary.begin_write();
        diary.add(&attempt(3, AttemptResult::TcpRefused));
        written(diary).await;
        assert_eq!(times(&Diary::open(&store, &LIMITS).unwrap()), [3]);
        assert_eq!(Diary::stored(&store).unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_unchanged_diary_is_not_written_again() {
        let (_dir, store) = store();
        let mut diary = Diary::open(&store, &LIMITS).unwrap();
        let before = store.generation();
        diary.begin_write();
        diary.written().await.unwrap();
        assert_eq!(store.generation(), before);
    }

    #[test]
    fn what_the_server_keeps_is_not_sent_again_and_what_was_only_sent_is() {
        let (_dir, store) = store();
        let mut diary = Diary::open(&store, &LIMITS).unwrap();
        diary.add(&attempt(1, AttemptResult::TcpRefused));
        diary.add(&attempt(2, AttemptResult::TcpRefused));
        let offered = |diary: &mut Diary, taken: usize| {
            let mut seen = None;
            diary.offer(|_, first, entries| {
                seen = Some((first, entries.len()));
                taken
            });
            seen
        };
        assert_eq!(offered(&mut diary, 2), Some((0, 2)));
        assert_eq!(offered(&mut diary, 2), None);
        diary.kept(1);
        assert_eq!(times(&diary), [2]);
        diary.begin();
        assert_eq!(offered(&mut diary, 0), Some((1, 1)));
        diary.kept(7);
        assert_eq!(times(&diary), [2], "it was not sent");
        assert_eq!(offered(&mut diary, 1), Some((1, 1)));
        diary.kept(7);
        assert!(times(&diary).is_empty());
        diary.add(&attempt(3, AttemptResult::TcpRefused));
        assert_eq!(offered(&mut diary, 1), Some((2, 1)));
    }
}
