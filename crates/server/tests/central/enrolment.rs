//! Enrolment tokens: what they let in, and what attackers try with them.

use protocol::enrol::{EnrolmentToken, TokenId};
use serde_json::json;
use vouch_server::fleet::{NewDevice, RedeemRefused};
use vouch_server::store::RedeemError;

use crate::rig::{ROOTS, Rig, new_device, now_ms};

fn refused<T: std::fmt::Debug>(result: Result<T, RedeemError>) -> RedeemRefused {
    match result {
        Err(RedeemError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_pins_the_roots() {
    let rig = Rig::start().await;
    let token = rig.enrolment_token(None, 3).await;
    assert_eq!(token.roots_sha256(), &ROOTS);
    let path = format!("/v5/enrolment_tokens/{}", token.id());
    let shown = rig.get(&path).await.expect(200).json();
    assert!(shown["data"]["attributes"].get("token").is_none());
    assert_eq!(shown["data"]["attributes"]["uses_left"], 3);
    let listed = rig.get("/v5/enrolment_tokens").await.expect(200);
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
    assert!(!listed.body.contains("\"token\""));
    rig.call("DELETE", &path, None).await.expect(204);
    rig.get(&path).await.expect(404);
    assert!(matches!(refused(rig.redeem(&token, new_device()).await), RedeemRefused::Unknown));
}

#[tokio::test]
async fn a_device_enrols_into_the_tokens_group() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    assert_eq!(device.group.unwrap().to_string(), group);
    let shown = rig.get(&format!("/v5/devices/{}", device.id)).await.expect(200).json();
    assert_eq!(shown["data"]["attributes"]["imp_type"], "lamp");
    assert_eq!(shown["data"]["attributes"]["tls_profile"], "modern");
}

#[tokio::test]
async fn a_used_token_enrols_nobody_else() {
    let rig = Rig::start().await;
    let token = rig.enrolment_token(None, 2).await;
    rig.redeem(&token, new_device()).await.unwrap();
    rig.redeem(&token, new_device()).await.unwrap();
    assert!(matches!(refused(rig.redeem(&token, new_device()).await), RedeemRefused::UsedUp));
    assert_eq!(rig.get("/v5/devices").await.json()["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_one_time_token_used_many_times_at_once_enrols_one() {
    let rig = Rig::start().await;
    for _ in 0..5 {
        let token = rig.enrolment_token(None, 1).await;
        let all = futures_util::future::join_all((0..8).map(|_| rig.redeem(&token, new_device()))).await;
        let (enrolled, others): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!(enrolled.len(), 1);
        assert!(others.into_iter().all(|other| matches!(refused(other), RedeemRefused::UsedUp)));
    }
    assert_eq!(rig.get("/v5/devices").await.json()["data"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_device_that_missed_the_answer_may_ask_again_and_uses_none_up() {
    let rig = Rig::start().await;
    let token = rig.enrolment_token(None, 2).await;
    let device = new_device();
    let first = rig.redeem(&token, device.clone()).await.unwrap();
    let renewed = NewDevice { tls_spki: keys::public::SpkiHash([9; 32]), ..device.clone() };
    let second = rig.redeem(&token, renewed).await.unwrap();
    assert_eq!((first.id, first.agent), (second.id, second.agent));
    assert_eq!(second.tls_spki, keys::public::SpkiHash([9; 32]));
    rig.redeem(&token, new_device()).await.unwrap();
    assert!(matches!(refused(rig.redeem(&token, new_device()).await), RedeemRefused::UsedUp));
    // With another token the same key is refused, and the other token keeps its use.
    let other = rig.enrolment_token(None, 1).await;
    assert!(matches!(refused(rig.redeem(&other, device.clone()).await), RedeemRefused::AlreadyEnrolled));
    rig.redeem(&other, new_device()).await.unwrap();
    // Once revoked, its own token does not bring it back.
    rig.store.revoke_device(first.id).await.unwrap();
    assert!(matches!(refused(rig.redeem(&token, device).await), RedeemRefused::AlreadyEnrolled));
    assert!(rig.store.device_login(first.spki).await.unwrap().unwrap().revoked);
}

#[tokio::test]
async fn an_altered_token_is_unknown_and_does_not_use_the_real_one_up() {
    let rig = Rig::start().await;
    let token = rig.enrolment_token(None, 1).await;
    let wrong_secret = EnrolmentToken::new(token.id(), [0; 32], ROOTS);
    assert!(matches!(refused(rig.redeem(&wrong_secret, new_device()).await), RedeemRefused::Unknown));
    let mut hash = token.secret_sha256();
    hash[31] ^= 1;
    let altered = rig.store.redeem_token(&token.id(), &hash, now_ms(), new_device()).await;
    assert!(matches!(refused(altered), RedeemRefused::Unknown));
    let altered = rig.store.redeem_token(&TokenId::new([0; 9]), &token.secret_sha256(), now_ms(), new_device()).await;
    assert!(matches!(refused(altered), RedeemRefused::Unknown));
    rig.redeem(&token, new_device()).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_at_its_last_millisecond() {
    let rig = Rig::start().await;
    let token = rig.enrolment_token(None, 3).await;
    let expires = rig.store.enrolment_token(token.id()).await.unwrap().unwrap().expires_ms;
    let at = async |now| rig.store.redeem_token(&token.id(), &token.secret_sha256(), now, new_device()).await;
    assert!(matches!(refused(at(expires).await), RedeemRefused::Expired));
    assert!(at(expires - 1).await.is_ok());
    // Not even who was enrolled by it gets an answer again.
    let device = new_device();
    let redeem = async |now| rig.store.redeem_token(&token.id(), &token.secret_sha256(), now, device.clone()).await;
    assert!(redeem(expires - 1).await.is_ok());
    assert!(matches!(refused(redeem(expires).await), RedeemRefused::Expired));
}

#[tokio::test]
async fn counts_lives_and_models_have_bounds() {
    let rig = Rig::start().await;
    let make = async |uses: serde_json::Value, minutes: serde_json::Value| {
        let body = json!({ "data": { "type": "enrolment_token", "attributes": { "uses": uses, "minutes": minutes } } });
        rig.post("/v5/enrolment_tokens", &body).await.status
    };
    assert_eq!(make(json!(1), json!(1)).await, 201);
    assert_eq!(make(json!(100_000), json!(525_600)).await, 201);
    for (uses, minutes) in [
        (json!(0), json!(1)),
        (json!(1), json!(0)),
        (json!(100_001), json!(1)),
        (json!(1), json!(525_601)),
        (json!(-1), json!(1)),
        (json!("1"), json!(1)),
        (json!(1.5), json!(1)),
    ] {
        assert_eq!(make(uses.clone(), minutes.clone()).await, 400, "{uses} {minutes}");
    }
    let unknown = json!({ "data": { "type": "enrolment_token", "relationships": { "devicegroup": { "type": "development_devicegroup", "id": "x" } } } });
    rig.post("/v5/enrolment_tokens", &unknown).await.expect(404);
    let token = rig.enrolment_token(None, 1).await;
    let nameless = NewDevice { model: "x".repeat(65), ..new_device() };
    assert!(matches!(refused(rig.redeem(&token, nameless).await), RedeemRefused::Invalid(_)));
}
