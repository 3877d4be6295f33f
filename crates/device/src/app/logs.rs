//! The log lines that the server does not keep yet: a bounded ring, each line with its own time and number.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use protocol::report::{LogLine, RingId};
use tokio::sync::Notify;

use crate::limits::Limits;

/// Lines stay here until the server has them on its disk. The oldest go first when there are too many; the server sees by the numbers how
/// many those were.
#[derive(Debug)]
pub struct LogRing {
    id: RingId,
    lines_most: usize,
    bytes_most: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the first line that is here.
    first: u64,
    /// The number of the first line that this session has not sent.
    unsent: u64,
}

impl LogRing {
    /// An empty ring under a name of its own.
    pub fn new(limits: &Limits) -> LogRing {
        LogRing {
            id: keys::hashes::random(),
            lines_most: limits.log_lines,
            bytes_most: limits.log_bytes,
            waiting: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// Keeps a line; never waits.
    pub fn push(&self, line: LogLine) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = waiting.bytes.saturating_add(line.text.len());
        waiting.lines.push_back(line);
        while waiting.lines.len() > self.lines_most || waiting.bytes > self.bytes_most {
            waiting.forget_first();
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// A session begins: what is here is to be sent to it, also what an earlier one has sent.
    pub fn begin(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.unsent = waiting.first;
    }

    /// Offers the lines that this session has not sent, oldest first, with the ring's name and the number of the first of them; `send` says
    /// how many of them it took.
    pub fn offer(&self, send: impl FnOnce(RingId, u64, &[LogLine]) -> usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = waiting.sent();
        let number = waiting.unsent;
        let unsent = waiting.lines.make_contiguous().get(sent..).unwrap_or_default();
        let taken = send(self.id, number, unsent).min(unsent.len());
        waiting.unsent = number.saturating_add(taken as u64);
    }

    /// The server keeps every line with a lower number. A number beyond what was sent counts as what was sent.
    pub fn kept(&self, next: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.first < next.min(waiting.unsent) {
            waiting.forget_first();
        }
    }

    /// Whether the server keeps everything.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).lines.is_empty()
    }

    /// Waits until a line was pushed.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Waiting {
    /// How many lines this session has sent and the server does not keep yet.
    fn sent(&self) -> usize {
        usize::try_from(self.unsent.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn forget_first(&mut self) {
        if let Some(gone) = self.lines.pop_front() {
            self.bytes = self.bytes.saturating_sub(gone.text.len());
        }
        self.first = self.first.saturating_add(1);
        self.unsent = self.unsent.max(self.first);
    }
}

#[cfg(test)]
mod tests {
    use protocol::report::LogLevel;

    use super::*;
    use crate::limits::LIMITS;

    fn ring(limits: &Limits, lines: i64, text: &str) -> LogRing {
        let ring = LogRing::new(limits);
        for at in 0..lines {
            ring.push(LogLine::new(at, LogLevel::Log, text));
        }
        ring
    }

    /// What is offered, with the number of the first line; `taken` of it is sent.
    fn offered(ring: &LogRing, taken: usize) -> (u64, Vec<i64>) {
        let mut seen = (0, Vec::new());
        ring.offer(|id, number, lines| {
            assert_eq!(id, ring.id);
            seen = (number, lines.iter().map(|line| line.unix_ms).collect());
            taken
        });
        seen
    }

    #[test]
    fn lines_keep_their_own_time_and_leave_only_when_the_server_keeps_them() {
        let ring = ring(&LIMITS, 3, "x");
        assert_eq!(offered(&ring, 2), (0, vec![0, 1, 2]));
        assert_eq!(offered(&ring, 9), (2, vec![2]));
        assert_eq!(offered(&ring, 0), (3, vec![]));
        ring.begin();
        assert_eq!(offered(&ring, 3), (0, vec![0, 1, 2]), "the next session sends them again");
        ring.kept(2);
        ring.begin();
        assert_eq!(offered(&ring, 1), (2, vec![2]));
        assert!(!ring.is_empty());
        ring.kept(3);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_server_that_says_it_keeps_what_was_not_sent_loses_nothing_for_us() {
        let ring = ring(&LIMITS, 3, "x");
        assert_eq!(offered(&ring, 1).0, 0);
        ring.kept(u64::MAX);
        ring.kept(0);
        assert_eq!(offered(&ring, 0), (1, vec![1, 2]));
        ring.push(LogLine::new(3, LogLevel::Log, "y"));
        assert_eq!(offered(&ring, 0), (1, vec![1, 2, 3]));
    }

    #[test]
    fn the_number_of_lines_is_bounded_and_the_numbers_tell_the_loss() {
        let limits = Limits { log_lines: 3, ..LIMITS };
        assert_eq!(offered(&ring(&limits, 3, "x"), 0), (0, vec![0, 1, 2]));
        assert_eq!(offered(&ring(&limits, 5, "x"), 0), (2, vec![2, 3, 4]));
        let ring = ring(&limits, 3, "x");
        assert_eq!(offered(&ring, 1).0, 0);
        ring.push(LogLine::new(3, LogLevel::Log, "x"));
        assert_eq!(offered(&ring, 1), (1, vec![1, 2, 3]), "one that went while its acknowledgement was awaited");
        ring.kept(1);
        ring.kept(2);
        assert_eq!(offered(&ring, 0), (2, vec![2, 3]));
    }

    #[test]
    fn the_bytes_of_all_lines_are_bounded() {
        let limits = Limits { log_bytes: 10, ..LIMITS };
        assert_eq!(offered(&ring(&limits, 2, "12345"), 0), (0, vec![0, 1]));
        assert_eq!(offered(&ring(&limits, 3, "12345"), 0), (1, vec![1, 2]));
        assert_eq!(offered(&ring(&limits, 1, "12345678901"), 0), (1, vec![]));
    }

    #[test]
    fn lines_kept_make_room_again() {
        let limits = Limits { log_bytes: 10, ..LIMITS };
        let ring = ring(&limits, 2, "12345");
        assert_eq!(offered(&ring, 2).0, 0);
        ring.kept(2);
        ring.push(LogLine::new(9, LogLevel::Log, "1234567890"));
        assert_eq!(offered(&ring, 1), (2, vec![9]));
    }
}
