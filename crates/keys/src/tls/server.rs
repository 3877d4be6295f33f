//! The gateway's four TLS configurations, and the choice between them from a ClientHello.

use std::sync::Arc;

use rustls::{
    CipherSuite, ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{ALPN_ENROL, ALPN_SESSION, TlsError, provider};
use crate::{
    pki::{Credential, RootsBundle, ServingPki},
    profile::Profile,
    public::SpkiHash,
    purpose::KeyPurpose,
    time::TimeProvider,
};

/// What a connection asked for by its ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// `vouch/1`: a client certificate is required.
    Session,
    /// `vouch-enrol/1`: no client certificate is asked for.
    Enrolment,
}

/// Which of the four configurations a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The profile.
    pub profile: Profile,
    /// What the connection is for.
    pub listener: Listener,
}

/// Why a ClientHello gets no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloRefused {
    /// No ALPN extension.
    #[error("the ClientHello has no ALPN; expected exactly one of vouch/1 and vouch-enrol/1")]
    NoAlpn,
    /// More than one protocol, or one that is not ours.
    #[error("the ClientHello's ALPN is not exactly one of vouch/1 and vouch-enrol/1")]
    WrongAlpn,
}

impl Kind {
    /// Decides by the offered protocols (exactly one of ours) and whether any TLS 1.3 suite is offered.
    pub fn of_hello<'a>(
        alpn: Option<impl Iterator<Item = &'a [u8]>>,
        suites: &[CipherSuite],
    ) -> Result<Kind, HelloRefused> {
        let mut alpn = alpn.ok_or(HelloRefused::NoAlpn)?;
        let listener = match (alpn.next(), alpn.next()) {
            (Some(ALPN_SESSION), None) => Listener::Session,
            (Some(ALPN_ENROL), None) => Listener::Enrolment,
            _ => return Err(HelloRefused::WrongAlpn),
        };
        let profile = if suites.iter().any(is_tls13) { Profile::Modern } else { Profile::Classic };
        Ok(Kind { profile, listener })
    }
}

/// TLS 1.3 suites are 0x13 and a second byte (RFC 8446 appendix B.4).
fn is_tls13(suite: &CipherSuite) -> bool {
    u16::from(*suite) >> 8 == 0x13
}

/// What the gateway's configurations are made of.
#[derive(Debug)]
pub struct ServerTlsMaterial<'a> {
    /// The gateway's keys and chains, and the device roots.
    pub pki: &'a ServingPki,
    /// The clock client certificates are checked against.
    pub time: Arc<dyn TimeProvider>,
}

/// The gateway's TLS configurations, ready for use.
#[derive(Debug, Clone)]
pub struct ServerTls {
    classic: Pair,
    modern: Pair,
}

#[derive(Debug, Clone)]
struct Pair {
    session: Arc<ServerConfig>,
    enrolment: Arc<ServerConfig>,
    spki: SpkiHash,
}

impl ServerTls {
    /// Makes the four configurations.
    pub fn new(material: ServerTlsMaterial<'_>) -> Result<ServerTls, TlsError> {
        let roots = material.pki.device_roots()?;
        let pair = |profile| pair(profile, material.pki.gateway(profile), &roots, &material.time);
        Ok(ServerTls { classic: pair(Profile::Classic)?, modern: pair(Profile::Modern)? })
    }

    /// The configuration for this ClientHello.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Result<(Kind, Arc<ServerConfig>), HelloRefused> {
        let kind = Kind::of_hello(hello.alpn(), hello.cipher_suites())?;
        Ok((kind, self.config(kind)))
    }

    /// The configuration of a kind.
    pub fn config(&self, kind: Kind) -> Arc<ServerConfig> {
        let pair = self.pair(kind.profile);
        Arc::clone(match kind.listener {
            Listener::Session => &pair.session,
            Listener::Enrolment => &pair.enrolment,
        })
    }

    /// SHA-256 of the gateway's TLS public key in a profile.
    pub fn server_spki(&self, profile: Profile) -> SpkiHash {
        self.pair(profile).spki
    }

    fn pair(&self, profile: Profile) -> &Pair {
        match profile {
            Profile::Classic => &self.classic,
            Profile::Modern => &self.modern,
        }
    }
}

fn pair(
    profile: Profile,
    gateway: &Credential,
    device_roots: &RootsBundle,
    time: &Arc<dyn TimeProvider>,
) -> Result<Pair, TlsError> {
    let expected = KeyPurpose::gateway_tls(profile);
    let found = gateway.key().purpose();
    if found != expected {
        return Err(TlsError::WrongPurpose { expected, found });
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(device_roots.store(profile)?, provider::provider(profile))
            // Each device has one certificate: a hint helps nobody and names the operator to strangers.
            .clear_root_hint_subjects()
            .build()?;
    let mut session = config(profile, gateway, verifier, time)?;
    session.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    if profile == Profile::Modern {
        // rustls compares neither ALPN nor client authentication on resumption, so this ticketer is shared with nobody.
        session.ticketer = Ticketer::new()?;
        session.send_tls13_tickets = 1;
    }
    let mut enrolment = config(profile, gateway, WebPkiClientVerifier::no_client_auth(), time)?;
    enrolment.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    Ok(Pair { session: Arc::new(session), enrolment: Arc::new(enrolment), spki: gateway.spki_hash() })
}

/// A configuration that resumes nothing.
fn config(
    profile: Profile,
    gateway: &Credential,
    verifier: Arc<dyn ClientCertVerifier>,
    time: &Arc<dyn TimeProvider>,
) -> Result<ServerConfig, TlsError> {
    let certified = CertifiedKey::new(gateway.chain().to_vec(), gateway.key().tls_key()?);
    let mut config = ServerConfig::builder_with_details(provider::provider(profile), Arc::clone(time))
        .with_protocol_versions(provider::versions(profile))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.require_ems = true;
    Ok(config)
}
