//! Accounts.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, many, one as show_one, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::{self, Bearer};
use crate::fleet::Account;

#[derive(Serialize)]
struct Attributes {
    username: String,
    email: String,
    created_at: String,
    updated_at: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let listed = central.store.accounts(asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |account| show(&central, account)))
}

pub(super) async fn one(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = if id == "me" { caller.account } else { request::id("account", &id)? };
    let account = central.store.account(id).await?.ok_or_else(|| ApiError::not_found("account"))?;
    Ok(show_one(show(&central, account)))
}

fn show(central: &Central, account: Account) -> Resource<Attributes> {
    Resource {
        kind: "account",
        id: account.id.to_string(),
        links: SelfLink { this: format!("{}/accounts/{}", central.base, account.id) },
        attributes: Attributes {
            username: account.username.to_string(),
            email: account.email,
            created_at: time(account.created_ms),
            updated_at: time(account.updated_ms),
        },
        relationships: Relationships::default(),
    }
}
