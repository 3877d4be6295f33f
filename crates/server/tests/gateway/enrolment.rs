//! Enrolment: what a token is good for, and attacks on it by name.

use std::sync::Arc;

use crate::rig::Rig;
use crate::rig::device::{EnrolFailed, TestDevice};
use keys::hashes::random;
use keys::pki::ServingPki;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use protocol::enrol::EnrolmentToken;
use protocol::error::ProtocolError;
use protocol::reason::EnrolRefusal;
use vouch_server::gateway::GatewayEventKind;

fn newborn(rig: &Rig, profile: Profile) -> TestDevice {
    TestDevice::born(profile, rig.pki.server_roots.clone())
}

fn refused(result: Result<(), EnrolFailed>) -> EnrolRefusal {
    match result {
        Err(EnrolFailed::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_enrols_as_many_devices_as_it_counts_and_not_one_more() {
    let mut rig = Rig::start().await;
    let token = rig.token(2).await;
    for profile in Profile::ALL {
        let mut device = newborn(&rig, profile);
        device.enrol(rig.addr(), &token).await.unwrap();
        let enrolled = rig.event(|event| match &event.what {
            GatewayEventKind::Enrolled { identity_spki_sha256, .. } => Some(identity_spki_sha256.clone()),
            _ => None,
        });
        assert_eq!(enrolled.await, device.spki().to_string());
        let login = rig.store.device_login(device.spki()).await.unwrap().unwrap();
        assert_eq!((login.profile, login.group), (profile, Some(rig.group)));
    }
    let mut third = newborn(&rig, Profile::Modern);
    assert_eq!(refused(third.enrol(rig.addr(), &token).await), EnrolRefusal::TokenUsedUp);
    assert!(rig.store.device_login(third.spki()).await.unwrap().is_none());
    assert_eq!(rig.counters.enrolments(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_at_once_cannot_share_a_token_for_one() {
    let rig = Rig::start().await;
    let token = rig.token(1).await;
    let (mut one, mut other) = (newborn(&rig, Profile::Modern), newborn(&rig, Profile::Modern));
    let (first, second) = tokio::join!(one.enrol(rig.addr(), &token), other.enrol(rig.addr(), &token));
    let refused_one = match (first, second) {
        (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused_one, EnrolFailed::Refused(EnrolRefusal::TokenUsedUp)), "{refused_one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_or_unknown_token_is_refused() {
    let rig = Rig::start().await;
    let token = rig.token(1).await;
    let roots = rig.pki.server_roots.hash();
    let altered = EnrolmentToken::new(token.id(), random(), roots);
    let unknown = EnrolmentToken::new(protocol::enrol::TokenId::new(random()), random(), roots);
    for wrong in [altered, unknown] {
        let mut device = newborn(&rig, Profile::Modern);
        assert_eq!(refused(device.enrol(rig.addr(), &wrong).await), EnrolRefusal::UnknownToken);
    }
    newborn(&rig, Profile::Modern).enrol(rig.addr(), &token).await.expect("the token itself is still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_token_is_refused() {
    let rig = Rig::start().await;
    let token = rig.token(1).await;
    rig.store.delete_enrolment_token(token.id()).await.unwrap();
    let result = newborn(&rig, Profile::Modern).enrol(rig.addr(), &token).await;
    assert_eq!(refused(result), EnrolRefusal::UnknownToken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_holder_cannot_enrol_somebody_elses_key() {
    let rig = Rig::start().await;
    let token = rig.token(1).await;
    let holder = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    let mut victim = newborn(&rig, Profile::Modern);
    let result = victim.enrol_as(rig.addr(), &token, &holder, None).await;
    assert_eq!(refused(result), EnrolRefusal::BadSignature);
    newborn(&rig, Profile::Modern).enrol(rig.addr(), &token).await.expect("a bad request uses no token up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_relayed_through_another_tls_connection_is_refused() {
    let rig = Rig::start().await;
    let token = rig.token(1).await;
    let mut device = newborn(&rig, Profile::Modern);
    let signer = device.identity.clone();
    let result = device.enrol_as(rig.addr(), &token, &signer, Some(random())).await;
    assert_eq!(refused(result), EnrolRefusal::ExporterMismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_tokens_gets_nothing() {
    let theirs = Arc::new(crate::rig::operator("Theirs").serving);
    let (ours, theirs) = (Rig::start().await, Rig::of(theirs).await);
    let token = ours.token(1).await;
    for profile in Profile::ALL {
        let result = newborn(&ours, profile).enrol(theirs.addr(), &token).await;
        assert!(matches!(result, Err(EnrolFailed::Broken(ProtocolError::WrongRoots))), "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_server_that_shows_the_right_roots_gets_nothing() {
    let ours = Rig::start().await;
    let token = ours.token(1).await;
    let theirs = crate::rig::operator(crate::rig::OURS).serving;
    let false_pki = ServingPki { server_roots: ours.pki.server_roots.clone(), ..theirs };
    let false_rig = Rig::of(Arc::new(false_pki)).await;
    for profile in Profile::ALL {
        let result = newborn(&ours, profile).enrol(false_rig.addr(), &token).await;
        assert!(matches!(result, Err(EnrolFailed::FalseServer)), "{result:?}");
    }
    assert_eq!(false_rig.counters.enrolments(), 0);
}
