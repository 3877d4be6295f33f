//! Libraries, `#require`, and what code is told about its deployment.

use serde_json::{Value, json};

use crate::rig::Rig;

const LIBRARY: &str = "function twice(n) { return 2 * n; }\nconst ANSWER = 42;\n";

fn library(name: &str, version: &str, code: &str) -> Value {
    json!({ "data": { "type": "library", "attributes": { "name": name, "version": version, "code": code } } })
}

#[tokio::test]
async fn a_library_is_added_once_and_listed() {
    let rig = Rig::start().await;
    let made = rig.post("/v5/libraries", &library("Twice", "1.0.0", LIBRARY)).await.expect(201).json();
    assert_eq!(made["data"]["id"], "Twice:1.0.0");
    assert!(made["data"]["attributes"].get("code").is_none());
    let again = rig.post("/v5/libraries", &library("Twice", "1.0.0", LIBRARY)).await.expect(201).json();
    assert_eq!(again["data"], made["data"], "the same once more changes nothing");
    rig.post("/v5/libraries", &library("Twice", "1.1.0", "// other")).await.expect(201);
    let listed = rig.get("/v5/libraries").await.expect(200).json();
    let ids: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|library| library["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["Twice:1.0.0", "Twice:1.1.0"]);
}

#[tokio::test]
async fn a_version_never_changes_and_names_have_rules() {
    let rig = Rig::start().await;
    rig.post("/v5/libraries", &library("Twice", "1.0.0", LIBRARY)).await.expect(201);
    let error = rig.post("/v5/libraries", &library("Twice", "1.0.0", "// other")).await.expect(409).error();
    assert!(error.ends_with("add other code under another version."), "{error}");
    for (name, version, code) in [("a b", "1.0.0", "x"), ("a", "1.0", "x"), ("a", "1.0.0", ""), ("", "1.0.0", "x")] {
        rig.post("/v5/libraries", &library(name, version, code)).await.expect(400);
    }
}

#[tokio::test]
async fn code_finds_the_libraries_it_requires_and_those_they_require() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    rig.post("/v5/libraries", &library("Twice", "1.0.0", LIBRARY)).await.expect(201);
    let four = "#require \"Twice:1.0.0\"\nfunction fourTimes(n) { return twice(twice(n)); }\n";
    rig.post("/v5/libraries", &library("Four", "2.0.0", four)).await.expect(201);
    let code = "#require \"Four:2.0.0\"\nserver.log(fourTimes(ANSWER));\n";
    rig.deploy(&group, code, code).await.expect(201);
}

#[tokio::test]
async fn a_missing_library_is_an_error_at_its_place() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    rig.post("/v5/libraries", &library("Bad", "1.0.0", "local x = ;")).await.expect(201);
    let problem = |code: &'static str| {
        let (rig, group) = (&rig, &group);
        async move { rig.deploy(group, code, "").await.expect(400).json()["errors"][0]["meta"][0].clone() }
    };
    let missing = problem("// first\n#require \"Twice:9.9.9\"\n").await;
    assert_eq!((&missing["file"], &missing["row"]), (&json!("device_code"), &json!(2)));
    assert!(missing["text"].as_str().unwrap().contains("no library Twice in version 9.9.9"), "{missing}");
    let inside = problem("#require \"Bad:1.0.0\"\n").await;
    assert_eq!((&inside["file"], &inside["row"]), (&json!("Bad:1.0.0"), &json!(1)));
}

#[tokio::test]
async fn code_is_told_what_it_belongs_to() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("a \"lamp\"").await, "test").await;
    let code = "server.log(__EI.PRODUCT_ID + __EI.PRODUCT_NAME + __EI.DEVICEGROUP_ID + __EI.DEVICEGROUP_NAME
        + __EI.DEVICEGROUP_TYPE + __EI.DEPLOYMENT_ID + __EI.DEPLOYMENT_SHA + __EI.DEPLOYMENT_CREATED_AT);";
    rig.deploy(&group, code, "").await.expect(201);
    let wrong = rig.deploy(&group, "server.log(__EI.NOTHING);", "").await.expect(400).json();
    assert_eq!(wrong["errors"][0]["meta"][0]["row"], 1);
}

#[tokio::test]
async fn code_finds_the_environment_variables_of_its_group() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let made = json!({ "data": { "type": "development_devicegroup",
        "attributes": { "name": "g", "env_vars": { "url": "https://a/\"b\"\\", "count": -5, "half": 0.5 } },
        "relationships": { "product": { "type": "product", "id": product } } } });
    let made = rig.post("/v5/devicegroups", &made).await.expect(201).json();
    let group = made["data"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["data"]["attributes"]["env_vars"]["count"], -5);
    let code = "server.log(__VARS.url + __VARS.count + __VARS.half + __EI.PRODUCT_NAME);";
    let first = rig.deploy(&group, code, code).await.expect(201).json();

    let change = |vars: Value| json!({ "data": { "type": "development_devicegroup", "id": group, "attributes": { "env_vars": vars } } });
    let path = format!("/v5/devicegroups/{group}");
    let changed = rig.call("PATCH", &path, Some(&change(json!({ "url": "x", "count": 1 })))).await.expect(200).json();
    assert_eq!(changed["data"]["attributes"]["env_vars"], json!({ "count": 1, "url": "x" }));
    let wrong = rig.deploy(&group, "", code).await.expect(400).json();
    assert_eq!(wrong["errors"][0]["meta"][0]["file"], "agent_code", "one is gone");
    let nothing = json!({ "data": { "type": "development_devicegroup", "attributes": {} } });
    let kept = rig.call("PATCH", &path, Some(&nothing)).await.expect(200).json();
    assert_eq!(kept["data"]["attributes"]["env_vars"]["url"], "x");
    rig.call("PATCH", &path, Some(&change(json!(null)))).await.expect(200);
    rig.deploy(&group, "", "server.log(__VARS.url);").await.expect(400);
    assert!(first["data"]["id"].is_string());
}
