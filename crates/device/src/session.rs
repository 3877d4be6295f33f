//! The driver of one session: bytes between the connection and the protocol's machine, its events to those who act on them.

mod app;
mod handed;
mod os;
mod roots;
pub(crate) mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keys::pki::CertificateFacts;
use protocol::os::{OsState, ROOTS_ALONE};
use protocol::reason::{CloseReason, Refusal, RestartReason};
use protocol::session::{DeviceEvent as Event, DeviceSession, DeviceSessionConfig, Welcomed};
use protocol::sign::SignRequest;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;

use crate::app::sending::FromApp;
use crate::app::wish::unwanted;
use crate::app::{ToApp, When};
use crate::connect::attempt::{Attempt, AttemptResult};
use crate::connect::wire::Wire;
use crate::connect::{Connection, tls_result};
use crate::device::{Device, stopped};
use crate::events::{Base64, ChallengeRecord, DeviceEvent, Welcomed as WelcomeSeen};
use crate::session::app::Judging;
use crate::session::handed::Handed;
use crate::session::writer::Writer;

/// The bytes read from the connection at once.
const READ_BYTES: usize = 16 * 1024;
/// The room that must be left before the app may queue one more message: the largest one.
const MESSAGE_ROOM: usize = protocol::limits::LIMITS.app_value + protocol::limits::LIMITS.app_name + 64;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The connection did not last until the server's verdict; another port may do better.
    LoginBroken,
    /// The server does not let this device in.
    Refused {
        /// Why.
        reason: Refusal,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server ended the open session.
    Closed {
        /// Why.
        reason: CloseReason,
        /// When it wants the device back.
        come_back_after: Option<Duration>,
    },
    /// The app wants no session, or there was nothing more to look for.
    Left,
    /// The open session broke.
    Broken(String),
}

impl SessionEnd {
    /// Whether the server says that this device is revoked.
    pub fn is_revoked(&self) -> bool {
        matches!(
            self,
            SessionEnd::Refused { reason: Refusal::Revoked, .. }
                | SessionEnd::Closed { reason: CloseReason::Revoked, .. }
        )
    }

    /// The pause that the server asked for.
    pub fn asked_pause(&self) -> Option<Duration> {
        match self {
            SessionEnd::Refused { retry_after, .. } => *retry_after,
            SessionEnd::Closed { come_back_after, .. } => *come_back_after,
            SessionEnd::LoginBroken | SessionEnd::Left | SessionEnd::Broken(_) => None,
        }
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionEnd::LoginBroken => write!(f, "the login broke off"),
            SessionEnd::Refused { reason, .. } => write!(f, "the server refuses this device: {reason}"),
            SessionEnd::Closed { reason, .. } => write!(f, "the server ended the session: {reason}"),
            SessionEnd::Left => write!(f, "the app wants no connection"),
            SessionEnd::Broken(why) => write!(f, "the connection is lost: {why}"),
        }
    }
}

/// One session from hello to its end.
pub(crate) struct Session<'a> {
    device: &'a mut Device,
    machine: DeviceSession,
    reader: ReadHalf<TlsStream<Wire>>,
    writer: Writer<WriteHalf<TlsStream<Wire>>>,
    /// The attempt until its result is known.
    attempt: Option<Attempt>,
    server: CertificateFacts,
    /// What the app has no room for yet; nothing more is read meanwhile.
    to_app: VecDeque<ToApp>,
    from_app: Option<mpsc::Receiver<FromApp>>,
    state_told: bool,
    self_test_told: bool,
    handed: Handed,
    /// The version of the root metadata that the server says is the newest.
    newest_root: u64,
    /// An app is being fetched, or waits for what proves it.
    fetching: bool,
    judging: Option<Judging>,
    /// Whether the app that runs is asked when it makes room for the one that is fetched.
    when: When,
    /// Until when the session lasts though the app wants none; past, unless it is there to look for updates.
    visit_until: Instant,
}

/// What the loop waited for.
enum Woken {
    Read(io::Result<usize>),
    Written(io::Result<()>),
    Time,
    Message(FromApp),
    AppTook,
    SomethingToTell,
    Unwanted,
}

impl<'a> Session<'a> {
    /// A session on a connection on which nothing was said yet.
    pub(crate) fn new(device: &'a mut Device, connection: Connection, is_visit: bool) -> Session<'a> {
        let Connection { stream, attempt, server, exporter } = connection;
        let booted = device.folder.booted.as_ref();
        let config = DeviceSessionConfig {
            identity: device.folder.keys.identity().clone(),
            exporter,
            profile: device.folder.config.profile,
            model: device.folder.config.model.clone(),
            os_version: device.os_version(),
            attestation: device.folder.keys.level(),
            boot: booted.map(|booted| *booted.manifest_sha256),
            vault_generation: device.vault_generation(),
            layers: booted.map(|booted| booted.layers),
            memory_locked: booted.map(|booted| !booted.danger_unlocked_memory),
            limits: protocol::limits::LIMITS,
        };
        let machine = DeviceSession::new(config, device.clock.now());
        let (reader, writer) = tokio::io::split(stream);
        let writer = Writer::new(writer, device.limits.write_wait);
        let visit = device.limits.visit;
        Session {
            device,
            machine,
            reader,
            writer,
            attempt: Some(attempt),
            server,
            to_app: VecDeque::new(),
            from_app: None,
            state_told: false,
            self_test_told: false,
            handed: Handed::default(),
            newest_root: 0,
            fetching: false,
            judging: None,
            when: When::Ready,
            visit_until: if is_visit { Instant::now() + visit } else { Instant::now() },
        }
    }

    /// Drives the session to its end.
    pub(crate) async fn drive(mut self) -> SessionEnd {
        let mut buffer = vec![0; READ_BYTES];
        let end = loop {
            if let Some(end) = self.act().await {
                break end;
            }
            self.report();
            if !self.writer.is_busy()
                && let Some(bytes) = self.machine.poll_transmit()
            {
                self.writer.start(bytes);
            }
            if !self.writer.is_busy() {
                self.handed.sent(self.device.logs.is_empty());
            }
            self.breathe();
            match self.wait(&mut buffer).await {
                Woken::Read(Ok(0)) => self.machine.handle_eof(),
                Woken::Read(Ok(length)) => {
                    let now = self.device.clock.now();
                    self.machine.handle_bytes(buffer.get(..length).unwrap_or_default(), now);
                }
                Woken::Read(Err(error)) | Woken::Written(Err(error)) => break self.broken_by(&error),
                Woken::Time => self.machine.handle_timeout(self.device.clock.now()),
                Woken::Message(message) => self.handed.take(&mut self.machine, message),
                Woken::Unwanted => break SessionEnd::Left,
                Woken::AppTook | Woken::SomethingToTell | Woken::Written(Ok(())) => {}
            }
        };
        self.leave(&end).await;
        end
    }

    /// Hands over what the next session and the app still need, and closes a connection that still works.
    async fn leave(mut self, end: &SessionEnd) {
        self.device.partial = self.machine.take_partial();
        // With these gone, the app learns that its message did not go.
        self.from_app = None;
        self.handed = Handed::default();
        self.to_app.push_back(ToApp::Disconnected);
        for command in self.to_app {
            // The app's task ends only together with this one.
            let _ = self.device.app.send(command).await;
        }
        let last = self.machine.poll_transmit();
        match end {
            SessionEnd::Refused { .. } | SessionEnd::Closed { .. } => {
                let _ = timeout(self.device.limits.close_wait, self.writer.finish(last)).await;
            }
            SessionEnd::Left => {
                self.writer.finish(last).await;
                // A socket that is closed while something unread is in it takes back what was sent last.
                let mut rest = [0; 256];
                let drained = async { while self.reader.read(&mut rest).await.is_ok_and(|length| length > 0) {} };
                let _ = timeout(self.device.limits.close_wait, drained).await;
            }
            SessionEnd::LoginBroken | SessionEnd::Broken(_) => {}
        }
    }

    /// While the app has no room nothing is read, and the server's silence says nothing.
    fn breathe(&mut self) {
        if self.to_app.is_empty() {
            self.machine.resume(self.device.clock.now());
        } else {
            self.machine.pause();
        }
    }

    async fn wait(&mut self, buffer: &mut [u8]) -> Woken {
        let deadline = self.machine.poll_timeout().map(|mono_ms| self.device.clock.instant(mono_ms));
        let open = self.machine.is_open();
        let room = self.machine.room() >= MESSAGE_ROOM;
        let Device { app, app_state, wish, stop, logs, clock, .. } = &mut *self.device;
        let visit_until = self.visit_until;
        let left = async {
            sleep_until(visit_until).await;
            unwanted(wish).await;
        };
        let never = clock.instant(u64::MAX);
        tokio::select! {
            done = self.writer.done(), if self.writer.is_busy() => Woken::Written(done),
            Ok(permit) = app.reserve(), if !self.to_app.is_empty() => {
                if let Some(next) = self.to_app.pop_front() {
                    permit.send(next);
                }
                Woken::AppTook
            }
            read = self.reader.read(buffer), if self.to_app.is_empty() => Woken::Read(read),
            message = next_message(&mut self.from_app), if room && !self.handed.is_flushing() => Woken::Message(message),
            () = self.handed.flush_given_up() => Woken::SomethingToTell,
            () = logs.arrived(), if room => Woken::SomethingToTell,
            Ok(()) = app_state.changed(), if open => {
                self.state_told = false;
                Woken::SomethingToTell
            }
            // What the app handed over before goes first; an app that is being fetched is worth the wait.
            () = left, if open && !self.fetching && self.to_app.is_empty() => Woken::Unwanted,
            () = stopped(stop) => Woken::Unwanted,
            () = sleep_until(deadline.unwrap_or(never)) => Woken::Time,
        }
    }

    /// Acts on everything that has happened; says so when it was the end.
    async fn act(&mut self) -> Option<SessionEnd> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Sign(request) => {
                    if let Some(end) = self.sign(request).await {
                        return Some(end);
                    }
                }
                Event::Welcomed(welcomed) => self.welcomed(*welcomed).await,
                Event::App { name, value } => self.to_app.push_back(ToApp::Message { name, value }),
                Event::AppAvailable(app) => self.assigned(Some(app)).await,
                Event::AppComplete { app, bytes } => self.downloaded(app, bytes).await,
                Event::AppDamaged(app) => {
                    self.fetching = false;
                    let why = "what came has another SHA-256 than was promised; it is thrown away".to_owned();
                    self.device.app_unusable(app.sha256, why);
                }
                Event::AppHandled { next, handled } => self.handed.handled(next, handled),
                Event::LogsKept(next) => self.device.logs.kept(next),
                Event::DiaryKept(next) => {
                    self.device.diary.kept(next);
                    // The server takes messages in their order, and the diary came after it.
                    if self.self_test_told {
                        self.device.self_test_taken().await;
                    }
                }
                Event::AppRemoved => self.assigned(None).await,
                Event::Restart(reason) => self.restart(reason),
                Event::OsAvailable(os) => self.os_offered(os),
                Event::OsRemoved => self.device.update.removed(),
                Event::OsChunk { image, offset, data } => self.os_chunk(image, offset, &data),
                Event::OsKey { image, wrapped } => {
                    if let Some(state) = self.device.install_os(image, wrapped).await {
                        let _ = self.machine.os_state(image, state);
                    }
                }
                Event::RootAvailable(version) => self.root_available(version),
                Event::Trust { subject: ROOTS_ALONE, trust } => self.roots_came(*trust).await,
                Event::Trust { subject, trust } if self.is_judging(subject) => self.app_proved(*trust).await,
                Event::Trust { subject, trust } => self.os_proved(subject, *trust),
                Event::Refused { reason, retry_after_ms } => {
                    let retry_after = retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                    return Some(self.refused(reason, retry_after));
                }
                Event::Closed { reason, come_back_after_ms } => {
                    let come_back_after = come_back_after_ms.map(|ms| Duration::from_millis(ms.into()));
                    return Some(SessionEnd::Closed { reason, come_back_after });
                }
                Event::Broken(error) => return Some(self.broken(error.to_string())),
            }
        }
        None
    }

    /// Signing may be slow (a TPM takes most of a second), so it has a thread of its own. Without a signature the login is over.
    async fn sign(&mut self, request: SignRequest) -> Option<SessionEnd> {
        let keys = Arc::clone(&self.device.folder.keys);
        let signing = tokio::task::spawn_blocking(move || keys.sign(request.purpose(), request.payload()));
        let wait = Duration::from_millis(protocol::limits::LIMITS.proof_ms);
        let why = match timeout(wait, signing).await {
            Ok(Ok(Ok(signature))) => {
                self.machine.signature(signature, self.device.clock.now());
                return None;
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {wait:?}"),
        };
        Some(self.broken(format!("the identity key does not sign: {why}")))
    }

    async fn welcomed(&mut self, Welcomed { welcome, record }: Welcomed) {
        self.device.observer.tell(DeviceEvent::Challenge(ChallengeRecord {
            identity_spki: Base64(record.identity_spki),
            external_aad: Base64(record.external_aad.to_vec()),
            nonce: Base64(record.nonce.to_vec()),
            exporter: Base64(record.exporter.to_vec()),
            eat: Base64(record.eat_cose),
        }));
        if let Some(attempt) = self.attempt.take() {
            self.device.attempt_ended(attempt, AttemptResult::Welcomed);
        }
        self.device.network_reached();
        self.device.image_proved().await;
        if let Some(image) = self.device.confirmed_image() {
            // A roll-out that brought it counts that; the server knows it from earlier sessions, or not at all.
            let _ = self.machine.os_state(image, OsState::Confirmed);
        }
        self.device.time_told(welcome.unix_ms, &self.server);
        self.device.observer.tell(DeviceEvent::Welcomed(WelcomeSeen {
            device_id: welcome.device_id.to_string(),
            unix_ms: welcome.unix_ms,
            keepalive_s: welcome.keepalive_s,
            agent_url: welcome.agent_url.unwrap_or_default(),
        }));
        self.device.refused = None;
        self.device.logs.begin();
        self.device.diary.begin();
        let (session, from_app) = mpsc::channel(1);
        self.from_app = Some(from_app);
        self.to_app.push_back(ToApp::Connected(session));
        self.assigned(welcome.app).await;
    }

    /// The server wants the app to start again; one that is being fetched starts in its place.
    fn restart(&mut self, reason: RestartReason) {
        let when = match reason {
            RestartReason::WhenReady => When::Ready,
            RestartReason::Asked | RestartReason::AgentRestarted => When::Now,
        };
        if self.fetching {
            self.when = when;
        } else {
            self.to_app.push_back(ToApp::Restart(when));
        }
    }

    /// Queues what waits for the server, as far as there is room: the diary, the app's state, log lines.
    fn report(&mut self) {
        if self.machine.room() < MESSAGE_ROOM {
            return;
        }
        if let (false, Some(result)) = (self.self_test_told, &self.device.self_test) {
            self.self_test_told = self.machine.self_test(result.clone()).is_ok();
        }
        let machine = &mut self.machine;
        self.device.diary.offer(|ring, first, entries| machine.send_diary(ring, first, entries).unwrap_or(0));
        if !self.state_told {
            let state = self.device.app_state.borrow_and_update().clone();
            self.state_told = self.machine.app_state(state).is_ok();
        }
        let machine = &mut self.machine;
        self.device.logs.offer(|ring, first, lines| machine.send_logs(ring, first, lines).unwrap_or(0));
    }

    fn refused(&mut self, reason: Refusal, retry_after: Option<Duration>) -> SessionEnd {
        if let Some(attempt) = self.attempt.take() {
            self.device.attempt_ended(attempt, AttemptResult::Refused { reason: reason.to_string() });
        }
        let retry_after_ms = retry_after.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.device.observer.tell(DeviceEvent::Refused { reason: reason.to_string(), retry_after_ms });
        SessionEnd::Refused { reason, retry_after }
    }

    /// A failure of the connection itself. In TLS 1.3 the server's refusal of our certificate comes this late.
    fn broken_by(&mut self, error: &io::Error) -> SessionEnd {
        match (self.attempt.take(), tls_result(error)) {
            (Some(attempt), result @ AttemptResult::TlsAlert { .. }) => self.login_broken(attempt, result),
            (Some(attempt), other) => self.login_broken(attempt, AttemptResult::LoginBroken { why: other.to_string() }),
            (None, other) => SessionEnd::Broken(other.to_string()),
        }
    }

    fn broken(&mut self, why: String) -> SessionEnd {
        match self.attempt.take() {
            Some(attempt) => self.login_broken(attempt, AttemptResult::LoginBroken { why }),
            None => SessionEnd::Broken(why),
        }
    }

    fn login_broken(&mut self, attempt: Attempt, result: AttemptResult) -> SessionEnd {
        self.device.attempt_ended(attempt, result);
        SessionEnd::LoginBroken
    }
}

/// The next message of the app; never, while the session is not open.
async fn next_message(from_app: &mut Option<mpsc::Receiver<FromApp>>) -> FromApp {
    if let Some(receiver) = from_app
        && let Some(message) = receiver.recv().await
    {
        return message;
    }
    std::future::pending().await
}
