//! Whether an app that came whole may be stored and run, on a device that demands more than the channel.

use keys::hashes::sha256;
use minicbor::{Decode, Encode};
use protocol::os::Trust;
use release::apps::{AppError, OwnerQuorum, SERVER_ROLE, owner_in, owner_role, verify_app};
use release::floors::MetadataFloors;
use release::root::RootContent;
use release::tuf::{self, Files, TooMany, TufError};

use crate::folder::SecurityEventError;
use crate::store::StoreError;
use crate::update::TooManyRoots;

/// What a device never goes below with its apps. It moves only up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct AppFloors {
    /// The metadata that was verified last.
    #[n(0)]
    pub(crate) metadata: MetadataFloors,
    /// The owner whose quorum has approved an app here: from then on nobody else's app is taken.
    #[n(1)]
    pub(crate) quorum_of: Option<String>,
}

impl AppFloors {
    /// Whether they mark a security event beside those before: the device is an owner's from now on, or there is a newer root than any
    /// before and the one in force, which may have revoked keys.
    pub(crate) fn is_event(&self, before: &AppFloors, root_version: u64) -> bool {
        self.quorum_of != before.quorum_of || self.metadata.root > before.metadata.root.max(root_version)
    }
}

impl Default for AppFloors {
    fn default() -> AppFloors {
        AppFloors { metadata: MetadataFloors::NONE, quorum_of: None }
    }
}

/// Why an app is not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppRefused {
    /// The server names no owner, or answers for another app.
    #[error("the server does not say whose app it is, and this device demands an approval of it")]
    NoOwner,
    /// The device is another owner's.
    #[error(
        "it is an app of the owner {offered}, and this device belongs to {pinned}, who has a quorum; provision the device anew \
         for another owner"
    )]
    OtherOwner {
        /// Whose quorum approved an app here before.
        pinned: String,
        /// Whose app was offered.
        offered: String,
    },
    /// The custodians' metadata and the server's: signatures, dates, versions.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// More metadata than may come together, or longer.
    #[error(transparent)]
    TooMuch(#[from] TooMany),
    /// More newer roots than may come together.
    #[error(transparent)]
    TooManyRoots(#[from] TooManyRoots),
    /// The approval.
    #[error(transparent)]
    Approval(#[from] AppError),
    /// The floors.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The floors are kept, and the hardware counter is still to be stepped.
    #[error("the security event is not complete: {0}")]
    SecurityEvent(#[from] SecurityEventError),
}

/// Judges an app by metadata that is verified from this root on; `now` is Unix seconds, the greater of the clock and the time floor. The
/// floors rise as soon as newer metadata is verified, whatever becomes of the app.
///
/// # Errors
/// [`AppRefused`].
pub(crate) fn judge_app(
    root: &[u8],
    floors: &mut AppFloors,
    trust: &Trust,
    app: &[u8],
    now: u64,
) -> Result<(), AppRefused> {
    let owner = trust.path.as_deref().and_then(|path| owner_in(path, &sha256(app))).ok_or(AppRefused::NoOwner)?;
    let mut files = files::<AppRefused>(trust)?;
    if let Some(delegated) = &trust.delegated {
        // Which of the two it is shows in its signatures.
        for role in [SERVER_ROLE, &owner_role(owner)] {
            files.insert(&format!("{role}.json"), delegated.to_vec())?;
        }
    }
    let mut trusted = tuf::verify(root, files, (), &floors.metadata, now)?;
    floors.metadata = trusted.floors();
    let floor = match &floors.quorum_of {
        Some(pinned) if pinned != owner => {
            return Err(AppRefused::OtherOwner { pinned: pinned.clone(), offered: owner.to_owned() });
        }
        Some(_) => OwnerQuorum::Demanded,
        None => OwnerQuorum::None,
    };
    if verify_app(&mut trusted, owner, app, floor)? == OwnerQuorum::Demanded {
        floors.quorum_of = Some(owner.to_owned());
    }
    Ok(())
}

/// The top-level metadata under the names that a repository gives them.
pub(crate) fn files<E: From<TufError> + From<TooMany>>(trust: &Trust) -> Result<Files, E> {
    let mut files = Files::new();
    for root in &trust.roots {
        let version = RootContent::from_file(root).map_err(TufError::from)?.version;
        files.insert(&format!("{version}.root.json"), root.to_vec())?;
    }
    let parts =
        [("timestamp.json", &trust.timestamp), ("snapshot.json", &trust.snapshot), ("targets.json", &trust.targets)];
    for (name, part) in parts {
        if let Some(part) = part {
            files.insert(name, part.to_vec())?;
        }
    }
    Ok(files)
}

#[cfg(test)]
#[cfg(feature = "parent")]
mod tests;
