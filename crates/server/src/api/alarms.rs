//! Alarms: what people must look at.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, one, time};
use super::error::ApiError;
use super::request::Bearer;
use crate::fleet::Alarm;

/// One alarm, as clients read it.
#[derive(Serialize)]
pub(super) struct ShownAlarm {
    device_id: String,
    kind: &'static str,
    first_at: String,
    last_at: String,
    count: u32,
    detail: String,
}

#[derive(Serialize)]
struct Attributes {
    alarms: Vec<ShownAlarm>,
}

/// All alarms, the last raised first.
pub(super) async fn list(State(central): State<Central>, _: Bearer) -> Result<Response, ApiError> {
    let alarms = central.store.alarms(None).await?;
    Ok(one(Resource {
        kind: "alarms",
        id: "server".to_owned(),
        links: SelfLink { this: format!("{}/alarms", central.base) },
        attributes: Attributes { alarms: alarms.into_iter().map(ShownAlarm::from).collect() },
        relationships: Relationships::default(),
    }))
}

impl From<Alarm> for ShownAlarm {
    fn from(alarm: Alarm) -> Self {
        Self {
            device_id: alarm.device_id.to_string(),
            kind: alarm.kind.as_str(),
            first_at: time(alarm.first_ms),
            last_at: time(alarm.last_ms),
            count: alarm.count,
            detail: alarm.detail,
        }
    }
}
