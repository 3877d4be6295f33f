//! `server` on a device: connecting, disconnecting, and being told of both.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::App;
use crate::input::NotSent;
use crate::link::{Connecting, NO_SERVER, NOT_CONNECTED, Policy, SERVER_CONNECTED};
use crate::timers::delay_ms;

/// The wait of `server.connect` when the script names none, seconds.
const CONNECT_S: f64 = 60.0;

pub(super) const CONSTANTS: [(&str, i32); 18] = [
    ("NOT_CONNECTED", NOT_CONNECTED),
    ("NO_WIFI", 1),
    ("NO_LINK", 1),
    ("NO_IP_ADDRESS", 2),
    ("NOT_RESOLVED", 3),
    ("NO_SERVER", NO_SERVER),
    ("SERVER_CONNECTED", SERVER_CONNECTED),
    ("SUSPEND_ON_ERROR", 0),
    ("RETURN_ON_ERROR", 1),
    ("RETURN_ON_ERROR_NO_DISCONNECT", 2),
    ("WAIT_TIL_SENT", 0),
    ("WAIT_FOR_ACK", 1),
    ("SHUTDOWN_NEWSQUIRREL", 1),
    ("SHUTDOWN_NEWFIRMWARE", 2),
    ("SHUTDOWN_OTHER", 3),
    ("SEND_ERROR_NOT_CONNECTED", 1),
    ("SEND_ERROR_TIMEOUT", 2),
    ("SEND_ERROR_DISCONNECTED", 3),
];

impl App {
    /// `server.isconnected()`, `device.isconnected()`
    pub(super) fn is_connected(&self) -> Reply {
        Value::Bool(self.link.is_connected()).into()
    }

    /// `server.connect([callback[, seconds]])`: the callback is given the result; without one it is returned, and is that of now.
    pub(super) fn connect(&mut self, callback: Value, seconds: Value) -> Result<Reply, Throw> {
        let seconds = if seconds.is_null() { CONNECT_S } else { self.number("server.connect", seconds)? };
        let delay =
            delay_ms(seconds).ok_or_else(|| Throw::message("server.connect: a number of seconds was expected"))?;
        let callback = self.optional_function("server.connect", callback)?;
        self.link.wanted = true;
        let Some(callback) = callback else {
            let now = if self.link.up { SERVER_CONNECTED } else { NOT_CONNECTED };
            return Ok(Value::Int(now).into());
        };
        let connecting = Connecting { callback, due_ms: self.now.mono_ms.saturating_add(delay) };
        let old = self.link.connecting.replace(connecting);
        self.forget(old.map(|old| old.callback));
        Ok(Value::Null.into())
    }

    /// `server.disconnect()`: from now on the app sends nothing.
    pub(super) fn disconnect(&mut self) -> Reply {
        self.link.wanted = false;
        let old = self.link.connecting.take();
        self.forget(old.map(|old| old.callback));
        Value::Null.into()
    }

    /// `server.flush(seconds)`: every `send` waits until the session has its message, so nothing is left to wait for.
    pub(super) fn flush(&self) -> Reply {
        Value::Int(if self.link.is_connected() { 0 } else { NotSent::NotConnected as i32 }).into()
    }

    /// `server.setsendtimeoutpolicy(policy, wait, seconds)`
    pub(super) fn set_policy(&mut self, policy: Value, wait: Value, seconds: Value) -> Result<Reply, Throw> {
        let seconds = self.number("server.setsendtimeoutpolicy", seconds)?;
        if !matches!(wait, Value::Int(0..=1)) || delay_ms(seconds).is_none() {
            return Err(Throw::message(
                "server.setsendtimeoutpolicy: a policy, a wait and a number of seconds were expected",
            ));
        }
        self.link.policy = match policy {
            Value::Int(0) => Policy::Suspend,
            Value::Int(1..=2) => Policy::Return,
            _ => return Err(Throw::message("server.setsendtimeoutpolicy: there is no such policy")),
        };
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
