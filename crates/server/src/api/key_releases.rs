//! When a device was given content keys of OS images.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{many, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::Bearer;

#[derive(Serialize)]
struct KeyRelease {
    at: String,
    /// The image, by its manifest.
    image_sha256: String,
}

pub(super) async fn list(
    State(central): State<Central>,
    _: Bearer,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let device = central.device(&id).await?;
    let listed = central.store.key_releases(device.spki, asked.paging.page).await?;
    let show = |(at_ms, image): (i64, [u8; 32])| KeyRelease { at: time(at_ms), image_sha256: const_hex::encode(image) };
    Ok(many(&asked.paging, listed, show))
}
