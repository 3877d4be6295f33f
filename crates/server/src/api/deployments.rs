//! Deployments: compiled here, before anything is stored.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use squirrel::CompileError;
use tokio::task::spawn_blocking;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::{ApiError, CompileProblem};
use super::libraries::Surroundings;
use super::query::Asked;
use super::request::{self, Bearer, Document, Json, Sent};
use crate::fleet::{Deployment, DeploymentId, DeploymentNotes, DeploymentSha, NewDeployment};
use crate::repository::{AppRefused, Deploying};
use crate::store::{DeploymentCode, DeploymentFilter, Listed};

const DEVICE_CODE: &str = "device_code";
const AGENT_CODE: &str = "agent_code";

#[derive(Serialize)]
struct Attributes {
    sha: String,
    description: String,
    origin: Option<String>,
    flagged: bool,
    tags: Vec<String>,
    #[serde(flatten)]
    code: Option<Code>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Code {
    device_code: String,
    agent_code: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    let filters = &mut asked.filters;
    filters.only(&[
        "owner.id",
        "creator.id",
        "product.id",
        "devicegroup.id",
        "sha",
        "flagged",
        "flagger.id",
        "tags",
    ])?;
    let flagged = match filters.text("flagged") {
        None | Some("any") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(ApiError::invalid("filter[flagged] is true, false or any.")),
    };
    let tags = filters.text("tags").unwrap_or_default();
    let filter = DeploymentFilter {
        tags: tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        owner: filters.id("owner.id"),
        creator: filters.id("creator.id"),
        product: filters.id("product.id"),
        group: filters.id("devicegroup.id"),
        sha: filters.id("sha"),
        flagged,
        flagger: filters.id("flagger.id"),
    };
    // A filter by more tags than a deployment can have matches nothing, and must not make a long query.
    let nothing =
        filters.nothing || DeploymentNotes { tags: filter.tags.clone(), ..Default::default() }.check().is_err();
    let listed = match nothing {
        true => Listed::empty(),
        false => central.store.deployments(&filter, asked.paging.page).await?,
    };
    Ok(many(&asked.paging, listed, |deployment| show(&central, deployment, None)))
}

/// Makes a deployment, which becomes the group's current one. Restarts nothing: devices take it at their next start.
pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("deployment")?;
    let group = data.related("devicegroup")?.ok_or_else(|| ApiError::invalid("A deployment needs a device group."))?;
    let group = central.store.group(group).await?.ok_or_else(|| ApiError::not_found("devicegroup"))?;
    let code = DeploymentCode {
        device_code: source(&central, &data, DEVICE_CODE)?,
        agent_code: source(&central, &data, AGENT_CODE)?,
    };
    let mut new = NewDeployment {
        id: DeploymentId::random(),
        group: group.id,
        creator: caller.account,
        notes: notes(&data, DeploymentNotes::default())?,
        origin: data.text("origin")?.filter(|origin| !origin.is_empty()).map(str::to_owned),
        device_code: code.device_code.clone(),
        agent_code: code.agent_code.clone(),
        device_image: Vec::new(),
        agent_image: Vec::new(),
    };
    new.check()?;
    let sha = DeploymentSha::of(&new.device_code, &new.agent_code).to_string();
    let surroundings = Surroundings::of(&central.store, &group, new.id, &sha).await?;
    (new.device_image, new.agent_image) = compile_both(&central, surroundings, code.clone()).await?;
    let approval = data.text("approval")?.filter(|approval| !approval.is_empty()).map(str::as_bytes);
    let deploying = Deploying { group: group.id, owner: group.owner, app: &new.device_image, approval };
    let admitted = central.repository.admit_app(deploying).await?;
    let deployment = central.store.create_deployment(&new).await?;
    drop(admitted);
    Ok(created(show(&central, deployment, Some(code))))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = request::id("deployment", &id)?;
    let missing = || ApiError::not_found("deployment");
    let deployment = central.store.deployment(id).await?.ok_or_else(missing)?;
    let code = central.store.deployment_code(id).await?.ok_or_else(missing)?;
    Ok(show_one(show(&central, deployment, Some(code))))
}

pub(super) async fn update(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Path(id): Path<String>,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    let id = request::id("deployment", &id)?;
    data.expect("deployment")?;
    // Read before the change begins, so that a wrong value refuses all of it.
    let changed = notes(&data, DeploymentNotes::default())?;
    let (described, flagged, tagged) =
        (data.text("description")?.is_some(), data.flag("flagged")?.is_some(), data.texts("tags")?.is_some());
    let edit = move |notes: &mut DeploymentNotes| {
        if described {
            notes.description = changed.description;
        }
        if flagged {
            notes.flagged = changed.flagged;
        }
        if tagged {
            notes.tags = changed.tags;
        }
    };
    let deployment = central.store.update_deployment(id, caller.account, edit).await?;
    let code = central.store.deployment_code(id).await?;
    Ok(show_one(show(&central, deployment, code)))
}

pub(super) async fn remove(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    central.store.delete_deployment(request::id("deployment", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<AppRefused> for ApiError {
    fn from(error: AppRefused) -> Self {
        match error {
            AppRefused::Store(error) => error.into(),
            refused => Self::app_refused(refused.to_string()),
        }
    }
}

fn source(central: &Central, data: &Sent, name: &'static str) -> Result<String, ApiError> {
    let text = data.text(name)?.unwrap_or_default();
    if text.len() > central.limits.code_bytes {
        return Err(ApiError::too_large(format!("{name} has at most {} bytes.", central.limits.code_bytes)));
    }
    Ok(text.to_owned())
}

fn notes(data: &Sent, default: DeploymentNotes) -> Result<DeploymentNotes, ApiError> {
    Ok(DeploymentNotes {
        description: data.text("description")?.map_or(default.description, str::to_owned),
        flagged: data.flag("flagged")?.unwrap_or(default.flagged),
        tags: data.texts("tags")?.unwrap_or(default.tags),
    })
}

/// Compiles both sources on threads of their own, a bounded number at a time; errors in both are told together.
async fn compile_both(
    central: &Central,
    around: Surroundings,
    code: DeploymentCode,
) -> Result<(Vec<u8>, Vec<u8>), ApiError> {
    let permit = Arc::clone(&central.compilations).acquire_owned().await.map_err(|error| ApiError::internal(&error))?;
    let work = spawn_blocking(move || {
        let images = (around.compile(DEVICE_CODE, &code.device_code), around.compile(AGENT_CODE, &code.agent_code));
        // Kept until here, also when the client has gone: the bound is on the work, not on who waits for it.
        drop(permit);
        images
    });
    match work.await.map_err(|error| ApiError::internal(&error))? {
        (Ok(device), Ok(agent)) => Ok((device, agent)),
        (device, agent) => {
            Err(ApiError::not_compiled([device.err(), agent.err()].into_iter().flatten().map(problem).collect()))
        }
    }
}

fn problem(error: CompileError) -> CompileProblem {
    CompileProblem {
        file: error.file,
        kind: "error",
        row: error.row.max(1),
        column: error.column.max(1),
        text: error.text,
    }
}

fn show(central: &Central, deployment: Deployment, code: Option<DeploymentCode>) -> Resource<Attributes> {
    Resource {
        kind: "deployment",
        id: deployment.id.to_string(),
        links: SelfLink { this: format!("{}/deployments/{}", central.base, deployment.id) },
        attributes: Attributes {
            sha: deployment.sha.to_string(),
            description: deployment.notes.description,
            origin: deployment.origin,
            flagged: deployment.notes.flagged,
            tags: deployment.notes.tags,
            code: code.map(|DeploymentCode { device_code, agent_code }| Code { device_code, agent_code }),
            created_at: time(deployment.created_ms),
            updated_at: time(deployment.updated_ms),
        },
        relationships: Relationships::default()
            .with("devicegroup", deployment.group_kind.as_str(), deployment.group)
            .with("product", "product", deployment.product)
            .with("owner", "account", deployment.owner)
            .with("creator", "account", deployment.creator)
            .with_some("flagger", "account", deployment.flagger),
    }
}
