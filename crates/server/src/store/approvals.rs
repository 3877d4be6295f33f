//! Which releases the custodians' newest targets approve: a roll-out of any other would only fail on its devices.

use std::collections::BTreeMap;

use release::version::OsVersion;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sqlx::{Sqlite, Transaction};

use super::rollouts::{one_in, write};
use super::{ChangeError, StoreError, row};
use crate::fleet::{ReleaseId, Rollout, RolloutState, Rule};

#[derive(Deserialize)]
struct File {
    signed: Targets,
}

#[derive(Deserialize)]
struct Targets {
    targets: BTreeMap<String, IgnoredAny>,
}

type Approved = BTreeMap<[u8; 32], OsVersion>;

/// Refuses a release that the newest targets do not name. Without targets no approval was taken back.
pub(super) async fn check(change: &mut Transaction<'static, Sqlite>, release: ReleaseId) -> Result<(), ChangeError> {
    let Some(approved) = approved(change).await? else { return Ok(()) };
    if names(change, &approved, &release.to_string()).await? {
        return Ok(());
    }
    let newest = approved.values().max().ok_or(StoreError::Damaged("release_metadata"))?;
    Err(Rule::ReleaseNotApproved(*newest).into())
}

/// Pauses the roll-outs that run of releases that the newest targets do not name.
pub(super) async fn pause_others(change: &mut Transaction<'static, Sqlite>) -> Result<Vec<Rollout>, StoreError> {
    let Some(approved) = approved(change).await? else { return Ok(Vec::new()) };
    let newest = approved.values().max().map_or_else(String::new, ToString::to_string);
    let running = sqlx::query_as::<_, (String, String)>("SELECT id, release_id FROM rollouts WHERE state = 'running'")
        .fetch_all(&mut **change)
        .await?;
    let mut paused = Vec::new();
    for (id, release) in running {
        if !names(change, &approved, &release).await? {
            let mut rollout = one_in(change, &id).await?;
            rollout.state = RolloutState::Paused;
            rollout.reason = format!("the custodians approve OS {newest} only by now");
            write(change, &mut rollout).await?;
            paused.push(rollout);
        }
    }
    Ok(paused)
}

async fn approved(change: &mut Transaction<'static, Sqlite>) -> Result<Option<Approved>, StoreError> {
    let file = sqlx::query_scalar::<_, Vec<u8>>("SELECT file FROM release_metadata WHERE role = 'targets'")
        .fetch_optional(&mut **change)
        .await?;
    let Some(file) = file else { return Ok(None) };
    // Its signatures were checked when it was uploaded.
    let file: File = serde_json::from_slice(&file).map_err(|_| StoreError::Damaged("release_metadata"))?;
    let image = |path: &String| {
        let (version, hash) = path.strip_prefix("os/")?.split_once('/')?;
        Some((const_hex::decode_to_array(hash).ok()?, version.parse().ok()?))
    };
    Ok(Some(file.signed.targets.keys().filter_map(image).collect()))
}

async fn names(
    change: &mut Transaction<'static, Sqlite>,
    approved: &Approved,
    release: &str,
) -> Result<bool, StoreError> {
    let images = sqlx::query_scalar::<_, Vec<u8>>("SELECT image FROM release_images WHERE release_id = $1")
        .bind(release)
        .fetch_all(&mut **change)
        .await?;
    for image in &images {
        if !approved.contains_key(&row::hash("release_images.image", image)?) {
            return Ok(false);
        }
    }
    Ok(true)
}
