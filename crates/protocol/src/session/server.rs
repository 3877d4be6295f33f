//! The server's end of a session.

mod app;
mod event;
mod os;

use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::time::Now;

use crate::codec::Message;
use crate::error::{ProtocolError, SendError};
use crate::events::Events;
use crate::facts::{EXPORTER_LEN, NONCE_LEN, PROTOCOL_VERSION};
use crate::limits::Limits;
use crate::link::Link;
use crate::message::{AppRef, ToDevice, ToServer, Welcome};
use crate::reason::{CloseReason, Refusal, RestartReason};
use crate::session::challenge::{Authenticated, Connection, Device, KnownDevice, RefusedDevice};
use crate::session::handling::Handling;
use crate::session::keepalive::{KeepAlive, Silence};

pub use self::event::ServerEvent;

/// What the server knows of a connection before its first message.
#[derive(Clone, Debug)]
pub struct ServerSessionConfig {
    /// Fresh random bytes for the challenge, never used before.
    pub nonce: [u8; NONCE_LEN],
    /// The TLS exporter value of this connection.
    pub exporter: [u8; EXPORTER_LEN],
    /// The hash of the key in the client's TLS certificate.
    pub peer_tls_key: SpkiHash,
    /// The TLS profile of this connection.
    pub profile: Profile,
    /// The bounds to keep. Borrowed, since every open session holds them.
    pub limits: &'static Limits,
}

/// What the server tells a device that it lets in; the rest of the welcome comes from the proof and the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// After how many seconds of silence to ask whether the device is there.
    pub keepalive_s: u32,
    /// The app that is to run.
    pub app: Option<AppRef>,
    /// The URL of the device's agent.
    pub agent_url: Option<String>,
}

/// The server's end of a session.
#[derive(Debug)]
pub struct ServerSession {
    state: State,
    link: Link,
    events: Events<ServerEvent>,
    handling: Handling,
    app_bytes: u64,
    limits: &'static Limits,
}

/// Where the session is. Each state holds only what it needs, so that an open session holds nothing of the
/// handshake and a later state cannot go back.
#[derive(Debug)]
enum State {
    AwaitHello {
        connection: Box<Connection>,
        deadline: u64,
    },
    Lookup {
        connection: Box<Connection>,
        claimed: SpkiHash,
        deadline: u64,
    },
    AwaitProof {
        connection: Box<Connection>,
        known: Box<KnownDevice>,
        deadline: u64,
    },
    AwaitWelcome {
        nonce: [u8; NONCE_LEN],
        identity: SpkiHash,
        deadline: u64,
    },
    Open(KeepAlive),
    /// The device is told to go; what it sent before it heard of it is still taken.
    Leaving,
    Closed,
}

impl ServerSession {
    /// A session on a connection whose TLS handshake is done and whose client certificate was verified.
    pub fn new(config: ServerSessionConfig, now: Now) -> Self {
        let ServerSessionConfig { nonce, exporter, peer_tls_key, profile, limits } = config;
        let connection = Box::new(Connection { nonce, exporter, peer_tls_key, profile });
        Self {
            state: State::AwaitHello { connection, deadline: now.mono_ms.saturating_add(limits.hello_ms) },
            link: Link::new(limits.frame_before_welcome, limits),
            events: Events::new(),
            handling: Handling::default(),
            app_bytes: 0,
            limits,
        }
    }

    /// Takes bytes of the connection. May change every poll; poll all events before the next call, then there
    /// are never more of them than messages in one read.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Now) {
        while !self.is_closed() {
            match self.link.receive::<ToServer>(&mut bytes, self.limits) {
                Ok(Some(message)) => self.handle(message, now),
                Ok(None) => break,
                Err(error) => self.broken(error),
            }
        }
    }

    /// The connection has ended. May change `poll_event` and `poll_timeout`.
    pub fn handle_eof(&mut self) {
        self.broken(self.link.end());
    }

    /// The time of `poll_timeout` has come. May change every poll; harmless when called too early.
    pub fn handle_timeout(&mut self, now: Now) {
        match &mut self.state {
            State::Open(keepalive) => match keepalive.judge(now.mono_ms) {
                Silence::Dead(silent) => self.broken(ProtocolError::Silence(silent)),
                Silence::Ping => self.link.ping(&ToDevice::Ping),
                Silence::Short => {}
            },
            State::Leaving | State::Closed => {}
            waiting => {
                if waiting.deadline().is_some_and(|deadline| now.mono_ms >= deadline) {
                    let waiting = waiting.doing();
                    self.broken(ProtocolError::TimedOut { waiting });
                }
            }
        }
    }

    /// From now on nothing is read from the connection (its consumer is full), so that silence is not held
    /// against the device; pings still go out. May change `poll_timeout`.
    pub fn pause(&mut self) {
        if let State::Open(keepalive) = &mut self.state {
            keepalive.pause();
        }
    }

    /// The connection is read again. May change `poll_timeout`.
    pub fn resume(&mut self, now: Now) {
        if let State::Open(keepalive) = &mut self.state {
            keepalive.resume(now.mono_ms);
        }
    }

    /// Answers [`ServerEvent::Identify`] with what the records say. May change every poll. Dropped when no such
    /// answer is awaited.
    pub fn known(&mut self, known: Option<KnownDevice>, now: Now) {
        let (connection, claimed) = match std::mem::replace(&mut self.state, State::Closed) {
            State::Lookup { connection, claimed, .. } => (connection, claimed),
            other => {
                self.state = other;
                return;
            }
        };
        match connection.admit(claimed, known) {
            Ok(known) => {
                self.link.control(&ToDevice::Challenge { nonce: connection.nonce });
                let deadline = now.mono_ms.saturating_add(self.limits.proof_ms);
                self.state = State::AwaitProof { connection, known: Box::new(known), deadline };
            }
            Err(reason) => {
                self.refused(Box::new(RefusedDevice { reason, identity: Some(claimed), record: None }), None)
            }
        }
    }

    /// Lets the device in that proved itself on this very connection. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] when no welcome is due or the proof is another connection's,
    /// [`SendError::Invalid`] when the greeting breaks a bound; the state stays as it was.
    pub fn welcome(&mut self, device: &Authenticated<Device>, greeting: Greeting, now: Now) -> Result<(), SendError> {
        let device = device.get();
        match &self.state {
            State::AwaitWelcome { nonce, identity, .. }
                if *nonce == device.record.nonce && *identity == device.identity => {}
            _ => return Err(SendError::NotOpen),
        }
        let Greeting { keepalive_s, app, agent_url } = greeting;
        let keepalive_s = keepalive_s.clamp(self.limits.keepalive_min_s, self.limits.keepalive_max_s);
        let welcome =
            ToDevice::Welcome(Welcome { unix_ms: now.unix_ms, keepalive_s, device_id: device.id, app, agent_url });
        welcome.check(self.limits)?;
        self.link.control(&welcome);
        self.link.set_frame_max(self.limits.frame);
        self.state = State::Open(KeepAlive::of_server(keepalive_s, now.mono_ms, self.limits));
        Ok(())
    }

    /// Refuses a device that is not let in yet, for a reason of the driver's own (`Busy`, `Revoked` since the
    /// look-up). May change every poll. Does nothing once the session is open or over.
    pub fn refuse(&mut self, reason: Refusal, retry_after_ms: Option<u32>) {
        let identity = match &self.state {
            State::Open(_) | State::Leaving | State::Closed => return,
            State::AwaitHello { .. } => None,
            State::Lookup { claimed, .. } => Some(*claimed),
            State::AwaitProof { known, .. } => Some(known.identity.spki_hash()),
            State::AwaitWelcome { identity, .. } => Some(*identity),
        };
        self.refused(Box::new(RefusedDevice { reason, identity, record: None }), retry_after_ms);
    }

    /// Asks the device to start its app again. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn restart(&mut self, reason: RestartReason) -> Result<(), SendError> {
        self.send(&ToDevice::Restart { reason })
    }

    /// Tells the device that all its log lines with lower numbers than `next` are kept durably. Call it at most once
    /// for each [`ServerEvent::Logs`]. May change `poll_transmit`; does nothing once the session is over.
    pub fn logs_kept(&mut self, next: u64) {
        self.kept(&ToDevice::LogsKept { next });
    }

    /// The same for diary entries and [`ServerEvent::Diary`].
    pub fn diary_kept(&mut self, next: u64) {
        self.kept(&ToDevice::DiaryKept { next });
    }

    /// Ends the session, with the time at which the device shall come back. May change every poll. Before the
    /// welcome this only ends it; use [`refuse`](Self::refuse) to say why.
    pub fn close(&mut self, reason: CloseReason, come_back_after_ms: Option<u32>) {
        if self.is_open() {
            self.link.control(&ToDevice::Close { reason, come_back_after_ms });
        }
        self.state = State::Closed;
    }

    /// Tells the device to go and when to come back, and still takes what it sends until it has heard of it and
    /// ends the stream; give that a time. Nothing more can be sent to it. May change every poll. Does nothing unless
    /// the session is open.
    pub fn drain(&mut self, come_back_after_ms: u32) {
        if self.is_open() {
            let come_back_after_ms = Some(come_back_after_ms);
            self.link.control(&ToDevice::Close { reason: CloseReason::Drain, come_back_after_ms });
            self.state = State::Leaving;
        }
    }

    /// The next thing that happened.
    #[must_use = "an event that is not acted upon is lost"]
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
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
        match &self.state {
            State::Open(keepalive) => Some(keepalive.timeout()),
            waiting => waiting.deadline(),
        }
    }

    /// Whether the device is let in.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the session is over; what `poll_transmit` still gives is to be sent, then the connection closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether events wait to be polled.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// How long a message surely finds room now, in bytes; zero while the session is not open.
    pub fn room(&self) -> usize {
        if self.is_open() { self.link.room() } else { 0 }
    }

    /// The bytes that `poll_transmit` would give.
    pub fn transmit_backlog(&self) -> usize {
        self.link.backlog()
    }

    /// The memory held for a message that has come in part, in bytes.
    pub fn held_by_partial_message(&self) -> usize {
        self.link.held()
    }

    fn handle(&mut self, message: ToServer, now: Now) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitHello { connection, deadline } => self.greeted(connection, deadline, message, now),
            State::AwaitProof { connection, known, deadline } => {
                self.answered(connection, known, deadline, message, now);
            }
            State::Open(mut keepalive) => {
                keepalive.heard(now.mono_ms);
                self.state = State::Open(keepalive);
                self.handle_open(message);
            }
            State::Leaving => {
                self.state = State::Leaving;
                self.handle_last(message);
            }
            state => self.unexpected(state, &message),
        }
    }

    fn greeted(&mut self, connection: Box<Connection>, deadline: u64, message: ToServer, now: Now) {
        let ToServer::Hello { version, identity } = message else {
            return self.unexpected(State::AwaitHello { connection, deadline }, &message);
        };
        if version != PROTOCOL_VERSION {
            let reason = Refusal::UnsupportedVersion;
            return self.refused(Box::new(RefusedDevice { reason, identity: Some(identity), record: None }), None);
        }
        let deadline = now.mono_ms.saturating_add(self.limits.lookup_ms);
        self.state = State::Lookup { connection, claimed: identity, deadline };
        self.events.push(ServerEvent::Identify { identity });
    }

    fn answered(
        &mut self,
        connection: Box<Connection>,
        known: Box<KnownDevice>,
        deadline: u64,
        message: ToServer,
        now: Now,
    ) {
        let ToServer::Proof { cose } = message else {
            return self.unexpected(State::AwaitProof { connection, known, deadline }, &message);
        };
        match connection.check(&known, cose, self.limits) {
            Ok(device) => {
                let deadline = now.mono_ms.saturating_add(self.limits.lookup_ms);
                let identity = device.get().identity;
                self.state = State::AwaitWelcome { nonce: connection.nonce, identity, deadline };
                self.events.push(ServerEvent::Authenticated(Box::new(device)));
            }
            Err(refused) => self.refused(refused, None),
        }
    }

    fn handle_open(&mut self, message: ToServer) {
        match message {
            ToServer::App { name, value } => self.events.push(ServerEvent::App { name, value, to_handle: false }),
            ToServer::AppToHandle { name, value } => self.app_to_handle(name, value),
            ToServer::Logs { ring, first, lines } => self.events.push(ServerEvent::Logs { ring, first, lines }),
            ToServer::Diary { ring, first, entries } => self.events.push(ServerEvent::Diary { ring, first, entries }),
            ToServer::WantApp { sha256, offset } => self.events.push(ServerEvent::WantApp { sha256, offset }),
            ToServer::AppState(state) => self.events.push(ServerEvent::AppState(state)),
            ToServer::SelfTest { cose } => self.events.push(ServerEvent::SelfTest { cose }),
            ToServer::WantOs { image, offset } => self.events.push(ServerEvent::WantOs { image, offset }),
            ToServer::WantOsKey { image } => self.events.push(ServerEvent::WantOsKey { image }),
            ToServer::WantTrust { subject, root_version } => {
                self.events.push(ServerEvent::WantTrust { subject, root_version });
            }
            ToServer::OsState { image, state } => self.events.push(ServerEvent::OsState { image, state }),
            ToServer::Ping => self.link.pong(&ToDevice::Pong),
            ToServer::Pong => {}
            ToServer::Hello { .. } | ToServer::Proof { .. } => {
                let error = ProtocolError::Unexpected { message: message.name(), waiting: self.state.doing() };
                self.broken(error);
            }
        }
    }

    /// What a device sent before it heard that it is to go. It gets no answer any more.
    fn handle_last(&mut self, message: ToServer) {
        match message {
            ToServer::Ping
            | ToServer::Pong
            | ToServer::WantApp { .. }
            | ToServer::WantOs { .. }
            | ToServer::WantOsKey { .. }
            | ToServer::WantTrust { .. } => {}
            other => self.handle_open(other),
        }
    }

    fn send(&mut self, message: &ToDevice) -> Result<(), SendError> {
        self.open()?;
        message.check(self.limits)?;
        self.link.send(message, 0)
    }

    fn kept(&mut self, message: &ToDevice) {
        if self.is_open() {
            self.link.control(message);
        }
    }

    fn open(&self) -> Result<(), SendError> {
        if self.is_open() { Ok(()) } else { Err(SendError::NotOpen) }
    }

    fn unexpected(&mut self, state: State, message: &ToServer) {
        let error = ProtocolError::Unexpected { message: message.name(), waiting: state.doing() };
        self.state = state;
        self.broken(error);
    }

    fn refused(&mut self, refused: Box<RefusedDevice>, retry_after_ms: Option<u32>) {
        self.link.control(&ToDevice::Refused { reason: refused.reason, retry_after_ms });
        self.state = State::Closed;
        self.events.push(ServerEvent::Refused(refused));
    }

    /// A device that was let in is told what it did; a stranger is told nothing.
    fn broken(&mut self, error: ProtocolError) {
        if self.is_closed() {
            return;
        }
        if self.is_open() && !matches!(error, ProtocolError::Ended | ProtocolError::Truncated) {
            let reason = match error {
                ProtocolError::Silence(_) => CloseReason::Silence,
                _ => CloseReason::ProtocolError,
            };
            self.link.control(&ToDevice::Close { reason, come_back_after_ms: None });
        }
        self.state = State::Closed;
        self.events.push(ServerEvent::Broken(error));
    }
}

impl State {
    fn deadline(&self) -> Option<u64> {
        match self {
            Self::AwaitHello { deadline, .. }
            | Self::Lookup { deadline, .. }
            | Self::AwaitProof { deadline, .. }
            | Self::AwaitWelcome { deadline, .. } => Some(*deadline),
            Self::Open(_) | Self::Leaving | Self::Closed => None,
        }
    }

    fn doing(&self) -> &'static str {
        match self {
            Self::AwaitHello { .. } => "waiting for hello",
            Self::Lookup { .. } => "the device was being looked up",
            Self::AwaitProof { .. } => "waiting for the proof",
            Self::AwaitWelcome { .. } => "the welcome was being prepared",
            Self::Open(_) => "the session was open",
            Self::Leaving => "the device was told to go",
            Self::Closed => "the session was closed",
        }
    }
}
