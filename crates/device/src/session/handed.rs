//! What the app handed to the session and waits for: that it is sent, handled, or that everything before it is.

use std::collections::VecDeque;
use std::future::pending;

use apphost::NotSent;
use protocol::error::SendError;
use protocol::session::DeviceSession;
use tokio::sync::oneshot;

use crate::app::sending::{FromApp, Outgoing};

type Answer = oneshot::Sender<Result<(), NotSent>>;

/// With this gone, the app learns that what it waits for did not happen.
#[derive(Debug, Default)]
pub(super) struct Handed {
    flush: Option<Flush>,
    /// Messages that are to be handled, in their order, each with its number. The protocol bounds how many.
    unhandled: VecDeque<(u64, Answer)>,
}

#[derive(Debug)]
struct Flush {
    acknowledged: bool,
    answer: Answer,
}

impl Handed {
    /// Whether nothing more is taken from the app until everything before is sent.
    pub(super) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Queues a message, or begins a flush.
    pub(super) fn take(&mut self, machine: &mut DeviceSession, FromApp { what, acknowledged, taken }: FromApp) {
        // The app may have given it up, or be gone.
        if taken.is_closed() {
            return;
        }
        let (name, value) = match what {
            Outgoing::Message { name, value } => (name, value),
            Outgoing::Flush => {
                self.flush = Some(Flush { acknowledged, answer: taken });
                return;
            }
        };
        let sent = if acknowledged {
            machine.send_app_to_handle(&name, &value).map(Some)
        } else {
            machine.send_app(&name, &value).map(|()| None)
        };
        let result = match sent {
            Ok(Some(number)) => return self.unhandled.push_back((number, taken)),
            Ok(None) => Ok(()),
            Err(SendError::NotOpen) => Err(NotSent::NotConnected),
            // There was room for the largest message, and the app host keeps the bounds. Too many others may wait to be handled.
            Err(SendError::Full | SendError::Invalid(_)) => Err(NotSent::TimedOut),
        };
        // The app may have been replaced meanwhile; then nobody waits for the answer.
        let _ = taken.send(result);
    }

    /// What became of all messages with lower numbers than `next` that were not answered before.
    pub(super) fn handled(&mut self, next: u64, handled: bool) {
        while let Some((_, answer)) = self.unhandled.pop_front_if(|(number, _)| *number < next) {
            let _ = answer.send(if handled { Ok(()) } else { Err(NotSent::NotHandled) });
        }
    }

    /// Everything is sent; a flush is answered, one that waits for acknowledgements only when the server also keeps every log line.
    pub(super) fn sent(&mut self, kept: bool) {
        let done = |flush: &mut Flush| !flush.acknowledged || (kept && self.unhandled.is_empty());
        if let Some(flush) = self.flush.take_if(done) {
            let _ = flush.answer.send(Ok(()));
        }
    }

    /// Waits until the app gives up the flush that it waited for, and forgets it. May be dropped while waiting.
    pub(super) async fn flush_given_up(&mut self) {
        match &mut self.flush {
            Some(flush) => flush.answer.closed().await,
            None => pending().await,
        }
        self.flush = None;
    }
}
