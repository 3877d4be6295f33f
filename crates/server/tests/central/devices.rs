//! Devices: naming, assignment, restart, revocation, and what their sessions and agents hear of it.

use keys::public::{DeviceId, SpkiHash};
use protocol::reason::CloseReason;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vouch_server::bus::{AgentControl, ToSession};
use vouch_server::limits::{LIMITS, Limits};

use crate::rig::{PATIENCE, Rig};

fn naming(id: DeviceId) -> Value {
    json!({ "data": [{ "type": "device", "id": id.to_string() }] })
}

#[tokio::test]
async fn a_device_is_found_by_its_id_and_while_assigned_by_its_agent() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    let by_agent = rig.get(&format!("/v5/devices/{}", device.agent)).await.expect(200).json();
    assert_eq!(by_agent["data"]["id"], device.id.to_string());
    assert_eq!(by_agent["data"]["attributes"]["agent_url"], format!("http://{}/agent/{}", rig.addr, device.agent));
    assert_eq!(
        by_agent["data"]["relationships"]["devicegroup"],
        json!({ "type": "development_devicegroup", "id": group })
    );
    let path = format!("/v5/devicegroups/{group}/relationships/devices");
    rig.call("DELETE", &path, Some(&naming(device.id))).await.expect(204);
    rig.get(&format!("/v5/devices/{}", device.agent)).await.expect(404);
    let alone = rig.get(&format!("/v5/devices/{}", device.id)).await.expect(200).json();
    assert_eq!(alone["data"]["attributes"]["agent_id"], Value::Null);
    assert!(alone["data"]["relationships"].get("devicegroup").is_none());
    assert!(alone["data"]["relationships"].get("product").is_none());
    rig.post(&path, &naming(device.id)).await.expect(204);
    let again = rig.get(&format!("/v5/devices/{}", device.id)).await.expect(200).json();
    assert_eq!(again["data"]["attributes"]["agent_id"], device.agent.to_string(), "the same agent id returns");
}

#[tokio::test]
async fn a_name_is_set_and_cleared() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    let path = format!("/v5/devices/{}", device.id);
    for (sent, shown) in [
        (json!("desk"), json!("desk")),
        (json!(""), Value::Null),
        (json!("shelf"), json!("shelf")),
        (Value::Null, Value::Null),
    ] {
        let body = json!({ "data": { "type": "device", "id": device.id.to_string(), "attributes": { "name": sent } } });
        assert_eq!(rig.call("PATCH", &path, Some(&body)).await.expect(200).json()["data"]["attributes"]["name"], shown);
    }
    let long = json!({ "data": { "type": "device", "attributes": { "name": "x".repeat(81) } } });
    rig.call("PATCH", &path, Some(&long)).await.expect(400);
}

#[tokio::test]
async fn assigning_restarts_agent_and_device_also_into_the_same_group() {
    let mut rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    let (_ticket, mut inbox) = rig.bus.attach(device.spki, [127, 0, 0, 1].into());
    let path = format!("/v5/devicegroups/{group}/relationships/devices");
    for _ in 0..2 {
        rig.post(&path, &naming(device.id)).await.expect(204);
        assert_eq!(rig.order().await, AgentControl::Reload(device.spki));
        assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::Restart));
    }
    rig.call("DELETE", &path, Some(&naming(device.id))).await.expect(204);
    assert_eq!(rig.order().await, AgentControl::Stop(device.spki));
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::AppChanged));
}

#[tokio::test]
async fn assigning_does_what_it_can_and_tells_each_that_it_could_not() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(None).await;
    let path = format!("/v5/devicegroups/{group}/relationships/devices");
    let body = json!({ "data": [{ "id": "nobody" }, { "id": device.id.to_string() }, { "id": "0000000000000000" }] });
    let answer = rig.post(&path, &body).await.expect(400).json();
    let statuses: Vec<_> =
        answer["errors"].as_array().unwrap().iter().map(|error| error["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["404", "404"]);
    let shown = rig.get(&format!("/v5/devices/{}", device.id)).await.json();
    assert_eq!(shown["data"]["relationships"]["devicegroup"]["id"], group);
    // Taking out who is not in: every error says 404, which clients take as "done already".
    let other = rig.group(&rig.product("other").await, "test").await;
    let answer =
        rig.call("DELETE", &format!("/v5/devicegroups/{other}/relationships/devices"), Some(&naming(device.id))).await;
    assert_eq!(answer.expect(400).json()["errors"][0]["status"], "404");
}

#[tokio::test]
async fn a_restart_reaches_the_device_or_the_whole_group() {
    let mut rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let devices = [rig.enrol(Some(&group)).await, rig.enrol(Some(&group)).await];
    let mut sessions: Vec<_> =
        devices.iter().map(|device| rig.bus.attach(device.spki, [127, 0, 0, 1].into())).collect();
    rig.post(&format!("/v5/devices/{}/restart", devices[0].id), &Value::Null).await.expect(204);
    assert_eq!(rig.order().await, AgentControl::Reload(devices[0].spki));
    assert_eq!(timeout(PATIENCE, sessions[0].1.recv()).await.unwrap(), Ok(ToSession::Restart));
    rig.post(&format!("/v5/devicegroups/{group}/restart"), &Value::Null).await.expect(204);
    let mut ordered = [rig.order().await, rig.order().await].map(|order| match order {
        AgentControl::Reload(spki) => spki,
        other @ AgentControl::Stop(_) => panic!("{other:?}"),
    });
    let mut expected = [devices[0].spki, devices[1].spki];
    ordered.sort();
    expected.sort();
    assert_eq!(ordered, expected);
    for (_, inbox) in &mut sessions {
        assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::Restart));
    }
    let alone = rig.enrol(None).await;
    rig.post(&format!("/v5/devices/{}/restart", alone.id), &Value::Null).await.expect(400);
}

#[tokio::test]
async fn a_revocation_is_done_to_its_end_when_the_client_goes_away() {
    let mut rig = Rig::with(Limits { agent_control_queue: 1, connections: 1, ..LIMITS }).await;
    let device = rig.enrol(None).await;
    let (_ticket, mut inbox) = rig.bus.attach(device.spki, [127, 0, 0, 1].into());
    let other = AgentControl::Stop(SpkiHash([0; 32]));
    rig.bus.control_agents(other).await;
    let mut client = TcpStream::connect(rig.addr).await.unwrap();
    let (path, token) = (format!("/v5/devices/{}/revoke", device.id), &rig.token);
    let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Err(CloseReason::Revoked));
    // The order to the agents waits for room when the client goes; the next connection is served once this one is gone.
    drop(client);
    rig.raw("GET", "/health", "", b"").await.expect(200);
    assert_eq!(rig.order().await, other);
    assert_eq!(rig.order().await, AgentControl::Stop(device.spki));
}

#[tokio::test]
async fn revoking_ends_the_live_session_and_the_agent_and_is_for_ever() {
    let mut rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    // Its key is in the cache of parsed keys, as after a login.
    assert!(!rig.store.device_login(device.spki).await.unwrap().unwrap().revoked);
    let (_ticket, mut inbox) = rig.bus.attach(device.spki, [127, 0, 0, 1].into());
    let path = format!("/v5/devices/{}", device.id);
    assert_eq!(rig.get(&path).await.json()["data"]["attributes"]["device_online"], true);
    rig.post(&format!("{path}/revoke"), &Value::Null).await.expect(204);
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Err(CloseReason::Revoked));
    assert_eq!(rig.order().await, AgentControl::Stop(device.spki));
    assert!(rig.store.device_login(device.spki).await.unwrap().unwrap().revoked);
    assert_eq!(rig.store.agent_start(device.spki).await.unwrap(), None);
    let shown = rig.get(&path).await.json();
    assert_eq!(shown["data"]["attributes"]["revoked"], true);
    assert_eq!(shown["data"]["attributes"]["device_online"], false);
    rig.post(&format!("{path}/revoke"), &Value::Null).await.expect(204);
    rig.post(&format!("{path}/restart"), &Value::Null).await.expect(409);
    let answer = rig.post(&format!("/v5/devicegroups/{group}/relationships/devices"), &naming(device.id)).await;
    assert_eq!(answer.expect(400).json()["errors"][0]["title"], "Device Revoked");
    // It cannot be forgotten and enrolled again with the same key either.
    rig.call("DELETE", &format!("/v5/devicegroups/{group}/relationships/devices"), Some(&naming(device.id)))
        .await
        .expect(204);
    rig.call("DELETE", &path, None).await.expect(409);
}

#[tokio::test]
async fn an_assigned_device_is_not_deleted_and_a_deleted_one_is_unknown() {
    let rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    let path = format!("/v5/devices/{}", device.id);
    rig.call("DELETE", &path, None).await.expect(409);
    rig.call("DELETE", &format!("/v5/devicegroups/{group}"), None).await.expect(409);
    rig.call("DELETE", &format!("/v5/devicegroups/{group}/relationships/devices"), Some(&naming(device.id)))
        .await
        .expect(204);
    rig.call("DELETE", &path, None).await.expect(204);
    rig.get(&path).await.expect(404);
    assert!(rig.store.device_login(device.spki).await.unwrap().is_none());
}

#[tokio::test]
async fn devices_are_listed_by_filter() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let group = rig.group(&product, "test").await;
    rig.enrol(Some(&group)).await;
    rig.enrol(None).await;
    let count = async |query: &str| {
        rig.get(&format!("/v5/devices{query}")).await.expect(200).json()["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count(&format!("?filter[devicegroup.id]={group}")).await, 1);
    assert_eq!(count(&format!("?filter[product.id]={product}")).await, 1);
    assert_eq!(count("?filter[devicegroup.owner.id]=null").await, 1);
    assert_eq!(count(&format!("?filter[devicegroup.owner.id]={}", rig.account)).await, 1);
    assert_eq!(count("?filter[devicegroup.type]=production_devicegroup").await, 0);
    assert_eq!(count("?filter[devicegroup.type]=development_devicegroup").await, 1);
}

#[tokio::test]
async fn a_conditional_restart_asks_apps_that_are_new_enough_and_ends_the_others() {
    let mut rig = Rig::start().await;
    let group = rig.group(&rig.product("lamp").await, "test").await;
    let device = rig.enrol(Some(&group)).await;
    let mut deployments = Vec::new();
    for code in ["server.log(1);", "server.log(2);"] {
        let made = rig.deploy(&group, code, code).await.expect(201).json();
        deployments.push(made["data"]["id"].as_str().unwrap().to_owned());
    }
    let path = format!("/v5/devices/{}/conditional_restart", device.id);
    // Nobody to ask: the agent takes the new deployment, the device when it comes.
    rig.post(&path, &Value::Null).await.expect(204);
    assert_eq!(rig.order().await, AgentControl::Reload(device.spki));

    let (_session, mut inbox) = rig.bus.attach(device.spki, [127, 0, 0, 1].into());
    let (ticket, _agent) = rig.bus.register_agent(device.spki, device.agent);
    ticket.runs(deployments[0].parse().unwrap());
    rig.post(&path, &Value::Null).await.expect(204);
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::RestartWhenReady));
    rig.post(&format!("/v5/devicegroups/{group}/conditional_restart"), &Value::Null).await.expect(204);
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::RestartWhenReady));
    assert!(rig.orders.try_recv().is_err(), "the agent follows its device");

    let minimum = json!({ "data": { "type": "deployment", "id": deployments[1] } });
    let minimum_path = format!("/v5/devicegroups/{group}/relationships/min_supported_deployment");
    rig.call("PUT", &minimum_path, Some(&minimum)).await.expect(204);
    rig.post(&path, &Value::Null).await.expect(204);
    assert_eq!(rig.order().await, AgentControl::Reload(device.spki));
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::Restart));
}
