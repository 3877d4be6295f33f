//! What a handshake agreed on, and the value that binds a proof to this one connection.

use rustls::{CipherSuite, CommonState, ConnectionCommon, HandshakeKind, NamedGroup, ProtocolVersion};

use super::TlsError;

/// Label of the channel binding (RFC 9266).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What was negotiated, as this end sees it, in the names of the IANA registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub suite: &'static str,
    /// The key exchange group; `none` where there was no key exchange.
    pub group: &'static str,
    /// Whether an earlier session was resumed, in which case no certificate was verified in this handshake.
    pub resumed: bool,
}

impl Negotiated {
    /// Reads it from a connection; anything that no profile permits is `other`.
    pub fn of(connection: &CommonState) -> Negotiated {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            None => "none",
            _ => "other",
        };
        let suite = match connection.negotiated_cipher_suite().map(|suite| suite.suite()) {
            Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            None => "none",
            _ => "other",
        };
        let group = match connection.negotiated_key_exchange_group().map(|group| group.name()) {
            Some(NamedGroup::X25519MLKEM768) => "X25519MLKEM768",
            Some(NamedGroup::X25519) => "X25519",
            Some(NamedGroup::secp256r1) => "secp256r1",
            None => "none",
            _ => "other",
        };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Negotiated { version, suite, group, resumed }
    }
}

/// The channel binding of a connection (RFC 9266): equal at both ends, different for each connection.
///
/// Fails while the handshake is not complete. Every configuration of this crate requires the extended master
/// secret, without which a TLS 1.2 exporter does not identify a connection (RFC 7627).
pub fn exporter<Data>(connection: &ConnectionCommon<Data>) -> Result<[u8; 32], TlsError> {
    Ok(connection.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?)
}
