//! The device's TLS configuration for sessions: its own certificate, and one pinned root.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{ALPN_SESSION, SeenServer, TlsError, provider};
use crate::{
    limits::LIMITS,
    pki::{Credential, RootsBundle},
    profile::Profile,
    purpose::KeyPurpose,
    time::TimeProvider,
};

/// What a device's session configuration is made of.
#[derive(Debug)]
pub struct SessionMaterial<'a> {
    /// The profile.
    pub profile: Profile,
    /// The pinned server roots; only the one of the profile is trusted.
    pub roots: &'a RootsBundle,
    /// The device's TLS key of this profile, and its chain.
    pub credential: &'a Credential,
    /// The clock the gateway's certificate is checked against.
    pub time: Arc<dyn TimeProvider>,
    /// Receives what is known of each certificate seen, also of one that is refused.
    pub seen: Arc<SeenServer>,
}

/// The device's configuration for `vouch/1`. Keep it: it holds the tickets for resumption.
pub fn client_session(material: SessionMaterial<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let profile = material.profile;
    let expected = KeyPurpose::device_tls(profile);
    let found = material.credential.key().purpose();
    if found != expected {
        return Err(TlsError::WrongPurpose { expected, found });
    }
    let verifier = Pinned { inner: verifier(material.roots, profile)?, seen: material.seen };
    let certified = CertifiedKey::new(material.credential.chain().to_vec(), material.credential.key().tls_key()?);
    let mut config = ClientConfig::builder_with_details(provider::provider(profile), material.time)
        .with_protocol_versions(provider::versions(profile))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(OnlyCertificate(Arc::new(certified))));
    config.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    config.enable_early_data = false;
    config.require_ems = true;
    config.resumption = match profile {
        Profile::Classic => Resumption::disabled(),
        Profile::Modern => Resumption::in_memory_sessions(LIMITS.client_sessions),
    };
    Ok(Arc::new(config))
}

/// The webpki path over the one pinned root of a profile.
pub(super) fn verifier(roots: &RootsBundle, profile: Profile) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    Ok(WebPkiServerVerifier::builder_with_provider(roots.store(profile)?, provider::provider(profile)).build()?)
}

/// Notes each certificate before webpki judges it.
#[derive(Debug)]
struct Pinned {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<SeenServer>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.note(end_entity);
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The device's one certificate, whatever the server hints at.
#[derive(Debug)]
struct OnlyCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OnlyCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
