//! Enrolment: the one place where the check of the server's chain comes after the handshake, never not at all.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{ALPN_ENROL, SeenServer, TlsError, client, provider};
use crate::{
    pki::{CertDer, RootsBundle},
    profile::Profile,
    time::{Now, TimeProvider},
};

/// The device's configuration for `vouch-enrol/1`, which accepts any certificate whose key signed the handshake.
///
/// The roots arrive inside the connection and are pinned by the enrolment token. Until
/// [`check_deferred_server`] has said yes to this connection's certificate, nothing may be sent on it.
pub fn danger_client_enrolment(
    profile: Profile,
    time: Arc<dyn TimeProvider>,
    seen: Arc<SeenServer>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider::provider(profile);
    let signatures = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(provider::versions(profile))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DangerDeferredChain { signatures, seen }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    config.enable_early_data = false;
    config.require_ems = true;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The check that [`danger_client_enrolment`] put off: name, date, profile and chain, as a session checks them.
///
/// `chain` is what the server sent in this connection's handshake; an absent or empty one is refused.
pub fn check_deferred_server(
    roots: &RootsBundle,
    profile: Profile,
    name: &ServerName<'_>,
    chain: Option<&[CertDer]>,
    now: Now,
) -> Result<(), TlsError> {
    let (end_entity, intermediates) = chain.and_then(<[_]>::split_first).ok_or(Error::NoCertificatesPresented)?;
    client::verifier(roots, profile)?.verify_server_cert(end_entity, intermediates, name, &[], now.to_unix_time())?;
    Ok(())
}

/// Accepts any chain, but only a handshake signed by the key in its first certificate.
#[derive(Debug)]
struct DangerDeferredChain {
    signatures: WebPkiSupportedAlgorithms,
    seen: Arc<SeenServer>,
}

impl ServerCertVerifier for DangerDeferredChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.note(end_entity);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.signatures)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}
