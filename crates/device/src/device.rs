//! What a running device holds between its sessions, and what it writes down.

use std::sync::Arc;

use apphost::Unreached;
use keys::pki::CertificateFacts;
use protocol::report::{AppState, LogLevel, LogLine};
use protocol::session::PartialApp;
use tokio::sync::{mpsc, watch};

use crate::app::ToApp;
use crate::app::logs::LogRing;
use crate::app::wish::Wish;
use crate::clock::DeviceClock;
use crate::connect::attempt::{Attempt, AttemptResult};
use crate::connect::diary::Diary;
use crate::events::{DeviceEvent, Observer, Sha256Hex};
use crate::folder::Folder;
use crate::limits::Limits;

/// The version of the runtime as the server and the app see it.
pub const SOFTWARE_VERSION: &str = concat!("vouch ", env!("CARGO_PKG_VERSION"));

/// A device at work. Its folder belongs to it alone.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) folder: Folder,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<DeviceClock>,
    pub(crate) diary: Diary,
    pub(crate) logs: Arc<LogRing>,
    pub(crate) observer: Observer,
    pub(crate) app: mpsc::Sender<ToApp>,
    pub(crate) app_state: watch::Receiver<AppState>,
    /// Whether the app wants a session.
    pub(crate) wish: watch::Receiver<Wish>,
    /// The app that runs, or that runs again after a pause.
    pub(crate) running: Option<[u8; 32]>,
    /// An app that came whole and cannot be run; it is not fetched again.
    pub(crate) unusable: Option<[u8; 32]>,
    /// The beginning of an app whose download was cut off.
    pub(crate) partial: Option<PartialApp>,
}

impl Device {
    /// An attempt has come to its result: writes it down, tells it, and returns it complete.
    pub(crate) fn attempt_ended(&mut self, attempt: Attempt, result: AttemptResult) -> Attempt {
        let attempt = attempt.ended(result, self.clock.now());
        self.note(&attempt);
        attempt
    }

    /// Writes down and tells an attempt that is complete.
    pub(crate) fn note(&mut self, attempt: &Attempt) {
        if let Err(error) = self.diary.add(attempt) {
            self.status(format!("the diary cannot be written: {error}"));
        }
        self.observer.tell(DeviceEvent::Attempt(Box::new(attempt.clone())));
    }

    /// Takes the server's time and keeps the floor that follows from it.
    pub(crate) fn time_told(&mut self, unix_ms: i64, server: &CertificateFacts) {
        let told = self.clock.told_by(unix_ms, server).map_err(|error| error.to_string());
        let kept = told.and_then(|floor| self.folder.store_time_floor(floor).map_err(|error| error.to_string()));
        if let Err(why) = kept {
            self.status(why);
        }
    }

    /// Tells the app that the server was not reached, if it has room for that.
    pub(crate) fn unreached(&self, why: Unreached) {
        let _ = self.app.try_send(ToApp::Unreached(why));
    }

    /// An app cannot be fetched or run.
    pub(crate) fn app_unusable(&mut self, sha256: [u8; 32], why: String) {
        let sha256 = Sha256Hex(sha256);
        self.status(format!("app {sha256} cannot be run: {why}"));
        self.observer.tell(DeviceEvent::AppUnusable { sha256, why });
    }

    /// A log line of the runtime itself.
    pub(crate) fn status(&self, text: String) {
        self.logs.push(LogLine::new(self.clock.now().unix_ms, LogLevel::Status, text));
    }
}
