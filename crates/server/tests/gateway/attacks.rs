//! Attacks on the gateway, by name: each is refused, for the reason it should be.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::rig::Rig;
use crate::rig::device::{LOCALHOST, TestDevice, connect, tcp_from};
use crate::rig::link::{Link, NotWelcome, RawLink, answer};
use keys::pki::{CertDer, Csr, ServingPki, lifetime};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use protocol::codec::encode_frame;
use protocol::frame::FRAME_HEADER;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::reason::{CloseReason, Refusal};
use protocol::report::AppState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::{CipherSuite, ClientConfig, RootCertStore, version};
use vouch_server::gateway::{GatewayEventKind, Turned};

/// A client as a stranger would write one: our root, no certificate of its own, and whatever protocols and suite it likes.
fn stranger(rig: &Rig, profile: Profile, suite: CipherSuite, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(rig.pki.server_roots.root(profile).clone()).unwrap();
    let provider = aws_lc_rs::default_provider();
    let cipher_suites = provider.cipher_suites.iter().copied().filter(|known| known.suite() == suite).collect();
    let provider = CryptoProvider { cipher_suites, ..provider };
    let versions = match profile {
        Profile::Classic => &[&version::TLS12],
        Profile::Modern => &[&version::TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// The suite of a profile.
fn suite(profile: Profile) -> CipherSuite {
    match profile {
        Profile::Classic => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Profile::Modern => CipherSuite::TLS13_AES_128_GCM_SHA256,
    }
}

/// Connects and reads until the end; the error of either, as a client sees it.
async fn dialled(config: ClientConfig, rig: &Rig) -> String {
    match connect(Arc::new(config), rig.addr(), LOCALHOST).await {
        Err(error) => error.to_string(),
        // With TLS 1.3 a client is done before the server has judged its certificate.
        Ok(mut tls) => match tls.read(&mut [0; 1]).await {
            Err(error) => error.to_string(),
            Ok(length) => format!("read {length} bytes"),
        },
    }
}

/// The alerts of the next TLS failure: received, sent.
async fn alerts(rig: &mut Rig) -> (Option<String>, Option<String>) {
    rig.event(|event| match &event.what {
        GatewayEventKind::TlsFailed { alert_received, alert_sent, .. } => {
            Some((alert_received.clone(), alert_sent.clone()))
        }
        _ => None,
    })
    .await
}

fn refusal(result: Result<(Link, Box<protocol::session::Welcomed>), NotWelcome>) -> Refusal {
    match result {
        Err(NotWelcome::Refused(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("welcome"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_suite_is_refused() {
    let mut rig = Rig::start().await;
    for (profile, wrong) in [
        (Profile::Classic, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        (Profile::Classic, CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
        (Profile::Classic, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (Profile::Modern, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (Profile::Modern, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        let error = dialled(stranger(&rig, profile, wrong, &[b"vouch/1"]), &rig).await;
        assert!(error.contains("HandshakeFailure"), "{wrong:?}: {error}");
        assert_eq!(rig.turned().await.0, Turned::HandshakeFailed, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_below_1_2_is_refused() {
    let mut rig = Rig::start().await;
    for minor in [1, 2] {
        let mut tcp = tcp_from(rig.addr(), LOCALHOST).await;
        tcp.write_all(&old_client_hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        // A fatal alert, protocol_version (RFC 5246, 7.2).
        assert_eq!((answer.first(), answer.get(5..7)), (Some(&21), Some(&[2, 70][..])), "3.{minor}: {answer:?}");
        assert_eq!(rig.turned().await.0, Turned::HandshakeFailed);
    }
}

/// A ClientHello of TLS 1.0 (minor 1) or 1.1 (minor 2) with our ALPN and, apart from its version, what `classic` asks for.
fn old_client_hello(minor: u8) -> Vec<u8> {
    let extensions: [&[u8]; 5] = [
        &[0x00, 0x10, 0, 10, 0, 8, 7, b'v', b'o', b'u', b'c', b'h', b'/', b'1'],
        &[0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d],
        &[0x00, 0x0b, 0, 2, 1, 0],
        &[0x00, 0x0d, 0, 4, 0, 2, 0x08, 0x04],
        &[0x00, 0x17, 0, 0],
    ];
    let extensions = extensions.concat();
    let mut body = vec![3, minor];
    body.extend_from_slice(&[0x5a; 32]);
    body.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut hello = vec![22, 3, 1];
    hello.extend_from_slice(&u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    hello.push(1);
    hello.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    hello.extend_from_slice(&body);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn no_alpn_both_alpns_and_a_foreign_one_are_refused() {
    let mut rig = Rig::start().await;
    let offers: [&[&[u8]]; 4] = [&[], &[b"vouch/1", b"vouch-enrol/1"], &[b"h2"], &[b"vouch/1", b"h2"]];
    for profile in Profile::ALL {
        for offer in offers {
            let error = dialled(stranger(&rig, profile, suite(profile), offer), &rig).await;
            assert!(error.contains("NoApplicationProtocol"), "{offer:?}: {error}");
            assert_eq!(rig.turned().await.0, Turned::HelloRefused, "{offer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_enrolment_connection_left_opens_no_session() {
    let mut rig = Rig::start().await;
    for profile in Profile::ALL {
        let enrolment = stranger(&rig, profile, suite(profile), &[b"vouch-enrol/1"]);
        // The same store of tickets and sessions, another protocol.
        let mut session = enrolment.clone();
        session.alpn_protocols = vec![b"vouch/1".to_vec()];
        let mut tls = connect(Arc::new(enrolment), rig.addr(), LOCALHOST).await.unwrap();
        // A ticket would come before or with the roots.
        assert!(tls.read(&mut [0; 4096]).await.unwrap() > 0);
        drop(tls);
        assert_eq!(rig.turned().await.0, Turned::Gone);
        let error = dialled(session, &rig).await;
        assert!(error.contains("alert"), "{error}");
        assert_eq!(rig.turned().await.0, Turned::HandshakeFailed);
        assert_eq!(rig.counters.logins(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_other_profile_is_refused() {
    let mut rig = Rig::start().await;
    let (classic, modern) = (rig.device(Profile::Classic).await, rig.device(Profile::Modern).await);
    for (speaks, shows) in [(&classic, &modern), (&modern, &classic)] {
        let mut config = ClientConfig::clone(speaks.config.as_ref().unwrap());
        config.client_auth_cert_resolver = shows.config.as_ref().unwrap().client_auth_cert_resolver.clone();
        let error = dialled(config, &rig).await;
        assert!(error.contains("alert") || error.contains("signature"), "{error}");
        let (reason, detail) = rig.event(turned_in_tls).await;
        assert_eq!(reason, Turned::HandshakeFailed, "{detail}");
    }
    assert_eq!(rig.counters.logins(), 0);
}

fn turned_in_tls(event: &vouch_server::gateway::GatewayEvent) -> Option<(Turned, String)> {
    match &event.what {
        GatewayEventKind::Turned { reason, detail } => Some((*reason, detail.clone())),
        _ => None,
    }
}

/// A device with a certificate of this operator, which trusts the roots of that one.
fn certified_by(operator: &ServingPki, trusts: &ServingPki, profile: Profile) -> TestDevice {
    let mut device = TestDevice::born(profile, trusts.server_roots.clone());
    let csr = Csr::parse_and_verify(&device.csr()).unwrap();
    let (id, life) = (device.identity.public().device_id(), lifetime(KeyPurpose::device_tls(profile)));
    device.certified(vec![operator.device_authority(profile).issue_device(&csr, id, crate::rig::now(), life).unwrap()]);
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_another_operator_is_refused_with_an_alert() {
    let mut rig = Rig::start().await;
    // One who calls itself by our name is found out by its signature (RFC 8446, 6.2: decrypt_error).
    for (name, alert) in [("Theirs", "UnknownCA"), (crate::rig::OURS, "DecryptError")] {
        let other = crate::rig::operator(name).serving;
        for profile in Profile::ALL {
            let device = certified_by(&other, &rig.pki, profile);
            let error = dialled(ClientConfig::clone(device.config.as_ref().unwrap()), &rig).await;
            assert!(error.contains(alert), "{error}");
            assert_eq!(alerts(&mut rig).await, (None, Some(alert.to_owned())));
        }
    }
    assert_eq!(rig.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_another_operator_refuses_this_server_with_an_alert() {
    let mut rig = Rig::start().await;
    for (name, alert) in [("Theirs", "UnknownCA"), (crate::rig::OURS, "DecryptError")] {
        let other = crate::rig::operator(name).serving;
        for profile in Profile::ALL {
            let device = certified_by(&other, &other, profile);
            let error = dialled(ClientConfig::clone(device.config.as_ref().unwrap()), &rig).await;
            assert!(error.contains("invalid peer certificate"), "{error}");
            assert_eq!(alerts(&mut rig).await, (Some(alert.to_owned()), None));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_tls_keys_without_the_identity_key_are_refused() {
    let mut rig = Rig::start().await;
    for profile in Profile::ALL {
        let device = rig.device(profile).await;
        let thief = Arc::new(Signer::generate(KeyPurpose::DeviceIdentity).unwrap());
        let result = Link::login_from(&device, rig.addr(), LOCALHOST, thief).await;
        assert_eq!(refusal(result), Refusal::BadSignature);
        let refused = rig.event(|event| match &event.what {
            GatewayEventKind::Answered(record) => Some(record.refused.clone()),
            _ => None,
        });
        assert_eq!(refused.await.as_deref(), Some("BadSignature"));
        assert!(!rig.bus.is_connected(&device.spki()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_proof_replayed_is_refused() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let (link, welcomed) = Link::login(&device, rig.addr()).await.unwrap();
    drop(link);
    let mut replay = RawLink::connect(&device, rig.addr()).await.unwrap();
    replay.challenge(&device).await;
    assert_eq!(replay.prove(welcomed.record.eat_cose).await, Some(Refusal::NonceMismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_relayed_through_another_tls_connection_is_refused() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    // The attacker has the device's TLS key, connects, and has the device sign the fresh nonce on a connection of its own.
    let between = RawLink::connect(&device, rig.addr()).await.unwrap();
    let mut attacker = RawLink::connect(&device, rig.addr()).await.unwrap();
    let nonce = attacker.challenge(&device).await;
    let relayed = answer(&device, &device.identity, nonce, between.exporter);
    assert_eq!(attacker.prove(relayed).await, Some(Refusal::ExporterMismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_devices_certificate_is_refused() {
    let rig = Rig::start().await;
    let (one, other) = (rig.device(Profile::Modern).await, rig.device(Profile::Modern).await);
    let mut link = RawLink::connect(&one, rig.addr()).await.unwrap();
    link.hello(&other).await;
    let answer = link.recv().await;
    assert!(matches!(answer, Some(ToDevice::Refused { reason: Refusal::WrongCertificate, .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_never_enrolled_is_refused() {
    let rig = Rig::start().await;
    let device = certified_by(&rig.pki, &rig.pki, Profile::Modern);
    assert_eq!(refusal(Link::login(&device, rig.addr()).await), Refusal::UnknownDevice);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_out_of_date_is_refused() {
    let mut rig = Rig::start().await;
    let mut device = TestDevice::born(Profile::Modern, rig.pki.server_roots.clone());
    let csr = Csr::parse_and_verify(&device.csr()).unwrap();
    let id = device.identity.public().device_id();
    let day = 24 * 60 * 60 * 1000;
    let past = keys::time::Now { mono_ms: 0, unix_ms: crate::rig::now().unix_ms - 10 * day };
    let authority = rig.pki.device_authority(Profile::Modern);
    let certificate: CertDer =
        authority.issue_device(&csr, id, past, std::time::Duration::from_secs(3 * 24 * 60 * 60)).unwrap();
    device.certified(vec![certificate]);
    let error = dialled(ClientConfig::clone(device.config.as_ref().unwrap()), &rig).await;
    assert!(error.contains("CertificateExpired"), "{error}");
    assert_eq!(alerts(&mut rig).await.1.as_deref(), Some("CertificateExpired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_of_a_revoked_device_is_refused() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let resumed = |event: &vouch_server::gateway::GatewayEvent| match &event.what {
        GatewayEventKind::Handshake(facts) if facts.client_spki_sha256.is_some() => Some(facts.resumed),
        _ => None,
    };
    let (link, _) = Link::login(&device, rig.addr()).await.unwrap();
    drop(link);
    assert!(!rig.event(resumed).await);
    let (link, _) = Link::login(&device, rig.addr()).await.unwrap();
    drop(link);
    assert!(rig.event(resumed).await, "a device that is not revoked resumes");
    rig.store.revoke_device(device.identity.public().device_id()).await.unwrap();
    assert_eq!(refusal(Link::login(&device, rig.addr()).await), Refusal::Revoked);
    assert!(rig.event(resumed).await, "resumption worked, and did not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_between_look_up_and_proof_is_not_missed() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
    let nonce = link.challenge(&device).await;
    rig.store.revoke_device(device.identity.public().device_id()).await.unwrap();
    rig.bus.close_session(&device.spki(), CloseReason::Revoked);
    let proof = answer(&device, &device.identity, nonce, link.exporter);
    assert_eq!(link.prove(proof).await, Some(Refusal::Revoked));
    rig.until(|counters| counters.turned(Turned::Refused) == 1).await;
    assert!(!rig.bus.is_connected(&device.spki()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_before_welcome_ends_the_connection() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let early = [
        ToServer::Ping,
        ToServer::Pong,
        ToServer::App { name: "x".to_owned(), value: vec![] },
        ToServer::Logs { ring: [0; 8], first: 0, lines: vec![] },
        ToServer::Diary { ring: [0; 8], first: 0, entries: vec![] },
        ToServer::WantApp { sha256: [0; 32], offset: 0 },
        ToServer::AppState(AppState { sha256: None, wake_reason: 0, free_memory: 0, error: None }),
        ToServer::Proof { cose: vec![0] },
    ];
    for message in &early {
        let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
        link.send(message).await;
        assert_eq!(link.recv().await, None, "{message:?}");
        assert_eq!(rig.turned().await.0, Turned::Broken, "{message:?}");
        if matches!(message, ToServer::Proof { .. }) {
            continue;
        }
        let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
        link.challenge(&device).await;
        link.send(message).await;
        assert_eq!(link.recv().await, None, "{message:?} after the challenge");
        assert_eq!(rig.turned().await.0, Turned::Broken, "{message:?} after the challenge");
    }
    assert_eq!(rig.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_long_truncated_or_with_trailing_bytes_ends_the_connection() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut hello = Vec::new();
    encode_frame(&ToServer::Hello { version: 1, identity: device.spki() }, &mut hello);
    let too_long = u32::try_from(LIMITS.frame_before_welcome + 1).unwrap().to_be_bytes().to_vec();
    let mut trailing = hello.clone();
    trailing.push(0);
    trailing[..FRAME_HEADER].copy_from_slice(&u32::try_from(hello.len() + 1 - FRAME_HEADER).unwrap().to_be_bytes());
    for (bytes, what) in [(too_long, "too long"), (trailing, "trailing")] {
        let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
        link.send_bytes(&bytes).await;
        assert_eq!(link.recv().await, None, "{what}");
        assert_eq!(rig.turned().await.0, Turned::Broken, "{what}");
    }
    let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
    link.send_bytes(&hello[..hello.len() - 1]).await;
    drop(link);
    assert_eq!(rig.turned().await.0, Turned::Gone, "truncated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_long_after_welcome_ends_the_session_and_says_so() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
    let nonce = link.challenge(&device).await;
    let proof = answer(&device, &device.identity, nonce, link.exporter);
    assert_eq!(link.prove(proof).await, None);
    link.send_bytes(&u32::try_from(LIMITS.frame + 1).unwrap().to_be_bytes()).await;
    let told = link.recv().await;
    assert!(matches!(told, Some(ToDevice::Close { reason: CloseReason::ProtocolError, .. })), "{told:?}");
    let ended = rig.event(|event| match &event.what {
        GatewayEventKind::Ended { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(ended.await.contains("framing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_beyond_the_bound_of_strangers_is_refused_by_its_length_alone() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = RawLink::connect(&device, rig.addr()).await.unwrap();
    link.challenge(&device).await;
    link.send(&ToServer::Proof { cose: vec![0; LIMITS.frame_before_welcome] }).await;
    assert_eq!(link.recv().await, None);
    assert_eq!(rig.turned().await.0, Turned::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_closed_without_an_answer() {
    let mut rig = Rig::start().await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"] {
        let mut tcp = tcp_from(rig.addr(), Ipv4Addr::LOCALHOST.into()).await;
        tcp.write_all(noise).await.unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty(), "{answer:?}");
        assert_eq!(rig.turned().await.0, Turned::NotTls);
    }
}
