//! The transparency log of releases as C2SP tlog-tiles has it: files that anybody may read, without a login.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Central;

/// Tiles never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

pub(super) async fn checkpoint(State(central): State<Central>) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (plain, central.repository.log_checkpoint()).into_response()
}

pub(super) async fn tile(State(central): State<Central>, Path(path): Path<String>) -> Response {
    match central.repository.log_tile(&path) {
        Some(tile) => ([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOR_EVER)], tile)
            .into_response(),
        None => {
            (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], "the log has no such tile\n").into_response()
        }
    }
}
