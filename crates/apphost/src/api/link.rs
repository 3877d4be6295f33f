//! `server` on a device: connecting, disconnecting, and being told of both.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::{AfterConnect, App, Phase};
use crate::input::NotSent;
use crate::link::{Connecting, NO_SERVER, NOT_CONNECTED, Policy, SERVER_CONNECTED};
use crate::output::Output;
use crate::timers::delay_ms;

/// The wait of `server.connect` when the script names none, seconds.
const CONNECT_S: f64 = 60.0;

const FLUSH: &str = "server.flush";

const SUSPEND_ON_ERROR: i32 = 0;
const RETURN_ON_ERROR: i32 = 1;
const RETURN_ON_ERROR_NO_DISCONNECT: i32 = 2;
const WAIT_TIL_SENT: i32 = 0;
const WAIT_FOR_ACK: i32 = 1;

pub(super) const CONSTANTS: [(&str, i32); 19] = [
    ("NOT_CONNECTED", NOT_CONNECTED),
    ("NO_WIFI", 1),
    ("NO_LINK", 1),
    ("NO_IP_ADDRESS", 2),
    ("NOT_RESOLVED", 3),
    ("NO_SERVER", NO_SERVER),
    ("SERVER_CONNECTED", SERVER_CONNECTED),
    ("SUSPEND_ON_ERROR", SUSPEND_ON_ERROR),
    ("RETURN_ON_ERROR", RETURN_ON_ERROR),
    ("RETURN_ON_ERROR_NO_DISCONNECT", RETURN_ON_ERROR_NO_DISCONNECT),
    ("WAIT_TIL_SENT", WAIT_TIL_SENT),
    ("WAIT_FOR_ACK", WAIT_FOR_ACK),
    ("SHUTDOWN_NEWSQUIRREL", 1),
    ("SHUTDOWN_NEWFIRMWARE", 2),
    ("SHUTDOWN_OTHER", 3),
    ("SEND_ERROR_NOT_CONNECTED", 1),
    ("SEND_ERROR_TIMEOUT", 2),
    ("SEND_ERROR_DISCONNECTED", 3),
    ("SEND_ERROR_NOT_HANDLED", NotSent::NotHandled as i32),
];

impl App {
    /// `server.isconnected()`, `device.isconnected()`
    pub(super) fn is_connected(&self) -> Reply {
        Value::Bool(self.link.is_connected()).into()
    }

    /// `server.connect([callback[, seconds]])`: the callback is given the result; without one the script waits for it.
    pub(super) fn connect(&mut self, callback: Value, seconds: Value) -> Result<Reply, Throw> {
        let seconds = if seconds.is_null() { CONNECT_S } else { self.number("server.connect", seconds)? };
        let delay =
            delay_ms(seconds).ok_or_else(|| Throw::message("server.connect: a number of seconds was expected"))?;
        let callback = self.optional_function("server.connect", callback)?;
        let due_ms = self.now.mono_ms.saturating_add(delay);
        let Some(callback) = callback else {
            if self.link.there {
                self.want_session();
                self.link.up = true;
                return Ok(Value::Int(SERVER_CONNECTED).into());
            }
            self.await_session(due_ms, AfterConnect::Answer);
            return Ok(Reply::Wait);
        };
        self.want_session();
        let connecting = Connecting { callback, due_ms };
        let old = self.link.connecting.replace(connecting);
        self.forget(old.map(|old| old.callback));
        Ok(Value::Null.into())
    }

    /// `server.disconnect()`: from now on the app sends nothing.
    pub(super) fn disconnect(&mut self) -> Reply {
        self.give_up_session();
        let old = self.link.connecting.take();
        self.forget(old.map(|old| old.callback));
        Value::Null.into()
    }

    /// `server.flush([seconds])`: the script waits until everything is sent; 0, or why it was not.
    pub(super) fn flush(&mut self, seconds: Value) -> Result<Reply, Throw> {
        let timeout_ms =
            if seconds.is_null() { Some(self.link.send_ms) } else { delay_ms(self.number(FLUSH, seconds)?) };
        let timeout_ms =
            timeout_ms.ok_or_else(|| Throw::message(format!("{FLUSH}: a number of seconds was expected")))?;
        if !self.link.is_connected() {
            return Ok(Value::Int(NotSent::NotConnected as i32).into());
        }
        self.put(Output::Flush { acknowledged: self.link.acknowledged, timeout_ms });
        self.phase = Phase::Flushing;
        Ok(Reply::Wait)
    }

    /// `server.setsendtimeoutpolicy(policy, wait, seconds)`
    pub(super) fn set_policy(&mut self, policy: Value, wait: Value, seconds: Value) -> Result<Reply, Throw> {
        let wrong = "server.setsendtimeoutpolicy: a policy, a wait and a number of seconds were expected";
        let send_ms = delay_ms(self.number("server.setsendtimeoutpolicy", seconds)?);
        let send_ms = send_ms.ok_or_else(|| Throw::message(wrong))?;
        let acknowledged = match wait {
            Value::Int(WAIT_TIL_SENT) => false,
            Value::Int(WAIT_FOR_ACK) => true,
            _ => return Err(Throw::message(wrong)),
        };
        self.link.policy = match policy {
            Value::Int(SUSPEND_ON_ERROR) => Policy::Suspend,
            Value::Int(RETURN_ON_ERROR) => Policy::Return,
            Value::Int(RETURN_ON_ERROR_NO_DISCONNECT) => Policy::ReturnKeeping,
            _ => return Err(Throw::message("server.setsendtimeoutpolicy: there is no such policy")),
        };
        (self.link.acknowledged, self.link.send_ms) = (acknowledged, send_ms);
        Ok(Value::Null.into())
    }

    /// `server.onunexpecteddisconnect(callback)`: null forgets it.
    pub(super) fn on_unexpected_disconnect(&mut self, callback: Value) -> Result<Reply, Throw> {
        let pin = self.optional_function("server.onunexpecteddisconnect", callback)?;
        let old = std::mem::replace(&mut self.link.on_unexpected, pin);
        self.forget(old);
        Ok(Value::Null.into())
    }

    /// `server.onshutdown(callback)`: null forgets it.
    pub(super) fn on_shutdown(&mut self, callback: Value) -> Result<Reply, Throw> {
        let pin = self.optional_function("server.onshutdown", callback)?;
        let old = std::mem::replace(&mut self.link.on_shutdown, pin);
        self.forget(old);
        Ok(Value::Null.into())
    }
}
