//! Products, device groups, pages, filters, and the shape of errors.

use serde_json::json;
use vouch_server::api::MEDIA_TYPE;

use crate::rig::{Rig, id};

#[tokio::test]
async fn a_product_is_made_changed_and_deleted() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let path = format!("/v5/products/{product}");
    let change = json!({ "data": { "type": "product", "id": product, "attributes": { "description": "bright" } } });
    let changed = rig.call("PATCH", &path, Some(&change)).await.expect(200).json();
    assert_eq!(changed["data"]["attributes"]["name"], "lamp");
    assert_eq!(changed["data"]["attributes"]["description"], "bright");
    let cleared = json!({ "data": { "type": "product", "id": product, "attributes": { "description": "" } } });
    assert_eq!(
        rig.call("PATCH", &path, Some(&cleared)).await.expect(200).json()["data"]["attributes"]["description"],
        ""
    );
    let unchanged = json!({ "data": { "type": "product", "id": product, "attributes": {} } });
    rig.call("PATCH", &path, Some(&unchanged)).await.expect(200);
    let deleted = rig.call("DELETE", &path, None).await.expect(204);
    assert_eq!(deleted.body, "");
    rig.get(&path).await.expect(404);
    rig.call("DELETE", &path, None).await.expect(404);
    rig.call("PATCH", &path, Some(&unchanged)).await.expect(404);
}

#[tokio::test]
async fn rules_are_told_in_the_words_that_clients_expect() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let again = json!({ "data": { "type": "product", "attributes": { "name": "lamp" } } });
    assert_eq!(
        rig.post("/v5/products", &again).await.expect(409).error(),
        "Duplicate Resource: Products must have unique names."
    );
    let group = rig.group(&product, "test").await;
    let again = json!({ "data": { "type": "development_devicegroup", "attributes": { "name": "test" },
        "relationships": { "product": { "type": "product", "id": product } } } });
    let error = rig.post("/v5/devicegroups", &again).await.expect(409).error();
    assert_eq!(error, "Duplicate Resource: Devicegroups must have unique names.");
    let error = rig.call("DELETE", &format!("/v5/products/{product}"), None).await.expect(409).error();
    assert_eq!(error, "Dependent Devicegroups Exist: Cannot delete a product with associated devicegroups.");
    rig.call("DELETE", &format!("/v5/devicegroups/{group}"), None).await.expect(204);
    rig.call("DELETE", &format!("/v5/products/{product}"), None).await.expect(204);
}

#[tokio::test]
async fn a_group_keeps_its_type_and_takes_an_empty_change() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    for kind in ["development", "pre_production", "production", "pre_dut", "dut"] {
        let body = json!({ "data": { "type": format!("{kind}_devicegroup"), "attributes": { "name": kind },
            "relationships": { "product": { "type": "product", "id": product } } } });
        let made = rig.post("/v5/devicegroups", &body).await.expect(201);
        let group = id(&made);
        let made = made.json();
        assert_eq!(made["data"]["type"], format!("{kind}_devicegroup"));
        assert!(made["data"]["relationships"].get("current_deployment").is_none(), "absent, not null");
        let change = json!({ "data": { "type": format!("{kind}_devicegroup"), "id": group, "attributes": {} } });
        rig.call("PATCH", &format!("/v5/devicegroups/{group}"), Some(&change)).await.expect(200);
        rig.post(&format!("/v5/devicegroups/{group}/restart"), &json!(null)).await.expect(204);
    }
    let dut = rig.get("/v5/devicegroups?filter[type]=dut_devicegroup").await.expect(200).json();
    assert_eq!(dut["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_this_server_does_not_have_is_refused_and_not_ignored() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let body = |kind: &str, attributes: serde_json::Value| json!({ "data": { "type": kind, "attributes": attributes, "relationships": { "product": { "type": "product", "id": product } } } });
    for refused in [
        body("factoryfixture_devicegroup", json!({ "name": "a" })),
        body("development_devicegroup", json!({ "name": "a", "region": "eu" })),
        body("development_devicegroup", json!({ "name": "a", "env_vars": { "2k": "v" } })),
        body("development_devicegroup", json!({ "name": "a", "env_vars": { "k": true } })),
        body("development_devicegroup", json!({ "name": "a", "env_vars": "k" })),
        body("devicegroup", json!({ "name": "a" })),
        body("development_devicegroup", json!({})),
        body("development_devicegroup", json!({ "name": 7 })),
    ] {
        rig.post("/v5/devicegroups", &refused).await.expect(400);
    }
    rig.post("/v5/devicegroups", &body("development_devicegroup", json!({ "name": "a", "env_vars": {} })))
        .await
        .expect(201);
}

#[tokio::test]
async fn pages_have_links_and_the_last_has_no_next() {
    let rig = Rig::start().await;
    for number in 0..5 {
        rig.product(&format!("p{number}")).await;
    }
    let mut names = Vec::new();
    for (number, count, more) in [(1, 2, true), (2, 2, true), (3, 1, false), (4, 0, false)] {
        let page =
            rig.get(&format!("/v5/products?page%5Bnumber%5D={number}&page%5Bsize%5D=2")).await.expect(200).json();
        let entries = page["data"].as_array().unwrap();
        assert_eq!(entries.len(), count, "page {number}");
        assert_eq!(page["links"].get("next").is_some(), more, "page {number}");
        assert_eq!(page["links"].get("prev").is_some(), number > 1, "page {number}");
        names.extend(entries.iter().map(|entry| entry["attributes"]["name"].as_str().unwrap().to_owned()));
        if more {
            let next = page["links"]["next"]
                .as_str()
                .unwrap()
                .strip_prefix(&format!("http://{}", rig.addr))
                .unwrap()
                .to_owned();
            rig.get(&next).await.expect(200);
        }
    }
    assert_eq!(names, ["p0", "p1", "p2", "p3", "p4"]);
    for bad in ["0", "-1", "x", ""] {
        rig.get(&format!("/v5/products?page[number]={bad}")).await.expect(400);
        rig.get(&format!("/v5/products?page[size]={bad}")).await.expect(400);
    }
    // More than the most is the most, no error.
    for (asked, given) in [(499, 499), (500, 500), (501, 500), (4_000_000_000_u32, 500)] {
        let page = rig.get(&format!("/v5/products?page[size]={asked}")).await.expect(200).json();
        assert!(page["links"]["self"].as_str().unwrap().ends_with(&format!("page%5Bsize%5D={given}")), "{asked}");
    }
    rig.get("/v5/products?page[number]=4000000000&page[size]=500").await.expect(200);
}

#[tokio::test]
async fn filters_select_and_what_cannot_exist_selects_nothing() {
    let rig = Rig::start().await;
    let (one, other) = (rig.product("one").await, rig.product("other").await);
    rig.group(&one, "a").await;
    rig.group(&one, "b").await;
    rig.group(&other, "c").await;
    let count = async |path: &str| rig.get(path).await.expect(200).json()["data"].as_array().unwrap().len();
    assert_eq!(count("/v5/devicegroups").await, 3);
    assert_eq!(count(&format!("/v5/devicegroups?filter%5Bproduct.id%5D={one}")).await, 2);
    assert_eq!(count(&format!("/v5/products?filter[owner.id]={}", rig.account)).await, 2);
    assert_eq!(count("/v5/products?filter[owner.id]=nobody").await, 0);
    assert_eq!(count("/v5/products?filter[owner.id]=00000000-0000-4000-8000-000000000000").await, 0);
    rig.get("/v5/products?filter[colour]=red").await.expect(400);
}

#[tokio::test]
async fn unknown_ids_of_any_shape_are_not_found() {
    let rig = Rig::start().await;
    for name in [
        "x",
        "%7Bme%7D%7Bname%7D",
        "00000000-0000-4000-8000-000000000000",
        "0c:2a:69:05:0d:62",
        "a%2Fb",
        "%F0%9F%92%A1",
        "..%2f..",
    ] {
        for collection in ["accounts", "products", "devicegroups", "devices", "deployments", "enrolment_tokens"] {
            let answer = rig.get(&format!("/v5/{collection}/{name}")).await.expect(404);
            assert!(answer.error().starts_with("Not Found: "), "{collection} {name}");
        }
    }
    assert!(rig.get("/v5/nothing").await.expect(404).error().contains("no such path"));
    rig.call("PUT", "/v5/products", None).await.expect(405).json();
}

#[tokio::test]
async fn slashes_content_types_and_bodies_may_be_odd() {
    let rig = Rig::start().await;
    let auth = format!("Authorization: bearer {}\r\n", rig.token);
    rig.raw("GET", "//v5//products", &auth, b"").await.expect(200);
    let body = br#"{"data":{"type":"product","attributes":{"name":"odd"}}}"#;
    rig.raw("POST", "/v5/products", &format!("{auth}Content-Type: text/plain\r\n"), body).await.expect(201);
    rig.raw("POST", "/v5/logstream", &format!("{auth}Content-Type: {MEDIA_TYPE}\r\n"), b"").await.expect(201);
}

#[tokio::test]
async fn answers_are_hardened_against_browsers() {
    let rig = Rig::start().await;
    for path in ["/v5/products", "/v5/nothing"] {
        let head = rig.get(path).await.head;
        for header in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(head.contains(header), "{path} lacks {header}");
        }
        assert!(!head.contains("access-control-allow"), "{path}");
        assert!(head.contains(&format!("content-type: {MEDIA_TYPE}")), "{path}");
    }
}
