//! The other end: `agent` on a device, `device` on an agent.

use squirrel::{Throw, Value};

use super::Reply;
use crate::app::{AfterConnect, App, Message};
use crate::input::NotSent;
use crate::limits::NESTING;
use crate::link::{GRACE_MS, Policy};
use crate::value::{Bounds, Format, encode};

impl App {
    /// `on(name, callback)`: null forgets the name.
    pub(super) fn on(&mut self, name: Value, callback: Value) -> Result<Reply, Throw> {
        let name = self.name("on", name)?;
        if callback.is_null() {
            if let Some(pin) = self.handlers.remove(&name) {
                self.vm.unpin(pin);
            }
            return Ok(Value::Null.into());
        }
        self.expect_function("on", callback)?;
        if self.handlers.len() >= self.limits.handlers && !self.handlers.contains_key(&name) {
            return Err(Throw::message(format!("on: more than {} names", self.limits.handlers)));
        }
        let pin = self.vm.pin(callback);
        if let Some(old) = self.handlers.insert(name, pin) {
            self.vm.unpin(old);
        }
        Ok(Value::Null.into())
    }

    /// `send(name, value)`: 0 once the message is on its way, else why not. The script waits for the host to take it.
    pub(super) fn send(&mut self, name: Value, value: Value) -> Result<Reply, Throw> {
        let name = self.name("send", name)?;
        let bounds = Bounds { bytes: self.limits.message_bytes.saturating_sub(name.len()), nesting: NESTING };
        let value = match self.vm.heap().view(value) {
            squirrel::View::Function
            | squirrel::View::Instance
            | squirrel::View::Other
            | squirrel::View::Object(..) => Value::Null,
            _ => value,
        };
        let encoded = encode(self.vm.heap(), value, Format::Cbor, bounds)?;
        self.count_work(encoded.work);
        let message = Message { name, value: encoded.bytes };
        let waits = match self.link.policy {
            // An app that chose no policy waits for a session that it closed itself, not for one that it lost.
            Policy::GoOn => !self.link.wanted,
            Policy::Suspend => true,
            Policy::Return | Policy::ReturnKeeping => false,
        };
        if self.link.there && (self.link.wanted || waits) {
            (self.link.wanted, self.link.up) = (true, true);
            self.begin_send(message);
        } else if waits {
            let until = self.now.mono_ms.saturating_add(GRACE_MS);
            self.await_session(until, AfterConnect::Send(message));
        } else {
            return Ok(Value::Int(NotSent::NotConnected as i32).into());
        }
        Ok(Reply::Wait)
    }

    /// `device.onconnect(callback)`: null forgets it.
    pub(super) fn on_connect(&mut self, callback: Value) -> Result<Reply, Throw> {
        let pin = self.optional_function("device.onconnect", callback)?;
        let old = std::mem::replace(&mut self.on_connect, pin);
        self.forget(old);
        Ok(Value::Null.into())
    }

    /// `device.ondisconnect(callback)`: null forgets it.
    pub(super) fn on_disconnect(&mut self, callback: Value) -> Result<Reply, Throw> {
        let pin = self.optional_function("device.ondisconnect", callback)?;
        let old = std::mem::replace(&mut self.on_disconnect, pin);
        self.forget(old);
        Ok(Value::Null.into())
    }
}
