//! Deployments: compiled before they are stored, current at once, restarting nothing.

use keys::hashes::sha256;
use serde_json::{Value, json};
use vouch_server::limits::{LIMITS, Limits};

use crate::rig::{Rig, id};

const DEVICE: &str = "server.log(\"device\");\n";
const AGENT: &str = "server.log(\"agent\");\n";

#[tokio::test]
async fn a_deployment_becomes_current_and_the_first_also_the_minimum() {
    let mut rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    assert_eq!(device.app, None);
    let first = rig.deploy(&group, DEVICE, AGENT).await.expect(201);
    let second = rig.deploy(&group, "server.log(2);", AGENT).await.expect(201);
    let shown = rig.get(&format!("/v5/devicegroups/{group}")).await.expect(200).json();
    let related = &shown["data"]["relationships"];
    assert_eq!(related["current_deployment"], json!({ "type": "deployment", "id": id(&second) }));
    assert_eq!(related["min_supported_deployment"], json!({ "type": "deployment", "id": id(&first) }));
    assert!(rig.orders.try_recv().is_err(), "nothing restarts by itself");
    let login = rig.store.device_login(device.spki).await.unwrap().unwrap();
    let app = login.app.expect("an app");
    let image = rig.store.image(&app.sha256).await.unwrap().expect("an image");
    assert_eq!((sha256(&image), image.len()), (app.sha256, app.len as usize));
    squirrel::Program::from_image(&image).expect("a program");
    let agent = rig.store.agent_start(device.spki).await.unwrap().expect("an agent to start");
    assert_ne!(agent.app, app);
    assert_eq!(rig.store.agents_to_start(None, 10).await.unwrap(), [device.spki]);
}

#[tokio::test]
async fn the_sha_depends_on_the_code_only_and_the_time_always_moves() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let (one, other) = (rig.group(&product, "one").await, rig.group(&product, "other").await);
    let mut times = Vec::new();
    let mut shas = Vec::new();
    for group in [&one, &other, &one, &one] {
        let made = rig.deploy(group, DEVICE, AGENT).await.expect(201).json();
        shas.push(made["data"]["attributes"]["sha"].as_str().unwrap().to_owned());
        if group == &one {
            times.push(made["data"]["attributes"]["created_at"].as_str().unwrap().to_owned());
        }
    }
    assert!(shas.iter().all(|sha| *sha == shas[0] && sha.len() == 64));
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let found = rig.get(&format!("/v5/deployments?filter[sha]={}", shas[0])).await.expect(200).json();
    assert_eq!(found["data"].as_array().unwrap().len(), 4);
    assert!(found["data"][0]["attributes"].get("device_code").is_none(), "lists leave the code out");
    assert_eq!(rig.get("/v5/deployments?filter[sha]=x").await.expect(200).json()["data"], json!([]));
}

#[tokio::test]
async fn errors_of_both_sources_are_told_with_their_places_and_nothing_is_made() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let answer = rig.deploy(&group, "local a = 1;\n  local b = ;\n", "local = 3;").await.expect(400);
    assert!(answer.error().starts_with("Compilation Error: "));
    let error = &answer.json()["errors"][0];
    assert_eq!(error["code"], "CX005");
    let rows = error["meta"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["file"], &rows[0]["type"], &rows[0]["row"]),
        (&json!("device_code"), &json!("error"), &json!(2))
    );
    assert_eq!((&rows[1]["file"], &rows[1]["row"]), (&json!("agent_code"), &json!(1)));
    assert!(rows.iter().all(|row| row["column"].as_u64().unwrap() >= 1 && !row["text"].as_str().unwrap().is_empty()));
    assert_eq!(rig.get("/v5/deployments").await.json()["data"], json!([]));
    assert!(
        rig.get(&format!("/v5/devicegroups/{group}")).await.json()["data"]["relationships"]
            .get("current_deployment")
            .is_none()
    );
}

#[tokio::test]
async fn flags_tags_and_the_rules_of_deletion() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let first = id(&rig.deploy(&group, DEVICE, AGENT).await.expect(201));
    let path = format!("/v5/deployments/{first}");
    let change = |attributes: Value| json!({ "data": { "type": "deployment", "id": first, "attributes": attributes } });
    let shown = rig.get(&path).await.expect(200).json();
    assert_eq!(shown["data"]["attributes"]["tags"], json!([]));
    assert_eq!(shown["data"]["attributes"]["device_code"], DEVICE);
    let body = change(json!({ "flagged": true, "tags": ["v1.0", "good_one"], "description": "first" }));
    let changed = rig.call("PATCH", &path, Some(&body)).await.expect(200).json();
    assert_eq!(changed["data"]["relationships"]["flagger"]["id"], rig.account);
    assert_eq!(
        rig.call("PATCH", &path, Some(&change(json!({})))).await.expect(200).json()["data"]["attributes"]["tags"],
        json!(["v1.0", "good_one"])
    );
    rig.call("PATCH", &path, Some(&change(json!({ "tags": ["no blanks"] })))).await.expect(400);
    let count = async |query: &str| {
        rig.get(&format!("/v5/deployments?{query}")).await.expect(200).json()["data"].as_array().unwrap().len()
    };
    assert_eq!(count("filter[tags]=v1.0").await, 1);
    assert_eq!(count("filter[tags]=v1.0,good_one").await, 1);
    assert_eq!(count("filter[tags]=V1.0").await, 0);
    assert_eq!(count("filter[tags]=v1").await, 0);
    assert_eq!(count("filter[flagged]=true").await, 1);
    assert_eq!(count("filter[flagged]=false").await, 0);
    assert_eq!(count(&format!("filter[flagger.id]={}", rig.account)).await, 1);

    let error = rig.call("DELETE", &path, None).await.expect(409).error();
    let told =
        "Resource Flagged: You cannot delete flagged deployments; set the flagged attribute to false and try again.";
    assert_eq!(error, told);
    rig.call("DELETE", &format!("/v5/devicegroups/{group}"), None).await.expect(409);
    rig.call("PATCH", &path, Some(&change(json!({ "flagged": false })))).await.expect(200);
    rig.call("DELETE", &path, None).await.expect(409);
    let second = id(&rig.deploy(&group, "server.log(2);", AGENT).await.expect(201));
    let minimum = json!({ "data": { "type": "deployment", "id": second } });
    let put = format!("/v5/devicegroups/{group}/relationships/min_supported_deployment");
    rig.call("PUT", &put, Some(&minimum)).await.expect(204);
    let back = json!({ "data": { "type": "deployment", "id": first } });
    rig.call("PUT", &put, Some(&back)).await.expect(400);
    rig.call("DELETE", &path, None).await.expect(204);
    rig.get(&path).await.expect(404);
    rig.call("DELETE", &format!("/v5/devicegroups/{group}"), None).await.expect(204);
    rig.get(&format!("/v5/deployments/{second}")).await.expect(404);
}

#[tokio::test]
async fn the_minimum_must_be_the_groups_own() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let (one, other) = (rig.group(&product, "one").await, rig.group(&product, "other").await);
    rig.deploy(&one, DEVICE, AGENT).await.expect(201);
    let foreign = id(&rig.deploy(&other, DEVICE, AGENT).await.expect(201));
    let put = format!("/v5/devicegroups/{one}/relationships/min_supported_deployment");
    rig.call("PUT", &put, Some(&json!({ "data": { "type": "deployment", "id": foreign } }))).await.expect(400);
    rig.call("PUT", &put, Some(&json!({ "data": { "type": "deployment", "id": "x" } }))).await.expect(404);
}

#[tokio::test]
async fn a_source_as_long_as_the_limit_is_taken_and_one_byte_more_is_not() {
    let rig = Rig::with(Limits { code_bytes: 100, ..LIMITS }).await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let source = |length: usize| format!("//{}", "x".repeat(length - 2));
    rig.deploy(&group, &source(100), "").await.expect(201);
    rig.deploy(&group, &source(101), "").await.expect(413);
    rig.deploy(&group, "", &source(101)).await.expect(413);
}
