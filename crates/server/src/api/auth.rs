//! Logging in: a password or a refresh token for an access token.

use std::net::SocketAddr;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use keys::password;
use keys::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::Central;
use super::document::{json, time};
use super::error::ApiError;
use super::request::Json;
use crate::fleet::token::ACCESS_TOKEN_LIFE;
use crate::store::Login;

/// Where a request comes from; the listener puts it on each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

#[derive(Deserialize)]
pub(super) struct Credentials {
    id: String,
    password: String,
}

#[derive(Deserialize)]
pub(super) struct Refresh {
    token: String,
}

#[derive(Serialize)]
struct Tokens {
    access_token: String,
    expires_in: u64,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

pub(super) async fn log_in(
    State(central): State<Central>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(Credentials { id, password }): Json<Credentials>,
) -> Result<Response, ApiError> {
    let password = Secret::from(password);
    let Ok(turn) = central.logins.enter(peer.ip(), &id).await else {
        tracing::debug!(source = %peer.ip(), "a login was turned away");
        return Err(ApiError::too_many("Too many logins failed from here; wait a minute and try again."));
    };
    let found = central.store.password_hash(&id).await?;
    // An unknown user costs as much time as a wrong password, so that time does not tell who exists.
    let check = move || match found {
        Some((account, hash)) => password::verify(&hash, &password).then_some(account),
        None => {
            password::verify_absent(&password);
            None
        }
    };
    let account = spawn_blocking(check).await.map_err(|error| ApiError::internal(&error))?;
    drop(turn);
    let account = account.ok_or_else(ApiError::bad_credentials)?;
    central.logins.succeeded(peer.ip(), &id);
    Ok(tokens(central.store.log_in(account).await?))
}

pub(super) async fn refresh(
    State(central): State<Central>,
    Json(Refresh { token }): Json<Refresh>,
) -> Result<Response, ApiError> {
    let login = central.store.refresh(&token).await?.ok_or_else(ApiError::no_refresh_token)?;
    Ok(tokens(login))
}

fn tokens(login: Login) -> Response {
    let tokens = Tokens {
        access_token: login.access_token,
        expires_in: ACCESS_TOKEN_LIFE.as_secs(),
        expires_at: time(login.expires_ms),
        refresh_token: login.refresh_token,
    };
    json(StatusCode::OK, &tokens)
}
