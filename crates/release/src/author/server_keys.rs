//! What a server tells the ceremony about itself: its online keys, the key that content keys are sealed to, its TLS roots.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keys::pki::RootsBundle;
use keys::public::PublicKey;
use serde::{Deserialize, Serialize};

use crate::limits::LIMITS;
use crate::root::OnlineKeys;

const FORMAT: u32 = 1;

/// The public halves of a server's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeys {
    /// The keys that sign often.
    pub online: OnlineKeys,
    /// The key that content keys are sealed to.
    pub release_wrap: PublicKey,
    /// The roots that a device's server must come from.
    pub tls_roots: RootsBundle,
    /// The verifier key of its transparency log.
    pub log: Option<String>,
}

/// A file that is no such statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no file of a server's keys, as `vouch release server-keys` writes it: {0}")]
pub struct ServerKeysError(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    snapshot: String,
    timestamp: String,
    director: String,
    apps: String,
    release_wrap: String,
    tls_roots: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl ServerKeys {
    /// The file.
    pub fn to_json(&self) -> Vec<u8> {
        let key = |key: &PublicKey| BASE64.encode(key.spki_der());
        let file = File {
            format: FORMAT,
            snapshot: key(&self.online.snapshot),
            timestamp: key(&self.online.timestamp),
            director: key(&self.online.director),
            apps: key(&self.online.apps),
            release_wrap: key(&self.release_wrap),
            tls_roots: BASE64.encode(self.tls_roots.to_cbor()),
            log: self.log.clone(),
        };
        // Text and a number: nothing here cannot be written.
        serde_json::to_vec_pretty(&file).unwrap_or_default()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`ServerKeysError`].
    pub fn from_json(bytes: &[u8]) -> Result<ServerKeys, ServerKeysError> {
        let wrong = |why: String| ServerKeysError(why);
        if bytes.len() > LIMITS.metadata {
            return Err(wrong(format!("it has {} bytes, at most {} are read", bytes.len(), LIMITS.metadata)));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if file.format != FORMAT {
            return Err(wrong(format!("it has format {}, not {FORMAT}", file.format)));
        }
        let key = |name: &str, text: &str| {
            let der = BASE64.decode(text).map_err(|_| wrong(format!("{name} is not in base64")))?;
            PublicKey::from_spki_der(&der).map_err(|error| wrong(format!("{name}: {error}")))
        };
        let roots = BASE64.decode(&file.tls_roots).map_err(|_| wrong("tls_roots is not in base64".to_owned()))?;
        Ok(ServerKeys {
            online: OnlineKeys {
                snapshot: key("snapshot", &file.snapshot)?,
                timestamp: key("timestamp", &file.timestamp)?,
                director: key("director", &file.director)?,
                apps: key("apps", &file.apps)?,
            },
            release_wrap: key("release_wrap", &file.release_wrap)?,
            tls_roots: RootsBundle::from_cbor(&roots).map_err(|error| wrong(format!("tls_roots: {error}")))?,
            log: file.log,
        })
    }
}
