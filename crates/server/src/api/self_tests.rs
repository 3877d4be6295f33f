//! The last self-test of a device, with the signature that anybody can check again.

use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::limits::LIMITS;
use protocol::self_test::SelfTest;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, one, time};
use super::error::ApiError;
use super::request::Bearer;

#[derive(Serialize)]
struct Attributes {
    received_at: String,
    made_at: String,
    os_version: String,
    boot_measurement: Option<String>,
    passed: bool,
    checks: Vec<Check>,
    cose: String,
    identity_spki: String,
}

#[derive(Serialize)]
struct Check {
    id: String,
    outcome: &'static str,
    detail: String,
}

pub(super) async fn last(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let device = central.device(&id).await?;
    let missing = || ApiError::not_found("self-test of this device");
    let stored = central.store.self_test(device.spki).await?.ok_or_else(missing)?;
    let identity = central.store.device_login(device.spki).await?.ok_or_else(missing)?.identity;
    let result = SelfTest::verify(&identity, &stored.cose, &LIMITS).map_err(|error| ApiError::internal(&error))?;
    let passed = result.is_passed();
    let check = |check: protocol::self_test::SelfTestCheck| Check {
        id: check.id,
        outcome: check.outcome.as_str(),
        detail: check.detail,
    };
    Ok(one(Resource {
        kind: "self_test",
        id: device.id.to_string(),
        links: SelfLink { this: format!("{}/devices/{}/self_test", central.base, device.id) },
        attributes: Attributes {
            received_at: time(stored.received_ms),
            made_at: time(result.unix_ms),
            os_version: result.os_version,
            boot_measurement: result.boot.map(const_hex::encode),
            passed,
            checks: result.checks.into_iter().map(check).collect(),
            cose: BASE64_STANDARD.encode(&stored.cose),
            identity_spki: BASE64_STANDARD.encode(identity.spki_der()),
        },
        relationships: Relationships::default().with("device", "device", device.id),
    }))
}
