//! The traffic secrets of one connection, noted while rustls makes the handshake.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, KeyLog, ProtocolVersion, ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::{
    Version,
    half::{Half, Secret},
};

/// What rustls calls the secrets that the keys of both directions come from.
const OF_CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const OF_SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// The traffic secrets of one TLS 1.3 connection: with them keys can be changed after rustls has gone. They stay in the memory of this
/// process and are wiped with the connection; rustls has no other way to hand them out than the one made for key logs.
#[derive(Default)]
pub struct TrafficSecrets {
    of_client: OnceLock<Secret>,
    of_server: OnceLock<Secret>,
}

/// Why a connection's keys cannot be taken over.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TakeOverError {
    /// rustls does not give them.
    #[error("the connection's keys cannot be had: {0}")]
    Tls(#[from] rustls::Error),
    /// They are not those of AES-128-GCM, the only cipher of both profiles.
    #[error("the connection has another cipher than AES-128-GCM")]
    Cipher,
    /// The peer changed its keys before it was let in. That is no use to anybody, and not followed here.
    #[error("the peer changed its keys before it had logged in")]
    KeysChanged,
}

impl TrafficSecrets {
    /// The configuration for one connection that is to be taken over, and where its secrets will be noted.
    pub fn of(config: &ServerConfig) -> (Arc<ServerConfig>, Arc<TrafficSecrets>) {
        let noted = Arc::new(TrafficSecrets::default());
        let mut config = config.clone();
        config.enable_secret_extraction = true;
        config.key_log = Arc::clone(&noted) as Arc<dyn KeyLog>;
        (Arc::new(config), noted)
    }

    fn slot(&self, label: &str) -> Option<&OnceLock<Secret>> {
        match label {
            OF_CLIENT => Some(&self.of_client),
            OF_SERVER => Some(&self.of_server),
            _ => None,
        }
    }
}

impl KeyLog for TrafficSecrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if let (Some(slot), Ok(secret)) = (self.slot(label), secret.try_into()) {
            // A connection has each of them once.
            let _ = slot.set(Zeroizing::new(secret));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.slot(label).is_some()
    }
}

/// Takes the keys of both directions: what comes, what goes.
pub(super) fn take(
    connection: ServerConnection,
    noted: &TrafficSecrets,
) -> Result<(Version, Half, Half), TakeOverError> {
    let version = connection.protocol_version();
    let ExtractedSecrets { tx, rx } = connection.dangerous_extract_secrets()?;
    let (rx, tx) = (half(rx)?, half(tx)?);
    if version == Some(ProtocolVersion::TLSv1_2) {
        return Ok((Version::Tls12, rx, tx));
    }
    let with = |half: Half, secret: &OnceLock<Secret>| secret.get().and_then(|secret| half.with_secret(secret));
    let (rx, tx) = (with(rx, &noted.of_client), with(tx, &noted.of_server));
    Ok((Version::Tls13, rx.ok_or(TakeOverError::KeysChanged)?, tx.ok_or(TakeOverError::KeysChanged)?))
}

fn half((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Half, TakeOverError> {
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { return Err(TakeOverError::Cipher) };
    Half::new(key.as_ref(), iv.as_ref(), sequence).ok_or(TakeOverError::Cipher)
}

impl fmt::Debug for TrafficSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecrets(..)")
    }
}
