//! Brings the next TLS roots of a server into use: certificates of the gateway from them, and new roots to follow.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keys::pkcs11::TokenSpec;
use keys::pki::{OperatorPki, PkiError, RootsBundle, ServingPki};
use keys::private_file::{self, PrivateFileError};
use keys::profile::Profile;
use keys::time::Now;
use release::root::{RootContent, RootError};
use thiserror::Error;

use crate::fleet::AgentIdSecret;
use crate::init::{AGENT_ID_SECRET_FILE, PKI_FOLDER};
use crate::limits::Limits;
use crate::store::{Store, StoreError, unix_ms};

/// Where the new keys and certificates are made, in the server's folder.
const UNFINISHED_FOLDER: &str = ".pki.unfinished";

/// What was made.
#[derive(Debug)]
pub struct RotateReport {
    /// What enrolment tokens pin from now on: SHA-256 of the bundle of the server's roots.
    pub roots_sha256: [u8; 32],
    /// The folder with the keys and certificates from before.
    pub before: PathBuf,
    /// The version of the release metadata's newest root, which names the roots that are in use now; none where there is no release.
    pub root_version: Option<u64>,
}

/// Why the roots are as they were.
#[derive(Debug, Error)]
pub enum RotateError {
    /// The keys or certificates could not be read or made.
    #[error("the keys and certificates could not be made")]
    Pki(#[from] PkiError),
    /// The keys are in a token, and new ones would be in files.
    #[error("the gateway's keys are in a token; say with --keys in which the new ones are to be born")]
    InToken,
    /// A secret could not be read, or the folders not change places.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The database could not be read.
    #[error("the database could not be read")]
    Store(#[from] StoreError),
    /// The release metadata cannot be read.
    #[error("the release metadata on this server: {0}")]
    Root(#[from] RootError),
    /// Devices believe other roots.
    #[error(
        "the newest root metadata on this server (version {0}) does not name the roots that would come into use, so that no device could \
         connect any more; sign the next root with what `vouch release server-keys` writes here, and upload it first"
    )]
    Strands(u64),
    /// A file or folder.
    #[error("cannot write {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// Makes new gateway certificates from the next roots, and roots that are to follow these; the old ones stay in a folder beside. A server that
/// runs takes them with its next start.
///
/// # Errors
/// [`RotateError`]; nothing is changed then.
pub async fn rotate_roots(dir: &Path, token: Option<&TokenSpec>, limits: &Limits) -> Result<RotateReport, RotateError> {
    let pki_folder = dir.join(PKI_FOLDER);
    let serving = ServingPki::load(&pki_folder)?;
    if token.is_none() && serving.gateway(Profile::Modern).key().is_elsewhere() {
        return Err(RotateError::InToken);
    }
    let root_version = devices_believe(dir, &serving.server_roots, limits).await?;
    let next = OperatorPki::rotated(&pki_folder, token, Now { mono_ms: 0, unix_ms: unix_ms() })?;
    write_beside(dir, &next).inspect_err(|_| next.discard_rotated())?;
    let before = change_places(dir, &serving.server_roots)?;
    Ok(RotateReport { roots_sha256: next.serving.server_roots.hash(), before, root_version })
}

/// The version of the root metadata by which devices of this server know its next roots; none where they know them by their enrolment alone.
async fn devices_believe(dir: &Path, roots: &RootsBundle, limits: &Limits) -> Result<Option<u64>, RotateError> {
    let secret = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE))?);
    let store = Store::open(dir, secret, limits).await?;
    let metadata = store.release_metadata().await;
    store.close().await;
    let newest = metadata?.into_iter().filter(|file| file.role == "root").max_by_key(|file| file.version);
    let Some(newest) = newest else { return Ok(None) };
    let content = RootContent::from_file(&newest.file)?;
    let next = |profile: &Profile| roots.roots(*profile).nth(1);
    if Profile::ALL.iter().all(|profile| next(profile).is_some_and(|root| content.tls_roots.holds(*profile, root))) {
        Ok(Some(content.version))
    } else {
        Err(RotateError::Strands(content.version))
    }
}

/// Writes everything beside what is in force.
fn write_beside(dir: &Path, next: &OperatorPki) -> Result<(), RotateError> {
    let unfinished = dir.join(UNFINISHED_FOLDER);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(at(&unfinished))?;
    Ok(next.save(&unfinished)?)
}

/// Puts what was written in force in one step, and keeps what was before under a name of its own.
fn change_places(dir: &Path, old: &RootsBundle) -> Result<PathBuf, RotateError> {
    let (folder, unfinished) = (dir.join(PKI_FOLDER), dir.join(UNFINISHED_FOLDER));
    let old = const_hex::encode(old.hash().first_chunk::<4>().copied().unwrap_or_default());
    let before = dir.join(format!("{PKI_FOLDER}-before-{old}"));
    private_file::exchange(&unfinished, &folder)?;
    fs::rename(&unfinished, &before).map_err(at(&before))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
    Ok(before)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RotateError {
    let path = path.to_owned();
    move |error| RotateError::Io(path, error)
}
