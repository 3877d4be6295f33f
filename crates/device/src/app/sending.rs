//! A message or a flush of the app on its way into a session, while the app waits for the answer.

use std::time::Duration;

use apphost::{Input, NotSent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Something of the app for the session.
#[derive(Debug)]
pub struct FromApp {
    /// What it is.
    pub what: Outgoing,
    /// Whether it counts as sent only once the agent has handled it.
    pub acknowledged: bool,
    /// Whether that was done; dropped when the session ends first. Closed when the app does not wait any more.
    pub taken: oneshot::Sender<Result<(), NotSent>>,
}

/// What an app may hand to the session.
#[derive(Debug)]
pub enum Outgoing {
    /// A message to the agent.
    Message {
        /// Its name.
        name: String,
        /// Its value, encoded.
        value: Vec<u8>,
    },
    /// Nothing, but the answer comes only when everything before it is sent.
    Flush,
}

/// What the app waits for.
#[derive(Debug)]
pub(super) struct Sending {
    is_flush: bool,
    /// Not handed over yet.
    waiting: Option<(mpsc::Sender<FromApp>, FromApp)>,
    taken: oneshot::Receiver<Result<(), NotSent>>,
    until: Instant,
}

impl Sending {
    /// On its way into this session; `None` when there is none.
    pub(super) fn begin(
        session: Option<&mpsc::Sender<FromApp>>,
        what: Outgoing,
        acknowledged: bool,
        wait: Duration,
    ) -> Option<Sending> {
        let session = session?.clone();
        let is_flush = matches!(what, Outgoing::Flush);
        let (taken, answer) = oneshot::channel();
        let waiting = Some((session, FromApp { what, acknowledged, taken }));
        Some(Sending { is_flush, waiting, taken: answer, until: Instant::now() + wait })
    }

    /// The answer, for the app. May be dropped while waiting; nothing is lost.
    pub(super) async fn answer(&mut self) -> Input {
        let until = self.until;
        let answer = timeout_at(until, async {
            if let Some((session, _)) = &self.waiting {
                let session = session.clone();
                // A message that the app gave up may still stand before this one.
                let Ok(room) = session.reserve().await else { return Err(NotSent::Disconnected) };
                if let Some((_, item)) = self.waiting.take() {
                    room.send(item);
                }
            }
            (&mut self.taken).await.unwrap_or(Err(NotSent::Disconnected))
        })
        .await
        .unwrap_or(Err(NotSent::TimedOut));
        Sending::input(self.is_flush, answer)
    }

    /// The answer to a message or a flush.
    pub(super) fn input(is_flush: bool, answer: Result<(), NotSent>) -> Input {
        if is_flush { Input::Flushed(answer) } else { Input::Sent(answer) }
    }
}
