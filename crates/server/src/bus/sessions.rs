//! Device sessions: at most one for a device, the newest.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keys::public::SpkiHash;
use protocol::reason::CloseReason;

use super::mailbox::{self, Beyond, Full, Refused, Sending};
use super::message::{AppMessage, ToAgent, ToSession};
use super::shards::Shards;
use super::{Bus, Inner};
use crate::fleet::GroupId;
use crate::store::{Store, StoreError, unix_ms};

/// Devices of a group that are read from the store at one time.
const DEVICES_AT_ONCE: u32 = 500;

/// More connections than this that replace one another within [`ALTERNATION_TIME`] make a device suspected of existing twice. A device whose
/// network fails replaces its own dead connection, but not so often.
const ALTERNATIONS: u32 = 5;
/// See there.
const ALTERNATION_TIME: Duration = Duration::from_secs(10 * 60);

#[derive(Default)]
pub(super) struct Sessions {
    by_device: Shards<SpkiHash, Session>,
    epochs: AtomicU64,
    changes: AtomicU64,
}

struct Session {
    epoch: u64,
    alternations: Alternations,
    presence: Presence,
    sender: mailbox::Sender<ToSession, CloseReason>,
}

/// Since when and from where a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Unix milliseconds.
    pub since_ms: i64,
    /// The peer's address, as the gateway saw it.
    pub address: IpAddr,
}

/// How often connections of one device have replaced each other.
#[derive(Clone, Copy)]
struct Alternations {
    since: Instant,
    count: u32,
}

impl Alternations {
    fn none() -> Self {
        Self { since: Instant::now(), count: 0 }
    }

    /// One more; counted anew when the last count is long over.
    fn one_more(self) -> Self {
        let counted = if self.since.elapsed() < ALTERNATION_TIME { self } else { Self::none() };
        Self { count: counted.count.saturating_add(1), ..counted }
    }
}

/// What a session has from the bus: the device is connected while it lives, or until a newer session takes its place.
pub struct SessionTicket {
    bus: Arc<Inner>,
    device: SpkiHash,
    epoch: u64,
    alternates: bool,
}

/// The messages for one session.
pub struct SessionInbox(mailbox::Receiver<ToSession, CloseReason>);

impl SessionInbox {
    /// The next message, or why the session must end now. May be dropped while waiting; nothing is lost.
    ///
    /// # Errors
    /// The reason to close; it overtakes what is queued and is repeated by every later call.
    pub async fn recv(&mut self) -> Result<ToSession, CloseReason> {
        self.0.recv().await
    }

    /// Waits until the session must end, and says why; messages stay queued.
    pub async fn ended(&mut self) -> CloseReason {
        self.0.ended().await
    }

    /// The next message if one is queued.
    ///
    /// # Errors
    /// As [`SessionInbox::recv`].
    pub fn try_recv(&mut self) -> Result<Option<ToSession>, CloseReason> {
        self.0.try_recv()
    }
}

impl Bus {
    /// Makes this session the device's only one, ends an older one with [`CloseReason::Replaced`], and tells the agent. Call it only with
    /// a proof that the peer is the device.
    pub fn attach(&self, device: SpkiHash, address: IpAddr) -> (SessionTicket, SessionInbox) {
        let (sender, receiver) = mailbox::mailbox(self.0.session_inbox, CloseReason::Silence);
        let epoch = self.0.sessions.epochs.fetch_add(1, Ordering::Relaxed);
        let mut sessions = self.0.sessions.by_device.lock(&device);
        let alternations = sessions.get(&device).map_or_else(Alternations::none, |older| older.alternations.one_more());
        let session = Session { epoch, alternations, presence: Presence { since_ms: unix_ms(), address }, sender };
        let older = sessions.insert(device, session);
        if let Some(older) = older {
            older.sender.end(CloseReason::Replaced);
            self.0.agents.notice(&device, ToAgent::DeviceDisconnected);
        }
        // Under the same lock, so that the agent hears of connections in their order.
        self.0.agents.notice(&device, ToAgent::DeviceConnected);
        drop(sessions);
        let alternates = alternations.count > ALTERNATIONS;
        (SessionTicket { bus: Arc::clone(&self.0), device, epoch, alternates }, SessionInbox(receiver))
    }

    /// Queues an app message for a device's session if it is connected and has room.
    ///
    /// # Errors
    /// The message comes back when there is no room.
    pub fn to_session(&self, device: &SpkiHash, message: Box<AppMessage>) -> Result<Delivery, Full<Box<AppMessage>>> {
        let Some(sender) = self.session_sender(device) else { return Ok(Delivery::Offline) };
        match sender.try_send(ToSession::App(message)) {
            Ok(()) => Ok(Delivery::Queued),
            Err(Refused::Full(ToSession::App(message))) => Err(Full(message)),
            Err(_) => Ok(Delivery::Offline),
        }
    }

    /// Queues an app message for a device's session, waiting for room; `false` when the device is offline or goes while waiting. Give it a
    /// time-out.
    pub fn send_to_session(&self, device: &SpkiHash, message: Box<AppMessage>) -> Sending {
        match self.session_sender(device) {
            Some(sender) => Box::pin(sender.send(ToSession::App(message))),
            None => Box::pin(std::future::ready(false)),
        }
    }

    /// Tells a device's session, if there is one, to look the device's app up again. Never waits and is never lost.
    pub fn app_changed(&self, device: &SpkiHash) {
        self.tell(device, ToSession::AppChanged);
    }

    /// Tells a device's session, if there is one, to look the device's app up again and to have it start anew. Never waits and is never
    /// lost.
    pub fn restart_app(&self, device: &SpkiHash) {
        self.tell(device, ToSession::Restart);
    }

    /// As [`Bus::restart_app`], but the app that runs decides when it is ready.
    pub fn restart_app_when_ready(&self, device: &SpkiHash) {
        self.tell(device, ToSession::RestartWhenReady);
    }

    fn tell(&self, device: &SpkiHash, notice: ToSession) {
        self.changed();
        if let Some(sender) = self.session_sender(device) {
            // What says more makes what says less superfluous.
            let weight = |notice: &ToSession| match notice {
                ToSession::App(_) => 0,
                ToSession::AppChanged => 1,
                ToSession::RestartWhenReady => 2,
                ToSession::Restart => 3,
            };
            let new = weight(&notice);
            sender.notice(notice, |queue| {
                if queue.iter().any(|queued| weight(queued) >= new) { Beyond::Known } else { Beyond::Queue }
            });
        }
    }

    /// Ends a device's session, if it has one. From now on the device counts as offline.
    pub fn close_session(&self, device: &SpkiHash, reason: CloseReason) {
        self.changed();
        let mut sessions = self.0.sessions.by_device.lock(device);
        if let Some(session) = sessions.remove(device) {
            self.0.left(device, &session, reason);
        }
    }

    /// Tells the sessions of a group's devices to look up what is to run on them.
    ///
    /// # Errors
    /// The devices could not be read.
    pub async fn group_changed(&self, store: &Store, group: GroupId) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let devices = store.devices_of_group(group, after, DEVICES_AT_ONCE).await?;
            devices.iter().for_each(|device| self.app_changed(device));
            after = devices.last().copied();
            if devices.len() < DEVICES_AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    /// Tells all sessions to look up what is to run on their devices, and which root metadata is the newest.
    pub fn all_changed(&self) {
        self.0.sessions.by_device.keys().iter().for_each(|device| self.app_changed(device));
    }

    /// Counts what was changed about devices and told to their sessions, or could not be told since they had none. A login that reads this
    /// before it looks the device up, and the same again after it has attached, has missed nothing.
    pub fn changes(&self) -> u64 {
        self.0.sessions.changes.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.0.sessions.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Since when and from where a device is connected, if it is.
    pub fn presence(&self, device: &SpkiHash) -> Option<Presence> {
        self.0.sessions.by_device.lock(device).get(device).map(|session| session.presence)
    }

    /// Whether a device is connected.
    pub fn is_connected(&self, device: &SpkiHash) -> bool {
        self.presence(device).is_some()
    }

    /// How many devices are connected.
    pub fn connected(&self) -> usize {
        self.0.sessions.by_device.len()
    }

    fn session_sender(&self, device: &SpkiHash) -> Option<mailbox::Sender<ToSession, CloseReason>> {
        self.0.sessions.by_device.lock(device).get(device).map(|session| session.sender.clone())
    }
}

/// What became of a message that did not have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the session's inbox.
    Queued,
    /// The device is not connected.
    Offline,
}

impl Inner {
    fn left(&self, device: &SpkiHash, session: &Session, reason: CloseReason) {
        session.sender.end(reason);
        self.agents.notice(device, ToAgent::DeviceDisconnected);
        self.journal.seen(*device, unix_ms(), session.presence.address);
    }
}

impl SessionTicket {
    /// Whether so many connections have replaced each other that the device seems to exist twice.
    pub fn alternates(&self) -> bool {
        self.alternates
    }
}

impl Drop for SessionTicket {
    fn drop(&mut self) {
        let mut sessions = self.bus.sessions.by_device.lock(&self.device);
        if sessions.get(&self.device).is_some_and(|session| session.epoch == self.epoch)
            && let Some(session) = sessions.remove(&self.device)
        {
            self.bus.left(&self.device, &session, CloseReason::Silence);
        }
    }
}
