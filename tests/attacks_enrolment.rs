//! Enrolment: tokens that are none, servers that are none, and keys that are somebody else's.

use std::sync::Arc;

use device::ProvisionError;
use device::connect::attempt::AttemptResult;
use device::ports::PortMap;
use keys::cose::{self, CosePurpose};
use keys::pki::Csr;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use keys::time::{FloorClock, Now};
use keys::tls::{Kind, Listener, ServerName, danger_client_enrolment, exporter};
use protocol::eat::AttestationLevel;
use protocol::enrol::{DeviceEnrolment, DeviceEnrolmentConfig, DeviceEnrolmentEvent, EnrolToDevice, EnrolmentToken};
use protocol::limits::LIMITS;
use protocol::reason::EnrolRefusal;
use server::gateway::Turned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vouch_tests::attacker::{FalseGateway, Relay, Script, frame};
use vouch_tests::product::{Product, provision_with};
use vouch_tests::site::{NAME, Operator, Site};
use zeroize::Zeroizing;

const NOW: Now = Now { mono_ms: 0, unix_ms: 0 };

async fn refused(site: &Site, token: &Zeroizing<String>) -> EnrolRefusal {
    match provision_with(site.device_config(Profile::Modern), token.clone()).await {
        Err(ProvisionError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// The results of all attempts of a provisioning that finds no server of its token.
async fn not_reached(config: device::config::DeviceConfig, token: Zeroizing<String>) -> Vec<AttemptResult> {
    match provision_with(config, token).await {
        Err(ProvisionError::NotReached(attempts)) => attempts.0.into_iter().map(|attempt| attempt.result).collect(),
        other => panic!("{other:?}"),
    }
}

/// A port map with this port behind each port of the rule.
fn only(port: u16) -> PortMap {
    format!("31314={port},993={port},443={port}").parse().unwrap()
}

/// The token with one part changed: the first letter of `id`, `secret` or roots hash.
fn altered(token: &str, part: usize) -> Zeroizing<String> {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let first = if parts[part].starts_with('A') { "B" } else { "A" };
    parts[part].replace_range(..1, first);
    Zeroizing::new(parts.join("."))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_enrolment_token_is_refused() {
    let site = Site::start().await;
    for profile in Profile::ALL {
        let token = site.token(1).await;
        Product::made(site.device_config(profile), token.clone()).await;
        assert_eq!(refused(&site, &token).await, EnrolRefusal::TokenUsedUp);
    }
    let counted = site.token(2).await;
    for _ in 0..2 {
        Product::made(site.device_config(Profile::Modern), counted.clone()).await;
    }
    assert_eq!(refused(&site, &counted).await, EnrolRefusal::TokenUsedUp);
    assert_eq!(site.counters.enrolments(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_enrolment_token_is_refused() {
    let site = Site::start().await;
    let token = site.token(2).await;
    Product::made(site.device_config(Profile::Modern), token.clone()).await;
    site.expire_tokens();
    assert_eq!(refused(&site, &token).await, EnrolRefusal::TokenExpired);
    assert_eq!(site.counters.enrolments(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_enrolment_token_is_refused() {
    let site = Site::start().await;
    let token = site.token(1).await;
    assert_eq!(refused(&site, &altered(&token, 0)).await, EnrolRefusal::UnknownToken);
    assert_eq!(refused(&site, &altered(&token, 1)).await, EnrolRefusal::UnknownToken);
    // The pin of the roots: here it is the device that refuses, on each port, before it has sent anything.
    let attempts = not_reached(site.device_config(Profile::Modern), altered(&token, 2)).await;
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|result| matches!(result, AttemptResult::LoginBroken { .. })), "{attempts:?}");
    assert_eq!(site.counters.enrolments(), 0);
    Product::made(site.device_config(Profile::Modern), token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operators_server_gets_nothing_of_an_enrolment() {
    let (ours, mut theirs) = (Site::start().await, Site::of(Operator::Theirs).await);
    for profile in Profile::ALL {
        let attempts = not_reached(theirs.device_config(profile), ours.token(1).await).await;
        assert_eq!(attempts.len(), 3);
        assert!(attempts.iter().all(|result| matches!(result, AttemptResult::LoginBroken { .. })), "{attempts:?}");
        for _ in 0..3 {
            assert_eq!(theirs.turned().await.0, Turned::Gone, "nothing was said that could be refused");
        }
    }
    assert_eq!(theirs.counters.enrolments(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_enrolment_server_hears_not_one_byte() {
    let (ours, theirs) = (Site::start().await, Site::of(Operator::Theirs).await);
    for profile in Profile::ALL {
        for shown in [&ours, &theirs] {
            // Our roots are no secret: a false server can show them, but has no certificate under them.
            let first = frame(&EnrolToDevice::Roots(shown.pki().server_roots.to_cbor()));
            let config = theirs.tls().config(Kind { profile, listener: Listener::Enrolment });
            let mut false_server = FalseGateway::start(config, Script { first, ..Script::default() }).await;
            let mut device = ours.device_config(profile);
            (device.address, device.ports) = (Some(false_server.at.ip()), only(false_server.at.port()));
            let attempts = not_reached(device, ours.token(1).await).await;
            for result in attempts {
                match result {
                    AttemptResult::TlsCertificate { .. } if shown.ip == ours.ip => {}
                    AttemptResult::LoginBroken { .. } if shown.ip == theirs.ip => {}
                    other => panic!("{other:?}"),
                }
                assert_eq!(false_server.heard().await, Ok(Vec::new()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_relayed_through_another_tls_connection_is_refused() {
    let mut site = Site::start().await;
    for profile in Profile::ALL {
        let stolen = site.tls().config(Kind { profile, listener: Listener::Enrolment });
        let own = danger_client_enrolment(profile, Arc::new(FloorClock::default()), Arc::default()).unwrap();
        let relay = Relay::start(stolen, own, site.gateway()).await;
        let token = site.token(1).await;
        let mut config = site.device_config(profile);
        (config.address, config.ports) = (Some(relay.at.ip()), only(relay.at.port()));
        match provision_with(config, token.clone()).await {
            Err(ProvisionError::Refused(reason)) => assert_eq!(reason, EnrolRefusal::ExporterMismatch),
            other => panic!("{other:?}"),
        }
        assert_eq!(site.turned().await.0, Turned::Refused);
        // What was relayed has used nothing up.
        Product::made(site.device_config(profile), token).await;
    }
}

/// Asks for the enrolment of `identity` with a request that `signer` signs; the server's answer.
async fn enrol_key(site: &Site, token: &str, identity: &Signer, signer: &Signer) -> Result<(), EnrolRefusal> {
    let config = danger_client_enrolment(Profile::Modern, Arc::new(FloorClock::default()), Arc::default()).unwrap();
    let tcp = TcpStream::connect(site.gateway()).await.unwrap();
    let mut tls = TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), tcp).await.unwrap();
    let config = DeviceEnrolmentConfig {
        token: EnrolmentToken::parse(token).unwrap(),
        exporter: exporter(tls.get_ref().1).unwrap(),
        profile: Profile::Modern,
        identity: identity.public().clone(),
        key_agreement: Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap().public().clone(),
        csr: Csr::create(&Signer::generate(KeyPurpose::device_tls(Profile::Modern)).unwrap()).unwrap(),
        model: "probe".to_owned(),
        attestation: AttestationLevel::Software,
        limits: LIMITS,
    };
    let mut machine = DeviceEnrolment::new(config, NOW);
    let mut buffer = vec![0; 16_384];
    loop {
        while let Some(event) = machine.poll_event() {
            match event {
                DeviceEnrolmentEvent::CheckServer(_) => machine.proceed(NOW),
                DeviceEnrolmentEvent::Sign(request) => {
                    machine.signature(signer.sign(&request.to_be_signed()).unwrap(), NOW);
                }
                DeviceEnrolmentEvent::Enrolled(_) => return Ok(()),
                DeviceEnrolmentEvent::Refused(reason) => return Err(reason),
                DeviceEnrolmentEvent::Broken(error) => panic!("{error}"),
            }
        }
        if let Some(bytes) = machine.poll_transmit() {
            tls.write_all(&bytes).await.unwrap();
            tls.flush().await.unwrap();
        }
        match tls.read(&mut buffer).await.unwrap() {
            0 => machine.handle_eof(),
            length => machine.handle_bytes(&buffer[..length], NOW),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holder_cannot_enrol_somebody_elses_key() {
    let site = Site::start().await;
    let victim = Product::provision(&site, Profile::Modern).await;
    let token = site.token(1).await;
    let thief = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    let unborn = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    for somebody_else in [victim.identity(), unborn] {
        let result = enrol_key(&site, &token, &somebody_else, &thief).await;
        assert_eq!(result, Err(EnrolRefusal::BadSignature));
    }
    assert_eq!(site.counters.enrolments(), 1);
    // The victim goes on as before, and the token still enrols who has the key.
    let mut victim = victim.run();
    victim.welcomed().await;
    victim.stop().await;
    assert_eq!(enrol_key(&site, &token, &thief, &thief).await, Ok(()));
}

#[test]
fn a_signature_for_the_challenge_is_none_for_an_enrolment() {
    let identity = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    let signature = identity.sign(&cose::to_be_signed(CosePurpose::Challenge, b"claims")).unwrap();
    let signed = cose::assemble(b"claims", signature);
    assert!(cose::verify(CosePurpose::Challenge, identity.public(), &signed).is_ok());
    assert!(cose::verify(CosePurpose::Enrolment, identity.public(), &signed).is_err());
}
