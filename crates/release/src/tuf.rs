//! The second layer and freshness: metadata of The Update Framework (TUF, specification 1.0), which the custodians sign.
//!
//! `sigstore-tuf` does the verification, without a network: files come from a [`Source`], the time is handed in. What it does
//! not know is added here: floors that survive a wiped cache, and the refusal of one key under two names, since it counts
//! names.

pub(crate) mod distinct;
mod files;
mod poll;

use std::sync::{Arc, Mutex, PoisonError};

use jiff_02::Timestamp;
use keys::hashes::sha256;
use sigstore_tuf::{TargetFile, TrustedMetadataSet, Updater, UpdaterConfig};

pub use files::{Cache, Files, Source, SourceError, TooMany};

use crate::floors::{BelowFloor, MetadataFloors};
use crate::limits::LIMITS;
use crate::log::{LogError, verify_logged};
use crate::manifest::{Content, Manifest, ManifestHash};
use crate::root::{RootContent, RootError};

/// Metadata that was verified from a trusted root on, as of one moment.
pub struct Trusted {
    updater: Updater,
    now: Timestamp,
    start: [u8; 32],
    floors: MetadataFloors,
}

/// The custodians' approval of one manifest. Only [`Trusted::approve`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    pub(crate) manifest: ManifestHash,
    /// SHA-256 of the root metadata that was in force.
    pub(crate) root: [u8; 32],
    /// Whether the root in force names a log, and no proof was checked yet.
    pub(crate) log_owed: bool,
}

/// Why metadata is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// The library's verdict: signatures, thresholds, dates, versions, hashes.
    #[error("release metadata refused: {}", chain(.0))]
    Refused(#[from] sigstore_tuf::Error),
    /// Older than what this device has seen.
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
    /// Two names for one key.
    #[error(
        "release metadata refused: in {place}, the keys {first} and {second} are one and the same, so that one card would count twice"
    )]
    SameKey {
        /// Which metadata.
        place: String,
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// A key that cannot be compared with others.
    #[error(
        "release metadata refused: in {place}, the key {key} is in a form that is not taken; P-256 keys are uncompressed"
    )]
    KeyForm {
        /// Which metadata.
        place: String,
        /// Its name.
        key: String,
    },
    /// The custodians have not approved it.
    #[error(
        "OS version {version} ({hash}) is not among the {count} that the custodians have approved in targets version {targets}"
    )]
    NotApproved {
        /// The version of the release.
        version: String,
        /// The manifest.
        hash: ManifestHash,
        /// How many are approved.
        count: usize,
        /// The version of the metadata.
        targets: u64,
    },
    /// A root that is sound as TUF has it, but not one of this system.
    #[error(transparent)]
    Root(#[from] RootError),
    /// More than [`LIMITS`]`.metadata` bytes.
    #[error("the trusted root metadata has more than {} bytes", LIMITS.metadata)]
    RootTooLong,
    /// The proof of the transparency log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A time before 1970 or far beyond.
    #[error("the time handed in is out of range")]
    Time,
    /// A source that makes the reader wait, which no [`Source`] of this crate does.
    #[error("the source of metadata did not answer at once")]
    Pending,
}

impl TufError {
    /// Whether nothing is wrong but the time: something has expired.
    pub fn is_expired(&self) -> bool {
        matches!(self, TufError::Refused(sigstore_tuf::Error::Expired { .. }))
    }
}

/// The library's error with its causes.
fn chain(error: &sigstore_tuf::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Verifies metadata from a trusted root on: newer roots, then timestamp, snapshot and targets.
///
/// `root` is believed; `now` is Unix seconds, the greater of the clock and the time floor. The cache is what an earlier call
/// left behind, or empty: the floors hold in any case.
///
/// # Errors
/// [`TufError`]; then nothing of the metadata may be used.
pub fn verify(
    root: &[u8],
    source: impl Source + 'static,
    cache: impl Cache + 'static,
    floors: &MetadataFloors,
    now: u64,
) -> Result<Trusted, TufError> {
    let now = i64::try_from(now).ok().and_then(|now| Timestamp::from_second(now).ok()).ok_or(TufError::Time)?;
    check_root(root)?;
    let problem = Arc::new(Mutex::new(None));
    let repository = files::Repository { source, problem: Arc::clone(&problem) };
    let store = files::Store { cache, problem: Arc::clone(&problem) };
    let mut updater = Updater::new(repository, root)?.with_config(config()).with_store(store);
    let refreshed = poll::now(updater.refresh(now)).ok_or(TufError::Pending)?;
    // What was wrong with a root says more than that it could not be had.
    if let Some(problem) = problem.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(problem);
    }
    refreshed?;
    let set = updater.trusted();
    distinct::in_delegations(set)?;
    let floors = floors.admit(&MetadataFloors::of(set)?)?;
    Ok(Trusted { updater, now, start: sha256(root), floors })
}

/// Whether this is root metadata that is signed as it demands itself, and counts each key once: good to be trusted, if it
/// comes from where trust comes from.
///
/// # Errors
/// [`TufError`].
pub fn check_root(root: &[u8]) -> Result<(), TufError> {
    if root.len() > LIMITS.metadata {
        return Err(TufError::RootTooLong);
    }
    distinct::in_root(root)?;
    TrustedMetadataSet::from_root(root)?;
    Ok(())
}

impl Trusted {
    /// The floors from now on.
    pub fn floors(&self) -> MetadataFloors {
        self.floors
    }

    /// The root metadata that is in force: what to trust from now on.
    pub fn root(&self) -> &[u8] {
        self.set().root_bytes()
    }

    /// When the first of the roles ends, in Unix seconds.
    pub fn expires(&self) -> u64 {
        let set = self.set();
        let dates = [
            Some(set.root().expires),
            set.timestamp().map(|role| role.expires),
            set.snapshot().map(|role| role.expires),
            set.targets_role("targets").map(|role| role.expires),
        ];
        let first = dates.into_iter().flatten().min().map_or(0, Timestamp::as_second);
        u64::try_from(first).unwrap_or_default()
    }

    /// Whether the custodians have approved exactly this manifest.
    ///
    /// Only the custodians' own role is asked: no delegation, so no key for apps, ever approves an OS image.
    ///
    /// # Errors
    /// [`TufError::NotApproved`].
    pub fn approve(&self, manifest: &Manifest) -> Result<Approval, TufError> {
        let payload = manifest.to_cbor();
        let hash = manifest.hash();
        let targets = self.set().targets_role("targets");
        let entry = targets.and_then(|targets| targets.target(&os_target(manifest)));
        if entry.and_then(content).is_some_and(|content| content == content_of(&payload)) {
            let log_owed = self.content()?.log.is_some();
            return Ok(Approval { manifest: hash, root: sha256(self.root()), log_owed });
        }
        Err(TufError::NotApproved {
            version: manifest.version.to_string(),
            hash,
            count: targets.map_or(0, |targets| targets.targets.keys().filter(|path| path.starts_with("os/")).count()),
            targets: targets.map_or(0, |targets| targets.version),
        })
    }

    /// The approval with the proof that the release is in the log that the root in force names.
    ///
    /// # Errors
    /// [`TufError::Log`].
    pub fn prove_logged(&self, approval: Approval, manifest: &Manifest, proof: &[u8]) -> Result<Approval, TufError> {
        let Some(log) = self.content()?.log else { return Ok(approval) };
        let proved = verify_logged(&log, manifest, proof)?;
        let log_owed = approval.log_owed && proved.manifest != approval.manifest;
        Ok(Approval { log_owed, ..approval })
    }

    /// The length and SHA-256 of a target, searched through all delegations in their order.
    ///
    /// # Errors
    /// [`TufError::Refused`] when a role on the way is not what it should be.
    pub fn find(&mut self, path: &str) -> Result<Option<Content>, TufError> {
        let found = poll::now(self.updater.get_target_info(path, self.now)).ok_or(TufError::Pending)??;
        Ok(found.as_ref().and_then(content))
    }

    /// What the root in force says.
    ///
    /// # Errors
    /// [`TufError::Root`].
    pub fn content(&self) -> Result<RootContent, TufError> {
        Ok(RootContent::from_file(self.root())?)
    }

    pub(crate) fn set(&self) -> &TrustedMetadataSet {
        self.updater.trusted()
    }

    /// SHA-256 of the root that was trusted at first.
    pub(crate) fn start(&self) -> [u8; 32] {
        self.start
    }
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trusted").field("floors", &self.floors).finish_non_exhaustive()
    }
}

/// The name under which custodians approve a manifest.
pub fn os_target(manifest: &Manifest) -> String {
    format!("os/{}/{}", manifest.version, manifest.hash())
}

/// The length and hash of bytes.
pub(crate) fn content_of(bytes: &[u8]) -> Content {
    Content { length: bytes.len() as u64, sha256: sha256(bytes).into() }
}

/// The length and hash of a target.
pub(crate) fn content(target: &TargetFile) -> Option<Content> {
    let sha256: [u8; 32] = const_hex::decode_to_array(target.hashes.get("sha256")?).ok()?;
    Some(Content { length: target.length, sha256: sha256.into() })
}

fn config() -> UpdaterConfig {
    let mut config = UpdaterConfig::default();
    config.root_max_length = LIMITS.metadata as u64;
    config.timestamp_max_length = LIMITS.timestamp as u64;
    config.snapshot_max_length = LIMITS.snapshot as u64;
    config.targets_max_length = LIMITS.targets as u64;
    // The library counts the look for a root behind the last one as well.
    config.max_root_rotations = LIMITS.root_rotations + 1;
    config.max_delegations = LIMITS.delegations;
    config
}
