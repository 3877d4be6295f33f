//! Devices.

use std::num::NonZeroU64;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::alarms::ShownAlarm;
use super::document::{Relationships, Resource, SelfLink, many, one as show_one, time};
use super::error::ApiError;
use super::orders::to_the_end;
use super::query::Asked;
use super::request::{Bearer, Document, Json};
use crate::fleet::proof::{layers_name, level_name};
use crate::fleet::{Alarm, Device, GroupId, Rule};
use crate::store::{DeviceFilter, Listed};

#[derive(Serialize)]
struct Attributes {
    name: Option<String>,
    agent_id: Option<String>,
    agent_url: Option<String>,
    device_online: bool,
    device_state_changed_at: Option<String>,
    agent_running: bool,
    last_enrolled_at: String,
    imp_type: String,
    ip_address: Option<String>,
    mac_address: Option<String>,
    free_memory: Option<u32>,
    rssi: Option<i32>,
    swversion: Option<String>,
    plan_id: Option<String>,
    deployment_id: Option<String>,
    deployment_sha: Option<String>,
    tls_profile: &'static str,
    identity_spki_sha256: String,
    revoked: bool,
    revoked_at: Option<String>,
    /// Where its identity key lives, as it proved last, or said when it was enrolled.
    attestation_level: Option<&'static str>,
    boot_measurement: Option<String>,
    demanded_layers: Option<&'static str>,
    memory_locked: Option<bool>,
    vault_generation: Option<u64>,
    alarms: Vec<ShownAlarm>,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    let filters = &mut asked.filters;
    filters.only(&["owner.id", "product.id", "devicegroup.id", "devicegroup.owner.id", "devicegroup.type"])?;
    let unassigned = filters.text("devicegroup.owner.id") == Some("null");
    let filter = DeviceFilter {
        owner: filters.id("owner.id"),
        product: filters.id("product.id"),
        group: filters.id("devicegroup.id"),
        group_owner: if unassigned { None } else { filters.id("devicegroup.owner.id") },
        kind: filters.id("devicegroup.type"),
        unassigned,
    };
    let listed = match filters.nothing {
        true => Listed::empty(),
        false => central.store.devices(&filter, asked.paging.page).await?,
    };
    let mut alarms = central.store.alarms_by_device().await?;
    Ok(many(&asked.paging, listed, |device| {
        let alarms = alarms.remove(&device.spki).unwrap_or_default();
        show(&central, device, alarms)
    }))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    show_again(&central, &id).await
}

pub(super) async fn update(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("device")?;
    let device = central.device(&id).await?;
    if let Some(name) = data.text("name")? {
        central.store.name_device(device.id, Some(name)).await?;
    }
    show_again(&central, &device.id.to_string()).await
}

pub(super) async fn remove(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = central.device(&id).await?;
    to_the_end(async move {
        let spki = central.store.delete_device(device.id).await?;
        central.cut_off(&spki).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(super) async fn restart(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (device, _) = restartable(&central, &id).await?;
    to_the_end(async move {
        central.restart(&device.spki).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(super) async fn conditional_restart(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (device, group) = restartable(&central, &id).await?;
    to_the_end(async move {
        central.restart_when_ready(&device.spki, group).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn restartable(central: &Central, id: &str) -> Result<(Device, GroupId), ApiError> {
    let device = central.device(id).await?;
    if device.revoked_ms.is_some() {
        return Err(Rule::DeviceRevoked.into());
    }
    let group = device.assignment.as_ref().map(|assignment| assignment.group);
    let group = group.ok_or_else(|| {
        ApiError::invalid("The device is not assigned to a devicegroup, so there is nothing to restart.")
    })?;
    Ok((device, group))
}

/// Refuses a device from now on and ends its live session.
pub(super) async fn revoke(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = central.device(&id).await?;
    to_the_end(async move {
        let spki = central.store.revoke_device(device.id).await?;
        tracing::info!(device = %device.id, "revoked");
        central.cut_off(&spki).await;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Lets a device in again whose vault fell behind, with the vault it has now.
pub(super) async fn accept_older_vault(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = central.device(&id).await?;
    central.store.accept_older_vault(device.spki).await?;
    tracing::warn!(device = %device.id, "a person accepts the older vault of this device");
    Ok(StatusCode::NO_CONTENT)
}

/// Somebody has looked at a device's alarms.
pub(super) async fn dismiss_alarms(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let device = central.device(&id).await?;
    central.store.dismiss_alarms(device.spki).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show_again(central: &Central, id: &str) -> Result<Response, ApiError> {
    let device = central.device(id).await?;
    let alarms = central.store.alarms(Some(device.spki)).await?;
    Ok(show_one(show(central, device, alarms)))
}

fn show(central: &Central, device: Device, alarms: Vec<Alarm>) -> Resource<Attributes> {
    let presence = central.bus.presence(&device.spki);
    let deployment = device.assignment.and_then(|assignment| assignment.deployment);
    let agent = device.assignment.map(|_| device.agent);
    let seen_ms = presence.map(|presence| presence.since_ms).or(device.seen_ms);
    Resource {
        kind: "device",
        id: device.id.to_string(),
        links: SelfLink { this: format!("{}/devices/{}", central.base, device.id) },
        attributes: Attributes {
            name: device.name,
            agent_id: agent.map(|agent| agent.to_string()),
            agent_url: agent.map(|agent| central.agent_urls.of(agent)),
            device_online: presence.is_some(),
            device_state_changed_at: seen_ms.map(time),
            agent_running: central.bus.agent_runs(&device.spki),
            last_enrolled_at: time(device.enrolled_ms),
            imp_type: device.model,
            ip_address: presence.map(|presence| presence.address.to_string()).or(device.address),
            mac_address: None,
            free_memory: device.free_memory,
            rssi: None,
            swversion: device.os_version,
            plan_id: None,
            deployment_id: deployment.map(|(id, _)| id.to_string()),
            deployment_sha: deployment.map(|(_, sha)| sha.to_string()),
            tls_profile: device.profile.as_str(),
            identity_spki_sha256: device.spki.to_string(),
            revoked: device.revoked_ms.is_some(),
            revoked_at: device.revoked_ms.map(time),
            attestation_level: device.proved.map(|proved| proved.attestation).or(device.attestation).map(level_name),
            boot_measurement: device.proved.and_then(|proved| proved.boot).map(const_hex::encode),
            demanded_layers: device.proved.and_then(|proved| proved.layers).map(layers_name),
            memory_locked: device.proved.and_then(|proved| proved.memory_locked),
            vault_generation: device.proved.and_then(|proved| proved.generation).map(NonZeroU64::get),
            alarms: alarms.into_iter().map(ShownAlarm::from).collect(),
        },
        relationships: match device.assignment {
            None => Relationships::default().with("owner", "account", device.owner),
            Some(assignment) => Relationships::default()
                .with("owner", "account", device.owner)
                .with("devicegroup", assignment.kind.as_str(), assignment.group)
                .with("product", "product", assignment.product),
        },
    }
}
