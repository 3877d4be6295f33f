//! What the server says of itself, to whom, and what that costs.

use std::time::Duration;

use serde_json::{Value, json};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::status::Severity;

use crate::releases::{Maker, V, upload};
use crate::rig::Rig;

#[tokio::test]
async fn the_status_counts_what_there_is_and_tells_what_went_wrong() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let (online, _offline, revoked) = (rig.enrol(Some(&group)).await, rig.enrol(None).await, rig.enrol(None).await);
    rig.post(&format!("/v5/devices/{}/revoke", revoked.id), &Value::Null).await.expect(204);
    let _session = rig.bus.attach(online.spki, [127, 0, 0, 1].into());
    rig.troubles.note(Severity::Error, "the disk is full");
    let shown = rig.get("/v5/status").await.expect(200).json();
    assert_eq!((&shown["data"]["type"], &shown["data"]["id"]), (&json!("status"), &json!("server")));
    let status = &shown["data"]["attributes"];
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["started_at"], "2018-01-22T19:49:30.423Z");
    assert_eq!(status["http"], rig.addr.to_string());
    assert_eq!(status["listeners"], json!([{ "rule_port": 443, "address": "192.0.2.1:443" }]));
    assert_eq!(status["devices"], json!({ "total": 3, "online": 1, "unassigned": 2, "revoked": 1 }));
    assert_eq!((&status["products"], &status["devicegroups"]), (&json!(1), &json!(1)));
    assert_eq!((&status["agents_running"], &status["gateway"]["logins"]), (&json!(0), &json!(7)));
    let error = &status["recent_errors"][0];
    assert_eq!((&error["level"], &error["text"]), (&json!("error"), &json!("the disk is full")));
}

#[tokio::test]
async fn what_the_custodians_must_sign_again_is_told_in_time() {
    // Their root holds for a million seconds, the approval of their release for a tenth of that.
    for (seconds, told) in [(2_000_000, vec!["root", "targets"]), (500_000, vec!["targets"]), (50_000, vec![])] {
        let expiry_warning = Duration::from_secs(seconds);
        let rig = Rig::with(Limits { expiry_warning, ..LIMITS }).await;
        let maker = Maker::of(&rig.repository);
        let parts = maker.release(&rig.repository, V, 7, &[0, 1]);
        upload(&rig, &maker.bundle(&parts)).await.expect(201);
        let shown = rig.get("/v5/status").await.expect(200).json();
        let expiring = shown["data"]["attributes"]["expiring"].as_array().unwrap().clone();
        let roles: Vec<_> = expiring.iter().map(|file| file["role"].as_str().unwrap()).collect();
        assert_eq!(roles, told, "{expiring:?}");
        assert!(expiring.last().is_none_or(|targets| targets["version"] == 7 && targets["expires_at"].is_string()));
    }
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_the_server_but_whether_it_is_well() {
    let rig = Rig::start().await;
    let answer = rig.raw("GET", "/v5/status", "", b"").await.expect(401);
    assert!(!answer.body.contains("192.0.2.1"), "{}", answer.body);
    assert_eq!(rig.raw("GET", "/health", "", b"").await.expect(200).body, "ok\n");
}

#[tokio::test]
async fn the_database_is_not_asked_for_each_question_about_health() {
    let rig = Rig::start().await;
    rig.raw("GET", "/health", "", b"").await.expect(200);
    rig.store.close().await;
    // Within a second of the answer above it is given again; a closed store answers nothing.
    rig.raw("GET", "/health", "", b"").await.expect(200);
}
