//! What a client sends: who it is, and a document. Content types are not looked at, since clients send odd ones.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Central;
use super::error::ApiError;
use crate::fleet::Caller;

/// Who a request comes from, by its bearer token.
pub(super) struct Bearer(pub(super) Caller);

impl FromRequestParts<Central> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, central: &Central) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else { return Err(ApiError::no_token()) };
        central.store.caller(token.trim()).await?.map(Bearer).ok_or_else(ApiError::no_token)
    }
}

/// A body of JSON, whatever its content type says; an empty one reads as an empty object.
pub(super) struct Json<T>(pub(super) T);

impl<T: for<'de> Deserialize<'de>> FromRequest<Central> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, central: &Central) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, central).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("The body is longer than this path takes."),
            _ => ApiError::invalid("The body could not be read."),
        })?;
        let text: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { &body };
        // The parser's message may quote the body, which may hold a password: only the place is told.
        serde_json::from_slice(text).map(Json).map_err(|error| {
            ApiError::invalid(format!(
                "The body is not the JSON that is expected here (line {}, column {}).",
                error.line(),
                error.column()
            ))
        })
    }
}

/// A document with one resource.
#[derive(Deserialize)]
pub(super) struct Document {
    pub(super) data: Sent,
}

/// A document that names several resources.
#[derive(Deserialize)]
pub(super) struct Names {
    pub(super) data: Vec<Name>,
}

/// A document that names one resource.
#[derive(Deserialize)]
pub(super) struct OneName {
    pub(super) data: Name,
}

/// The name of a resource.
#[derive(Deserialize)]
pub(super) struct Name {
    pub(super) id: String,
}

/// A resource as a client sends it.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    relationships: Map<String, Value>,
}

impl Sent {
    /// Refuses a document of another type.
    pub(super) fn expect(&self, kind: &str) -> Result<(), ApiError> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(ApiError::invalid(format!("The document's type must be {kind:?}.")))
        }
    }

    /// A text attribute; `null` clears it.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some("")),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid(format!("{name} must be a text."))),
        }
    }

    /// A truth value.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.attributes.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(ApiError::invalid(format!("{name} must be true or false."))),
        }
    }

    /// A count.
    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, ApiError> {
        match self.attributes.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
                count.map(Some).ok_or_else(|| ApiError::invalid(format!("{name} must be a whole number.")))
            }
        }
    }

    /// A list of texts; `null` clears it.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Vec::new())),
            Some(value) => Vec::deserialize(value)
                .map(Some)
                .map_err(|_| ApiError::invalid(format!("{name} must be a list of texts."))),
        }
    }

    /// A set of named values; `null` clears it.
    pub(super) fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, ApiError> {
        match self.attributes.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Map::new())),
            Some(Value::Object(map)) => Ok(Some(map.clone())),
            Some(_) => Err(ApiError::invalid(format!("{name} must be an object."))),
        }
    }

    /// Refuses attributes and relationships that would change something this server does not have; empty values are let through.
    pub(super) fn without(&self, names: &[&str]) -> Result<(), ApiError> {
        let means_something = |value: &&Value| match value {
            Value::Null => false,
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        for name in names {
            if self.attributes.get(*name).or(self.relationships.get(*name)).filter(means_something).is_some() {
                return Err(ApiError::invalid(format!("This server does not have {name}.")));
            }
        }
        Ok(())
    }

    /// The id in a relationship. One that cannot be an id is not found.
    pub(super) fn related<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, ApiError> {
        match self.relationships.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(related) => {
                let id = related.get("id").and_then(Value::as_str);
                let id = id.ok_or_else(|| ApiError::invalid(format!("The relationship {name} needs an id.")))?;
                id.parse().map(Some).map_err(|_| ApiError::not_found(name))
            }
        }
    }
}

/// Reads an id from a path. One that cannot be an id is not found, as clients expect it.
pub(super) fn id<T: FromStr>(what: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found(what))
}
