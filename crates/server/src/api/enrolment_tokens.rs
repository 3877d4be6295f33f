//! Enrolment tokens. The token itself is shown once, when it is made.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use keys::hashes::random;
use protocol::enrol::EnrolmentToken as Token;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::{self, Bearer, Document, Json};
use crate::fleet::{EnrolmentToken, GroupId, TokenId};
use crate::store::NewToken;

/// What a token has when the client names no number.
const USES: u32 = 1;
const MINUTES: u32 = 60;

#[derive(Serialize)]
struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    uses: u32,
    uses_left: u32,
    expires_at: String,
    created_at: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let listed = central.store.enrolment_tokens(asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |token| show(&central, &token, None)))
}

pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("enrolment_token")?;
    let token = Token::new(TokenId::new(random()), random(), central.roots_sha256);
    let new = NewToken {
        id: token.id(),
        secret_sha256: token.secret_sha256(),
        owner: caller.account,
        group: data.related::<GroupId>("devicegroup")?,
        uses: data.count("uses")?.unwrap_or(USES),
        minutes: data.count("minutes")?.unwrap_or(MINUTES),
    };
    let made = central.store.create_enrolment_token(&new).await?;
    let text = String::from_utf8_lossy(token.danger_expose().expose()).into_owned();
    Ok(created(show(&central, &made, Some(text))))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let token = central.store.enrolment_token(request::id("enrolment_token", &id)?).await?;
    let token = token.ok_or_else(|| ApiError::not_found("enrolment_token"))?;
    Ok(show_one(show(&central, &token, None)))
}

pub(super) async fn remove(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    central.store.delete_enrolment_token(request::id("enrolment_token", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn show(central: &Central, token: &EnrolmentToken, text: Option<String>) -> Resource<Attributes> {
    let relationships = Relationships::default().with("owner", "account", token.owner);
    Resource {
        kind: "enrolment_token",
        id: token.id.to_string(),
        links: SelfLink { this: format!("{}/enrolment_tokens/{}", central.base, token.id) },
        attributes: Attributes {
            token: text,
            uses: token.uses,
            uses_left: token.uses_left,
            expires_at: time(token.expires_ms),
            created_at: time(token.created_ms),
        },
        relationships: match (token.group, token.group_kind) {
            (Some(group), Some(kind)) => relationships.with("devicegroup", kind.as_str(), group),
            _ => relationships,
        },
    }
}
