//! What is demanded of devices beyond their key, and what people do about alarms, over the API.

use serde_json::json;
use vouch_server::fleet::AlarmKind;

use crate::rig::Rig;

#[tokio::test]
async fn a_group_demands_where_keys_live_and_takes_no_device_whose_keys_live_elsewhere() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let (open, strict) = (rig.group(&product, "open").await, rig.group(&product, "strict").await);
    let path = format!("/v5/devicegroups/{strict}");
    let demand = |level: &str| json!({ "data": { "type": "development_devicegroup", "id": strict, "attributes": { "attestation": level } } });
    for wrong in ["", "TPM", "hardwear"] {
        let error = rig.call("PATCH", &path, Some(&demand(wrong))).await.expect(400).error();
        assert!(error.contains("attestation is one of any, hardware, tpm, secure-element"), "{error}");
    }
    assert_eq!(rig.get(&path).await.expect(200).json()["data"]["attributes"]["attestation"], "any");
    for level in ["hardware", "secure-element", "tpm"] {
        let changed = rig.call("PATCH", &path, Some(&demand(level))).await.expect(200).json();
        assert_eq!(changed["data"]["attributes"]["attestation"], level);
    }
    let device = rig.enrol(Some(&open)).await;
    let naming = json!({ "data": [{ "type": "device", "id": device.id.to_string() }] });
    let devices = format!("{path}/relationships/devices");
    let refused = rig.call("POST", &devices, Some(&naming)).await.expect(400).json();
    let error = &refused["errors"][0];
    assert_eq!((&error["status"], &error["code"]), (&"409".into(), &"CX014".into()), "{error}");
    rig.call("PATCH", &path, Some(&demand("any"))).await.expect(200);
    rig.call("POST", &devices, Some(&naming)).await.expect(204);
}

#[tokio::test]
async fn alarms_are_dismissed_but_for_that_of_an_older_vault_which_is_accepted() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    let path = format!("/v5/devices/{}", device.id);
    let accept = format!("{path}/accept_older_vault");
    rig.call("POST", &accept, None).await.expect(404);
    rig.call("POST", "/v5/devices/0000000000000000/accept_older_vault", None).await.expect(404);
    rig.call("DELETE", "/v5/devices/0000000000000000/alarms", None).await.expect(404);

    for kind in [AlarmKind::VaultFell, AlarmKind::Attestation] {
        assert!(rig.store.raise_alarm(device.spki, kind, "a test").await.unwrap());
    }
    let kinds = async || {
        let shown = rig.get(&path).await.expect(200).json()["data"]["attributes"]["alarms"].clone();
        let mut kinds: Vec<String> =
            shown.as_array().unwrap().iter().map(|alarm| alarm["kind"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds().await, ["attestation-too-low", "vault-fell"]);
    rig.call("DELETE", &format!("{path}/alarms"), None).await.expect(204);
    assert_eq!(kinds().await, ["vault-fell"]);
    rig.call("POST", &accept, None).await.expect(204);
    assert!(kinds().await.is_empty());
}
