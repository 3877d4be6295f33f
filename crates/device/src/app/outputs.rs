//! What the app's task does with what the app puts out.

use std::time::Duration;

use apphost::{Input, NotSent, Output, Sleep, Until, WakeReason};
use keys::secret::Secret;
use protocol::report::{AppState, LogLevel, LogLine};
use tokio::time::Instant;

use crate::app::saving::Saving;
use crate::app::sending::{Outgoing, Sending};
use crate::app::{AppRunner, Slot};
use crate::config::{ProxyConfig, ProxyCredentials};
use crate::events::{DeviceEvent, LogKind};

impl AppRunner {
    pub(super) fn take_outputs(&mut self) {
        while let Slot::Running(app) = &mut self.slot {
            let Some(output) = app.poll_output() else { return };
            match output {
                Output::Log { level, text } => self.log(level, text),
                Output::Send { name, value, acknowledged, timeout_ms } => {
                    self.send(Outgoing::Message { name, value }, acknowledged, timeout_ms);
                }
                Output::Flush { acknowledged, timeout_ms } => self.send(Outgoing::Flush, acknowledged, timeout_ms),
                Output::Connect => self.wish.send_modify(|wish| {
                    wish.online = true;
                    wish.asked = wish.asked.wrapping_add(1);
                }),
                Output::Disconnect => self.wish.send_modify(|wish| wish.online = false),
                Output::Sleep(sleep) => {
                    let pins = app.wakeup_pins();
                    self.sleep(sleep, pins);
                }
                Output::Failed { error, wake } => self.failed(error, wake),
                // It makes room as it was asked to.
                Output::RestartRequested if self.leaving.is_some() => self.make_room(),
                // An app that restarts itself over and over is slowed down like one that fails.
                Output::RestartRequested => {
                    self.pause(WakeReason::Restart, None);
                }
                Output::SaveUserConfiguration(bytes) => {
                    self.save(bytes);
                }
                Output::SetProxy(proxy) => self.set_proxy(proxy),
                Output::Save(_) => self.input(Input::Saved(Err("a device app has no saved state".to_owned()))),
                // Only agents tell of messages, have a URL and make requests.
                Output::Handled(_) | Output::HttpResponse(_) | Output::HttpRequest(_) | Output::HttpCancel(_) => {}
            }
        }
    }

    /// Stores the user configuration; the app waits until it is safe from a power cut.
    fn save(&mut self, bytes: Vec<u8>) {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        self.user_configuration = bytes.clone().map(Secret::new);
        self.saving = Some(Saving::begin(&self.context.store, bytes, self.saving.take()));
    }

    /// Stores the proxy; it is for the next process, since this one can dial nothing else any more.
    fn set_proxy(&mut self, proxy: Option<apphost::Proxy>) {
        let proxy = proxy.map(|apphost::Proxy { host, port, credentials }| ProxyConfig {
            host,
            port,
            credentials: credentials.map(|(user, password)| ProxyCredentials { user, password: password.into() }),
        });
        let (store, redirected, before) = (&self.context.store, &self.context.redirected, self.saving.take());
        self.saving = Some(Saving::proxy(store, proxy, redirected, before));
    }

    fn log(&self, level: apphost::LogLevel, text: String) {
        let unix_ms = self.context.clock.now().unix_ms;
        let (kind, level) = match level {
            apphost::LogLevel::Log => (LogKind::Log, LogLevel::Log),
            apphost::LogLevel::Error => (LogKind::Error, LogLevel::Error),
        };
        self.context.observer.tell(DeviceEvent::AppLog { unix_ms, level: kind, text: text.clone() });
        self.context.logs.push(LogLine::new(unix_ms, level, text));
    }

    fn send(&mut self, what: Outgoing, acknowledged: bool, timeout_ms: u64) {
        let is_flush = matches!(what, Outgoing::Flush);
        let wait = Duration::from_millis(timeout_ms);
        self.sending = Sending::begin(self.session.as_ref(), what, acknowledged, wait);
        if self.sending.is_none() {
            self.input(Sending::input(is_flush, Err(NotSent::NotConnected)));
        }
    }

    /// The app is over for a while. One that leaves for another app does not come back.
    fn sleep(&mut self, sleep: Sleep, pins: Vec<&'static str>) {
        if self.leaving.is_some() {
            return self.make_room();
        }
        self.stop();
        let (until, said) = match sleep.until {
            Until::Time(ms) => (Some(Instant::now() + Duration::from_millis(ms)), Some(ms)),
            Until::Connected => (None, None),
        };
        self.context.observer.tell(DeviceEvent::AppSleeps { ms: said });
        self.slot = Slot::Sleeping { until, nv: sleep.nv, pins };
        self.wish.send_modify(|wish| wish.online = until.is_none());
        if until.is_none() && self.session.is_some() {
            self.start(WakeReason::Snooze);
        }
    }

    pub(super) fn failed(&mut self, error: String, wake: WakeReason) {
        if self.leaving.as_ref().is_some_and(|leaving| leaving.successor.is_some()) {
            self.context.observer.tell(DeviceEvent::AppFailed { error, restart_in_ms: 0 });
            return self.make_room();
        }
        let restart_in_ms = self.pause(wake, Some(error.clone()));
        self.context.observer.tell(DeviceEvent::AppFailed { error, restart_in_ms });
    }

    /// Ends the app and starts it again after a while; returns how long that is, in milliseconds.
    fn pause(&mut self, wake: WakeReason, error: Option<String>) -> u64 {
        let pause_ms = self.delay.failed(self.context.clock.now());
        self.stop();
        // A device whose app failed can be reached, for a better one.
        self.wish.send_modify(|wish| wish.online = true);
        self.slot = Slot::Pausing { until: Instant::now() + Duration::from_millis(pause_ms), wake };
        self.report(wake, error);
        pause_ms
    }

    pub(super) fn report(&mut self, wake: WakeReason, error: Option<String>) {
        let free_memory = match &mut self.slot {
            Slot::Running(app) => app.memory_free(),
            Slot::Empty | Slot::Pausing { .. } | Slot::Sleeping { .. } => 0,
        };
        let sha256 = self.assigned.as_ref().map(|assigned| assigned.sha256);
        let error = error.map(|mut text| {
            text.truncate(text.floor_char_boundary(protocol::limits::LIMITS.error_text));
            text
        });
        self.state.send_replace(AppState { sha256, wake_reason: wake.code(), free_memory, error });
    }
}
