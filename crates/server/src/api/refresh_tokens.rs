//! An account's own refresh tokens: each is a login that can be ended.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, many, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::{self, Bearer};
use crate::fleet::RefreshToken;

#[derive(Serialize)]
struct Attributes {
    created_at: String,
    expires_at: String,
}

pub(super) async fn list(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    asked: Asked,
) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let listed = central.store.refresh_tokens(caller.account, asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |token| show(&central, &token)))
}

/// Access tokens that it gave live on until their hour is over.
pub(super) async fn remove(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    central.store.delete_refresh_token(caller.account, request::id("refresh token", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn show(central: &Central, token: &RefreshToken) -> Resource<Attributes> {
    Resource {
        kind: "refresh_token",
        id: token.id.to_string(),
        links: SelfLink { this: format!("{}/accounts/me/refresh_tokens/{}", central.base, token.id) },
        attributes: Attributes { created_at: time(token.created_ms), expires_at: time(token.expires_ms) },
        relationships: Relationships::default(),
    }
}
