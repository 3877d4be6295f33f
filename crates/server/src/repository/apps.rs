//! Who approves the apps that are deployed: the owner's quorum where the custodians gave the owner one, else the server's online key.

use std::collections::BTreeSet;

use keys::hashes::sha256;
use release::apps::{AppError, ApprovedApp, owner_role, owners_with_quorum, verify_approval};
use tokio::sync::MutexGuard;

use super::metadata::Metadata;
use super::{MetadataFile, Repository, seconds};
use crate::fleet::{AccountId, GroupId};
use crate::store::{DeployedApp, Store, StoreError};

/// An app that somebody wants to deploy.
#[derive(Clone, Copy, Debug)]
pub struct Deploying<'a> {
    /// For which group.
    pub group: GroupId,
    /// Whose group it is.
    pub owner: AccountId,
    /// The device app's image.
    pub app: &'a [u8],
    /// The approval of the owner's quorum, if it came along.
    pub approval: Option<&'a [u8]>,
}

/// That an app may be deployed: while this is held, nobody changes who approves apps, and no other app is admitted.
#[must_use = "whoever lets go of it before the deployment is there may deploy what is approved no more"]
pub struct Admitted<'a> {
    _held: MutexGuard<'a, Metadata>,
}

/// Why an app is not deployed.
#[derive(Debug, thiserror::Error)]
pub enum AppRefused {
    /// Nobody but the owner's quorum may.
    #[error(
        "The owner {owner} has a quorum for their apps, which has not approved the device app with SHA-256 {app}; give the approval with it."
    )]
    NotApproved {
        /// Whose.
        owner: AccountId,
        /// The app's hash, in hex.
        app: String,
    },
    /// An approval that is none.
    #[error("The approval is refused: {0}.")]
    Approval(#[from] AppError),
    /// It has ended.
    #[error("The approval has expired.")]
    Expired,
    /// An older one.
    #[error("The approval has version {found}, this server has {known} already; make the next one on top of that.")]
    Older {
        /// Its version.
        found: u64,
        /// What there is.
        known: u64,
    },
    /// It leaves out what runs.
    #[error(
        "The approval leaves out the device app with SHA-256 {app}, which the owner's group {group} runs; approve both."
    )]
    LeavesOut {
        /// The app's hash, in hex.
        app: String,
        /// Which group.
        group: GroupId,
    },
    /// More than devices would take.
    #[error(
        "The server approves {0} different device apps at most, and as many run already; delete groups that are not used."
    )]
    TooMany(usize),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Repository {
    /// Whether an app may be deployed. An approval that came with it is on the disk when this returns.
    ///
    /// Without a release there are no custodians, so that nobody has a quorum and nothing is approved.
    ///
    /// # Errors
    /// [`AppRefused`].
    pub async fn admit_app(&self, deploying: Deploying<'_>) -> Result<Admitted<'_>, AppRefused> {
        let Deploying { group, owner, app, approval } = deploying;
        let mut metadata = self.0.metadata.lock().await;
        let Some(targets) = metadata.targets().map(<[u8]>::to_vec) else {
            return match approval {
                Some(_) => Err(AppError::NoQuorum(owner.to_string()).into()),
                None => Ok(Admitted { _held: metadata }),
            };
        };
        let deployed = self.0.store.deployed_apps().await?;
        let hash = sha256(app);
        let name = owner.to_string();
        let quorums = owners_with_quorum(&targets)?;
        if !quorums.contains(&name) && approval.is_none() {
            within(&deployed, &quorums, owner, hash, self.0.approved_apps)?;
            return Ok(Admitted { _held: metadata });
        }
        let known = metadata.delegated(&owner_role(&name)).cloned();
        let file = approval.map(<[u8]>::to_vec).or_else(|| known.as_ref().map(|known| known.file.clone()));
        let not_approved = || AppRefused::NotApproved { owner, app: const_hex::encode(hash) };
        let file = file.ok_or_else(not_approved)?;
        let approved = verify_approval(&targets, &name, &file)?;
        if approved.apps.get(&hash) != Some(&(app.len() as u64)) {
            return Err(not_approved());
        }
        if approved.expires <= seconds() {
            return Err(AppRefused::Expired);
        }
        let (found, is_other) = (approved.version, known.as_ref().is_none_or(|known| known.file != file));
        if let Some(known) = known.filter(|known| is_other && known.version >= found) {
            return Err(AppRefused::Older { found, known: known.version });
        }
        let others = deployed.iter().filter(|other| other.owner == owner && other.group != group);
        for DeployedApp { group, app, .. } in others {
            if !approved.apps.contains_key(&app.sha256) {
                return Err(AppRefused::LeavesOut { app: const_hex::encode(app.sha256), group: *group });
            }
        }
        if is_other {
            let expires = u64::try_from(approved.expires).unwrap_or_default();
            let file = MetadataFile { role: owner_role(&name), version: found, expires, file };
            self.0.store.put_release_metadata(std::slice::from_ref(&file)).await?;
            metadata.put(file);
        }
        Ok(Admitted { _held: metadata })
    }
}

fn within(
    deployed: &[DeployedApp],
    quorums: &BTreeSet<String>,
    owner: AccountId,
    app: [u8; 32],
    most: usize,
) -> Result<(), AppRefused> {
    let mut apps: BTreeSet<_> = deployed.iter().map(|app| (app.owner.to_string(), app.app.sha256)).collect();
    apps.retain(|(owner, _)| !quorums.contains(owner));
    if apps.len() >= most && !apps.contains(&(owner.to_string(), app)) {
        return Err(AppRefused::TooMany(most));
    }
    Ok(())
}

/// What the server's key approves: the apps that run, but for those of owners with a quorum. The newest, when there are too many.
pub(super) async fn to_approve(store: &Store, targets: &[u8], most: usize) -> Result<Vec<ApprovedApp>, StoreError> {
    // What the custodians signed was read when it was uploaded.
    let Ok(quorums) = owners_with_quorum(targets) else { return Ok(Vec::new()) };
    let mut apps: Vec<ApprovedApp> = Vec::new();
    for DeployedApp { owner, app, .. } in store.deployed_apps().await? {
        let app = ApprovedApp { owner: owner.to_string(), sha256: app.sha256, length: u64::from(app.len) };
        if quorums.contains(&app.owner) || apps.contains(&app) {
            continue;
        }
        if apps.len() == most {
            tracing::error!(most, "more device apps run than the server can approve; the oldest are left out");
            break;
        }
        apps.push(app);
    }
    apps.sort_unstable();
    Ok(apps)
}
