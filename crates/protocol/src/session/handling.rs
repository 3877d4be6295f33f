//! The count of app messages whose handling is acknowledged; both ends keep it alike.

use crate::error::ProtocolError;
use crate::limits::Limits;

/// How many such messages went in this session, and for how many of them it was said what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handling {
    sent: u64,
    answered: u64,
}

impl Handling {
    /// Whether as many wait as may.
    pub(super) fn is_full(self, limits: &Limits) -> bool {
        self.sent - self.answered >= limits.unhandled
    }

    /// Counts one more message; its number.
    pub(super) fn count(&mut self) -> u64 {
        let number = self.sent;
        self.sent += 1;
        number
    }

    /// All messages with lower numbers than `next` are answered.
    pub(super) fn answer(&mut self, next: u64) -> Result<(), ProtocolError> {
        let Self { sent, answered } = *self;
        if next <= answered || next > sent {
            return Err(ProtocolError::HandledOutOfOrder { next, answered, sent });
        }
        self.answered = next;
        Ok(())
    }
}
