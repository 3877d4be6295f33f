//! Ends of a connection as an attacker would make them, from rustls itself.

use std::sync::Arc;

use keys::{
    pki::Credential,
    profile::Profile,
    tls::{ALPN_ENROL, ALPN_SESSION},
};
use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use crate::wire::{Connected, OURS, Refused, START_S, clock};

/// A client of an attacker's making: one version, what the provider offers for it, no certificate.
pub(crate) fn hostile(version: &'static SupportedProtocolVersion, mut provider: CryptoProvider) -> ClientConfig {
    // rustls offers suites of versions it does not offer; the gateway would take those for a modern client.
    provider.cipher_suites.retain(|suite| suite.version() == version);
    ClientConfig::builder_with_details(Arc::new(provider), clock(START_S))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(our_roots())
        .with_no_client_auth()
}

pub(crate) fn our_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for profile in Profile::ALL {
        roots.add(OURS.roots().root(profile).clone()).unwrap();
    }
    roots
}

/// The private key as a file would hold it: attacks use stolen or misused keys.
pub(crate) fn stolen(credential: &Credential) -> PrivateKeyDer<'static> {
    let folder = tempfile::tempdir().unwrap();
    credential.key().save(folder.path(), keys::private_file::Existing::Refuse).unwrap();
    let file = folder.path().join(keys::signer::file_name(credential.key().purpose()));
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(std::fs::read(file).unwrap()))
}

/// A server that shows this chain with this key, in any version and suite.
pub(crate) fn showing(chain: &Credential, key: &Credential) -> Arc<ServerConfig> {
    let key = provider::sign::any_supported_type(&stolen(key)).unwrap();
    let certified = CertifiedKey::new(chain.chain().to_vec(), key);
    let mut config = ServerConfig::builder_with_details(Arc::new(provider::default_provider()), clock(START_S))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN_SESSION.to_vec(), ALPN_ENROL.to_vec()];
    Arc::new(config)
}

/// A client of any version that shows this certificate.
pub(crate) fn presenting(credential: &Credential) -> ClientConfig {
    let mut config = ClientConfig::builder_with_details(Arc::new(provider::default_provider()), clock(START_S))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(our_roots())
        .with_client_auth_cert(credential.chain().to_vec(), stolen(credential))
        .unwrap();
    config.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    config
}

pub(crate) fn with_alpn(mut config: ClientConfig, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn refused_by_client(result: Result<Connected, Refused>) -> Error {
    match result {
        Err(Refused::Client(error)) => error,
        Err(other) => panic!("refused elsewhere: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

pub(crate) fn refused_by_server(result: Result<Connected, Refused>) -> Error {
    match result {
        Err(Refused::Server(error)) => error,
        Err(other) => panic!("refused elsewhere: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

/// Shows its certificate whatever the server asked for.
#[derive(Debug)]
pub(crate) struct Forced(pub(crate) Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Forced {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A ClientHello made by hand: TLS 1.2 record, the classic suite, `vouch-enrol/1`.
pub(crate) fn classic_hello(version: [u8; 2], extended_master_secret: bool) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((body.len() as u16).to_be_bytes());
        extensions.extend(body);
    };
    extension(10, &[0, 2, 0, 29]); // supported_groups: x25519
    extension(11, &[1, 0]); // ec_point_formats: uncompressed
    extension(13, &[0, 4, 8, 4, 4, 1]); // signature_algorithms: RSA-PSS and PKCS#1, SHA-256
    extension(16, &[&[0, 14, 13], ALPN_ENROL].concat());
    if extended_master_secret {
        extension(23, &[]);
    }
    let mut body = [version.as_slice(), &[7; 32], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0]].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}
