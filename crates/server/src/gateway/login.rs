//! From a finished TLS handshake to a session: who is it, prove it, welcome.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keys::hashes::random;
use keys::profile::Profile;
use keys::public::{PublicKey, SpkiHash};
use keys::tls::{Negotiated, exporter, recheck_client};
use protocol::limits::LIMITS;
use protocol::message::AppRef;
use protocol::reason::Refusal;
use protocol::session::{
    Authenticated, ChallengeRecord, Device, Greeting, KnownDevice, RefusedDevice, ServerEvent, ServerSession,
    ServerSessionConfig, Standing,
};
use tokio::time::timeout;

use super::arrival::{Inside, LAST_WORDS, TurnedAway};
use super::counters::Turned;
use super::edge::Caller;
use super::events::{ChallengeAnswer, GatewayEventKind, TlsFacts};
use super::judgement::{judge, level, raise};
use super::session::{Proved, Session};
use super::tls_socket::TlsSocket;
use crate::bus::{SessionInbox, SessionTicket};
use crate::fleet::{self, AlarmKind, DeviceLogin};

/// When a device shall try again that was refused for the server's own trouble, milliseconds.
const RETRY_MS: u32 = 10_000;

/// A connection that is asked to prove itself.
struct Login<'a> {
    caller: &'a Caller,
    socket: TlsSocket,
    machine: ServerSession,
    /// What the connection is challenged with, for the record.
    nonce: [u8; 32],
    exporter: [u8; 32],
    /// The records of the device it claims to be, and how many changes the bus had seen before they were read.
    found: Option<(DeviceLogin, u64)>,
}

/// Logs a device in.
///
/// # Errors
/// [`TurnedAway`], after the device was told why.
pub(super) async fn login(
    caller: &Caller,
    socket: TlsSocket,
    profile: Profile,
    early: &[u8],
    inside: Inside,
) -> Result<Box<Session>, TurnedAway> {
    let now = caller.edge.now();
    // A resumed handshake skips the verifier: date, profile and the certificate's presence are checked here for each connection.
    let peer = recheck_client(socket.tls().peer_certificates(), profile, now)
        .map_err(|error| TurnedAway::new(Turned::CertificateRefused, error.to_string()))?;
    let exporter =
        exporter(socket.tls()).map_err(|error| TurnedAway::new(Turned::HandshakeFailed, error.to_string()))?;
    let peer_tls_key = peer.public.spki_hash();
    caller.emit(|| GatewayEventKind::Handshake(tls_facts(caller, &socket, profile, Some(peer_tls_key.to_string()))));
    let nonce = random();
    let config = ServerSessionConfig { nonce, exporter, peer_tls_key, profile, limits: &LIMITS };
    let mut machine = ServerSession::new(config, now);
    machine.handle_bytes(early, now);
    let mut login = Login { caller, socket, machine, nonce, exporter, found: None };
    let away = match timeout(caller.edge.limits.challenge_deadline, login.prove_and_open()).await {
        Ok(Ok(Greeted { ticket, inbox, found, proved })) => {
            let socket = login.socket.settle();
            let socket = socket.map_err(|error| TurnedAway::new(Turned::Broken, error.to_string()))?;
            let session = Session::new(socket, login.machine, ticket, inbox, &found, proved, &caller.edge);
            return Ok(Box::new(session));
        }
        Ok(Err(away)) => away,
        Err(_) => Turned::ChallengeDeadline.into(),
    };
    drop(inside);
    login.socket.close(LAST_WORDS).await;
    Err(away)
}

/// What TLS agreed on, for the record.
pub(super) fn tls_facts(caller: &Caller, socket: &TlsSocket, profile: Profile, client: Option<String>) -> TlsFacts {
    let negotiated = Negotiated::of(socket.tls());
    TlsFacts {
        profile: profile.to_string(),
        alpn: socket.tls().alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
        version: negotiated.version.to_owned(),
        suite: negotiated.suite.to_owned(),
        group: negotiated.group.to_owned(),
        resumed: negotiated.resumed,
        server_spki_sha256: caller.edge.tls.server_spki(profile).to_string(),
        client_spki_sha256: client,
    }
}

impl Login<'_> {
    async fn prove_and_open(&mut self) -> Result<Greeted, TurnedAway> {
        let device = self.prove().await?;
        self.open(device).await
    }

    /// Hello, challenge, proof.
    async fn prove(&mut self) -> Result<Box<Authenticated<Device>>, TurnedAway> {
        let flight = self.caller.edge.limits.flight_deadline;
        loop {
            while let Some(event) = self.machine.poll_event() {
                match event {
                    ServerEvent::Identify { identity } => self.look_up(identity).await,
                    ServerEvent::Authenticated(device) => return Ok(device),
                    ServerEvent::Refused(refused) => return Err(self.refused(*refused).await),
                    ServerEvent::Broken(error) => return Err(TurnedAway::new(Turned::Broken, error.to_string())),
                    // The machine yields nothing else before the welcome.
                    _ => return Err(Turned::Broken.into()),
                }
            }
            self.send().await?;
            let now = self.caller.edge.now();
            let Self { socket, machine, .. } = self;
            let flight = timeout(flight, socket.read(|plain| machine.handle_bytes(plain, now))).await;
            let read = flight.map_err(|_| Turned::FlightDeadline)?;
            read.map_err(|error| TurnedAway::new(Turned::Gone, error.to_string()))?;
        }
    }

    async fn look_up(&mut self, identity: SpkiHash) {
        let edge = &self.caller.edge;
        let changes = edge.bus.changes();
        match edge.store.device_login(identity).await {
            Ok(found) => {
                let known = found.as_ref().map(known);
                self.found = found.map(|found| (found, changes));
                self.machine.known(known, edge.now());
                if self.machine.is_closed() {
                    // Refused before any challenge.
                    return;
                }
                self.caller.emit(|| GatewayEventKind::Challenged {
                    identity_spki_sha256: identity.to_string(),
                    nonce: BASE64_STANDARD.encode(self.nonce),
                    exporter: BASE64_STANDARD.encode(self.exporter),
                });
            }
            Err(error) => {
                tracing::error!(device = %identity, %error, "cannot look a device up; it is told to come back");
                self.machine.refuse(Refusal::Unavailable, Some(RETRY_MS));
            }
        }
    }

    /// Attaches the proved device, which ends an older session of it, and welcomes it.
    async fn open(&mut self, device: Box<Authenticated<Device>>) -> Result<Greeted, TurnedAway> {
        let edge = &self.caller.edge;
        let Device { identity, record, claims, .. } = device.get();
        self.caller.emit(|| GatewayEventKind::Answered(answer(record, None)));
        let (found, changes) = self.found.take().ok_or(Turned::Unavailable)?;
        if let Err(reason) = judge(edge, &found, claims).await {
            return Err(self.turn_away(reason).await);
        }
        let (ticket, inbox) = edge.bus.attach(*identity, self.caller.peer.ip());
        // Whoever revokes a device or deploys to it looks for its session; it had none until this moment.
        let found = if edge.bus.changes() == changes { Some(found) } else { self.look_again(*identity).await? };
        let Some(found) = found.filter(|found| !found.revoked) else {
            return Err(self.turn_away(Refusal::Revoked).await);
        };
        if let Err(reason) = level(edge, &found, claims).await {
            return Err(self.turn_away(reason).await);
        }
        if ticket.alternates() {
            let text = "two connections of it replace each other again and again: it exists twice, or its network is very unsteady";
            raise(edge, &found, AlarmKind::SuspectedClone, text).await;
        }
        let app = found.app.map(app_ref);
        let greeting =
            Greeting { keepalive_s: edge.keepalive_s, app, agent_url: Some(edge.agent_urls.of(found.agent)) };
        let welcomed = self.machine.welcome(&device, greeting, edge.now());
        welcomed.map_err(|error| TurnedAway::new(Turned::Unavailable, error.to_string()))?;
        edge.counters.count_login();
        self.caller.emit(|| GatewayEventKind::Welcomed {
            device_id: found.id.to_string(),
            app_sha256: app.map(|app| const_hex::encode(app.sha256)),
        });
        let is_noted = found.os_version.as_ref() != Some(&claims.os_version);
        if is_noted {
            edge.bus.journal().os_version(*identity, claims.os_version.clone());
        }
        Ok(Greeted { ticket, inbox, found, proved: Proved::of(claims, is_noted) })
    }

    async fn look_again(&mut self, identity: SpkiHash) -> Result<Option<DeviceLogin>, TurnedAway> {
        match self.caller.edge.store.device_login(identity).await {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::error!(device = %identity, %error, "cannot look a device up again; it is told to come back");
                Err(self.turn_away(Refusal::Unavailable).await)
            }
        }
    }

    /// Refuses a device that proved itself.
    async fn turn_away(&mut self, reason: Refusal) -> TurnedAway {
        let unavailable = reason == Refusal::Unavailable;
        self.machine.refuse(reason, unavailable.then_some(RETRY_MS));
        let turned = if unavailable { Turned::Unavailable } else { Turned::Refused };
        self.send().await.err().unwrap_or_else(|| TurnedAway::new(turned, reason.to_string()))
    }

    /// Sends the refusal and records it.
    async fn refused(&mut self, refused: RefusedDevice) -> TurnedAway {
        let RefusedDevice { reason, identity, record } = refused;
        if let Some(record) = &record {
            self.caller.emit(|| GatewayEventKind::Answered(answer(record, Some(reason))));
        }
        // A device with the right certificate and a wrong answer is not noise: somebody has its TLS key, or two have its identity.
        tracing::warn!(device = ?identity, peer = %self.caller.peer, %reason, "device refused");
        match self.send().await {
            Ok(()) => TurnedAway::new(Turned::Refused, reason.to_string()),
            Err(gone) => gone,
        }
    }

    async fn send(&mut self) -> Result<(), TurnedAway> {
        let gone = |error: std::io::Error| TurnedAway::new(Turned::Gone, error.to_string());
        if let Some(bytes) = self.machine.poll_transmit() {
            self.socket.write(&bytes).map_err(gone)?;
        }
        self.socket.flush().await.map_err(gone)
    }
}

/// What a proved device got from the bus, and what the records say about it.
struct Greeted {
    ticket: SessionTicket,
    inbox: SessionInbox,
    found: DeviceLogin,
    proved: Proved,
}

fn known(found: &DeviceLogin) -> KnownDevice {
    KnownDevice {
        identity: PublicKey::clone(&found.identity),
        tls_key: found.tls_spki,
        standing: if found.revoked { Standing::Revoked } else { Standing::Enrolled },
    }
}

/// The wire's name for an app.
pub(super) fn app_ref(app: fleet::AppRef) -> AppRef {
    AppRef { sha256: app.sha256, len: app.len }
}

fn answer(record: &ChallengeRecord, refused: Option<Refusal>) -> ChallengeAnswer {
    ChallengeAnswer {
        identity_spki: BASE64_STANDARD.encode(&record.identity_spki),
        external_aad: BASE64_STANDARD.encode(record.external_aad),
        nonce: BASE64_STANDARD.encode(record.nonce),
        exporter: BASE64_STANDARD.encode(record.exporter),
        cose: BASE64_STANDARD.encode(&record.eat_cose),
        refused: refused.map(|reason| format!("{reason:?}")),
    }
}
