//! The challenge: stolen TLS keys, replays, relays, clones, and second connections.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use device::events::DeviceEvent;
use device::folder::KEYS_FOLDER;
use device::limits::Limits;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::{Signer, file_name};
use keys::tls::{Kind, Listener};
use protocol::facts::PROTOCOL_VERSION;
use protocol::message::ToServer;
use protocol::reason::{CloseReason, Refusal};
use server::gateway::{GatewayEventKind, Turned};
use vouch_tests::attacker::{Intruder, Relay, answer, client};
use vouch_tests::product::{AtWork, Product, QUICK};
use vouch_tests::site::Site;

/// An app that tells of each of its starts.
const STARTS: &str = "server.log(\"started\");";

async fn app_started(device: &mut AtWork) {
    device
        .until(|event| match event {
            DeviceEvent::AppStarted { .. } => Some(()),
            DeviceEvent::Disconnected { why } => panic!("disconnected: {why}"),
            _ => None,
        })
        .await;
}

/// The verdict over the next answer to a challenge, and the answer itself.
async fn answered(site: &mut Site) -> (Option<String>, Vec<u8>) {
    site.event(|what| match what {
        GatewayEventKind::Answered(answer) => {
            Some((answer.refused.clone(), BASE64_STANDARD.decode(&answer.cose).unwrap()))
        }
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn right_tls_keys_without_the_identity_key_get_nothing() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    for profile in Profile::ALL {
        let victim = Product::provision(&site, profile).await;
        let spki = victim.identity().public().spki_hash();
        let thief = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
        let mut intruder = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
        let nonce = intruder.challenge(spki).await;
        let forged = answer(spki, profile, nonce, intruder.exporter, &thief);
        assert_eq!(intruder.refused(forged).await, Refusal::BadSignature);
        assert_eq!(answered(&mut site).await.0.as_deref(), Some("BadSignature"));
    }
    assert_eq!(site.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_tls_keys_beside_another_identity_are_refused() {
    let site = Site::start().await;
    for profile in Profile::ALL {
        let victim = Product::provision(&site, profile).await;
        let thief = Product::provision(&site, profile).await;
        let tls = KeyPurpose::device_tls(profile);
        let stolen = [format!("{KEYS_FOLDER}/{}", file_name(tls)), format!("{KEYS_FOLDER}/{tls}.chain")];
        thief.takes(&victim, &stolen.each_ref().map(String::as_str));
        let mut device = thief.run();
        assert_eq!(device.refused().await, Refusal::WrongCertificate.to_string());
        device.stop().await;

        let unknown = victim.cloned();
        let file = unknown.keys().join(file_name(KeyPurpose::DeviceIdentity));
        std::fs::remove_file(file).unwrap();
        let identity = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
        identity.save(&unknown.keys(), keys::private_file::Existing::Refuse).unwrap();
        let mut device = unknown.run();
        assert_eq!(device.refused().await, Refusal::UnknownDevice.to_string());
        device.stop().await;
    }
    assert_eq!(site.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_answer_replayed_is_refused() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    for profile in Profile::ALL {
        let victim = Product::provision(&site, profile).await;
        let mut device = victim.run();
        device.welcomed().await;
        let (verdict, recorded) = answered(&mut site).await;
        assert_eq!(verdict, None);
        device.stop().await;
        let logins = site.counters.logins();
        let mut intruder = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
        intruder.challenge(victim.identity().public().spki_hash()).await;
        assert_eq!(intruder.refused(recorded).await, Refusal::NonceMismatch);
        assert_eq!(answered(&mut site).await.0.as_deref(), Some("NonceMismatch"));
        assert_eq!(site.counters.logins(), logins);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_relayed_through_another_tls_connection_is_refused() {
    let mut site = Site::start().await;
    for profile in Profile::ALL {
        let victim = Product::provision(&site, profile).await;
        // He has the TLS keys of both ends, so that neither end's TLS can tell him from the other.
        let facing_device = site.tls().config(Kind { profile, listener: Listener::Session });
        let facing_gateway = client(&victim.credential(), &site.pki().server_roots, profile);
        let relay = Relay::start(facing_device, facing_gateway, site.gateway()).await;
        victim.dial_only(relay.at);
        let mut device = victim.run();
        assert_eq!(device.refused().await, Refusal::ExporterMismatch.to_string());
        assert_eq!(answered(&mut site).await.0.as_deref(), Some("ExporterMismatch"));
        device.stop().await;
    }
    assert_eq!(site.counters.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_of_a_revoked_device_is_refused() {
    let site = Site::start().await;
    let product = Product::provision(&site, Profile::Modern).await;
    let mut device = product.run();
    device.welcomed().await;
    site.revoke(&product.id).await;
    let told = device.until(|event| match event {
        DeviceEvent::Disconnected { why } => Some(why),
        _ => None,
    });
    assert!(told.await.contains(&CloseReason::Revoked.to_string()));
    let resumed = device.until(|event| match event {
        DeviceEvent::Tls(facts) => Some(facts.resumed),
        _ => None,
    });
    assert!(resumed.await, "the ticket of the session before was taken");
    assert_eq!(device.refused().await, Refusal::Revoked.to_string());
    device.stop().await;
    assert_eq!(site.counters.logins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_without_proof_changes_nothing() {
    let mut site = Site::start().await;
    let roots = site.pki().server_roots;
    let victim = Product::provision(&site, Profile::Modern).await;
    site.deploy(STARTS).await;
    let mut device = victim.run();
    app_started(&mut device).await;

    let spki = victim.identity().public().spki_hash();
    let silent = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
    let mut asked = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
    asked.challenge(spki).await;
    let mut wrong = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
    let nonce = wrong.challenge(spki).await;
    let thief = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    let forged = answer(spki, Profile::Modern, nonce, wrong.exporter, &thief);
    assert_eq!(wrong.refused(forged).await, Refusal::BadSignature);
    let mut rude = Intruder::with_tls_keys_of(&victim, &roots, site.gateway()).await;
    rude.send(&ToServer::Hello { version: PROTOCOL_VERSION, identity: spki }).await;
    rude.send(&ToServer::App { name: "x".to_owned(), value: vec![] }).await;
    let broken = site.event(|what| match what {
        GatewayEventKind::Turned { reason: Turned::Broken, .. } => Some(()),
        GatewayEventKind::Ended { reason, .. } => panic!("the live session ended: {reason}"),
        _ => None,
    });
    broken.await;

    // Two of them are still there. The live session carries what is sent, both ways.
    assert_eq!((site.counters.sessions(), site.counters.logins()), (1, 1));
    site.restart(&victim.id).await;
    app_started(&mut device).await;
    drop((silent, asked));
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newly_proven_connection_replaces_the_old() {
    let site = Site::start().await;
    let first = Product::provision(&site, Profile::Modern).await;
    let second = first.cloned();
    // The first must not come back and replace the second in turn while the test looks.
    let patient = Limits { backoff_first: Duration::from_secs(600), backoff_most: Duration::from_secs(600), ..QUICK };
    let mut old = first.run_with(patient);
    old.welcomed().await;
    let mut new = second.run();
    new.welcomed().await;
    let why = old.until(|event| match event {
        DeviceEvent::Disconnected { why } => Some(why),
        _ => None,
    });
    assert!(why.await.contains(&CloseReason::Replaced.to_string()));
    site.until(|counters| counters.sessions() == 1 && counters.logins() == 2).await;
    new.stop().await;
    old.stop().await;
}
