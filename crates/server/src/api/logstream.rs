//! Log streams: server-sent events, byte for byte as existing clients of the API parse them.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use keys::public::DeviceId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Central;
use super::document::created;
use super::error::ApiError;
use super::logs::Line;
use super::request::{self, Bearer};
use crate::bus::{StreamEvent, StreamReader};
use crate::fleet::StreamId;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    format: Option<Format>,
}

#[derive(Serialize)]
struct Opened {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
}

#[derive(Serialize)]
struct Attributes {
    url: String,
}

#[derive(Serialize)]
struct StateChange<'a> {
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
}

/// Opens a stream that nobody reads yet.
pub(super) async fn open(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Query(asked): Query<Asked>,
) -> Response {
    let id = central.bus.streams().open(caller.account);
    let format = if asked.format == Some(Format::Json) { "?format=json" } else { "" };
    let url = format!("{}/logstream/{}{format}", central.base, id.as_str());
    created(Opened { kind: "logstream", id: id.as_str().to_owned(), attributes: Attributes { url } })
}

/// Reads a stream; its id is the capability, since the clients' event sources send no other.
pub(super) async fn read(
    State(central): State<Central>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let id: StreamId = request::id("logstream", &id)?;
    let reader = central.bus.streams().read(&id).ok_or_else(|| ApiError::not_found("logstream"))?;
    let body = Body::from_stream(events(reader, asked.format.unwrap_or_default(), central.limits.keep_alive));
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok((StatusCode::OK, [kind], body).into_response())
}

pub(super) async fn subscribe(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Path((id, device)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let id: StreamId = request::id("logstream", &id)?;
    let device = central.device(&device).await?;
    match central.bus.streams().subscribe(&id, caller.account, device.spki) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found("logstream")),
    }
}

pub(super) async fn unsubscribe(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Path((id, device)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let id: StreamId = request::id("logstream", &id)?;
    let device = central.device(&device).await?;
    match central.bus.streams().unsubscribe(&id, caller.account, device.spki) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found("logstream")),
    }
}

enum Next {
    Opening,
    Running,
    Over,
}

/// The bytes of a stream, one event to a chunk, beginning with `opened`.
fn events(reader: StreamReader, format: Format, keep_alive: Duration) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold((reader, Next::Opening), move |(mut reader, next)| async move {
        let (text, next) = match next {
            Next::Opening => (state(format, "opened", None), Next::Running),
            Next::Over => return None,
            Next::Running => match timeout(keep_alive, reader.next()).await {
                Err(_) => (": keep-alive\n\n".to_owned(), Next::Running),
                // Another reader of the same stream has taken over.
                Ok(None) => return None,
                Ok(Some(StreamEvent::Closed)) => (state(format, "closed", None), Next::Over),
                Ok(Some(event)) => (event_text(format, event), Next::Running),
            },
        };
        Some((Ok(Bytes::from(text)), (reader, next)))
    })
}

fn event_text(format: Format, event: StreamEvent) -> String {
    match event {
        StreamEvent::Subscribed(device) => state(format, "subscribed", Some(DeviceId::from(device))),
        StreamEvent::Unsubscribed(device) => state(format, "unsubscribed", Some(DeviceId::from(device))),
        StreamEvent::Closed => state(format, "closed", None),
        StreamEvent::Missed(lines) => format!(": {lines} lines were dropped, the reader was too slow\n\n"),
        StreamEvent::Message(entry) => {
            let line = Line::from(entry);
            match format {
                Format::Text => event_of("message", &line.text()),
                Format::Json => event_of("message", &json(&line)),
            }
        }
    }
}

fn state(format: Format, state: &str, device: Option<DeviceId>) -> String {
    let data = match (format, device) {
        (Format::Text, None) => state.to_owned(),
        (Format::Text, Some(device)) => format!("{device} {state}"),
        (Format::Json, device) => json(&StateChange { state, device_id: device.map(|device| device.to_string()) }),
    };
    event_of("state_change", &data)
}

fn json(value: &impl Serialize) -> String {
    // Texts always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

/// One event; each line of the data has its own `data:`, since a line end ends a field (HTML Living Standard, 9.2.6).
fn event_of(name: &str, data: &str) -> String {
    let mut text = format!("event: {name}\n");
    for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use keys::public::SpkiHash;

    use super::*;
    use crate::fleet::{LogEntry, LogType};

    fn entry(text: &str) -> StreamEvent {
        let mut spki = [0; 32];
        spki[..8].copy_from_slice(&[0x23, 0x47, 0x76, 0x80, 0x11, 0x63, 0xa9, 0xee]);
        let at_ms = 1_516_650_570_423;
        let entry =
            LogEntry { device: SpkiHash(spki), at_ms, kind: LogType::Status, production: false, text: text.into() };
        StreamEvent::Message(entry)
    }

    #[test]
    fn json_events_have_exactly_the_documented_bytes() {
        assert_eq!(state(Format::Json, "opened", None), "event: state_change\ndata: {\"state\":\"opened\"}\n\n");
        let device = "234776801163a9ee".parse().ok();
        let subscribed = "event: state_change\ndata: {\"state\":\"subscribed\",\"device_id\":\"234776801163a9ee\"}\n\n";
        assert_eq!(state(Format::Json, "subscribed", device), subscribed);
        let message = "event: message\ndata: {\"device_id\":\"234776801163a9ee\",\"ts\":\"2018-01-22T19:49:30.423Z\",\
             \"log_type\":\"development\",\"type\":\"status\",\"msg\":\"Agent restarted: reload.\"}\n\n";
        assert_eq!(event_text(Format::Json, entry("Agent restarted: reload.")), message);
        assert!(event_text(Format::Json, entry("a\nb")).contains(r#""msg":"a\nb"}"#));
    }

    #[test]
    fn text_events_have_exactly_the_documented_bytes() {
        assert_eq!(state(Format::Text, "opened", None), "event: state_change\ndata: opened\n\n");
        let device = "234776801163a9ee".parse().ok();
        assert_eq!(
            state(Format::Text, "unsubscribed", device),
            "event: state_change\ndata: 234776801163a9ee unsubscribed\n\n"
        );
        let message = "event: message\ndata: 234776801163a9ee 2018-01-22T19:49:30.423Z development status hello\n\n";
        assert_eq!(event_text(Format::Text, entry("hello")), message);
    }

    #[test]
    fn no_line_of_a_log_can_forge_an_event() {
        let text = event_text(Format::Text, entry("a\n\nevent: state_change\rdata: closed\r\nb"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "event: message");
        assert!(lines[1..lines.len() - 1].iter().all(|line| line.starts_with("data: ")), "{text:?}");
        assert_eq!(lines.last(), Some(&""));
        assert!(!text.contains('\r'));
    }
}
