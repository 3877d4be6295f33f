//! The connection diary: the last attempts, in two bounded files beside the device and in memory until the server keeps them.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use protocol::report::{DiaryEntry, RingId};

use crate::connect::attempt::{Attempt, AttemptResult};
use crate::limits::Limits;

/// The newest attempts, one JSON object a line.
pub const DIARY_FILE: &str = "diary.jsonl";
/// The attempts before them: what `diary.jsonl` was when it was full.
pub const DIARY_OLD_FILE: &str = "diary.old.jsonl";

/// Writes attempts down and keeps those that the server does not keep yet, numbered as log lines are.
#[derive(Debug)]
pub struct Diary {
    dir: PathBuf,
    file: Option<File>,
    bytes: u64,
    bytes_most: u64,
    entries_most: usize,
    ring: RingId,
    waiting: VecDeque<Attempt>,
    /// The number of the first attempt that waits.
    first: u64,
    /// The number of the first attempt that this session has not sent.
    unsent: u64,
}

impl Diary {
    /// Opens the diary of a folder. What came after the last successful login is still to be sent.
    /// A line that cannot be read (power went in the middle of it) is passed over.
    pub fn open(dir: &Path, limits: &Limits) -> io::Result<Diary> {
        let mut diary = Diary {
            dir: dir.to_owned(),
            file: None,
            bytes: 0,
            bytes_most: limits.diary_file,
            entries_most: limits.diary_entries,
            ring: keys::hashes::random(),
            waiting: VecDeque::new(),
            first: 0,
            unsent: 0,
        };
        for name in [DIARY_OLD_FILE, DIARY_FILE] {
            diary.remember(&diary.read(name)?);
        }
        (diary.first, diary.unsent) = (0, 0);
        diary.open_file()?;
        Ok(diary)
    }

    /// Writes one attempt down. When the disk refuses, the attempt is still kept for the server.
    pub fn add(&mut self, attempt: &Attempt) -> io::Result<()> {
        self.keep(attempt.clone());
        let mut line = serde_json::to_vec(attempt).map_err(io::Error::from)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_most {
            self.file = None;
            std::fs::rename(self.dir.join(DIARY_FILE), self.dir.join(DIARY_OLD_FILE))?;
            self.open_file()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
            self.bytes = self.bytes.saturating_add(length);
        }
        Ok(())
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

    fn remember(&mut self, text: &str) {
        for attempt in text.lines().filter_map(|line| serde_json::from_str::<Attempt>(line).ok()) {
            if attempt.result == AttemptResult::Welcomed {
                self.waiting.clear();
            } else {
                self.keep(attempt);
            }
        }
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(self.bytes_most.saturating_mul(2)).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn open_file(&mut self) -> io::Result<()> {
        let path = self.dir.join(DIARY_FILE);
        let torn = self.read(DIARY_FILE)?.chars().next_back().is_some_and(|last| last != '\n');
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        if torn {
            file.write_all(b"\n")?;
        }
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
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

    #[test]
    fn what_waits_for_the_server_is_bounded_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { diary_entries: 3, ..LIMITS };
        let mut diary = Diary::open(dir.path(), &limits).unwrap();
        for at in 0..3 {
            diary.add(&attempt(at, AttemptResult::TcpRefused)).unwrap();
        }
        assert_eq!(times(&diary), [0, 1, 2]);
        diary.add(&attempt(3, AttemptResult::TcpRefused)).unwrap();
        assert_eq!(times(&diary), [1, 2, 3]);
        assert_eq!(times(&Diary::open(dir.path(), &limits).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn the_files_are_bounded_however_long_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { diary_file: 2000, ..LIMITS };
        let mut diary = Diary::open(dir.path(), &limits).unwrap();
        for at in 0..500 {
            diary.add(&attempt(at, AttemptResult::TcpRefused)).unwrap();
        }
        for name in [DIARY_FILE, DIARY_OLD_FILE] {
            let length = std::fs::metadata(dir.path().join(name)).unwrap().len();
            assert!(length > 0 && length <= limits.diary_file, "{name}: {length}");
        }
        let newest = std::fs::read_to_string(dir.path().join(DIARY_FILE)).unwrap();
        assert!(newest.lines().last().unwrap().contains("\"unix_ms\":499"));
    }

    #[test]
    fn after_a_restart_only_what_follows_the_last_login_is_unsent() {
        let dir = tempfile::tempdir().unwrap();
        let mut diary = Diary::open(dir.path(), &LIMITS).unwrap();
        diary.add(&attempt(1, AttemptResult::TcpRefused)).unwrap();
        diary.add(&attempt(2, AttemptResult::Welcomed)).unwrap();
        diary.add(&attempt(3, AttemptResult::TcpRefused)).unwrap();
        assert_eq!(times(&Diary::open(dir.path(), &LIMITS).unwrap()), [3]);
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut diary = Diary::open(dir.path(), &LIMITS).unwrap();
        diary.add(&attempt(1, AttemptResult::TcpRefused)).unwrap();
        drop(diary);
        let path = dir.path().join(DIARY_FILE);
        let whole = std::fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[..whole.len() / 2]);
        std::fs::write(&path, torn).unwrap();
        let mut diary = Diary::open(dir.path(), &LIMITS).unwrap();
        assert_eq!(times(&diary), [1]);
        diary.add(&attempt(2, AttemptResult::TcpRefused)).unwrap();
        assert_eq!(times(&Diary::open(dir.path(), &LIMITS).unwrap()), [1, 2]);
    }

    #[test]
    fn what_the_server_keeps_is_not_sent_again_and_what_was_only_sent_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut diary = Diary::open(dir.path(), &LIMITS).unwrap();
        diary.add(&attempt(1, AttemptResult::TcpRefused)).unwrap();
        diary.add(&attempt(2, AttemptResult::TcpRefused)).unwrap();
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
        diary.add(&attempt(3, AttemptResult::TcpRefused)).unwrap();
        assert_eq!(offered(&mut diary, 1), Some((2, 1)));
    }
}
