//! The log lines that the server has not yet got: a bounded ring, each line with its own time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use protocol::report::{LogLevel, LogLine};
use tokio::sync::Notify;

use crate::limits::Limits;

/// Lines wait here while there is no session, or while it is slow. The oldest go first when there are too many.
#[derive(Debug)]
pub struct LogRing {
    lines_most: usize,
    bytes_most: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// How many lines were lost, and the time of the last of them.
    lost: Option<(u64, i64)>,
}

impl LogRing {
    /// An empty ring.
    pub fn new(limits: &Limits) -> LogRing {
        LogRing {
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
            let Some(gone) = waiting.lines.pop_front() else { break };
            waiting.bytes = waiting.bytes.saturating_sub(gone.text.len());
            let before = waiting.lost.map_or(0, |(count, _)| count);
            waiting.lost = Some((before.saturating_add(1), gone.unix_ms));
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Offers the waiting lines, oldest first; `send` says how many of them it took.
    /// Lost lines are told of by a line in their place.
    pub fn offer(&self, send: impl FnOnce(&[LogLine]) -> usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, unix_ms)) = waiting.lost.take() {
            let text = format!("{count} log lines were lost: the connection was away for too long");
            waiting.lines.push_front(LogLine::new(unix_ms, LogLevel::Status, text));
        }
        let taken = send(waiting.lines.make_contiguous()).min(waiting.lines.len());
        waiting.lines.drain(..taken);
        waiting.bytes = waiting.lines.iter().map(|line| line.text.len()).sum();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).lines.is_empty()
    }

    /// Waits until a line was pushed.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    fn ring(limits: &Limits, lines: i64, text: &str) -> LogRing {
        let ring = LogRing::new(limits);
        for at in 0..lines {
            ring.push(LogLine::new(at, LogLevel::Log, text));
        }
        ring
    }

    fn all(ring: &LogRing) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        ring.offer(|lines| {
            all = lines.iter().map(|line| (line.unix_ms, line.text.clone())).collect();
            lines.len()
        });
        all
    }

    #[test]
    fn lines_keep_their_own_time_and_leave_only_when_taken() {
        let ring = ring(&LIMITS, 3, "x");
        ring.offer(|lines| lines.len() - 1);
        assert_eq!(all(&ring), [(2, "x".to_owned())]);
        assert!(ring.is_empty());
    }

    #[test]
    fn the_number_of_lines_is_bounded_and_the_loss_is_told() {
        let limits = Limits { log_lines: 3, ..LIMITS };
        assert_eq!(all(&ring(&limits, 3, "x")).len(), 3);
        let over = all(&ring(&limits, 5, "x"));
        assert!(over[0].1.starts_with("2 log lines were lost"), "{over:?}");
        assert_eq!(over.iter().map(|line| line.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn the_bytes_of_all_lines_are_bounded() {
        let limits = Limits { log_bytes: 10, ..LIMITS };
        assert_eq!(all(&ring(&limits, 2, "12345")).len(), 2);
        assert_eq!(all(&ring(&limits, 3, "12345")).len(), 3, "two lines and the note about the lost one");
        assert!(all(&ring(&limits, 1, "12345678901"))[0].1.contains("lost"));
    }

    #[test]
    fn lines_taken_make_room_again() {
        let limits = Limits { log_bytes: 10, ..LIMITS };
        let ring = ring(&limits, 2, "12345");
        assert_eq!(all(&ring).len(), 2);
        ring.push(LogLine::new(9, LogLevel::Log, "1234567890"));
        assert_eq!(all(&ring), [(9, "1234567890".to_owned())]);
    }
}
