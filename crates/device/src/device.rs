//! What a running device holds between its sessions, and what it writes down.

use std::num::NonZeroU64;
use std::sync::Arc;

use apphost::{Code, End, Unreached};
use keys::pki::CertificateFacts;
use protocol::os::{OsRef, OsState, Trust};
use protocol::reason::OsTrouble;
use protocol::report::{AppState, LogLevel, LogLine};
use protocol::session::PartialApp;
use tokio::sync::{mpsc, watch};
use vault::Record;
use zeroize::Zeroizing;

use crate::app::logs::LogRing;
use crate::app::wish::Wish;
use crate::app::{Assigned, ToApp, When};
use crate::approval::{AppRefused, judge_app};
use crate::clock::DeviceClock;
use crate::connect::Dialer;
use crate::connect::attempt::{Attempt, AttemptResult};
use crate::connect::diary::Diary;
use crate::device_keys::DeviceKeys;
use crate::events::{DeviceEvent, Observer, Sha256Hex};
use crate::folder::{Folder, FolderError, Root};
use crate::limits::Limits;
use crate::network::Network;
use crate::parent::ParentError;
use crate::store::StoreError;
use crate::update::{Offered, Update};

/// The version of the runtime as the server and the app see it.
pub const SOFTWARE_VERSION: &str = concat!("vouch ", env!("CARGO_PKG_VERSION"));

/// A device at work. Its folder belongs to it alone.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) folder: Folder,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<DeviceClock>,
    pub(crate) diary: Diary,
    /// The signed result of a self-test that the server does not have yet.
    pub(crate) self_test: Option<Vec<u8>>,
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
    /// An app that is not approved; it is not fetched again in this session.
    pub(crate) refused: Option<[u8; 32]>,
    /// The beginning of an app whose download was cut off.
    pub(crate) partial: Option<PartialApp>,
    pub(crate) network: Network,
    pub(crate) update: Update,
    /// The server must come from other TLS roots than those that the dialer knows.
    pub(crate) redial: bool,
    /// True once the app has set another proxy than this process may dial.
    pub(crate) redirected: watch::Receiver<bool>,
    /// True once the device is asked to stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Ends when the device is asked to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|asked| *asked).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
}

/// Ends when the app has set another proxy.
pub(crate) async fn redirected(redirected: &mut watch::Receiver<bool>) {
    if redirected.wait_for(|is| *is).await.is_err() {
        // The app's task is gone.
        std::future::pending::<()>().await;
    }
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
        self.diary.add(attempt);
        if attempt.result == AttemptResult::Welcomed {
            // A session may last for months.
            self.diary.begin_write();
        }
        self.observer.tell(DeviceEvent::Attempt(Box::new(attempt.clone())));
    }

    /// Stores what the diary has gained.
    pub(crate) async fn write_diary(&mut self) {
        self.diary.begin_write();
        if let Err(error) = self.diary.written().await {
            self.status(format!("the diary cannot be stored: {error}"));
        }
    }

    /// Puts the network configuration in force, or undoes one that does not work.
    pub(crate) async fn prepare_network(&mut self, dialer: &mut Dialer) {
        for why in self.network.prepare(dialer).await {
            self.note(&dialer.network_note(why));
        }
    }

    /// The server was reached over the network configuration in force.
    pub(crate) fn network_reached(&mut self) {
        if let Err(error) = self.network.reached() {
            self.status(format!("the network configuration works and could not be stored as such: {error}"));
        }
    }

    /// The version of what runs: of the image that was booted, or of the runtime alone.
    pub(crate) fn os_version(&self) -> String {
        self.folder.booted.as_ref().map_or_else(|| SOFTWARE_VERSION.to_owned(), |booted| booted.version.to_string())
    }

    /// The generation of the vault; none on a device that begins with the factory's at each start.
    pub(crate) fn vault_generation(&self) -> Option<NonZeroU64> {
        let store = &self.folder.store;
        NonZeroU64::new(store.generation()).filter(|_| !store.is_diskless())
    }

    /// The running image has opened an authenticated session; the reason of an earlier way back is told once.
    pub(crate) async fn image_proved(&mut self) {
        if let Err(error) = self.folder.image_proved().await {
            self.status(format!("the OS image works and could not be confirmed: {error}"));
        }
        let Some(booted) = &mut self.folder.booted else { return };
        if let Some(why) = booted.fell_back.take() {
            let version = booted.version;
            self.status(format!("a new OS image was given up and this device is back on {version}: {why}"));
        }
    }

    /// The image that runs, once it has proved itself.
    pub(crate) fn confirmed_image(&self) -> Option<[u8; 32]> {
        let booted = self.folder.booted.as_ref().filter(|booted| !booted.trying)?;
        Some(*booted.manifest_sha256)
    }

    /// The server wants this OS image on this device.
    pub(crate) fn os_offered(&mut self, os: OsRef) -> Offered {
        let Folder { booted, store, .. } = &self.folder;
        self.update.offered(os, booted.as_ref(), store.is_diskless())
    }

    /// Has the parent judge and install the image that was fetched; says how that went.
    pub(crate) async fn install_os(&mut self, image: [u8; 32], content_key: Vec<u8>) -> Option<OsState> {
        let manifest = self.update.complete(image)?;
        let DeviceKeys::Parent(keys) = &*self.folder.keys else { return None };
        let (trouble, why) = match keys.link.install(manifest, content_key).await {
            Ok(()) => {
                self.status("a new OS image is installed, and is tried now".to_owned());
                return Some(OsState::Installed);
            }
            Err(ParentError::NotInstalled { trouble, why }) => (trouble, why),
            Err(error) => (OsTrouble::Other, error.to_string()),
        };
        self.status(format!("the new OS image is not installed: {why}"));
        Some(self.update.refuse(image, trouble, why))
    }

    /// Runs the app that is in the vault, so that it need not wait for the server.
    pub(crate) fn start_stored_app(&mut self) -> Result<(), StoreError> {
        let Some(image) = self.folder.store.read(Record::App)? else { return Ok(()) };
        let sha256 = keys::hashes::sha256(image.expose());
        match Code::from_image(image.expose(), End::Device) {
            Ok(code) => {
                self.running = Some(sha256);
                let app = Assigned { sha256, code };
                // The queue of a task that has not begun is empty.
                let _ = self.app.try_send(ToApp::Run { app, when: When::Now });
            }
            // Another version of the runtime stored it. The server's answer decides what runs.
            Err(error) => self.app_unusable(sha256, error.to_string()),
        }
        Ok(())
    }

    /// Judges an app by what came to prove it, and gives its image back; the floors are on the disk before. Nothing is demanded where there is
    /// no root to verify from.
    pub(crate) async fn approve_app(&self, image: Vec<u8>, trust: Trust) -> Result<Vec<u8>, AppRefused> {
        let Some(Root { file: root, version }) = self.folder.root.clone() else { return Ok(image) };
        let keeper = self.folder.floors_keeper();
        let now = u64::try_from(self.clock.now().unix_ms / 1000).unwrap_or_default();
        let judging = tokio::task::spawn_blocking(move || {
            let before = keeper.store.app_floors()?;
            let mut floors = before.clone();
            let judged = judge_app(&root, &mut floors, &trust, &image, now);
            if floors != before {
                keeper.keep_app_floors(&floors, floors.is_event(&before, version))?;
            }
            judged.map(|()| image)
        });
        judging.await.map_err(|_| StoreError::Interrupted)?
    }

    /// Has the parent verify newer root metadata. What it names counts from the next connection on; what is wrong with it is said. Whether
    /// it was newer.
    pub(crate) async fn learn_roots(&mut self, trust: &Trust) -> bool {
        let DeviceKeys::Parent(keys) = &*self.folder.keys else { return false };
        let learned = match self.update.stage_roots(trust) {
            Ok(()) => keys.link.learn_roots().await,
            Err(error) => Err(ParentError::Failed(error.to_string())),
        };
        let (version_before, before) = (self.folder.root.as_ref().map(|root| root.version), self.folder.roots.clone());
        let believed = learned.map_err(FolderError::from).and_then(|root| self.folder.believe(root));
        if let Err(error) = &believed {
            self.status(format!("the newer root metadata of the server is not taken: {error}"));
            return false;
        }
        let Some(version) = self.folder.root.as_ref().map(|root| root.version) else { return false };
        if Some(version) == version_before {
            self.status(format!(
                "the server said that it has root metadata newer than version {version}, and has none"
            ));
            return false;
        }
        if let Err(error) = self.folder.root_believed().await {
            self.status(format!(
                "root metadata of version {version} is in force, and not bound to the counter yet: {error}"
            ));
        }
        let is_other = self.folder.roots != before;
        self.redial |= is_other;
        self.observer.tell(DeviceEvent::RootLearned { version, tls_roots_sha256: Sha256Hex(self.folder.roots.hash()) });
        let tls = if is_other { "; it names other TLS roots, which count from the next connection on" } else { "" };
        self.status(format!("root metadata of version {version} is in force{tls}"));
        true
    }

    /// Stores the app that runs from now on, or that none does.
    pub(crate) async fn keep_app(&mut self, image: Option<Vec<u8>>) {
        let kept = self.folder.store.keep(Record::App, image.map(Zeroizing::new)).await;
        if let Err(error) = kept {
            self.status(format!("the app is not stored and must be fetched again at the next start: {error}"));
        }
    }

    /// The server has the result of the self-test.
    pub(crate) async fn self_test_taken(&mut self) {
        if self.self_test.take().is_some()
            && let Err(error) = self.folder.store.keep(Record::SelfTest, None).await
        {
            self.status(format!("the result of the self-test stays stored and goes to the server once more: {error}"));
        }
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
