//! What both ends of a TLS handshake agree on, and which handshakes never complete.

mod wire;

use std::sync::Arc;

use keys::{
    pki::Credential,
    profile::Profile,
    purpose::KeyPurpose,
    tls::{
        ALPN_ENROL, ALPN_SESSION, HelloRefused, Kind, Listener, Negotiated, RecheckError, TlsError,
        check_deferred_server, danger_client_enrolment, exporter, recheck_client, recheck_server,
    },
};
use rustls::{
    CertificateError, ClientConfig, Error, HandshakeKind, PeerIncompatible, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use wire::*;

/// A client of an attacker's making: one version, what the provider offers for it, no certificate.
fn hostile(version: &'static SupportedProtocolVersion, mut provider: CryptoProvider) -> ClientConfig {
    // rustls offers suites of versions it does not offer; the gateway would take those for a modern client.
    provider.cipher_suites.retain(|suite| suite.version() == version);
    ClientConfig::builder_with_details(Arc::new(provider), clock(START_S))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(our_roots())
        .with_no_client_auth()
}

fn our_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for profile in Profile::ALL {
        roots.add(OURS.roots().root(profile).clone()).unwrap();
    }
    roots
}

/// The private key as a file would hold it: attacks use stolen or misused keys.
fn stolen(credential: &Credential) -> PrivateKeyDer<'static> {
    let folder = tempfile::tempdir().unwrap();
    credential.key().save(folder.path(), keys::private_file::Existing::Refuse).unwrap();
    let file = folder.path().join(keys::signer::file_name(credential.key().purpose()));
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(std::fs::read(file).unwrap()))
}

/// A server that shows this chain with this key, in any version and suite.
fn showing(chain: &Credential, key: &Credential) -> Arc<ServerConfig> {
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
fn presenting(credential: &Credential) -> ClientConfig {
    let mut config = ClientConfig::builder_with_details(Arc::new(provider::default_provider()), clock(START_S))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(our_roots())
        .with_client_auth_cert(credential.chain().to_vec(), stolen(credential))
        .unwrap();
    config.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    config
}

fn with_alpn(mut config: ClientConfig, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn refused_by_client(result: Result<Connected, Refused>) -> Error {
    match result {
        Err(Refused::ByClient(error)) => error,
        Err(other) => panic!("refused elsewhere: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

fn refused_by_server(result: Result<Connected, Refused>) -> Error {
    match result {
        Err(Refused::ByServer(error)) => error,
        Err(other) => panic!("refused elsewhere: {other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn each_profile_negotiates_exactly_what_it_promises_as_both_ends_see_it() {
    let expected = [
        (Profile::Classic, ["TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "X25519"]),
        (Profile::Modern, ["TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768"]),
    ];
    for (profile, [version, suite, group]) in expected {
        let connected = connect(&OURS.client(profile), &OURS.gateway()).unwrap_or_else(|e| panic!("{profile}: {e:?}"));
        let expected = Negotiated { version, suite, group, resumed: false };
        assert_eq!(Negotiated::of(&connected.client), expected);
        assert_eq!(Negotiated::of(&connected.server), expected);
        assert_eq!(connected.kind, Some(Kind { profile, listener: Listener::Session }));
        assert_eq!(connected.server.alpn_protocol(), Some(ALPN_SESSION));
        let device = recheck_client(chain(&connected.server), profile, at(START_S)).unwrap();
        assert_eq!(device.public.spki_hash(), OURS.device(profile).spki_hash());
        assert_eq!(device.facts.subject, "CN=0707070707070707");
        let gateway = recheck_server(chain(&connected.client), profile, at(START_S)).unwrap();
        assert_eq!(gateway.public.spki_hash(), OURS.gateway().server_spki(profile));
    }
}

#[test]
fn the_exporter_is_equal_at_both_ends_and_different_for_each_connection() {
    for profile in Profile::ALL {
        let (client, gateway) = (OURS.client(profile), OURS.gateway());
        let mut values = Vec::new();
        for _ in 0..3 {
            let connected = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
            let value = exporter(&connected.client).unwrap();
            assert_eq!(value, exporter(&connected.server).unwrap());
            assert!(!values.contains(&value), "{profile}: the exporter came twice");
            values.push(value);
        }
    }
}

#[test]
fn the_exporter_is_the_one_of_rfc_9266_with_an_empty_context_not_an_absent_one() {
    let connected = connect(&OURS.client(Profile::Classic), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let export =
        |context| connected.server.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", context).unwrap();
    assert_eq!(exporter(&connected.server).unwrap(), export(Some(&[])));
    // In TLS 1.2 the two differ (RFC 5705 section 4).
    assert_ne!(exporter(&connected.server).unwrap(), export(None));
}

#[test]
fn a_foreign_gateway_with_the_right_name_is_refused_and_its_certificate_is_noted() {
    for profile in Profile::ALL {
        let seen = Arc::default();
        let client = OURS.client_seeing(profile, START_S, Arc::clone(&seen));
        let error = refused_by_client(connect(&client, &FOREIGN.gateway()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{profile}: {error:?}");
        let facts = seen.take().unwrap();
        assert_eq!(facts.spki_hash, FOREIGN.gateway().server_spki(profile));
        assert_eq!(facts.issuer, format!("CN=foreign server root {profile}"));
        assert_eq!(seen.take(), None);
    }
}

#[test]
fn a_gateway_with_another_name_is_refused() {
    for profile in Profile::ALL {
        let gateway = OURS.gateway();
        let elsewhere = "elsewhere.example".try_into().unwrap();
        let result = connect_to(&OURS.client(profile), Answering::Gateway(&gateway), elsewhere);
        let error = refused_by_client(result);
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_device_certificate_shown_as_a_gateway_is_refused() {
    let device = OURS.device(Profile::Modern);
    let result = connect_to(&OURS.client(Profile::Modern), Answering::Config(showing(device, device)), name());
    assert!(matches!(refused_by_client(result), Error::InvalidCertificate(_)));
}

#[test]
fn the_gateway_certificate_of_the_other_profile_is_refused() {
    let gateway = &OURS.pki.serving;
    // The classic certificate in TLS 1.3, and the modern one in TLS 1.2: no signature scheme is shared.
    for (client, shown) in [(Profile::Modern, Profile::Classic), (Profile::Classic, Profile::Modern)] {
        let server = showing(gateway.gateway(shown), gateway.gateway(shown));
        assert!(connect_to(&OURS.client(client), Answering::Config(server), name()).is_err(), "{client}");
    }
}

#[test]
fn no_client_certificate_opens_no_session() {
    for version in [&TLS12, &TLS13] {
        let client = with_alpn(hostile(version, provider::default_provider()), &[ALPN_SESSION]);
        let error = refused_by_server(connect(&client, &OURS.gateway()));
        assert!(matches!(error, Error::NoCertificatesPresented), "{error:?}");
    }
}

#[test]
fn the_client_certificate_of_another_operator_is_refused() {
    for profile in Profile::ALL {
        let roots = OURS.roots();
        let credential = FOREIGN.device(profile);
        let (time, seen) = (clock(START_S), Arc::default());
        let material = keys::tls::SessionMaterial { profile, roots, credential, time, seen };
        let error = refused_by_server(connect(&keys::tls::client_session(material).unwrap(), &OURS.gateway()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)), "{profile}: {error:?}");
    }
}

#[test]
fn the_client_certificate_of_the_other_profile_is_refused() {
    // In TLS 1.3 with the RSA certificate: the gateway asks for ECDSA only, so the client has none to show.
    let error = refused_by_server(connect(&Arc::new(presenting(OURS.device(Profile::Classic))), &OURS.gateway()));
    assert!(matches!(error, Error::NoCertificatesPresented), "{error:?}");
    // A client that shows it all the same.
    let mut forced = presenting(OURS.device(Profile::Classic));
    forced.client_auth_cert_resolver = Arc::new(Forced(Arc::new(CertifiedKey::new(
        OURS.device(Profile::Classic).chain().to_vec(),
        provider::sign::any_supported_type(&stolen(OURS.device(Profile::Modern))).unwrap(),
    ))));
    let error = refused_by_server(connect(&Arc::new(forced), &OURS.gateway()));
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
}

/// Shows its certificate whatever the server asked for.
#[derive(Debug)]
struct Forced(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Forced {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn a_gateway_certificate_used_as_client_certificate_is_refused() {
    let config = presenting(OURS.pki.serving.gateway(Profile::Modern));
    let error = refused_by_server(connect(&Arc::new(config), &OURS.gateway()));
    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
}

#[test]
fn another_suite_is_refused_in_both_versions() {
    use provider::cipher_suite::*;
    for suite in [
        TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let only = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
        let client = with_alpn(hostile(suite.version(), only), &[ALPN_SESSION]);
        let error = refused_by_server(connect(&client, &OURS.gateway()));
        assert!(
            matches!(error, Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)),
            "{suite:?}: {error:?}"
        );
    }
}

#[test]
fn another_group_is_refused_and_each_permitted_one_is_accepted() {
    use provider::kx_group::*;
    let answer = |version, group| {
        let only = CryptoProvider { kx_groups: vec![group], ..provider::default_provider() };
        let client = with_alpn(hostile(version, only), &[ALPN_ENROL]);
        connect(&client, &OURS.gateway()).map(|connected| Negotiated::of(&connected.server).group)
    };
    assert_eq!(answer(&TLS12, X25519).unwrap(), "X25519");
    assert_eq!(answer(&TLS12, SECP256R1).unwrap(), "secp256r1");
    assert!(answer(&TLS12, SECP384R1).is_err());
    assert_eq!(answer(&TLS13, X25519).unwrap(), "X25519");
    assert_eq!(answer(&TLS13, X25519MLKEM768).unwrap(), "X25519MLKEM768");
    assert!(answer(&TLS13, SECP256R1).is_err());
    assert!(answer(&TLS13, MLKEM1024).is_err());
}

#[test]
fn exactly_one_protocol_of_ours_is_taken_and_every_other_alpn_is_refused() {
    let refused = |alpn: &[&[u8]]| match connect(
        &with_alpn(hostile(&TLS13, provider::default_provider()), alpn),
        &OURS.gateway(),
    ) {
        Err(Refused::ByHello(refused)) => refused,
        Err(other) => panic!("{alpn:?}: {other:?}"),
        Ok(_) => panic!("{alpn:?} accepted"),
    };
    assert_eq!(refused(&[]), HelloRefused::NoAlpn);
    assert_eq!(refused(&[ALPN_SESSION, ALPN_ENROL]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[ALPN_ENROL, ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[ALPN_SESSION, ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"h2"]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"h2", ALPN_SESSION]), HelloRefused::WrongAlpn);
    assert_eq!(refused(&[b"vouch/10"]), HelloRefused::WrongAlpn);
    let connected = connect(&with_alpn(hostile(&TLS13, provider::default_provider()), &[ALPN_ENROL]), &OURS.gateway());
    assert_eq!(connected.unwrap_or_else(|e| panic!("{e:?}")).kind.unwrap().listener, Listener::Enrolment);
}

/// A ClientHello made by hand: TLS 1.2 record, the classic suite, `vouch-enrol/1`.
fn classic_hello(version: [u8; 2], extended_master_secret: bool) -> Vec<u8> {
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

#[test]
fn tls_below_1_2_is_refused() {
    let gateway = OURS.gateway();
    assert!(accept(&classic_hello([3, 3], true), Answering::Gateway(&gateway)).is_ok());
    for below in [[3, 0], [3, 1], [3, 2]] {
        match accept(&classic_hello(below, true), Answering::Gateway(&gateway)) {
            Err(Refused::ByServer(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))) => {}
            Err(other) => panic!("{below:?}: {other:?}"),
            Ok(_) => panic!("{below:?} accepted"),
        }
    }
}

#[test]
fn tls_1_2_without_the_extended_master_secret_is_refused() {
    let gateway = OURS.gateway();
    match accept(&classic_hello([3, 3], false), Answering::Gateway(&gateway)) {
        Err(Refused::ByServer(Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired))) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn certificates_are_accepted_to_their_last_second_and_not_beyond_at_both_ends() {
    let first = START_S - 24 * 3600;
    let last = START_S + LIFETIME_S;
    for profile in Profile::ALL {
        for (unix_s, valid) in [(first - 1, false), (first, true), (last, true), (last + 1, false)] {
            let device_checks = connect(&OURS.client_at(profile, unix_s), &OURS.gateway());
            let gateway_checks = connect(&OURS.client(profile), &OURS.gateway_at(unix_s));
            let recheck = recheck_client(Some(OURS.device(profile).chain()), profile, at(unix_s));
            if valid {
                assert!(device_checks.is_ok() && gateway_checks.is_ok() && recheck.is_ok(), "{profile} {unix_s}");
            } else {
                assert!(matches!(refused_by_client(device_checks), Error::InvalidCertificate(_)));
                assert!(matches!(refused_by_server(gateway_checks), Error::InvalidCertificate(_)));
                assert!(matches!(recheck, Err(RecheckError::Date { .. })));
            }
        }
    }
}

#[test]
fn modern_sessions_resume_and_are_checked_again() {
    let (client, gateway) = (OURS.client(Profile::Modern), OURS.gateway());
    let first = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
    let second = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert!(Negotiated::of(&second.server).resumed && Negotiated::of(&second.client).resumed);
    let profile = Profile::Modern;
    let peer = recheck_client(chain(&second.server), profile, at(START_S)).unwrap();
    assert_eq!(peer.public.spki_hash(), OURS.device(profile).spki_hash());
    assert!(recheck_server(chain(&second.client), profile, at(START_S)).is_ok());
    let late = at(START_S + LIFETIME_S + 1);
    assert!(matches!(recheck_client(chain(&second.server), profile, late), Err(RecheckError::Date { .. })));
    assert!(matches!(recheck_server(chain(&second.client), profile, late), Err(RecheckError::Date { .. })));
}

#[test]
fn classic_sessions_never_resume() {
    let (client, gateway) = (OURS.client(Profile::Classic), OURS.gateway());
    for _ in 0..3 {
        let connected = connect(&client, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
    }
    // A client that asks for resumption gets neither a ticket nor a session id.
    let mut eager = hostile(&TLS12, provider::default_provider());
    eager.client_auth_cert_resolver = presenting(OURS.device(Profile::Classic)).client_auth_cert_resolver;
    eager.resumption = Resumption::in_memory_sessions(8);
    let eager = with_alpn(eager, &[ALPN_SESSION]);
    for _ in 0..2 {
        let connected = connect(&eager, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(connected.server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn an_enrolment_connection_leaves_nothing_that_could_be_offered_to_a_session() {
    let gateway = OURS.gateway();
    let attacker = hostile(&TLS13, provider::default_provider());
    let enrol = with_alpn(attacker.clone(), &[ALPN_ENROL]);
    // The clone shares its ticket store, verifier and (absent) certificate: whatever it got it would offer.
    let session = with_alpn(attacker, &[ALPN_SESSION]);
    let connected = connect(&enrol, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(connected.client.tls13_tickets_received(), 0);
    assert!(matches!(refused_by_server(connect(&session, &gateway)), Error::NoCertificatesPresented));
    let again = connect(&enrol, &gateway).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(again.server.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn a_session_ticket_offered_to_enrolment_is_not_resumed() {
    let gateway = OURS.gateway();
    let device = presenting(OURS.device(Profile::Modern));
    let session = with_alpn(device.clone(), &[ALPN_SESSION]);
    let enrol = with_alpn(device, &[ALPN_ENROL]);
    let kind = |config| connect(config, &gateway).unwrap_or_else(|e| panic!("{e:?}")).server.handshake_kind();
    assert_eq!(kind(&session), Some(HandshakeKind::Full));
    assert_eq!(kind(&enrol), Some(HandshakeKind::Full));
    // The ticket was good all the time: the session listener takes it.
    assert_eq!(kind(&session), Some(HandshakeKind::Full));
    assert_eq!(kind(&session), Some(HandshakeKind::Resumed));
}

#[test]
fn a_ticket_of_another_gateway_process_is_not_resumed() {
    let client = OURS.client(Profile::Modern);
    assert!(connect(&client, &OURS.gateway()).is_ok());
    let restarted = connect(&client, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(restarted.server.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn a_session_without_peer_certificate_never_opens() {
    let enrol = danger_client_enrolment(Profile::Modern, clock(START_S), Arc::default()).unwrap();
    let connected = connect(&enrol, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let recheck = recheck_client(chain(&connected.server), Profile::Modern, at(START_S));
    assert_eq!(recheck, Err(RecheckError::NoCertificate));
    assert_eq!(recheck_client(Some(&[]), Profile::Modern, at(START_S)), Err(RecheckError::NoCertificate));
}

#[test]
fn the_recheck_refuses_a_certificate_of_the_other_profile() {
    for (shown, wanted) in [(Profile::Classic, Profile::Modern), (Profile::Modern, Profile::Classic)] {
        let refused = recheck_client(Some(OURS.device(shown).chain()), wanted, at(START_S));
        assert_eq!(refused, Err(RecheckError::Profile(wanted)));
    }
}

#[test]
fn enrolment_checks_the_server_after_the_handshake_as_strictly_as_a_session_does() {
    for profile in Profile::ALL {
        let enrol = danger_client_enrolment(profile, clock(START_S), Arc::default()).unwrap();
        let ours = connect(&enrol, &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(ours.kind, Some(Kind { profile, listener: Listener::Enrolment }));
        let check =
            |roots, profile, name, chain, unix_s| check_deferred_server(roots, profile, name, chain, at(unix_s));
        let (name, elsewhere) = (name(), "elsewhere.example".try_into().unwrap());
        let certificates = chain(&ours.client);
        assert!(check(OURS.roots(), profile, &name, certificates, START_S).is_ok());
        assert!(check(OURS.roots(), profile, &name, certificates, START_S + LIFETIME_S).is_ok());
        assert!(check(OURS.roots(), profile, &name, certificates, START_S + LIFETIME_S + 1).is_err());
        assert!(check(OURS.roots(), profile, &elsewhere, certificates, START_S).is_err());
        assert!(check(FOREIGN.roots(), profile, &name, certificates, START_S).is_err());
        let other = if profile == Profile::Classic { Profile::Modern } else { Profile::Classic };
        assert!(check(OURS.roots(), other, &name, certificates, START_S).is_err());
        assert!(check(OURS.roots(), profile, &name, None, START_S).is_err());
        assert!(check(OURS.roots(), profile, &name, Some(&[]), START_S).is_err());
        // A false enrolment server gets through the handshake, and no further.
        let false_server = connect(&enrol, &FOREIGN.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(check(OURS.roots(), profile, &name, chain(&false_server.client), START_S).is_err());
    }
}

#[test]
fn enrolment_refuses_a_server_that_shows_our_certificate_without_its_key() {
    for profile in Profile::ALL {
        let enrol = danger_client_enrolment(profile, clock(START_S), Arc::default()).unwrap();
        let thief = showing(OURS.pki.serving.gateway(profile), FOREIGN.pki.serving.gateway(profile));
        let error = refused_by_client(connect_to(&enrol, Answering::Config(thief), name()));
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::BadSignature)), "{profile}: {error:?}");
    }
}

#[test]
fn early_data_is_neither_offered_nor_accepted() {
    let gateway = OURS.gateway();
    for profile in Profile::ALL {
        assert!(!OURS.client(profile).enable_early_data);
        for listener in [Listener::Session, Listener::Enrolment] {
            assert_eq!(gateway.config(Kind { profile, listener }).max_early_data_size, 0);
        }
    }
}

#[test]
fn a_key_of_another_purpose_makes_no_configuration() {
    let (roots, time, seen) = (OURS.roots(), clock(START_S), Arc::default());
    let credential = OURS.device(Profile::Classic);
    let material = keys::tls::SessionMaterial { profile: Profile::Modern, roots, credential, time, seen };
    match keys::tls::client_session(material) {
        Err(TlsError::WrongPurpose { expected: KeyPurpose::DeviceTlsModern, found: KeyPurpose::DeviceTlsClassic }) => {}
        other => panic!("{other:?}"),
    }
}
