//! Approval of apps: by the owner's quorum where the owner chose one, else by the server's online key; never of an OS image.

use keys::hashes::sha256;

use crate::manifest::Content;
use crate::tuf::{Trusted, TufError, content_of};

/// Why an app is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The owner's id is in another form.
    #[error("an owner id has 1 to 64 letters, digits and hyphens")]
    OwnerId,
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// Not among what was approved.
    #[error("the app is not approved for this owner")]
    NotApproved,
    /// The device knows that this owner has a quorum, and the metadata names none.
    #[error("this owner demands a quorum for their apps, and the metadata names none any more; the app is refused")]
    QuorumGone,
}

/// Whether an owner has a quorum: a device keeps it as a floor, so that it cannot be taken away from the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerQuorum {
    /// The server's key approves their apps.
    None,
    /// Their own keys do.
    Demanded,
}

/// The name of the role of an owner's quorum.
pub(crate) fn owner_role(owner: &str) -> String {
    format!("apps-{owner}")
}

/// Whether this can be an owner's id; it is part of paths and role names.
pub(crate) fn is_owner_id(owner: &str) -> bool {
    (1..=64).contains(&owner.len()) && owner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The name under which an app is approved.
pub fn app_target(owner: &str, app: &[u8]) -> String {
    format!("apps/{owner}/{}", const_hex::encode(sha256(app)))
}

/// Checks that an app was approved for its owner. Gives what the device keeps as a floor from now on.
///
/// # Errors
/// [`AppError`].
pub fn verify_app(trusted: &mut Trusted, owner: &str, app: &[u8], floor: OwnerQuorum) -> Result<OwnerQuorum, AppError> {
    if !is_owner_id(owner) {
        return Err(AppError::OwnerId);
    }
    let role = owner_role(owner);
    let delegations = trusted.set().targets_role("targets").and_then(|targets| targets.delegations.as_ref());
    let demanded = delegations.is_some_and(|all| all.roles.iter().any(|known| known.name == role && known.terminating));
    if floor == OwnerQuorum::Demanded && !demanded {
        return Err(AppError::QuorumGone);
    }
    let found: Option<Content> = trusted.find(&app_target(owner, app))?;
    if found != Some(content_of(app)) {
        return Err(AppError::NotApproved);
    }
    Ok(if demanded { OwnerQuorum::Demanded } else { OwnerQuorum::None })
}
