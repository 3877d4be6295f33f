//! Which event begins next, and how an input becomes a call of the script.

use squirrel::{Pin, Throw, Value};

use crate::app::{App, Phase, exhausted};
use crate::input::{Input, ShutdownReason};
use crate::limits::NESTING;
use crate::link::SERVER_CONNECTED;
use crate::output::{LogLevel, Output};
use crate::side::End;
use crate::value::decode_cbor;

impl App {
    /// Begins the next event that is due; false when there is none.
    pub(crate) fn begin_event(&mut self) -> bool {
        self.set_clock();
        self.timer_first = !self.timer_first;
        if self.timer_first && self.begin_timer() {
            return true;
        }
        while let Some(input) = self.queue.pop_front() {
            match self.begin_input(input) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(throw) => self.refuse_input(throw),
            }
            if !matches!(self.phase, Phase::Resting) {
                return false;
            }
        }
        self.queue.shrink_to(4);
        self.begin_loss() || self.begin_hardware() || self.begin_connected() || self.begin_timer() || self.begin_idle()
    }

    /// Answers a `server.connect`, once there is an answer.
    fn begin_connected(&mut self) -> bool {
        let Some(result) = self.link.connected_by(self.now.mono_ms) else { return false };
        let Some(connecting) = self.link.connecting.take() else { return false };
        if result != SERVER_CONNECTED && self.link.policy.returns() {
            self.give_up_session();
        }
        self.call_once_with(connecting.callback, &[Value::Int(result)]);
        true
    }

    fn begin_timer(&mut self) -> bool {
        let Some(timer) = self.timers.pop_due(self.now.mono_ms) else { return false };
        self.call_once(timer.callback);
        true
    }

    fn begin_idle(&mut self) -> bool {
        let Some(call) = self.idle.pop_front() else { return false };
        self.call_once(call.callback);
        true
    }

    /// Begins the event that an input means; false when the script has none for it.
    fn begin_input(&mut self, input: Input) -> Result<bool, Throw> {
        match input {
            Input::Message { name, value, to_handle } => self.begin_message(&name, &value, to_handle),
            Input::Http(request) => self.begin_request(&request),
            Input::Connected => Ok(self.begin_connection(true)),
            Input::Disconnected => Ok(self.begin_connection(false)),
            Input::HttpAnswer { id, answer } => self.begin_answer(id, answer),
            Input::Shutdown(reason) => Ok(self.begin_shutdown(reason)),
            // Taken by `input`, never queued.
            Input::Sent(_)
            | Input::Flushed(_)
            | Input::Saved(_)
            | Input::HttpGone(_)
            | Input::Unreached(_)
            | Input::BoardMoved => Ok(false),
        }
    }

    fn begin_message(&mut self, name: &str, value: &[u8], to_handle: bool) -> Result<bool, Throw> {
        let begun = self.call_handler(name, value);
        match begun {
            Ok(true) => self.handling = to_handle,
            Ok(false) | Err(_) if to_handle => self.put(Output::Handled(false)),
            Ok(false) | Err(_) => {}
        }
        begun
    }

    fn call_handler(&mut self, name: &str, value: &[u8]) -> Result<bool, Throw> {
        let Some(&handler) = self.handlers.get(name) else { return Ok(false) };
        let value = self.vm.build(|heap| decode_cbor(heap, value, NESTING))?;
        self.call(Some(handler), &[value]);
        Ok(true)
    }

    fn begin_connection(&mut self, connected: bool) -> bool {
        if self.link.up == connected {
            return false;
        }
        self.link.up = connected;
        let callback = match (self.end, connected) {
            (End::Agent, true) => self.on_connect,
            (End::Agent, false) => self.on_disconnect,
            (End::Device, true) => {
                self.link.lost_ms = None;
                None
            }
            (End::Device, false) => return self.session_lost(),
        };
        self.call(callback, &[]);
        callback.is_some()
    }

    fn begin_shutdown(&mut self, reason: ShutdownReason) -> bool {
        match self.link.on_shutdown {
            Some(callback) => self.call(Some(callback), &[Value::Int(reason as i32)]),
            None => self.end(Output::RestartRequested),
        }
        self.link.on_shutdown.is_some()
    }

    /// An input that did not become a value: the sender's fault is a line in the log, a lack of memory ends the app.
    pub(crate) fn refuse_input(&mut self, throw: Throw) {
        match throw {
            Throw::Fatal(fatal) => self.fail(&exhausted(fatal)),
            Throw::Message(text) => self.put_log(LogLevel::Error, format!("ERROR: dropped what came in: {text}")),
            Throw::Value(_) => self.put_log(LogLevel::Error, "ERROR: dropped what came in".to_owned()),
        }
    }

    /// Begins a call of a pinned function, if there is one.
    pub(crate) fn call(&mut self, callback: Option<Pin>, args: &[Value]) {
        if let Some(pin) = callback {
            self.vm.call(self.vm.pinned(pin), args);
            self.phase = Phase::Running;
        }
    }

    /// Begins a call of a function that is not called again.
    fn call_once(&mut self, callback: Pin) {
        self.call_once_with(callback, &[]);
    }

    pub(crate) fn call_once_with(&mut self, callback: Pin, args: &[Value]) {
        let function = self.vm.unpin(callback);
        self.vm.call(function, args);
        self.phase = Phase::Running;
    }
}
