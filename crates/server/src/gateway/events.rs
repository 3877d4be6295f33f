//! What happened at the gateway, as it was on the wire: for evidence, the demo and an operator's log.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

use super::counters::Turned;

/// Events kept for a slow listener; it learns how many it missed.
const KEPT: usize = 1_024;

/// One event of one connection.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayEvent {
    /// When, Unix milliseconds.
    pub unix_ms: i64,
    /// The connection: a number that counts up from the start of the gateway.
    pub connection: u64,
    /// The port of the rule (31314, 993, 443) that its listener stands for.
    pub rule_port: u16,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// What happened.
    #[serde(flatten)]
    pub what: GatewayEventKind,
}

/// What happened. Hashes are lower-case hex; nonces, exporters, DER and CBOR are base64.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum GatewayEventKind {
    /// The TLS handshake is complete.
    Handshake(TlsFacts),
    /// TLS ended with an alert or another error.
    TlsFailed {
        /// The alert that was received from the peer.
        alert_received: Option<String>,
        /// The alert that was sent to the peer.
        alert_sent: Option<String>,
        /// What went wrong.
        error: String,
    },
    /// The device was asked to prove itself.
    Challenged {
        /// SHA-256 of the SPKI it claims.
        identity_spki_sha256: String,
        /// The random bytes it must sign.
        nonce: String,
        /// This connection's channel binding, as the server computed it.
        exporter: String,
    },
    /// The device's answer, as it came, and the verdict.
    Answered(ChallengeAnswer),
    /// The device is welcome.
    Welcomed {
        /// Its id.
        device_id: String,
        /// SHA-256 of the app it was told about.
        app_sha256: Option<String>,
    },
    /// All bytes of an app went out in this session.
    AppServed {
        /// The device.
        device_id: String,
        /// SHA-256 of the image.
        sha256: String,
        /// Its length.
        length: u64,
        /// Bytes of it that were sent in this session.
        bytes: u64,
    },
    /// A device was enrolled.
    Enrolled {
        /// Its id.
        device_id: String,
        /// SHA-256 of its identity key's SPKI.
        identity_spki_sha256: String,
    },
    /// The connection was turned away.
    Turned {
        /// At which stage, and why.
        reason: Turned,
        /// More about it.
        detail: String,
    },
    /// The session ended.
    Ended {
        /// The device.
        device_id: String,
        /// Why.
        reason: String,
    },
}

/// What both ends agreed on.
#[derive(Clone, Debug, Serialize)]
pub struct TlsFacts {
    /// `classic` or `modern`.
    pub profile: String,
    /// The application protocol.
    pub alpn: Option<String>,
    /// The TLS version.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group.
    pub group: String,
    /// Whether a ticket was used.
    pub resumed: bool,
    /// SHA-256 of the SPKI of the certificate that the server showed.
    pub server_spki_sha256: String,
    /// SHA-256 of the SPKI of the client's certificate.
    pub client_spki_sha256: Option<String>,
}

/// A challenge with its answer: enough for an outsider to verify it again.
#[derive(Clone, Debug, Serialize)]
pub struct ChallengeAnswer {
    /// The identity key, SPKI DER, base64.
    pub identity_spki: String,
    /// The purpose that the signature covers, base64.
    pub external_aad: String,
    /// The nonce of the challenge, base64.
    pub nonce: String,
    /// The server's channel binding, base64.
    pub exporter: String,
    /// The COSE_Sign1 that came, base64.
    pub cose: String,
    /// Why it is refused; none when it holds.
    pub refused: Option<String>,
}

/// Where events go: whoever listens at the moment. Without a listener nothing is built and nothing is kept.
#[derive(Clone, Debug)]
pub struct GatewayEvents(broadcast::Sender<Arc<GatewayEvent>>);

impl Default for GatewayEvents {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl GatewayEvents {
    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<GatewayEvent>> {
        self.0.subscribe()
    }

    pub(crate) fn wanted(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn publish(&self, event: GatewayEvent) {
        // Without a listener the event is not missed.
        let _ = self.0.send(Arc::new(event));
    }
}
