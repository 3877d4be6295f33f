//! One connection from its accept to its session: the lobby, the door, TLS, then login or enrolment.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use keys::tls::{Kind, Listener, TrafficSecrets};
use tokio::io::{AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio_rustls::rustls::{self, AlertDescription, ServerConfig, ServerConnection};

use super::counters::{Counted, Gauge, Turned};
use super::edge::Caller;
use super::entrance::client_hello::{Arrived, arrived};
use super::entrance::door::DoorPass;
use super::entrance::lobby::Source;
use super::events::GatewayEventKind;
use super::reading::{peek_shared, read_shared};
use super::session::Session;
use super::tls_socket::{HandshakeError, TlsSocket, TlsSocketError};
use super::{enrolment, login};

/// Time to write an alert or a last frame to somebody who is being turned away.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a connection is turned away, with more about it for the log.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) reason: Turned,
    pub(super) detail: String,
}

impl TurnedAway {
    pub(super) fn new(reason: Turned, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<Turned> for TurnedAway {
    fn from(reason: Turned) -> Self {
        Self { reason, detail: String::new() }
    }
}

/// Takes a connection through all stages. The future stays small: everything after the door is boxed, so that a connection which only
/// waits holds no handshake state, and the box is gone before the session begins.
pub(super) async fn arrive(caller: Caller, tcp: TcpStream) {
    let admitted = match admit(&caller, tcp).await {
        Ok(admitted) => admitted,
        Err(away) => return caller.turned(&away),
    };
    match Box::pin(admitted.into_session(&caller)).await {
        Ok(Some(session)) => drop(caller.edge.tasks.clone().spawn(session.run(Box::new(caller)))),
        Ok(None) => {}
        Err(away) => caller.turned(&away),
    }
}

/// A connection that came through the door.
pub(super) struct Admitted {
    tcp: TcpStream,
    hello: Vec<u8>,
    pass: DoorPass,
}

async fn admit(caller: &Caller, mut tcp: TcpStream) -> Result<Admitted, TurnedAway> {
    let source = Source::from(caller.peer);
    let part = client_hello(caller, &mut tcp, source).await?;
    let mut grant = caller.edge.door.enter(source).map_err(|_| Turned::DoorFull)?;
    if let Ok(pass) = grant.try_recv() {
        return Admitted::new(caller, tcp, part, pass).await;
    }
    let _counted = caller.edge.counters.hold(Gauge::Waiting);
    let pass = timeout(caller.edge.limits.waiting_deadline, grant).await.map_err(|_| Turned::DoorDeadline)?;
    // The door outlives its queue, so a pass always comes.
    let pass = pass.map_err(|_| Turned::DoorFull)?;
    let admitted = Admitted::new(caller, tcp, part, pass).await?;
    // Who gave up while waiting must not cost a signature.
    if is_gone(&admitted.tcp).await {
        return Err(Turned::Gone.into());
    }
    Ok(admitted)
}

/// Waits until a whole ClientHello is there. One that came whole, as nearly all do, stays in the kernel: thousands may wait at the door. Of
/// one that came in parts these are returned.
async fn client_hello(caller: &Caller, tcp: &mut TcpStream, source: Source) -> Result<Vec<u8>, TurnedAway> {
    let limits = &caller.edge.limits;
    let _counted = caller.edge.counters.hold(Gauge::Lobby);
    let mut place = caller.edge.lobby.enter(source);
    let mut hello = Vec::new();
    let whole = async {
        let most = limits.hello_bytes;
        let seen = peek_shared(tcp, |bytes| (bytes.len(), arrived(bytes, most))).await;
        match seen.map_err(|error| TurnedAway::new(Turned::Gone, error.to_string()))? {
            (length, Arrived::Whole) if length <= most => return Ok(()),
            _ => {}
        }
        loop {
            let more = read_shared(tcp, |bytes| hello.extend_from_slice(bytes)).await;
            if more.map_err(|error| TurnedAway::new(Turned::Gone, error.to_string()))? == 0 {
                return Err(TurnedAway::from(Turned::Gone));
            }
            match arrived(&hello, limits.hello_bytes) {
                _ if hello.len() > limits.hello_bytes => return Err(Turned::NotTls.into()),
                Arrived::Foreign => return Err(Turned::NotTls.into()),
                Arrived::Part => {}
                Arrived::Whole => return Ok(()),
            }
        }
    };
    tokio::select! {
        biased;
        done = timeout(limits.hello_deadline, whole) => done.map_err(|_| Turned::HelloDeadline)??,
        () = place.evicted() => return Err(Turned::Evicted.into()),
    }
    Ok(hello)
}

async fn is_gone(tcp: &TcpStream) -> bool {
    let mut byte = [0; 1];
    let mut byte = ReadBuf::new(&mut byte);
    let looked = poll_fn(|cx| std::task::Poll::Ready(tcp.poll_peek(cx, &mut byte))).await;
    matches!(looked, std::task::Poll::Ready(Ok(0) | Err(_)))
}

impl Admitted {
    /// `hello` is the whole ClientHello, or nothing while it waits to be read.
    async fn new(caller: &Caller, mut tcp: TcpStream, mut hello: Vec<u8>, pass: DoorPass) -> Result<Self, TurnedAway> {
        if hello.is_empty() {
            let read = read_shared(&mut tcp, |bytes| hello.extend_from_slice(bytes)).await;
            read.map_err(|error| TurnedAway::new(Turned::Gone, error.to_string()))?;
            if hello.len() > caller.edge.limits.hello_bytes {
                return Err(Turned::NotTls.into());
            }
        }
        Ok(Self { tcp, hello, pass })
    }

    async fn into_session(self, caller: &Caller) -> Result<Option<Box<Session>>, TurnedAway> {
        let counted = caller.edge.counters.hold(Gauge::Door);
        let Self { mut tcp, hello, pass } = self;
        let Begun { tls, secrets, kind } = match accept_hello(caller, &hello).await {
            Ok(accepted) => accepted,
            Err((away, alert)) => {
                // The alert is a courtesy to whoever has to find out why.
                let _ = timeout(LAST_WORDS, tcp.write_all(&alert)).await;
                return Err(away);
            }
        };
        drop(hello);
        let mut socket = TlsSocket::new(tcp, tls, secrets);
        let early = handshake(caller, &mut socket).await?;
        // Held until the verdict, so that the door bounds the work for strangers and not only the handshakes.
        let inside = (pass, counted);
        match kind.listener {
            Listener::Session => login::login(caller, socket, kind.profile, &early, inside).await.map(Some),
            Listener::Enrolment => enrolment::serve(caller, socket, kind.profile, &early, inside).await.map(|()| None),
        }
    }
}

/// What a connection holds while it is inside the door.
pub(super) type Inside = (DoorPass, Counted);

/// A handshake that has begun.
struct Begun {
    tls: ServerConnection,
    secrets: Arc<TrafficSecrets>,
    kind: Kind,
}

/// Reads the ClientHello and chooses the configuration. The error carries the bytes to answer with.
async fn accept_hello(caller: &Caller, mut hello: &[u8]) -> Result<Begun, (TurnedAway, Vec<u8>)> {
    let failed = |error: rustls::Error, alert: Vec<u8>| {
        let error = TlsSocketError::Tls(error);
        tls_failed(caller, &error, plaintext_alert(&alert));
        (TurnedAway::new(Turned::HandshakeFailed, error.to_string()), alert)
    };
    let mut acceptor = Acceptor::default();
    while !hello.is_empty() {
        // Reading from memory fails only when rustls has no room, and a ClientHello within the limit always has.
        acceptor
            .read_tls(&mut hello)
            .map_err(|error| (TurnedAway::new(Turned::NotTls, error.to_string()), Vec::new()))?;
    }
    let accepted = match acceptor.accept() {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return Err((Turned::NotTls.into(), Vec::new())),
        Err((error, alert)) => return Err(failed(error, alert_bytes(alert))),
    };
    let (kind, config) = caller.edge.tls.choose(&accepted.client_hello()).map_err(|refused| {
        caller.emit(|| GatewayEventKind::TlsFailed {
            alert_received: None,
            alert_sent: Some(format!("{:?}", AlertDescription::NoApplicationProtocol)),
            error: refused.to_string(),
        });
        (TurnedAway::new(Turned::HelloRefused, refused.to_string()), NO_APPLICATION_PROTOCOL.to_vec())
    })?;
    let (config, secrets) = TrafficSecrets::of(&config);
    let tls = if caller.edge.pki.gateway(kind.profile).key().is_elsewhere() {
        sign_aside(caller, accepted, config).await?
    } else {
        accepted.into_connection(config)
    };
    let tls = tls.map_err(|(error, alert)| failed(error, alert_bytes(alert)))?;
    Ok(Begun { tls, secrets, kind })
}

/// The gateway's signature in the handshake, made by a key outside of this process, which may take as long as it likes: on a thread
/// of its own, a bounded number at a time.
async fn sign_aside(
    caller: &Caller,
    accepted: Accepted,
    config: Arc<ServerConfig>,
) -> Result<Result<ServerConnection, (rustls::Error, AcceptedAlert)>, (TurnedAway, Vec<u8>)> {
    let signing = async {
        let _turn = caller.edge.signing.acquire().await.ok()?;
        tokio::task::spawn_blocking(move || accepted.into_connection(config)).await.ok()
    };
    let signed = timeout(caller.edge.limits.handshake_deadline, signing).await;
    signed.ok().flatten().ok_or_else(|| (Turned::HandshakeDeadline.into(), Vec::new()))
}

/// A fatal alert in the clear (RFC 8446, 6; the description is RFC 7301's): rustls has none to give before a configuration is chosen.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

fn alert_bytes(mut alert: AcceptedAlert) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into memory does not fail.
    let _ = alert.write_all(&mut bytes);
    bytes
}

/// The description in an alert record that is not encrypted.
fn plaintext_alert(record: &[u8]) -> Option<AlertDescription> {
    match record {
        [21, 3, _, 0, 2, _, description] => Some(AlertDescription::from(*description)),
        _ => None,
    }
}

/// Runs the handshake; returns the plaintext that came with the client's last flight.
async fn handshake(caller: &Caller, socket: &mut TlsSocket) -> Result<Vec<u8>, TurnedAway> {
    let limits = &caller.edge.limits;
    let mut early = Vec::new();
    let running = socket.handshake(limits.flight_deadline, |plain| early.extend_from_slice(plain));
    let error = match timeout(limits.handshake_deadline, running).await {
        Ok(Ok(())) => return Ok(early),
        Ok(Err(HandshakeError::Socket(error))) => error,
        Ok(Err(HandshakeError::Flight)) => return Err(Turned::FlightDeadline.into()),
        Err(_) => return Err(Turned::HandshakeDeadline.into()),
    };
    if !matches!(error, TlsSocketError::Tls(_)) {
        return Err(TurnedAway::new(Turned::Gone, error.to_string()));
    }
    tls_failed(caller, &error, None);
    // The alert, if there is one to send.
    let _ = timeout(LAST_WORDS, socket.flush()).await;
    Err(TurnedAway::new(Turned::HandshakeFailed, error.to_string()))
}

/// Records a TLS failure with the alerts of both directions.
fn tls_failed(caller: &Caller, error: &TlsSocketError, sent: Option<AlertDescription>) {
    let TlsSocketError::Tls(tls) = error else { return };
    let (received, sent) = match tls {
        rustls::Error::AlertReceived(alert) => (Some(*alert), None),
        rustls::Error::InvalidCertificate(refused) => (None, Some(AlertDescription::from(refused.clone()))),
        _ => (None, sent),
    };
    caller.emit(|| GatewayEventKind::TlsFailed {
        alert_received: received.map(|alert| format!("{alert:?}")),
        alert_sent: sent.map(|alert| format!("{alert:?}")),
        error: error.to_string(),
    });
}
