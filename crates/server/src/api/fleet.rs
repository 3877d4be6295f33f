//! The fleet as a whole: which models run which OS version.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::one;
use super::error::ApiError;
use super::query::Asked;
use super::request::Bearer;

#[derive(Serialize)]
struct Skew {
    versions: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    model: String,
    /// Absent when the devices have proved none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    devices: i64,
    /// Those in no group, which no roll-out reaches; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_group: Option<i64>,
}

pub(super) async fn skew(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&["devicegroup.id"])?;
    let group = asked.filters.id("devicegroup.id");
    let skew = if asked.filters.nothing { Vec::new() } else { central.store.skew(group).await? };
    let run = |run: crate::fleet::Skew| Run {
        model: run.model,
        os_version: run.version,
        devices: run.devices,
        without_group: (run.without_group > 0).then_some(run.without_group),
    };
    Ok(one(Skew { versions: skew.into_iter().map(run).collect() }))
}
