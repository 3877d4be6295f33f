//! The device's end of a session.

mod app;
mod event;
mod os;

use std::num::NonZeroU64;

use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::public::PublicKey;
use keys::time::Now;

use crate::codec::Message;
use crate::eat::{AttestationLevel, DemandedLayers, Eat};
use crate::error::{ProtocolError, SendError};
use crate::events::Events;
use crate::facts::{EXPORTER_LEN, PROTOCOL_VERSION};
use crate::limits::Limits;
use crate::link::Link;
use crate::message::{AppRef, ToDevice, ToServer};
use crate::report::{DiaryEntry, LogLine, RingId, fitting};
use crate::session::challenge::ChallengeRecord;
use crate::session::download::{Fetching, PartialApp, Progress};
use crate::session::handling::Handling;
use crate::session::keepalive::{KeepAlive, Silence};
use crate::session::os_download::OsFetching;
use crate::sign::SignRequest;

pub use self::event::{DeviceEvent, Welcomed};

/// What a device brings into a session.
#[derive(Clone, Debug)]
pub struct DeviceSessionConfig {
    /// Its identity key.
    pub identity: PublicKey,
    /// The TLS exporter value of this connection.
    pub exporter: [u8; EXPORTER_LEN],
    /// The TLS profile of this connection.
    pub profile: Profile,
    /// Its model.
    pub model: String,
    /// The version of its runtime.
    pub os_version: String,
    /// Where its identity key lives.
    pub attestation: AttestationLevel,
    /// What a verified boot measured, if one did.
    pub boot: Option<[u8; 32]>,
    /// The generation of its vault, if it has one.
    pub vault_generation: Option<NonZeroU64>,
    /// Which layers of signatures it demands of an OS image, if its boot is verified.
    pub layers: Option<DemandedLayers>,
    /// Whether its decrypted OS image is locked in memory, if its boot is verified.
    pub memory_locked: Option<bool>,
    /// The bounds to keep.
    pub limits: Limits,
}

/// The device's end of a session. It begins with `Hello` waiting to be transmitted.
#[derive(Debug)]
pub struct DeviceSession {
    state: State,
    link: Link,
    events: Events<DeviceEvent>,
    fetching: Fetching,
    os: OsFetching,
    handling: Handling,
    limits: Limits,
}

/// Where the session is. Each state holds only what it needs, so that the next one cannot use it again.
#[derive(Debug)]
enum State {
    AwaitChallenge { config: Box<DeviceSessionConfig>, deadline: u64 },
    AwaitSignature(Box<Answer>),
    AwaitVerdict { record: Box<ChallengeRecord>, identity: PublicKey, deadline: u64 },
    Open(KeepAlive),
    Closed,
}

#[derive(Debug)]
struct Answer {
    config: Box<DeviceSessionConfig>,
    nonce: [u8; 32],
    payload: Vec<u8>,
    deadline: u64,
}

impl DeviceSession {
    /// A session on a connection whose TLS handshake is done.
    pub fn new(config: DeviceSessionConfig, now: Now) -> Self {
        let limits = config.limits;
        let mut link = Link::new(limits.frame_before_welcome, &limits);
        link.control(&ToServer::Hello { version: PROTOCOL_VERSION, identity: config.identity.spki_hash() });
        let deadline = now.mono_ms.saturating_add(limits.hello_ms);
        Self {
            state: State::AwaitChallenge { config: Box::new(config), deadline },
            link,
            events: Events::new(),
            fetching: Fetching::default(),
            os: OsFetching::default(),
            handling: Handling::default(),
            limits,
        }
    }

    /// Takes bytes of the connection. May change every poll; poll all events before the next call, then there
    /// are never more of them than messages in one read.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Now) {
        while !self.is_closed() {
            match self.link.receive::<ToDevice>(&mut bytes, &self.limits) {
                Ok(Some(message)) => self.handle(message, now),
                Ok(None) => break,
                Err(error) => self.broken(error),
            }
        }
    }

    /// The connection has ended. May change `poll_event` and `poll_timeout`.
    pub fn handle_eof(&mut self) {
        if !self.is_closed() {
            self.broken(self.link.end());
        }
    }

    /// The time of `poll_timeout` has come. May change every poll; harmless when called too early.
    pub fn handle_timeout(&mut self, now: Now) {
        let at = now.mono_ms;
        match &mut self.state {
            State::Open(keepalive) => match keepalive.judge(at) {
                Silence::Dead(silent) => self.broken(ProtocolError::Silence(silent)),
                Silence::Ping => self.link.ping(&ToServer::Ping),
                Silence::Short => {}
            },
            State::Closed => {}
            waiting => {
                if waiting.deadline().is_some_and(|deadline| at >= deadline) {
                    let waiting = waiting.doing();
                    self.broken(ProtocolError::TimedOut { waiting });
                }
            }
        }
        if !self.is_closed() && self.answer_due().is_some_and(|deadline| at >= deadline) {
            self.broken(ProtocolError::TimedOut { waiting: "waiting for an answer" });
        }
    }

    /// From now on nothing is read from the connection (its consumer is full), so that silence is not held
    /// against the server; pings still go out. May change `poll_timeout`.
    pub fn pause(&mut self) {
        if let State::Open(keepalive) = &mut self.state {
            keepalive.pause();
        }
    }

    /// The connection is read again. May change `poll_timeout`.
    pub fn resume(&mut self, now: Now) {
        let deadline = self.chunk_deadline(now);
        if let State::Open(keepalive) = &mut self.state
            && keepalive.is_paused()
        {
            keepalive.resume(now.mono_ms);
            self.fetching.postpone(deadline);
            self.os.postpone(deadline);
        }
    }

    /// Hands in the signature that [`DeviceEvent::Sign`] asked for. May change `poll_transmit` and `poll_timeout`.
    /// A signature that comes when none is awaited is dropped.
    pub fn signature(&mut self, signature: [u8; 64], now: Now) {
        let answer = match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitSignature(answer) => answer,
            other => {
                self.state = other;
                return;
            }
        };
        let Answer { config, nonce, payload, .. } = *answer;
        let cose = cose::assemble(&payload, signature);
        self.link.control(&ToServer::Proof { cose: cose.clone() });
        let record = ChallengeRecord {
            nonce,
            exporter: config.exporter,
            eat_cose: cose,
            external_aad: CosePurpose::Challenge.external_aad(),
            identity_spki: config.identity.spki_der().to_vec(),
        };
        self.state = State::AwaitVerdict {
            record: Box::new(record),
            identity: config.identity,
            deadline: now.mono_ms.saturating_add(self.limits.proof_ms).saturating_add(self.limits.lookup_ms),
        };
    }

    /// Queues as many of these log lines as one message holds, from the first on, whose number in the count `ring`
    /// is `first`, and says how many those are. Keep them until [`DeviceEvent::LogsKept`] has come for them, and
    /// send them again in the next session when it has not. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_logs(&mut self, ring: RingId, first: u64, lines: &[LogLine]) -> Result<usize, SendError> {
        let room = self.link.room();
        let fit = fitting(lines.iter().map(LogLine::size), room, self.limits.log_lines);
        self.send_list(&ToServer::Logs { ring, first, lines: lines[..fit].to_vec() }, fit, lines.len())
    }

    /// Queues as many of these diary entries as one message holds, from the first on, whose number in the count
    /// `ring` is `first`, and says how many those are. Keep them until [`DeviceEvent::DiaryKept`] has come for them,
    /// and send them again in the next session when it has not. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_diary(&mut self, ring: RingId, first: u64, entries: &[DiaryEntry]) -> Result<usize, SendError> {
        let room = self.link.room();
        let fit = fitting(entries.iter().map(DiaryEntry::size), room, self.limits.diary_entries);
        self.send_list(&ToServer::Diary { ring, first, entries: entries[..fit].to_vec() }, fit, entries.len())
    }

    /// Fetches an app, from the end of `kept` on if that is its beginning; an app being fetched is given up for
    /// it. Ends in [`DeviceEvent::AppComplete`] or [`DeviceEvent::AppDamaged`]. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn want_app(&mut self, app: AppRef, kept: Option<PartialApp>, now: Now) -> Result<(), SendError> {
        self.open()?;
        let progress = self.fetching.begin(app, kept, self.chunk_deadline(now));
        self.fetched(progress);
        Ok(())
    }

    /// What has come of the app being fetched; the fetching ends. For the next session.
    pub fn take_partial(&mut self) -> Option<PartialApp> {
        self.fetching.stop()
    }

    /// The next thing that happened.
    #[must_use = "an event that is not acted upon is lost"]
    pub fn poll_event(&mut self) -> Option<DeviceEvent> {
        self.events.next()
    }

    /// Everything that is to be sent now, in one piece; write it whole before polling again, then what gathers
    /// meanwhile is bounded.
    #[must_use = "the bytes are gone from here"]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.link.take_out()
    }

    /// When to call `handle_timeout`, in milliseconds of the monotonic clock.
    #[must_use = "without its timer the session waits for ever"]
    pub fn poll_timeout(&self) -> Option<u64> {
        let main = match &self.state {
            State::Open(keepalive) => Some(keepalive.timeout()),
            State::Closed => return None,
            waiting => waiting.deadline(),
        };
        [main, self.answer_due()].into_iter().flatten().min()
    }

    /// Whether app messages can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the session is over; what `poll_transmit` still gives is to be sent, then the connection closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How long a message surely finds room now, in bytes; zero while the session is not open.
    pub fn room(&self) -> usize {
        if self.is_open() { self.link.room() } else { 0 }
    }

    /// The bytes of apps that came in this session.
    pub fn app_bytes_received(&self) -> u64 {
        self.fetching.received()
    }

    fn handle(&mut self, message: ToDevice, now: Now) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitChallenge { config, deadline } => self.challenged(config, deadline, message, now),
            State::AwaitVerdict { record, identity, deadline } => {
                self.judged(*record, identity, deadline, message, now);
            }
            State::Open(mut keepalive) => {
                keepalive.heard(now.mono_ms);
                self.state = State::Open(keepalive);
                self.handle_open(message, now);
            }
            state @ State::AwaitSignature(_) => self.before_welcome(state, message),
            State::Closed => {}
        }
    }

    fn challenged(&mut self, config: Box<DeviceSessionConfig>, deadline: u64, message: ToDevice, now: Now) {
        let ToDevice::Challenge { nonce } = message else {
            return self.before_welcome(State::AwaitChallenge { config, deadline }, message);
        };
        let payload = Eat {
            nonce,
            identity: config.identity.spki_hash(),
            exporter: config.exporter,
            model: config.model.clone(),
            os_version: config.os_version.clone(),
            attestation: config.attestation,
            profile: config.profile,
            boot: config.boot,
            vault_generation: config.vault_generation,
            layers: config.layers,
            memory_locked: config.memory_locked,
        }
        .to_cbor();
        self.events.push(DeviceEvent::Sign(SignRequest::new(CosePurpose::Challenge, payload.clone())));
        let deadline = now.mono_ms.saturating_add(self.limits.proof_ms);
        self.state = State::AwaitSignature(Box::new(Answer { config, nonce, payload, deadline }));
    }

    fn judged(&mut self, record: ChallengeRecord, identity: PublicKey, deadline: u64, message: ToDevice, now: Now) {
        let ToDevice::Welcome(welcome) = message else {
            let state = State::AwaitVerdict { record: Box::new(record), identity, deadline };
            return self.before_welcome(state, message);
        };
        if welcome.device_id != identity.device_id() {
            return self.broken(ProtocolError::WrongDevice);
        }
        let keepalive_s = welcome.keepalive_s;
        if !(self.limits.keepalive_min_s..=self.limits.keepalive_max_s).contains(&keepalive_s) {
            return self.broken(ProtocolError::KeepaliveOutOfBounds(keepalive_s));
        }
        self.link.set_frame_max(self.limits.frame);
        self.state = State::Open(KeepAlive::of_device(keepalive_s, now.mono_ms, &self.limits));
        self.events.push(DeviceEvent::Welcomed(Box::new(Welcomed { welcome, record })));
    }

    /// The only other thing that may come before the session is open is a refusal.
    fn before_welcome(&mut self, state: State, message: ToDevice) {
        match message {
            ToDevice::Refused { reason, retry_after_ms } => {
                let retry_after_ms = retry_after_ms.map(|ms| ms.min(self.limits.come_back_max_ms));
                self.events.push(DeviceEvent::Refused { reason, retry_after_ms });
                self.state = State::Closed;
            }
            other => {
                let error = ProtocolError::Unexpected { message: other.name(), waiting: state.doing() };
                self.state = state;
                self.broken(error);
            }
        }
    }

    fn handle_open(&mut self, message: ToDevice, now: Now) {
        match message {
            ToDevice::App { name, value } => self.events.push(DeviceEvent::App { name, value }),
            ToDevice::AppAvailable(app) => {
                self.fetching.keep_only(Some(app));
                self.events.push(DeviceEvent::AppAvailable(app));
            }
            ToDevice::AppRemoved => {
                self.fetching.keep_only(None);
                self.events.push(DeviceEvent::AppRemoved);
            }
            ToDevice::AppChunk { sha256, offset, data } => self.handle_chunk(sha256, offset, &data, now),
            ToDevice::Restart { reason } => self.events.push(DeviceEvent::Restart(reason)),
            ToDevice::LogsKept { next } => self.events.push(DeviceEvent::LogsKept(next)),
            ToDevice::AppHandled { next, handled } => self.app_handled(next, handled),
            ToDevice::DiaryKept { next } => self.events.push(DeviceEvent::DiaryKept(next)),
            ToDevice::OsAvailable(os) => {
                self.os.keep_only(Some(os.image));
                self.events.push(DeviceEvent::OsAvailable(os));
            }
            ToDevice::OsRemoved => {
                self.os.keep_only(None);
                self.events.push(DeviceEvent::OsRemoved);
            }
            ToDevice::OsChunk { image, offset, data } => self.handle_os_chunk(image, offset, data, now),
            ToDevice::OsKey { image, wrapped } if self.os.take_key(image) => {
                self.events.push(DeviceEvent::OsKey { image, wrapped });
            }
            ToDevice::Trust { subject, trust } if self.os.take_trust(subject) => {
                self.events.push(DeviceEvent::Trust { subject, trust: Box::new(trust) });
            }
            ToDevice::RootAvailable { version } => self.events.push(DeviceEvent::RootAvailable(version)),
            // Late mail of an earlier question.
            ToDevice::OsKey { .. } | ToDevice::Trust { .. } => {}
            ToDevice::Ping => self.link.pong(&ToServer::Pong),
            ToDevice::Pong => {}
            ToDevice::Close { reason, come_back_after_ms } => {
                let come_back_after_ms = come_back_after_ms.map(|ms| ms.min(self.limits.come_back_max_ms));
                self.events.push(DeviceEvent::Closed { reason, come_back_after_ms });
                self.state = State::Closed;
            }
            ToDevice::Challenge { .. } | ToDevice::Welcome(_) | ToDevice::Refused { .. } => {
                let error = ProtocolError::Unexpected { message: message.name(), waiting: self.state.doing() };
                self.broken(error);
            }
        }
    }

    fn handle_chunk(&mut self, sha256: [u8; 32], offset: u32, data: &[u8], now: Now) {
        match self.fetching.take(sha256, offset, data, self.chunk_deadline(now)) {
            Ok(progress) => self.fetched(progress),
            Err(error) => self.broken(error.into()),
        }
    }

    fn fetched(&mut self, progress: Progress) {
        match progress {
            Progress::Nothing => {}
            Progress::Want { sha256, offset } => self.link.control(&ToServer::WantApp { sha256, offset }),
            Progress::Complete { app, bytes } => self.events.push(DeviceEvent::AppComplete { app, bytes }),
            Progress::Damaged(app) => self.events.push(DeviceEvent::AppDamaged(app)),
        }
    }

    /// When what was asked for must be here; none while nothing is read.
    fn answer_due(&self) -> Option<u64> {
        match &self.state {
            State::Open(keepalive) if !keepalive.is_paused() => {
                self.fetching.deadline().into_iter().chain(self.os.deadline()).min()
            }
            _ => None,
        }
    }

    fn chunk_deadline(&self, now: Now) -> u64 {
        now.mono_ms.saturating_add(self.limits.chunk_ms)
    }

    fn send_list(&mut self, message: &ToServer, fit: usize, given: usize) -> Result<usize, SendError> {
        self.open()?;
        if given == 0 {
            return Ok(0);
        }
        if fit == 0 {
            return Err(SendError::Full);
        }
        message.check(&self.limits)?;
        self.link.send(message, 0)?;
        Ok(fit)
    }

    fn open(&self) -> Result<(), SendError> {
        if self.is_open() { Ok(()) } else { Err(SendError::NotOpen) }
    }

    fn broken(&mut self, error: ProtocolError) {
        self.state = State::Closed;
        self.events.push(DeviceEvent::Broken(error));
    }
}

impl State {
    fn deadline(&self) -> Option<u64> {
        match self {
            Self::AwaitChallenge { deadline, .. } | Self::AwaitVerdict { deadline, .. } => Some(*deadline),
            Self::AwaitSignature(answer) => Some(answer.deadline),
            Self::Open(_) | Self::Closed => None,
        }
    }

    fn doing(&self) -> &'static str {
        match self {
            Self::AwaitChallenge { .. } => "waiting for the challenge",
            Self::AwaitSignature(_) => "waiting for the signature",
            Self::AwaitVerdict { .. } => "waiting for the verdict",
            Self::Open(_) => "the session was open",
            Self::Closed => "the session was closed",
        }
    }
}
