//! A provisioned device at work: rounds of attempts, sessions, its app, and the pauses between.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apphost::{Unreached, WakeReason};
use keys::keystore::AttestationLevel;
use keys::tls::{SeenServer, SessionMaterial, TlsError, client_session};
use protocol::self_test::SelfTest;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use vault::Record;

use crate::app::logs::LogRing;
use crate::app::wish::{asked_since, wanted};
use crate::app::{AppContext, AppRunner};
use crate::board::{BoardError, DeviceBoard};
use crate::clock::DeviceClock;
use crate::connect::attempt::ConnectionPurpose;
use crate::connect::backoff::Backoff;
use crate::connect::diary::Diary;
use crate::connect::dns::SYSTEM_SERVERS;
use crate::connect::{Dialer, Security};
use crate::device::{Device, SOFTWARE_VERSION, redirected, stopped};
use crate::device_keys::{DeviceKeyError, DeviceKeys};
use crate::events::{BootReport, DeviceEvent, Observer, Sha256Hex, Started};
use crate::folder::{BOOT_FOLDER, Folder, FolderError, STAGING_FOLDER, VAULT_FOLDER};
use crate::limits::Limits;
use crate::network::Network;
use crate::parent::ParentLink;
use crate::sandbox::{Plan, Protections};
use crate::self_test::{self, Surroundings};
use crate::session::{Session, SessionEnd};
use crate::store::StoreError;
use crate::update::Update;

/// A device that was read from its folder: all for which the folder is needed as a whole. It can be locked down from now on.
#[derive(Debug)]
pub struct Opened {
    folder: Folder,
    board: DeviceBoard,
}

impl Opened {
    /// Reads the folder that `provision` made, with the keys of the parent where there is one.
    ///
    /// # Errors
    /// [`RunError`] when the folder holds no device that can be used, or its board cannot.
    pub fn open(dir: &Path, parent: Option<&ParentLink>, limits: &Limits) -> Result<Opened, RunError> {
        let folder = match parent {
            Some(link) => Folder::below_parent(dir, link.clone())?,
            None => Folder::open(dir)?,
        };
        Ok(Opened { folder, board: DeviceBoard::open(dir, limits)? })
    }

    /// What a self-test of this device has to know beforehand.
    pub fn surroundings(&self) -> Surroundings {
        let dialled = Plan::for_network(&self.folder.config).tcp_ports;
        Surroundings {
            dir: self.folder.dir.clone(),
            foreign_port: (1..=u16::MAX).find(|port| !dialled.contains(port)).unwrap_or_default(),
            parent: std::os::unix::process::parent_id(),
            os_version: self
                .folder
                .booted
                .as_ref()
                .map_or_else(|| SOFTWARE_VERSION.to_owned(), |booted| booted.version.to_string()),
            boot: self.folder.booted.as_ref().map(|booted| *booted.manifest_sha256),
        }
    }

    /// Whether this process itself holds keys in a TPM or a token. Their libraries open files and sockets whenever they are used, to
    /// which a process that is locked down has no way; a parent that holds them leaves its child free of that.
    pub fn needs_parent_for_sandbox(&self) -> bool {
        matches!(&*self.folder.keys, DeviceKeys::Own(keys) if keys.level() != AttestationLevel::Software)
    }

    /// Tries everything that a device must not be able to do, and keeps the signed result for the server. To be called when the
    /// process is locked down.
    ///
    /// # Errors
    /// [`RunError`] when the result cannot be signed or kept.
    pub fn self_test(&self, surroundings: &Surroundings) -> Result<SelfTest, RunError> {
        let Folder { dir, keys, store, .. } = &self.folder;
        let now = DeviceClock::new(self.folder.time_floor_unix_ms).now();
        let result = self_test::run(surroundings, now.unix_ms);
        let signed = self_test::signed(&result, keys).map_err(RunError::SelfTest)?;
        store.write(Record::SelfTest, &signed).map_err(|source| RunError::Store { dir: dir.clone(), source })?;
        Ok(result)
    }

    /// What this device still needs once it is locked down.
    pub fn sandbox_plan(&self) -> Plan {
        let mut plan = Plan::for_network(&self.folder.config);
        plan.kept.push(self.folder.dir.join(VAULT_FOLDER));
        if self.folder.booted.is_some() {
            plan.kept.push(self.folder.dir.join(BOOT_FOLDER).join(STAGING_FOLDER));
        }
        plan.read.extend(DeviceBoard::folders().iter().map(|name| self.folder.dir.join(name)));
        plan
    }
}

/// What is needed to run a device.
#[derive(Debug)]
pub struct RunOptions {
    /// The device.
    pub device: Opened,
    /// What locks this process down; absent in one that is not.
    pub protections: Option<Protections>,
    /// The parent that may change the network, where there is one.
    pub parent: Option<ParentLink>,
    /// The bounds.
    pub limits: Limits,
}

/// Why a device does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Something in the vault cannot be read.
    #[error("{dir}: {source}")]
    Store {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The board cannot be used.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// TLS could not be set up from the folder's keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A self-test was made and not signed.
    #[error("the result of the self-test cannot be signed: {0}")]
    SelfTest(DeviceKeyError),
    /// Which name servers there are is out of reach for a process that was locked down before.
    #[error(
        "the system's list of name servers ({SYSTEM_SERVERS}) is another file since this process locked itself down, so \
         it cannot read it; start the device again (below `vouch device boot` that happens by itself)"
    )]
    NameServersReplaced,
    /// The app has set another proxy, which a process that was locked down before cannot dial.
    #[error(
        "the app has set another proxy, which is for a new process: start the device again (below `vouch device boot` that \
         happens by itself)"
    )]
    Redirected,
    /// Without it nothing can be signed, and its successor starts another child.
    #[error("the parent process is gone")]
    ParentGone,
    /// The task of the app ended, which it never does by itself.
    #[error("the app's task ended; this is a fault of the runtime, please report it")]
    AppTask,
}

/// How a round of attempts ended.
#[derive(Debug, PartialEq, Eq)]
enum RoundEnd {
    /// No place led to a verdict of the server.
    NotReached,
    /// The server refused, or a session ended that lasted this long.
    Session { end: SessionEnd, lasted: Duration },
}

/// Runs a device until `shutdown` ends: reaches the server again and again, and keeps the app going meanwhile.
///
/// # Errors
/// [`RunError`] when it cannot start. A server that is not reached is no error: it is tried again, for ever.
pub async fn run(options: RunOptions, shutdown: impl Future<Output = ()>, observer: Observer) -> Result<(), RunError> {
    let Opened { folder, board } = options.device;
    let dir = folder.dir.clone();
    let in_vault = |source| RunError::Store { dir: dir.clone(), source };
    let clock = Arc::new(DeviceClock::new(folder.time_floor_unix_ms));
    let dialer = Dialer::new(folder.config.clone(), security(&folder, &clock)?, Arc::clone(&clock), options.limits);
    let logs = Arc::new(LogRing::new(&options.limits));
    let (redirect, redirected) = watch::channel(false);
    let (runner, app) = AppRunner::new(AppContext {
        board,
        device_id: folder.keys.identity().device_id().to_string(),
        software_version: match &folder.booted {
            Some(booted) => booted.version.to_string(),
            None => SOFTWARE_VERSION.to_owned(),
        },
        limits: options.limits,
        clock: Arc::clone(&clock),
        logs: Arc::clone(&logs),
        observer: observer.clone(),
        store: folder.store.clone(),
        user_configuration: folder.store.read(Record::UserConfiguration).map_err(in_vault)?,
        first_wake: match &folder.booted {
            Some(booted) if booted.trying => WakeReason::NewOs,
            _ => WakeReason::PowerOn,
        },
        redirected: redirect,
    });
    let self_test = folder.store.read(Record::SelfTest).map_err(in_vault)?.map(|signed| signed.expose().to_vec());
    let diary = Diary::open(&folder.store, &options.limits).map_err(in_vault)?;
    let dns = folder.config.dns.clone();
    let parent = options.parent.clone();
    let parent_gone = async move {
        match parent {
            Some(parent) => parent.gone().await,
            None => std::future::pending().await,
        }
    };
    let network = Network::begin(&folder.store, options.parent, dns, &options.limits).map_err(in_vault)?;
    let (stop, stopped) = watch::channel(false);
    let mut device = Device {
        folder,
        limits: options.limits,
        clock,
        diary,
        self_test,
        logs,
        observer: observer.clone(),
        app: app.commands,
        app_state: app.state,
        wish: app.wish,
        running: None,
        unusable: None,
        refused: None,
        partial: None,
        network,
        update: Update::new(&dir, &options.limits),
        redial: false,
        redirected,
        stop: stopped,
    };
    observer.tell(DeviceEvent::Started(started(&device)));
    observer.tell(options.protections.map_or(DeviceEvent::Unprotected, DeviceEvent::LockedDown));
    device.start_stored_app().map_err(in_vault)?;
    let ask_to_stop = async {
        shutdown.await;
        stop.send_replace(true);
        sleep(options.limits.close_wait * 2).await;
    };
    tokio::select! {
        () = ask_to_stop => {}
        ended = Box::pin(keep_connected(device, dialer)) => ended?,
        () = Box::pin(runner.run()) => return Err(RunError::AppTask),
        () = parent_gone => return Err(RunError::ParentGone),
    }
    observer.tell(DeviceEvent::Stopped);
    Ok(())
}

fn security(folder: &Folder, clock: &Arc<DeviceClock>) -> Result<Security, TlsError> {
    let seen = Arc::new(SeenServer::default());
    let time: Arc<DeviceClock> = Arc::clone(clock);
    let tls = client_session(SessionMaterial {
        profile: folder.config.profile,
        roots: &folder.roots,
        credential: &folder.tls,
        time,
        seen: Arc::clone(&seen),
    })?;
    let client_spki_sha256 = Some(Sha256Hex(*folder.tls.spki_hash().as_bytes()));
    Ok(Security { purpose: ConnectionPurpose::Session, tls, seen, client_spki_sha256 })
}

fn started(device: &Device) -> Started {
    let identity = device.folder.keys.identity();
    Started {
        device_id: identity.device_id().to_string(),
        identity_spki_sha256: Sha256Hex(*identity.spki_hash().as_bytes()),
        model: device.folder.config.model.clone(),
        profile: device.folder.config.profile.to_string(),
        server: device.folder.config.server.clone(),
        time_floor_unix_ms: device.clock.floor_unix_ms(),
        booted: device.folder.booted.as_ref().map(BootReport::from),
    }
}

/// One round after the other, until the device is asked to stop.
async fn keep_connected(mut device: Device, mut dialer: Dialer) -> Result<(), RunError> {
    let mut pauses = Pauses::new(&device.limits, u64::from_ne_bytes(keys::hashes::random()));
    while !*device.stop.borrow() {
        let Some(is_visit) = until_wanted(&mut device).await else { break };
        if *device.redirected.borrow() {
            return Err(RunError::Redirected);
        }
        if std::mem::take(&mut device.redial) {
            dialer.secure_with(security(&device.folder, &device.clock)?);
        }
        let asked = device.wish.borrow().asked;
        device.prepare_network(&mut dialer).await;
        let end = one_round(&mut device, &mut dialer, is_visit).await;
        device.write_diary().await;
        if *device.stop.borrow() {
            break;
        }
        if end == RoundEnd::NotReached && dialer.has_lost_name_servers() {
            return Err(RunError::NameServersReplaced);
        }
        if let RoundEnd::Session { end, .. } = &end
            && !matches!(end, SessionEnd::LoginBroken | SessionEnd::Refused { .. })
        {
            device.observer.tell(DeviceEvent::Disconnected { why: end.to_string() });
        }
        let Pause { time, why, is_asked_for } = pauses.after(&end);
        let time = device.network.time_left().map_or(time, |left| left.min(time));
        device.observer.tell(DeviceEvent::Waiting { ms: crate::connect::proxy::millis(time), why });
        let app_asks = async {
            asked_since(&mut device.wish, asked).await;
            sleep(device.limits.asked_pause).await;
        };
        tokio::select! {
            () = sleep(time) => {}
            () = stopped(&mut device.stop) => {}
            // What the server asked for is not cut short.
            () = app_asks, if !is_asked_for => {}
            () = redirected(&mut device.redirected), if !is_asked_for => {}
        }
    }
    Ok(())
}

/// Waits until the app wants a session, or until it is time to look for updates: true when it is that, `None` when the
/// device is asked to stop.
async fn until_wanted(device: &mut Device) -> Option<bool> {
    tokio::select! {
        () = wanted(&mut device.wish) => Some(false),
        () = sleep(device.limits.offline_most) => Some(true),
        () = stopped(&mut device.stop) => None,
    }
}

/// Tries the places in the rule's order until the server has given its verdict; a session lasts as long as it lasts.
async fn one_round(device: &mut Device, dialer: &mut Dialer, is_visit: bool) -> RoundEnd {
    let found = tokio::select! {
        found = dialer.round() => found,
        () = stopped(&mut device.stop) => return RoundEnd::NotReached,
    };
    let mut round = match found {
        Ok(round) => round,
        Err(attempt) => {
            device.note(&attempt);
            device.unreached(Unreached::NotResolved);
            return RoundEnd::NotReached;
        }
    };
    while let Some(place) = round.next_place() {
        let dialled = tokio::select! {
            dialled = dialer.dial(&place, &round) => dialled,
            () = stopped(&mut device.stop) => return RoundEnd::NotReached,
        };
        let connection = match dialled {
            Ok(connection) => *connection,
            Err(attempt) => {
                device.note(&attempt);
                round.learn(&attempt);
                continue;
            }
        };
        if let Some(facts) = &connection.attempt.tls {
            device.observer.tell(DeviceEvent::Tls(facts.clone()));
        }
        let began = Instant::now();
        match Session::new(device, connection, is_visit).drive().await {
            // Something between may let TLS pass on one port and not on another.
            SessionEnd::LoginBroken => {}
            end => return RoundEnd::Session { end, lasted: began.elapsed() },
        }
    }
    device.unreached(Unreached::NoServer);
    RoundEnd::NotReached
}

/// Decides how long to pause after each round.
struct Pauses {
    usual: Backoff,
    revoked: Backoff,
    steady: Duration,
    asked: Duration,
}

/// How long to wait before the next round.
struct Pause {
    time: Duration,
    why: String,
    /// The server asked for it.
    is_asked_for: bool,
}

impl Pauses {
    fn new(limits: &Limits, seed: u64) -> Pauses {
        Pauses {
            usual: Backoff::between_rounds(limits, seed),
            revoked: Backoff::while_revoked(limits, seed),
            steady: limits.steady_session,
            asked: limits.asked_pause,
        }
    }

    fn after(&mut self, end: &RoundEnd) -> Pause {
        let (end, lasted) = match end {
            RoundEnd::NotReached => {
                let why = "the server was not reached".to_owned();
                return Pause { time: self.usual.next_pause(), why, is_asked_for: false };
            }
            RoundEnd::Session { end, lasted } => (end, *lasted),
        };
        if end.is_revoked() {
            let why = "this device is revoked; it asks again now and then, in case that was a mistake";
            return Pause { time: self.revoked.next_pause(), why: why.to_owned(), is_asked_for: true };
        }
        self.revoked.reset();
        if lasted >= self.steady {
            self.usual.reset();
        }
        let time = match end.asked_pause() {
            Some(asked) => self.usual.directed_pause(asked),
            None if matches!(end, SessionEnd::Left) => self.asked,
            None => self.usual.next_pause(),
        };
        Pause { time, why: end.to_string(), is_asked_for: end.asked_pause().is_some() }
    }
}
