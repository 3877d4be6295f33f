//! A device's log and its connection diary, as they were.

use axum::extract::{Path, State};
use axum::response::Response;
use keys::public::DeviceId;
use serde::Serialize;
use serde_json::Value;

use super::Central;
use super::document::{many, time};
use super::error::ApiError;
use super::log_filter::log_filter;
use super::query::Asked;
use super::request::Bearer;
use crate::fleet::LogEntry;
use crate::store::Listed;

/// A log line as clients read it, in history and in streams.
#[derive(Serialize)]
pub(super) struct Line {
    device_id: String,
    ts: String,
    log_type: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    msg: String,
}

#[derive(Serialize)]
struct Report {
    ts: String,
    attempts: Value,
}

impl From<LogEntry> for Line {
    fn from(entry: LogEntry) -> Self {
        Self {
            device_id: DeviceId::from(entry.device).to_string(),
            ts: time(entry.at_ms),
            log_type: if entry.production { "production" } else { "development" },
            kind: entry.kind.as_str(),
            msg: entry.text.to_string(),
        }
    }
}

impl Line {
    /// The same on one line of text, but for line ends in the message.
    pub(super) fn text(&self) -> String {
        format!("{} {} {} {} {}", self.device_id, self.ts, self.log_type, self.kind, self.msg)
    }
}

/// The newest line first.
pub(super) async fn history(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    mut asked: Asked,
) -> Result<Response, ApiError> {
    let device = central.device(&id).await?;
    let filter = log_filter(&mut asked.filters)?;
    // What was logged before this request shall be in its answer.
    central.bus.journal().flush().await;
    let listed = match asked.filters.nothing {
        true => Listed::empty(),
        false => central.store.logs(device.spki, &filter, asked.paging.page).await?,
    };
    Ok(many(&asked.paging, listed, Line::from))
}

/// The newest report first; each holds the connect attempts since the one before.
pub(super) async fn diary(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let device = central.device(&id).await?;
    central.bus.journal().flush().await;
    let reports = central.store.diaries(device.spki).await?;
    let show = |report: crate::fleet::DiaryReport| Report {
        ts: time(report.at_ms),
        attempts: serde_json::from_str(&report.entries).unwrap_or(Value::Null),
    };
    Ok(many(&asked.paging, Listed { items: reports, more: false }, show))
}
