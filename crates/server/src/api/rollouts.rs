//! Roll-outs of OS releases.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::ApiError;
use super::orders::to_the_end;
use super::query::Asked;
use super::request::{self, Bearer, Document, Json, Sent};
use crate::fleet::rollout::{MAX_FAILURES, PHASES};
use crate::fleet::{DeviceStep, Invalid, Phases, Rollout, RolloutDevice};
use crate::store::{Listed, NewRollout, RolloutOrder};

#[derive(Serialize)]
struct Attributes {
    version: String,
    state: &'static str,
    reason: String,
    phases: Vec<String>,
    /// From 1.
    phase: usize,
    max_failures: u32,
    /// Of the group's devices, those of a model that the release has an image for.
    devices: i64,
    /// How many this phase reaches; absent when all.
    #[serde(skip_serializing_if = "Option::is_none")]
    reach: Option<i64>,
    reached: i64,
    confirmed: i64,
    failed: i64,
    steps: BTreeMap<&'static str, i64>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct DeviceAttributes {
    step: &'static str,
    reason: String,
    updated_at: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&["devicegroup.id"])?;
    let group = asked.filters.id("devicegroup.id");
    let page = asked.paging.page;
    let listed = if asked.filters.nothing { Listed::empty() } else { central.store.rollouts(group, page).await? };
    let mut shown = Vec::with_capacity(listed.items.len());
    for rollout in listed.items {
        shown.push(show(&central, rollout).await?);
    }
    Ok(many(&asked.paging, Listed { items: shown, more: listed.more }, |shown| shown))
}

pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("rollout")?;
    let needed = |name: &str| ApiError::invalid(format!("A rollout needs the relationship {name}."));
    let (phases, max_failures) = plan(&data)?;
    let new = NewRollout {
        release: data.related("release")?.ok_or_else(|| needed("release"))?,
        group: data.related("devicegroup")?.ok_or_else(|| needed("devicegroup"))?,
        creator: caller.account,
        phases,
        max_failures,
    };
    to_the_end(async move { Ok(created(begin(&central, &new).await?)) }).await
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let rollout = find(&central, &id).await?;
    Ok(show_one(show(&central, rollout).await?))
}

/// The devices that it has reached; with `filter[failed]=true` those that failed.
pub(super) async fn devices(
    State(central): State<Central>,
    _: Bearer,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    asked.filters.only(&["failed"])?;
    let failed = match asked.filters.text("failed") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("The filter failed is true or false.")),
    };
    let id = find(&central, &id).await?.id;
    let listed = central.store.rollout_devices(id, failed, asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |device| show_device(&central, device)))
}

pub(super) async fn pause(central: State<Central>, _: Bearer, id: Path<String>) -> Result<Response, ApiError> {
    order(central, id, RolloutOrder::Pause).await
}

pub(super) async fn resume(central: State<Central>, _: Bearer, id: Path<String>) -> Result<Response, ApiError> {
    order(central, id, RolloutOrder::Resume).await
}

pub(super) async fn advance(central: State<Central>, _: Bearer, id: Path<String>) -> Result<Response, ApiError> {
    order(central, id, RolloutOrder::Advance).await
}

pub(super) async fn abort(central: State<Central>, _: Bearer, id: Path<String>) -> Result<Response, ApiError> {
    order(central, id, RolloutOrder::Abort).await
}

async fn order(
    State(central): State<Central>,
    Path(id): Path<String>,
    order: RolloutOrder,
) -> Result<Response, ApiError> {
    let id = request::id("rollout", &id)?;
    to_the_end(async move {
        let rollout = central.store.order_rollout(id, order).await?;
        central.bus.group_changed(&central.store, rollout.group).await?;
        Ok(show_one(show(&central, rollout).await?))
    })
    .await
}

/// What a client wants a roll-out to be like.
pub(super) fn plan(data: &Sent) -> Result<(Phases, u32), ApiError> {
    let phases = match data.texts("phases")? {
        Some(phases) if !phases.is_empty() => phases.join(","),
        _ => PHASES.to_owned(),
    };
    let max_failures = data.count("max_failures")?.unwrap_or(MAX_FAILURES);
    if max_failures > 100 {
        return Err(Invalid("max_failures is a share of the devices, 0 to 100 percent".to_owned()).into());
    }
    Ok((phases.parse()?, max_failures))
}

/// Begins a roll-out and tells the group's devices.
pub(super) async fn begin(central: &Central, new: &NewRollout) -> Result<Resource<impl Serialize + use<>>, ApiError> {
    let rollout = central.store.create_rollout(new).await?;
    central.bus.group_changed(&central.store, rollout.group).await?;
    show(central, rollout).await
}

async fn find(central: &Central, id: &str) -> Result<Rollout, ApiError> {
    let rollout = central.store.rollout(request::id("rollout", id)?).await?;
    rollout.ok_or_else(|| ApiError::not_found("rollout"))
}

async fn show(central: &Central, rollout: Rollout) -> Result<Resource<Attributes>, ApiError> {
    let (steps, devices) = central.store.rollout_steps(&rollout).await?;
    let group = central.store.group(rollout.group).await?;
    let kind = group.map_or("devicegroup", |group| group.kind.as_str());
    Ok(Resource {
        kind: "rollout",
        id: rollout.id.to_string(),
        links: SelfLink { this: format!("{}/rollouts/{}", central.base, rollout.id) },
        attributes: Attributes {
            version: rollout.version.to_string(),
            state: rollout.state.as_str(),
            reason: rollout.reason,
            phases: (0..rollout.phases.count()).filter_map(|at| Some(rollout.phases.get(at)?.to_string())).collect(),
            phase: rollout.phase + 1,
            max_failures: rollout.max_failures,
            devices,
            reach: (rollout.admit_max < i64::MAX).then_some(rollout.admit_max),
            reached: rollout.admitted,
            confirmed: rollout.confirmed,
            failed: rollout.failed,
            steps: DeviceStep::ALL.iter().map(|step| (step.as_str(), steps.get(step).copied().unwrap_or(0))).collect(),
            created_at: time(rollout.created_ms),
            updated_at: time(rollout.updated_ms),
        },
        relationships: Relationships::default()
            .with("release", "release", rollout.release)
            .with("devicegroup", kind, rollout.group)
            .with("creator", "account", rollout.creator),
    })
}

fn show_device(central: &Central, device: RolloutDevice) -> Resource<DeviceAttributes> {
    Resource {
        kind: "device",
        id: device.id.to_string(),
        links: SelfLink { this: format!("{}/devices/{}", central.base, device.id) },
        attributes: DeviceAttributes {
            step: device.step.as_str(),
            reason: device.reason,
            updated_at: time(device.updated_ms),
        },
        relationships: Relationships::default(),
    }
}
