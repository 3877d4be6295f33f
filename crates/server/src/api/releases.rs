//! OS releases.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::ApiError;
use super::orders::to_the_end;
use super::query::Asked;
use super::request::{self, Bearer, Document, Json};
use super::rollouts;
use crate::fleet::{Release, ReleaseImage};
use crate::repository::{Accepted, ReleaseLogError, UploadError};
use crate::store::{Listed, NewRollout};

/// Pieces of an upload that wait to be written.
const PIECES_AT_ONCE: usize = 4;

#[derive(Serialize)]
struct Attributes {
    product: String,
    version: String,
    security_epoch: u32,
    images: Vec<Image>,
    uploaded_at: String,
    /// The roll-outs that this upload paused, in its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paused_rollouts: Vec<String>,
}

#[derive(Serialize)]
struct Image {
    sha256: String,
    models: Vec<String>,
    size: u32,
    /// That it is in the transparency log, in base64; where one release is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_proof: Option<String>,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&[])?;
    let listed = central.store.releases(asked.paging.page).await?;
    Ok(many(&asked.paging, listed, |release| show(&central, release, &HashMap::new())))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let release = find(&central, &id).await?;
    let proofs = proofs(&central, &release)?;
    Ok(show_one(show(&central, release, &proofs)))
}

/// Takes the bundle of a release, piece after piece, and keeps it once all of it is verified.
pub(super) async fn upload(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    body: Body,
) -> Result<Response, ApiError> {
    let Ok(_permit) = central.uploads.try_acquire() else {
        return Err(ApiError::too_many("Another release is being uploaded; try again when it is done."));
    };
    let internal = |error: std::io::Error| ApiError::internal(&error);
    let store = central.store.clone();
    let (pieces, mut received) = mpsc::channel::<Bytes>(PIECES_AT_ONCE);
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = store.new_os_image()?;
        while let Some(piece) = received.blocking_recv() {
            file.write(&piece)?;
        }
        Ok::<_, std::io::Error>(file)
    });
    let mut stream = body.into_data_stream();
    let mut left = central.limits.upload_bytes;
    let end = Instant::now() + central.limits.upload_deadline;
    let next = || end.min(Instant::now() + central.limits.upload_pause);
    while let Some(piece) = timeout_at(next(), stream.next()).await.map_err(|_| ApiError::too_slow())? {
        let piece = piece.map_err(|_| ApiError::invalid("The upload broke off."))?;
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| ApiError::too_large("No release is as long as this."))?;
        // When nobody takes it, writing has failed, and says why below.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let file = writing.await.map_err(std::io::Error::other).map_err(internal)?.map_err(internal)?;
    let central = central.clone();
    to_the_end(async move {
        let Accepted { release, is_known, is_newer_root, paused } =
            central.repository.accept(file, caller.account).await?;
        let proofs = proofs(&central, &release)?;
        let mut shown = show(&central, release, &proofs);
        if is_newer_root {
            central.bus.all_changed();
        }
        for rollout in &paused {
            central.bus.group_changed(&central.store, rollout.group).await?;
        }
        shown.attributes.paused_rollouts = paused.iter().map(|rollout| rollout.id.to_string()).collect();
        Ok(if is_known { show_one(shown) } else { created(shown) })
    })
    .await
}

/// The proofs that the images of a release are in the transparency log.
fn proofs(central: &Central, release: &Release) -> Result<HashMap<[u8; 32], String>, ApiError> {
    let mut proofs = HashMap::new();
    for ReleaseImage { image, .. } in &release.images {
        if let Some(proof) = central.repository.log_proof(image).map_err(|error| ApiError::internal(&error))? {
            proofs.insert(*image, BASE64.encode(proof));
        }
    }
    Ok(proofs)
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Change(error) => error.into(),
            UploadError::Io(error) => Self::internal(&error),
            UploadError::Log(ReleaseLogError::File(error)) => Self::internal(&error),
            UploadError::Log(ReleaseLogError::Tree(error)) => Self::internal(&error),
            refused => Self::release_refused(refused.to_string()),
        }
    }
}

/// Begins the roll-outs that bring every device to this release whose model it has an image for.
pub(super) async fn align(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    asked: Asked,
    Path(id): Path<String>,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("rollout")?;
    let release = find(&central, &id).await?.id;
    let plan = rollouts::plan(&data)?;
    let central = central.clone();
    to_the_end(async move {
        let mut begun = Vec::new();
        for group in central.store.groups_behind(release).await? {
            let (phases, max_failures) = plan.clone();
            let new = NewRollout { release, group, creator: caller.account, phases, max_failures };
            begun.push(rollouts::begin(&central, &new).await?);
        }
        Ok(many(&asked.paging, Listed { items: begun, more: false }, |shown| shown))
    })
    .await
}

async fn find(central: &Central, id: &str) -> Result<Release, ApiError> {
    let release = central.store.release(request::id("release", id)?).await?;
    release.ok_or_else(|| ApiError::not_found("release"))
}

fn show(central: &Central, release: Release, proofs: &HashMap<[u8; 32], String>) -> Resource<Attributes> {
    let image = |image: ReleaseImage| Image {
        sha256: const_hex::encode(image.image),
        models: image.models,
        size: image.len,
        log_proof: proofs.get(&image.image).cloned(),
    };
    Resource {
        kind: "release",
        id: release.id.to_string(),
        links: SelfLink { this: format!("{}/releases/{}", central.base, release.id) },
        attributes: Attributes {
            product: release.product,
            version: release.version.to_string(),
            security_epoch: release.security_epoch,
            images: release.images.into_iter().map(image).collect(),
            uploaded_at: time(release.uploaded_ms),
            paused_rollouts: Vec::new(),
        },
        relationships: Relationships::default().with("uploader", "account", release.uploader),
    }
}
