//! What is deleted leaves nothing behind: images that no deployment names, and all that was kept of a device.

use std::sync::Arc;

use keys::hashes::sha256;
use keys::public::SpkiHash;
use serde_json::json;
use vouch_server::fleet::{DeviceLogin, LogEntry, LogType};
use vouch_server::store::{Attempts, LogFilter, Page, ReportRing};

use crate::rig::{Rig, id, new_device};

const PAGE: Page = Page { number: 1, size: 100 };

fn line(device: SpkiHash) -> LogEntry {
    LogEntry { device, at_ms: 1, kind: LogType::ServerLog, production: false, text: "line".into() }
}

/// Lets a device write everything that a device can write.
async fn fill(rig: &Rig, device: &DeviceLogin) {
    let ring = Arc::new(ReportRing::new(device.spki, [1; 8]));
    rig.bus.log(line(device.spki)).await;
    let attempts = Attempts { first: 0, at_ms: 1, entries: vec!["{}".to_owned()] };
    rig.bus.journal().diary(&ring, attempts).await.await.expect("it is kept");
    rig.store.save_agent_state(device.agent, 0, b"state").await.unwrap();
}

async fn left(rig: &Rig, device: &DeviceLogin) -> (usize, usize, bool) {
    rig.bus.journal().flush().await;
    let logs = rig.store.logs(device.spki, &LogFilter::default(), PAGE).await.unwrap();
    let diaries = rig.store.diaries(device.spki).await.unwrap();
    let state = rig.store.agent_state(device.agent).await.unwrap();
    (logs.items.len(), diaries.len(), state.is_some())
}

#[tokio::test]
async fn a_deleted_device_leaves_no_logs_no_diary_and_no_agents_state() {
    let rig = Rig::start().await;
    let (gone, stays) = (rig.enrol(None).await, rig.enrol(None).await);
    fill(&rig, &gone).await;
    fill(&rig, &stays).await;
    assert_eq!(left(&rig, &gone).await, (1, 1, true));
    rig.call("DELETE", &format!("/v5/devices/{}", gone.id), None).await.expect(204);
    assert_eq!(left(&rig, &gone).await, (0, 0, false));
    assert_eq!(left(&rig, &stays).await, (1, 1, true));
}

#[tokio::test]
async fn who_enrols_the_same_key_again_finds_nothing_that_came_after_the_deletion() {
    let rig = Rig::start().await;
    let new = new_device();
    let token = rig.enrolment_token(None, 1).await;
    let device = rig.redeem(&token, new.clone()).await.unwrap();
    rig.call("DELETE", &format!("/v5/devices/{}", device.id), None).await.expect(204);
    // As the last words of a session and of an agent that end later than the deletion.
    fill(&rig, &device).await;
    assert_eq!(left(&rig, &device).await, (1, 1, true));
    let token = rig.enrolment_token(None, 1).await;
    let again = rig.redeem(&token, new).await.unwrap();
    assert_eq!(again.spki, device.spki);
    assert_eq!(left(&rig, &device).await, (0, 0, false));
}

#[tokio::test]
async fn images_go_with_the_last_deployment_that_names_them() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let (one, other) = (rig.group(&product, "one").await, rig.group(&product, "other").await);
    let shared = "server.log(\"shared\");";
    let oldest = id(&rig.deploy(&one, "server.log(\"old\");", shared).await.expect(201));
    let newest = id(&rig.deploy(&one, "server.log(\"new\");", shared).await.expect(201));
    rig.deploy(&other, shared, "").await.expect(201);
    let image = async |deployment: &str, device_app: bool| {
        let deployment = rig.store.deployment(deployment.parse().unwrap()).await.unwrap().unwrap();
        if device_app { deployment.device_app.sha256 } else { deployment.agent_app.sha256 }
    };
    let (old, new, agent) = (image(&oldest, true).await, image(&newest, true).await, image(&newest, false).await);
    let kept = async |sha256: [u8; 32]| rig.store.image(&sha256).await.unwrap().is_some();
    assert!(kept(old).await && kept(new).await && kept(agent).await);
    let minimum = json!({ "data": { "type": "deployment", "id": newest } });
    let path = format!("/v5/devicegroups/{one}/relationships/min_supported_deployment");
    rig.call("PUT", &path, Some(&minimum)).await.expect(204);
    rig.call("DELETE", &format!("/v5/deployments/{oldest}"), None).await.expect(204);
    assert!(!kept(old).await, "also not from memory");
    assert!(kept(new).await && kept(agent).await);
    rig.call("DELETE", &format!("/v5/devicegroups/{one}"), None).await.expect(204);
    assert!(!kept(new).await);
    assert!(!kept(sha256(b"never there")).await);
}
