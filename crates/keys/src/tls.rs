//! TLS configurations of both ends, the channel binding, and what a handshake agreed on.
//!
//! | | `classic` | `modern` |
//! |---|---|---|
//! | version | TLS 1.2 | TLS 1.3 |
//! | suite | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 | TLS_AES_128_GCM_SHA256 |
//! | groups | X25519, secp256r1 | X25519MLKEM768, X25519 |
//! | certificates | RSA-2048 | ECDSA P-256 |
//! | resumption | never | tickets, between `vouch/1` connections only |

mod client;
mod deferred;
mod negotiated;
mod provider;
mod recheck;
mod records;
mod seen;
mod server;
#[cfg(feature = "web")]
mod web;

pub use client::{SessionMaterial, client_session};
pub use deferred::{check_deferred_server, danger_client_enrolment};
pub use negotiated::{Negotiated, exporter};
pub use provider::https_provider;
pub use recheck::{Peer, RecheckError, recheck_client, recheck_server};
pub use records::{RecordError, Records, TakeOverError, TrafficSecrets};
pub use seen::SeenServer;
pub use server::{HelloRefused, Kind, Listener, ServerTls, ServerTlsMaterial};
#[cfg(feature = "web")]
pub use web::{is_untrusted, web_client};

pub use rustls::{ClientConfig, ServerConfig};
pub use rustls_pki_types::ServerName;

use crate::{pki::PkiError, pki::RootsError, signer::SignError};

/// ALPN of a session: the device authenticates with its certificate.
pub const ALPN_SESSION: &[u8] = b"vouch/1";
/// ALPN of an enrolment: the device has no certificate yet.
pub const ALPN_ENROL: &[u8] = b"vouch-enrol/1";

/// Why a TLS configuration could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A verifier could not be built from the roots.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The key is no TLS key.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// Keys or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The key's purpose belongs to the other profile or the other end.
    #[error("a TLS key for `{found}` was given where `{expected}` is needed")]
    WrongPurpose {
        /// The purpose that fits.
        expected: crate::purpose::KeyPurpose,
        /// The purpose of the key.
        found: crate::purpose::KeyPurpose,
    },
}
