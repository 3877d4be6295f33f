//! Waiting for a session, losing it, and sending over it, each as the app's policy has it.

use squirrel::Value;

use crate::app::{AfterConnect, App, Message, Phase, Turn};
use crate::input::NotSent;
use crate::link::{GRACE_MS, NOT_CONNECTED, Policy, SERVER_CONNECTED};
use crate::output::{Output, Sleep, Until};

/// What `send` returns when there was no room in time and the session stays.
const WOULD_BLOCK: i32 = 4;

impl App {
    /// Asks the host for a session.
    pub(crate) fn want_session(&mut self) {
        self.link.wanted = true;
        if !self.link.there {
            self.put(Output::Connect);
        }
    }

    /// From now on the app has no session and the host looks for none.
    pub(crate) fn give_up_session(&mut self) {
        self.link.wanted = false;
        self.link.lost_ms = None;
        self.put(Output::Disconnect);
    }

    /// The script waits for a session until then.
    pub(crate) fn await_session(&mut self, until_ms: u64, then: AfterConnect) {
        self.want_session();
        self.phase = Phase::Connecting(until_ms, then);
    }

    /// Goes on once there is a session, or once that took too long; a turn when there is nothing to run now.
    pub(crate) fn wait_for_session(&mut self) -> Option<Turn> {
        let until = match &self.phase {
            Phase::Connecting(until, _) | Phase::Suspended(until) => *until,
            _ => return None,
        };
        if self.link.there {
            self.link.up = true;
        } else if until > self.now.mono_ms {
            return Some(Turn::Waiting);
        } else if self.link.policy == Policy::Suspend {
            self.sleep_until(Until::Connected);
            return Some(Turn::Ended);
        }
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Connecting(_, then) if self.link.there => self.connected(then),
            Phase::Connecting(_, then) => self.not_connected(&then),
            _ => {
                self.phase = Phase::Resting;
                return Some(Turn::More);
            }
        }
        matches!(self.phase, Phase::Sending(_)).then_some(Turn::Waiting)
    }

    fn connected(&mut self, then: AfterConnect) {
        match then {
            AfterConnect::Answer => self.vm.resume(Ok(Value::Int(SERVER_CONNECTED))),
            AfterConnect::Send(message) => self.begin_send(message),
        }
    }

    fn not_connected(&mut self, then: &AfterConnect) {
        if self.link.policy.returns() {
            self.give_up_session();
        }
        let result = match then {
            AfterConnect::Answer => self.link.failure,
            AfterConnect::Send(_) => NotSent::NotConnected as i32,
        };
        self.vm.resume(Ok(Value::Int(result)));
    }

    /// The session of a device app ended; whether an event begins. An app that ended it itself is told nothing.
    pub(crate) fn session_lost(&mut self) -> bool {
        if !self.link.wanted {
            return false;
        }
        let grace = self.now.mono_ms.saturating_add(GRACE_MS);
        match self.link.policy {
            Policy::GoOn => return self.tell_loss(),
            Policy::Suspend => self.phase = Phase::Suspended(grace),
            Policy::Return | Policy::ReturnKeeping => self.link.lost_ms = Some(grace),
        }
        false
    }

    /// Tells the app that its session is lost, once that is so; whether an event begins.
    pub(crate) fn begin_loss(&mut self) -> bool {
        if self.link.lost_ms.is_none_or(|lost| lost > self.now.mono_ms) {
            return false;
        }
        self.link.lost_ms = None;
        if self.link.policy.returns() && self.link.wanted {
            self.give_up_session();
        }
        self.tell_loss()
    }

    fn tell_loss(&mut self) -> bool {
        let reason = Value::Int(self.link.failure);
        self.call(self.link.on_unexpected, &[reason]);
        self.link.on_unexpected.is_some()
    }

    /// Hands a message to the host; the script waits.
    pub(crate) fn begin_send(&mut self, message: Message) {
        // An app that goes on only with a session sends again what a lost one took with it.
        let kept = (self.link.policy == Policy::Suspend).then(|| message.clone());
        let Message { name, value } = message;
        let (acknowledged, timeout_ms) = (self.link.acknowledged, self.link.send_ms);
        self.put(Output::Send { name, value, acknowledged, timeout_ms });
        self.phase = Phase::Sending(kept);
    }

    pub(crate) fn sent(&mut self, answer: Result<(), NotSent>) {
        let kept = match &mut self.phase {
            Phase::Sending(kept) => kept.take(),
            _ => return,
        };
        let result = match (answer, kept) {
            (Ok(()), _) => 0,
            (Err(NotSent::NotConnected | NotSent::Disconnected), Some(message)) => {
                let until = self.now.mono_ms.saturating_add(GRACE_MS);
                return self.await_session(until, AfterConnect::Send(message));
            }
            // A message that is to be handled may have gone; then it found room.
            (Err(NotSent::TimedOut), _) if self.link.policy == Policy::ReturnKeeping && !self.link.acknowledged => {
                WOULD_BLOCK
            }
            (Err(NotSent::TimedOut), _) if self.link.policy == Policy::Return => {
                self.give_up_session();
                // A session that does not take a message in time is lost.
                self.link.lost_ms = Some(self.now.mono_ms);
                NotSent::TimedOut as i32
            }
            (Err(error), _) => error as i32,
        };
        self.phase = Phase::Running;
        self.vm.resume(Ok(Value::Int(result)));
    }

    pub(crate) fn flushed(&mut self, answer: Result<(), NotSent>) {
        if matches!(self.phase, Phase::Flushing) {
            self.phase = Phase::Running;
            self.vm.resume(Ok(Value::Int(answer.map_or_else(|error| error as i32, |()| NOT_CONNECTED))));
        }
    }

    /// Ends the app for now; what its `nv` holds is kept as far as it fits.
    pub(crate) fn sleep_until(&mut self, until: Until) {
        let nv = self.nv().unwrap_or_default();
        self.end(Output::Sleep(Sleep { until, nv }));
    }
}
