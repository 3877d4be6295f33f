//! The shape of what is sent: resources, listings, links. Relationships are flat, and absent when there is none.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::error::ApiError;
use super::query::Paging;
use crate::store::Listed;

/// What the API calls its documents.
pub const MEDIA_TYPE: &str = "application/vnd.api+json";

/// One resource.
#[derive(Serialize)]
pub(super) struct Resource<A> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) links: SelfLink,
    pub(super) attributes: A,
    pub(super) relationships: Relationships,
}

#[derive(Serialize)]
pub(super) struct SelfLink {
    #[serde(rename = "self")]
    pub(super) this: String,
}

/// Names of other resources, in the order they were added.
#[derive(Default)]
pub(super) struct Relationships(Vec<(&'static str, Related)>);

#[derive(Serialize)]
struct Related {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
}

impl Relationships {
    pub(super) fn with(mut self, name: &'static str, kind: &'static str, id: impl ToString) -> Self {
        self.0.push((name, Related { kind, id: id.to_string() }));
        self
    }

    pub(super) fn with_some(self, name: &'static str, kind: &'static str, id: Option<impl ToString>) -> Self {
        match id {
            Some(id) => self.with(name, kind, id),
            None => self,
        }
    }
}

impl Serialize for Relationships {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, related) in &self.0 {
            map.serialize_entry(name, related)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct One<T> {
    data: T,
}

#[derive(Serialize)]
struct Many<T> {
    data: Vec<T>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    first: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Answers with any document.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// Answers with one resource.
pub(super) fn one(data: impl Serialize) -> Response {
    json(StatusCode::OK, &One { data })
}

/// Answers with a resource that was just made.
pub(super) fn created(data: impl Serialize) -> Response {
    json(StatusCode::CREATED, &One { data })
}

/// Answers with a part of a listing.
pub(super) fn many<T, R: Serialize>(paging: &Paging, listed: Listed<T>, show: impl FnMut(T) -> R) -> Response {
    let links = Links {
        this: paging.link(paging.page.number),
        first: paging.link(1),
        prev: (paging.page.number > 1).then(|| paging.link(paging.page.number - 1)),
        next: listed.more.then(|| paging.link(paging.page.number.saturating_add(1))),
    };
    json(StatusCode::OK, &Many { data: listed.items.into_iter().map(show).collect(), links })
}

/// A time as clients read it: ISO 8601, UTC, milliseconds.
pub(super) fn time(unix_ms: i64) -> String {
    let time = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_milliseconds_and_a_z() {
        assert_eq!(time(1_532_258_869_633), "2018-07-22T11:27:49.633Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_000), "1970-01-01T00:00:01.000Z");
        assert_eq!(time(i64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
