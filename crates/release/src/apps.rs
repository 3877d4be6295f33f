//! Approval of apps: by the owner's quorum where the owner chose one, else by the server's online key; never of an OS image.

use std::collections::{BTreeMap, BTreeSet};

use keys::hashes::sha256;
use keys::public::PublicKey;
use sigstore_tuf::metadata::DelegatedRole;
use sigstore_tuf::{Metadata, Targets};

use crate::limits::LIMITS;
use crate::manifest::Content;
use crate::root::key_id;
use crate::tuf::{Trusted, TufError, content, content_of, distinct};

/// The role of the server's online key.
pub const SERVER_ROLE: &str = "apps";
/// What the names of owners' roles begin with.
const OWNER_ROLE: &str = "apps-";

/// Why an app is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The owner's id is in another form.
    #[error("an owner id has 1 to 64 letters, digits and hyphens")]
    OwnerId,
    /// The metadata.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// Nobody but the server approves this owner's apps.
    #[error("the owner {0} has no quorum for their apps: the custodians add it with a release")]
    NoQuorum(String),
    /// An approval with something else in it than apps of its owner.
    #[error("the approval holds {0:?}, which is no app of this owner; nothing of it is taken")]
    NotAnApp(String),
    /// An approval that is too long.
    #[error("the approval has {0} bytes, at most {most} are taken; leave out apps that run nowhere any more", most = LIMITS.app_approval)]
    TooLong(usize),
    /// Not among what was approved.
    #[error("the app is not approved for this owner")]
    NotApproved,
    /// The device knows that this owner has a quorum, and the metadata names none.
    #[error("this owner demands a quorum for their apps, and the metadata names none any more; the app is refused")]
    QuorumGone,
}

/// An app that somebody approves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApprovedApp {
    /// Whose app it is.
    pub owner: String,
    /// SHA-256 of its image.
    pub sha256: [u8; 32],
    /// The image's length, bytes.
    pub length: u64,
}

/// What an owner's quorum has approved. Only [`verify_approval`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerApproval {
    /// It counts.
    pub version: u64,
    /// Until when it holds, Unix seconds.
    pub expires: i64,
    /// The apps by their hashes, with their lengths.
    pub apps: BTreeMap<[u8; 32], u64>,
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
pub fn owner_role(owner: &str) -> String {
    format!("{OWNER_ROLE}{owner}")
}

/// Whether this can be an owner's id; it is part of paths and role names.
pub(crate) fn is_owner_id(owner: &str) -> bool {
    (1..=64).contains(&owner.len()) && owner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The name under which an app is approved.
pub fn app_target(owner: &str, app: &[u8]) -> String {
    app_path(owner, &sha256(app))
}

/// The same by the app's hash.
pub fn app_path(owner: &str, sha256: &[u8; 32]) -> String {
    format!("apps/{owner}/{}", const_hex::encode(sha256))
}

/// Whose app an approval under this path is of, where that is a path of the app with this hash.
pub fn owner_in<'a>(path: &'a str, sha256: &[u8; 32]) -> Option<&'a str> {
    let (owner, app) = path.strip_prefix("apps/")?.split_once('/')?;
    (is_owner_id(owner) && app == const_hex::encode(sha256)).then_some(owner)
}

/// The owners whose apps nobody but their own quorum approves, by targets whose signatures the caller has checked.
///
/// # Errors
/// [`AppError::Metadata`] when these are no targets.
pub fn owners_with_quorum(targets: &[u8]) -> Result<BTreeSet<String>, AppError> {
    let targets = Metadata::<Targets>::from_slice(targets).map_err(TufError::from)?;
    let roles = targets.signed().delegations.iter().flat_map(|all| &all.roles);
    let owner = |role: &DelegatedRole| role.name.strip_prefix(OWNER_ROLE).map(str::to_owned);
    Ok(roles.filter(|role| role.terminating).filter_map(owner).collect())
}

/// Whether targets whose signatures the caller has checked leave the apps of owners without a quorum to this key, or to nobody.
///
/// # Errors
/// [`AppError::Metadata`] when these are no targets.
pub fn server_approves(targets: &[u8], key: &PublicKey) -> Result<bool, AppError> {
    let targets = Metadata::<Targets>::from_slice(targets).map_err(TufError::from)?;
    let id = key_id(key).map_err(TufError::from)?;
    let mut roles = targets.signed().delegations.iter().flat_map(|all| &all.roles);
    Ok(roles.all(|role| role.name != SERVER_ROLE || role.keyids == [id.as_str()]))
}

/// Checks that an owner's quorum signed an approval: the metadata of their role, below targets whose signatures the caller has
/// checked. Whether it has ended is for the caller to say.
///
/// # Errors
/// [`AppError`].
pub fn verify_approval(targets: &[u8], owner: &str, file: &[u8]) -> Result<OwnerApproval, AppError> {
    if !is_owner_id(owner) {
        return Err(AppError::OwnerId);
    }
    if file.len() > LIMITS.app_approval {
        return Err(AppError::TooLong(file.len()));
    }
    let name = owner_role(owner);
    let no_quorum = || AppError::NoQuorum(owner.to_owned());
    let targets = Metadata::<Targets>::from_slice(targets).map_err(TufError::from)?;
    distinct::in_targets(targets.signed())?;
    let delegations = targets.signed().delegations.as_ref().ok_or_else(no_quorum)?;
    let role = delegations.roles.iter().find(|role| role.name == name && role.terminating).ok_or_else(no_quorum)?;
    let approval = Metadata::<Targets>::from_slice(file).map_err(TufError::from)?;
    approval.verify_threshold(&delegations.keys, &role.role_keys(), &name).map_err(TufError::from)?;
    let approval = approval.signed();
    if approval.delegations.is_some() {
        return Err(AppError::NotAnApp("a delegation".to_owned()));
    }
    let mut apps = BTreeMap::new();
    for (path, target) in &approval.targets {
        let content = content(target).filter(|content| app_path(owner, &content.sha256) == *path);
        let content = content.ok_or_else(|| AppError::NotAnApp(path.clone()))?;
        apps.insert(*content.sha256, content.length);
    }
    Ok(OwnerApproval { version: approval.version, expires: approval.expires.as_second(), apps })
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
