//! What a session has to do with the app: it fetches the one that is to run, and has it judged before it is stored or run.

use apphost::{Code, End};
use protocol::message::AppRef;
use protocol::os::Trust;

use super::Session;
use crate::app::{Assigned, ToApp, When};
use crate::approval::AppRefused;
use crate::events::{DeviceEvent, Sha256Hex};
use crate::update::{Missing, Proving};

/// An app that came whole and may lack what proves it.
#[derive(Debug)]
pub(super) struct Judging {
    sha256: [u8; 32],
    image: Vec<u8>,
    code: Code,
    proving: Proving,
}

impl Session<'_> {
    /// The server says which app is to run. The one that runs stays until its successor is complete and approved.
    pub(super) async fn assigned(&mut self, app: Option<AppRef>) {
        self.when = When::Ready;
        self.fetching = false;
        self.judging = None;
        let Some(app) = app else {
            self.device.running = None;
            self.to_app.push_back(ToApp::Remove);
            self.device.keep_app(None).await;
            return;
        };
        let known = [self.device.running, self.device.unusable, self.device.refused].contains(&Some(app.sha256));
        if known {
            return;
        }
        self.device.observer.tell(DeviceEvent::AppNamed { sha256: Sha256Hex(app.sha256), len: app.len.into() });
        let kept = self.device.partial.take();
        self.fetching = true;
        if let Err(error) = self.machine.want_app(app, kept, self.device.clock.now()) {
            self.fetching = false;
            self.device.app_unusable(app.sha256, format!("it cannot be fetched: {error}"));
        }
    }

    pub(super) async fn downloaded(&mut self, app: AppRef, image: Vec<u8>) {
        let sha256 = Sha256Hex(keys::hashes::sha256(&image));
        let bytes = self.machine.app_bytes_received();
        self.device.observer.tell(DeviceEvent::AppDownloaded { sha256, bytes });
        match Code::from_image(&image, End::Device) {
            Ok(code) => {
                let root_version = self.device.folder.root.as_ref().map(|root| root.version);
                let proving = Proving::beyond(root_version);
                self.prove(Judging { sha256: app.sha256, image, code, proving }).await;
            }
            Err(error) => {
                self.fetching = false;
                self.device.unusable = Some(app.sha256);
                self.device.app_unusable(app.sha256, error.to_string());
            }
        }
    }

    /// Whether this is the app that waits for what proves it.
    pub(super) fn is_judging(&self, subject: [u8; 32]) -> bool {
        self.judging.as_ref().is_some_and(|judging| judging.sha256 == subject)
    }

    /// What proves the app has come, or more roots of it.
    pub(super) async fn app_proved(&mut self, trust: Trust) {
        let Some(mut judging) = self.judging.take() else { return };
        match judging.proving.take(trust, self.device.limits.trust_roots) {
            Ok(()) => self.prove(judging).await,
            Err(error) => self.refuse(judging.sha256, &error.into()),
        }
    }

    /// Asks for what the app still lacks; when that is nothing, it is judged, stored and run.
    async fn prove(&mut self, judging: Judging) {
        if let Missing::Trust(root_version) = judging.proving.missing() {
            // A session that has ended gives no answer, and the next one fetches the app again.
            let _ = self.machine.want_trust(judging.sha256, root_version, self.device.clock.now());
            self.judging = Some(judging);
            return;
        }
        let Judging { sha256, image, code, proving } = judging;
        match self.device.approve_app(image, proving.trust().clone()).await {
            Ok(image) => {
                self.fetching = false;
                self.device.keep_app(Some(image)).await;
                self.device.running = Some(sha256);
                self.to_app.push_back(ToApp::Run { app: Assigned { sha256, code }, when: self.when });
            }
            Err(error) => self.refuse(sha256, &error),
        }
    }

    /// The app is neither stored nor run; the one that runs goes on.
    fn refuse(&mut self, sha256: [u8; 32], why: &AppRefused) {
        self.fetching = false;
        self.device.refused = Some(sha256);
        self.device.app_unusable(sha256, why.to_string());
    }
}
