//! `imp`: timers, idleness, memory.

use squirrel::{Throw, Value, View};

use super::Reply;
use crate::app::{App, IdleCall, Phase};
use crate::output::{Output, Proxy};
use crate::side::{End, Side};
use crate::timers::{Timer, delay_ms};

/// The one kind of proxy there is.
pub(super) const PROXY_TYPE_HTTP: i32 = 0;

impl App {
    /// `imp.wakeup(seconds, callback[, name])`: a timer object, or null when there are too many. Zero seconds means: when idle.
    pub(super) fn wakeup(&mut self, seconds: Value, callback: Value, name: Value) -> Result<Reply, Throw> {
        let seconds = match seconds {
            Value::Int(whole) => Some(f64::from(whole)),
            Value::Float(part) => Some(f64::from(part)),
            _ => None,
        };
        let delay = seconds
            .and_then(delay_ms)
            .ok_or_else(|| Throw::message("imp.wakeup: the time is a number of seconds from 0 to 10737418"))?;
        self.expect_function("imp.wakeup", callback)?;
        let name = match name {
            Value::Null => None,
            name => Some(self.name("imp.wakeup", name)?.into_bytes()),
        };
        if self.timers.is_full() || self.idle.len() >= self.limits.timers {
            return Ok(Value::Null.into());
        }
        let id = self.timers.next_id();
        let class = self.api.timer;
        let timer = self.vm.build(|heap| heap.object(class, id))?;
        let callback = self.vm.pin(callback);
        if delay == 0 {
            self.idle.push_back(IdleCall { callback, timer: Some(id), name });
        } else {
            self.timers.set(id, self.now.mono_ms.saturating_add(delay), Timer { callback, name });
        }
        Ok(timer.into())
    }

    /// `imp.cancelwakeup(timer or name)`: one that fired already is nothing to complain about.
    pub(super) fn cancel_wakeup(&mut self, timer: Value) -> Result<Reply, Throw> {
        let found = match self.vm.heap().view(timer) {
            View::Object(class, id) if class == self.api.timer => {
                let cancelled = self.timers.cancel(id).map(|timer| timer.callback);
                cancelled.or_else(|| self.cancel_idle(|call| call.timer == Some(id)))
            }
            View::Str(name) if self.end == End::Agent => {
                let name = name.to_vec();
                let cancelled = self.timers.cancel_named(&name).map(|timer| timer.callback);
                let cancelled = cancelled.or_else(|| self.cancel_idle(|call| call.name.as_ref() == Some(&name)));
                Some(cancelled.ok_or_else(|| Throw::message("imp.cancelwakeup: no timer of this name is waiting"))?)
            }
            _ => return Err(Throw::message("imp.cancelwakeup: a timer was expected")),
        };
        if let Some(pin) = found {
            self.vm.unpin(pin);
        }
        Ok(Value::Null.into())
    }

    fn cancel_idle(&mut self, is: impl Fn(&IdleCall) -> bool) -> Option<squirrel::Pin> {
        let place = self.idle.iter().position(is)?;
        self.idle.remove(place).map(|call| call.callback)
    }

    /// `imp.onidle(callback)`: once, when nothing else is to do; null takes all of them back.
    pub(super) fn on_idle(&mut self, callback: Value) -> Result<Reply, Throw> {
        if callback.is_null() {
            while let Some(pin) = self.cancel_idle(|call| call.timer.is_none()) {
                self.vm.unpin(pin);
            }
            return Ok(Value::Null.into());
        }
        self.expect_function("imp.onidle", callback)?;
        if self.idle.len() >= self.limits.timers {
            return Err(Throw::message("imp.onidle: too many functions wait for it"));
        }
        let callback = self.vm.pin(callback);
        self.idle.push_back(IdleCall { callback, timer: None, name: None });
        Ok(Value::Null.into())
    }

    /// `imp.getmemoryfree()`: exact, so it collects garbage and pays for that.
    pub(super) fn exact_memory_free(&mut self) -> Reply {
        self.count_work(self.vm.heap().memory_used() / 64);
        self.vm.collect_garbage();
        Value::Int(i32::try_from(self.vm.heap().memory_free()).unwrap_or(i32::MAX)).into()
    }

    /// `imp.getsoftwareversion()`
    pub(super) fn software_version(&mut self) -> Result<Reply, Throw> {
        let version = match &self.side {
            Side::Device(device) => &device.software_version,
            Side::Agent(agent) => &agent.software_version,
        };
        Ok(self.vm.build(|heap| heap.string(version.as_bytes()))?.into())
    }

    /// `imp.sleep(seconds)`: the whole app waits.
    pub(super) fn sleep(&mut self, seconds: Value) -> Result<Reply, Throw> {
        let delay = delay_ms(self.number("imp.sleep", seconds)?)
            .ok_or_else(|| Throw::message("imp.sleep: the time is a number of seconds from 0 to 10737418"))?;
        self.phase = Phase::Sleeping(self.now.mono_ms.saturating_add(delay));
        Ok(Reply::Wait)
    }

    /// `imp.info()`: what the app runs on.
    pub(super) fn info(&mut self) -> Result<Reply, Throw> {
        let table = self.vm.build(|heap| {
            let table = heap.table(1)?;
            let (name, kind) = (heap.string(b"type")?, heap.string(b"simulated")?);
            heap.table_insert(table, name, kind)?;
            Ok(table)
        })?;
        Ok(table.into())
    }

    /// `imp.getuserconfiguration()`: a blob, or null when there is none.
    pub(super) fn user_configuration(&mut self) -> Result<Reply, Throw> {
        let Side::Device(device) = &self.side else { return Err(Throw::message("only a device has this")) };
        let Some(bytes) = &device.user_configuration else { return Ok(Value::Null.into()) };
        Ok(self.vm.build(|heap| heap.blob(bytes))?.into())
    }

    /// `imp.setuserconfiguration(blob or string)`: null or nothing in it clears it. The script waits until the host has it.
    pub(super) fn set_user_configuration(&mut self, data: Value) -> Result<Reply, Throw> {
        let bytes = match self.vm.heap().view(data) {
            View::Null => Vec::new(),
            View::Str(bytes) | View::Blob(bytes) => bytes.to_vec(),
            _ => return Err(Throw::message("imp.setuserconfiguration: a blob or a string was expected")),
        };
        let most = self.limits.user_configuration_bytes;
        if bytes.len() > most {
            return Err(Throw::message(format!("imp.setuserconfiguration: it has at most {most} bytes")));
        }
        self.put(Output::SaveUserConfiguration(bytes.clone()));
        self.phase = Phase::Saving(bytes);
        Ok(Reply::Wait)
    }

    /// `imp.setproxy(PROXY_TYPE_HTTP, address, port[, user, password])`: the script waits until the host has it.
    pub(super) fn set_proxy(&mut self, arguments: &[Value]) -> Result<Reply, Throw> {
        const CALL: &str = "imp.setproxy";
        let wrong = || Throw::message(format!("{CALL}: PROXY_TYPE_HTTP, an address and a port were expected"));
        let [Value::Int(PROXY_TYPE_HTTP), host, Value::Int(port), login @ ..] = arguments else { return Err(wrong()) };
        let credentials = match login {
            [] | [Value::Null] | [Value::Null, Value::Null] => None,
            [user, password] => Some((self.text(CALL, *user)?, self.text(CALL, *password)?)),
            _ => return Err(Throw::message(format!("{CALL}: a user needs a password"))),
        };
        let port = u16::try_from(*port).map_err(|_| wrong())?;
        Ok(self.redirect(Some(Proxy { host: self.text(CALL, *host)?, port, credentials })))
    }

    /// `imp.clearproxy()`
    pub(super) fn clear_proxy(&mut self) -> Reply {
        self.redirect(None)
    }

    fn redirect(&mut self, proxy: Option<Proxy>) -> Reply {
        self.put(Output::SetProxy(proxy));
        self.phase = Phase::Redirecting;
        Reply::Wait
    }

    /// `imp.environment()`: ENVIRONMENT_MODULE on a device, ENVIRONMENT_AGENT on the server.
    pub(super) fn environment(&self) -> Reply {
        Value::Int(match self.end {
            End::Device => 1,
            End::Agent => 2,
        })
        .into()
    }
}
