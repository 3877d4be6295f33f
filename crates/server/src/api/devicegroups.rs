//! Device groups, and which devices are in them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::ApiError;
use super::orders::{Restart, to_the_end};
use super::query::Asked;
use super::request::{self, Bearer, Document, Json, Name, Names, OneName, Sent};
use crate::fleet::{Demand, DeviceGroup, EnvVars, GroupId, GroupType};
use crate::store::{GroupFilter, Listed};

#[derive(Serialize)]
struct Attributes {
    name: String,
    description: String,
    region: Option<String>,
    env_vars: Map<String, Value>,
    /// Where the identity keys of its devices must live.
    attestation: &'static str,
    created_at: String,
    updated_at: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    let filters = &mut asked.filters;
    filters.only(&["owner.id", "product.id", "type"])?;
    let filter =
        GroupFilter { owner: filters.id("owner.id"), product: filters.id("product.id"), kind: filters.id("type") };
    let listed = match filters.nothing {
        true => Listed::empty(),
        false => central.store.groups(&filter, asked.paging.page).await?,
    };
    Ok(many(&asked.paging, listed, |group| show(&central, group)))
}

pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    let kind: GroupType =
        data.kind.parse().map_err(|_| ApiError::invalid("The document's type must be one of a device group."))?;
    if kind.needs_targets() {
        return Err(ApiError::invalid("This server does not have factory fixtures."));
    }
    without_the_missing(&data)?;
    let product = data.related("product")?.ok_or_else(|| ApiError::invalid("A device group needs a product."))?;
    let name = data.text("name")?.unwrap_or_default();
    let description = data.text("description")?.unwrap_or_default();
    let env_vars = env_vars(&data)?.unwrap_or_default();
    let group = central.store.create_group(kind, product, caller.account, name, description, &env_vars).await?;
    Ok(created(show(&central, group)))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    Ok(show_one(show(&central, find(&central, &id).await?)))
}

pub(super) async fn update(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    let group = find(&central, &id).await?;
    data.expect(group.kind.as_str())?;
    without_the_missing(&data)?;
    let env_vars = env_vars(&data)?;
    let (name, description) = (data.text("name")?, data.text("description")?);
    let demand = attestation(&data)?;
    let group = central.store.update_group(group.id, name, description, env_vars.as_ref()).await?;
    if let Some(demand) = demand {
        let central = central.clone();
        to_the_end(async move { central.demand_attestation(group.id, demand).await }).await?;
    }
    Ok(show_one(show(&central, find(&central, &group.id.to_string()).await?)))
}

pub(super) async fn remove(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    central.store.delete_group(request::id("devicegroup", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    restart_all(central, &id, Restart::Now).await
}

pub(super) async fn conditional_restart(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    restart_all(central, &id, Restart::WhenReady).await
}

/// Assigns devices; each starts on the group's deployment, also one that was in the group already. What can be assigned is.
pub(super) async fn assign(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(Names { data }): Json<Names>,
) -> Result<StatusCode, ApiError> {
    move_each(&central, &id, data, Move::In).await
}

/// Takes devices out of a group; their agents stop and their apps go. What can be taken out is.
pub(super) async fn unassign(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(Names { data }): Json<Names>,
) -> Result<StatusCode, ApiError> {
    move_each(&central, &id, data, Move::Out).await
}

pub(super) async fn set_min_supported(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(OneName { data }): Json<OneName>,
) -> Result<StatusCode, ApiError> {
    let group = request::id("devicegroup", &id)?;
    central.store.set_min_supported(group, request::id("deployment", &data.id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart_all(central: Central, id: &str, restart: Restart) -> Result<StatusCode, ApiError> {
    let group = find(&central, id).await?;
    to_the_end(async move {
        central.restart_group(group.id, restart).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Into a group, or out of it.
#[derive(Clone, Copy)]
enum Move {
    In,
    Out,
}

async fn move_each(central: &Central, id: &str, devices: Vec<Name>, to: Move) -> Result<StatusCode, ApiError> {
    let group = find(central, id).await?.id;
    let mut errors = Vec::new();
    for name in devices {
        if let Err(error) = move_one(central, group, &name.id, to).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::partly(errors)) }
}

async fn move_one(central: &Central, group: GroupId, name: &str, to: Move) -> Result<(), ApiError> {
    let device = central.device(name).await?;
    let central = central.clone();
    to_the_end(async move {
        match to {
            Move::In => central.restart(&central.store.assign_device(device.id, group).await?).await,
            Move::Out => central.stop(&central.store.unassign_device(device.id, group).await?).await,
        }
        Ok(())
    })
    .await
}

async fn find(central: &Central, id: &str) -> Result<DeviceGroup, ApiError> {
    let group = central.store.group(request::id("devicegroup", id)?).await?;
    group.ok_or_else(|| ApiError::not_found("devicegroup"))
}

fn without_the_missing(data: &Sent) -> Result<(), ApiError> {
    data.without(&["region", "load_code_after_blessing", "production_target", "dut_target"])
}

fn attestation(data: &Sent) -> Result<Option<Demand>, ApiError> {
    let names = Demand::ALL.map(Demand::as_str).join(", ");
    let wrong = || ApiError::invalid(format!("The attribute attestation is one of {names}."));
    data.text("attestation")?.map(|name| name.parse().map_err(|_| wrong())).transpose()
}

/// All of a group's variables, as they are to be.
fn env_vars(data: &Sent) -> Result<Option<EnvVars>, ApiError> {
    Ok(data.object("env_vars")?.map(|sent| EnvVars::new(&sent)).transpose()?)
}

fn show(central: &Central, group: DeviceGroup) -> Resource<Attributes> {
    Resource {
        kind: group.kind.as_str(),
        id: group.id.to_string(),
        links: SelfLink { this: format!("{}/devicegroups/{}", central.base, group.id) },
        attributes: Attributes {
            name: group.name,
            description: group.description,
            region: None,
            env_vars: group.env_vars.to_map(),
            attestation: group.attestation.as_str(),
            created_at: time(group.created_ms),
            updated_at: time(group.updated_ms),
        },
        relationships: Relationships::default()
            .with("product", "product", group.product)
            .with("owner", "account", group.owner)
            .with("creator", "account", group.creator)
            .with_some("current_deployment", "deployment", group.current_deployment)
            .with_some("min_supported_deployment", "deployment", group.min_supported_deployment),
    }
}
