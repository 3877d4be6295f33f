//! Releases, roll-outs and the fleet's skew, as clients of central see them.

use keys::public::SpkiHash;
use release::version::OsVersion;
use serde_json::{Value, json};
use vouch_server::fleet::{DeviceStep, NewRelease, NewReleaseImage, ReleaseImage};

use crate::rig::{Rig, id};

const IMAGE: [u8; 32] = [0x1a; 32];

/// Keeps a release as an upload does after all of it was verified.
async fn release(rig: &Rig, version: OsVersion, image: [u8; 32]) -> String {
    let new = NewRelease {
        product: "lamps".to_owned(),
        version,
        security_epoch: 3,
        uploader: rig.account.parse().unwrap(),
        images: vec![NewReleaseImage {
            shown: ReleaseImage { image, models: vec!["lamp".to_owned()], len: 1000 },
            manifest: b"manifest".to_vec(),
            sealed_key: b"sealed".to_vec(),
        }],
    };
    rig.store.create_release(&new, &[]).await.unwrap().0.id.to_string()
}

fn rollout(release: &str, group: &str, attributes: &Value) -> Value {
    json!({ "data": { "type": "rollout", "attributes": attributes, "relationships": {
        "release": { "type": "release", "id": release },
        "devicegroup": { "type": "development_devicegroup", "id": group },
    }}})
}

async fn reach(rig: &Rig, device: SpkiHash) {
    rig.store.os_update(device, "lamp", OsVersion::new(1, 0, 0)).await.unwrap().expect("an update");
}

#[tokio::test]
async fn a_rollout_shows_how_far_it_is_and_who_failed() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamps").await, "field").await;
    let (one, two) = (rig.enrol(Some(&group)).await, rig.enrol(Some(&group)).await);
    let release = release(&rig, OsVersion::new(1, 4, 0), IMAGE).await;
    let shown = rig.get(&format!("/v5/releases/{release}")).await.expect(200).json()["data"].clone();
    assert_eq!(shown["attributes"]["version"], "1.4.0");
    assert_eq!(
        shown["attributes"]["images"][0],
        json!({ "sha256": "1a".repeat(32), "models": ["lamp"], "size": 1000 })
    );
    assert_eq!(rig.get("/v5/releases").await.expect(200).json()["data"], json!([shown]));

    let body = rollout(&release, &group, &json!({ "phases": ["1", "100%"], "max_failures": 60 }));
    let made = rig.post("/v5/rollouts", &body).await.expect(201);
    let path = format!("/v5/rollouts/{}", id(&made));
    let attributes = &made.json()["data"]["attributes"];
    assert_eq!(attributes["phases"], json!(["1", "100%"]));
    assert_eq!(
        (&attributes["state"], &attributes["reach"], &attributes["devices"]),
        (&json!("running"), &json!(1), &json!(2))
    );
    reach(&rig, one.spki).await;
    rig.store.os_progress(one.spki, &IMAGE, DeviceStep::Confirmed, "").await.unwrap();
    reach(&rig, two.spki).await;
    rig.store.os_progress(two.spki, &IMAGE, DeviceStep::FellBack, "it had no session in time").await.unwrap();
    let shown = rig.get(&path).await.expect(200).json();
    let attributes = &shown["data"]["attributes"];
    assert_eq!((&attributes["phase"], &attributes["reached"]), (&json!(2), &json!(2)));
    assert_eq!((&attributes["steps"]["confirmed"], &attributes["steps"]["fell-back"]), (&json!(1), &json!(1)));
    assert!(attributes.get("reach").is_none(), "all");
    let all = rig.get(&format!("{path}/devices")).await.expect(200).json();
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let failed = rig.get(&format!("{path}/devices?filter[failed]=true")).await.expect(200).json();
    assert_eq!(failed["data"][0]["id"], two.id.to_string());
    assert_eq!(failed["data"][0]["attributes"]["reason"], "it had no session in time");
    assert_eq!(failed["data"].as_array().unwrap().len(), 1);
    rig.get(&format!("{path}/devices?filter[failed]=maybe")).await.expect(400);
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_and_aborted_and_wrong_orders_say_what_is_wrong() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamps").await, "field").await;
    let release = release(&rig, OsVersion::new(1, 4, 0), IMAGE).await;
    let path = format!(
        "/v5/rollouts/{}",
        id(&rig.post("/v5/rollouts", &rollout(&release, &group, &json!({}))).await.expect(201))
    );
    let order = async |order: &str| rig.call("POST", &format!("{path}/{order}"), None).await;
    let state = async |order_: &str| order(order_).await.expect(200).json()["data"]["attributes"]["state"].clone();
    assert_eq!(
        order("resume").await.expect(409).error(),
        "Rollout State: Only a roll-out that is paused, or stopped by failures, can be resumed."
    );
    assert_eq!(state("pause").await, "paused");
    assert_eq!(state("resume").await, "running");
    assert_eq!(state("abort").await, "aborted");
    order("abort").await.expect(409);
    let list = async |query: &str| {
        rig.get(&format!("/v5/rollouts{query}")).await.expect(200).json()["data"].as_array().unwrap().len()
    };
    assert_eq!(list("").await, 1);
    assert_eq!(list(&format!("?filter[devicegroup.id]={group}")).await, 1);
    assert_eq!(list("?filter[devicegroup.id]=nobody").await, 0);
}

#[tokio::test]
async fn a_rollout_that_makes_no_sense_is_not_begun() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamps").await, "field").await;
    let release = release(&rig, OsVersion::new(1, 4, 0), IMAGE).await;
    for wrong in [
        json!({ "phases": ["50%", "5%"] }),
        json!({ "phases": ["0%"] }),
        json!({ "phases": "all" }),
        json!({ "max_failures": 101 }),
        json!({ "max_failures": -1 }),
    ] {
        rig.post("/v5/rollouts", &rollout(&release, &group, &wrong)).await.expect(400);
    }
    rig.post("/v5/rollouts", &rollout(&release, &release, &json!({}))).await.expect(404);
    rig.post("/v5/rollouts", &rollout(&group, &group, &json!({}))).await.expect(404);
    let nothing = json!({ "data": { "type": "rollout" } });
    rig.post("/v5/rollouts", &nothing).await.expect(400);
    let headers = "Content-Type: application/json\r\n";
    for (method, path) in [
        ("GET", "/v5/releases"),
        ("POST", "/v5/rollouts"),
        ("GET", "/v5/fleet/skew"),
        ("GET", "/v5/devices/0/key_releases"),
    ] {
        rig.raw(method, path, headers, b"").await.expect(401);
    }
}

#[tokio::test]
async fn one_request_brings_every_group_to_a_release() {
    let rig = Rig::start().await;
    let product = rig.product("lamps").await;
    let (one, two, empty) =
        (rig.group(&product, "one").await, rig.group(&product, "two").await, rig.group(&product, "empty").await);
    rig.enrol(Some(&one)).await;
    rig.enrol(Some(&two)).await;
    rig.enrol(None).await;
    let skew = rig.get("/v5/fleet/skew").await.expect(200).json();
    assert_eq!(skew["data"]["versions"], json!([{ "model": "lamp", "devices": 3, "without_group": 1 }]));
    let of_one = rig.get(&format!("/v5/fleet/skew?filter[devicegroup.id]={one}")).await.expect(200).json();
    assert_eq!(of_one["data"]["versions"], json!([{ "model": "lamp", "devices": 1 }]));

    let release = release(&rig, OsVersion::new(1, 4, 0), IMAGE).await;
    let align = async || {
        let body = json!({ "data": { "type": "rollout", "attributes": { "phases": ["100%"] } } });
        let begun = rig.post(&format!("/v5/releases/{release}/align"), &body).await.expect(200).json();
        let groups =
            begun["data"].as_array().unwrap().iter().map(|begun| begun["relationships"]["devicegroup"]["id"].clone());
        let mut groups: Vec<_> = groups.map(|id| id.as_str().unwrap().to_owned()).collect();
        groups.sort();
        groups
    };
    let mut both = vec![one, two];
    both.sort();
    assert_eq!(align().await, both, "not {empty}, which has no devices");
    assert!(align().await.is_empty(), "all of them run");
}
