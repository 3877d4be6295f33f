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

/// Where the new keys and certificates are made, in the server's folder. Nothing in it was ever in use.
const UNFINISHED_FOLDER: &str = ".pki.unfinished";

/// The keys and certificates from before, with the beginning of the hash of their roots behind.
const BEFORE_FOLDER: &str = "pki-before-";

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
    /// The name under which the old ones would stay is taken.
    #[error(
        "{} is there already: left by a run that was cut off before the next roots were in use, or these roots were put back from a copy; \
         move it away and run this again", .0.display()
    )]
    BeforeExists(PathBuf),
    /// Devices know no further roots than those in use.
    #[error(
        "{} is there: the roots in use followed those by a run before, perhaps one that was cut off. Without a release no device has learnt which \
         come next, so that none could connect any more; move that folder away if no device is older than that run", .0.display()
    )]
    Again(PathBuf),
    /// A file or folder.
    #[error("cannot write {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// The disk did not confirm the last step.
    #[error(
        "the next roots are in use and the old ones in {}, but the disk has not confirmed it; do not run this again while that folder is there",
        .0.display()
    )]
    Unconfirmed(PathBuf, #[source] io::Error),
}

/// Makes new gateway certificates from the next roots, and roots that are to follow these; the old ones stay in a folder beside. A server that
/// runs takes them with its next start.
///
/// # Errors
/// [`RotateError`]; nothing is changed then, but for [`RotateError::Unconfirmed`].
pub async fn rotate_roots(dir: &Path, token: Option<&TokenSpec>, limits: &Limits) -> Result<RotateReport, RotateError> {
    let pki_folder = dir.join(PKI_FOLDER);
    let serving = ServingPki::load(&pki_folder)?;
    if token.is_none() && serving.gateway(Profile::Modern).key().is_elsewhere() {
        return Err(RotateError::InToken);
    }
    let old = const_hex::encode(serving.server_roots.hash().first_chunk::<4>().copied().unwrap_or_default());
    let before = dir.join(format!("{BEFORE_FOLDER}{old}"));
    if before.exists() {
        return Err(RotateError::BeforeExists(before));
    }
    let root_version = devices_believe(dir, &serving.server_roots, limits).await?;
    if root_version.is_none() {
        refuse_again(dir)?;
    }
    let next = OperatorPki::rotated(&pki_folder, token, Now { mono_ms: 0, unix_ms: unix_ms() })?;
    let written = write_beside(dir, &next).and_then(|()| change_places(dir, &before));
    written.inspect_err(|_| next.discard_rotated())?;
    sync(dir).map_err(|error| RotateError::Unconfirmed(before.clone(), error))?;
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

/// Refuses where roots were brought into use before.
fn refuse_again(dir: &Path) -> Result<(), RotateError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        if entry.file_name().to_string_lossy().starts_with(BEFORE_FOLDER) {
            return Err(RotateError::Again(entry.path()));
        }
    }
    Ok(())
}

/// Writes everything beside what is in force.
fn write_beside(dir: &Path, next: &OperatorPki) -> Result<(), RotateError> {
    let unfinished = dir.join(UNFINISHED_FOLDER);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(at(&unfinished))?;
    next.save(&unfinished)?;
    sync(&unfinished).map_err(at(&unfinished))
}

/// Puts what was written in force, and what was before under the name where it stays, in one step, which is the last.
fn change_places(dir: &Path, before: &Path) -> Result<(), RotateError> {
    let unfinished = dir.join(UNFINISHED_FOLDER);
    fs::rename(&unfinished, before).map_err(at(before))?;
    // On the disk before the step that counts: the old keys never have another name.
    let changed = sync(dir).map_err(at(dir)).and_then(|()| Ok(private_file::exchange(before, &dir.join(PKI_FOLDER))?));
    changed.inspect_err(|_| {
        // Where this fails as well, the next run says so.
        let _ = fs::rename(before, &unfinished);
    })
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RotateError {
    let path = path.to_owned();
    move |error| RotateError::Io(path, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{FIRST_ACCOUNT, InitOptions, init};
    use crate::limits::LIMITS;

    #[tokio::test]
    async fn a_rotation_that_was_cut_off_keeps_all_keys_and_is_not_done_twice() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("server");
        let options = InitOptions {
            dir: dir.clone(),
            names: vec!["server.example".to_owned()],
            operator: "Test".to_owned(),
            account: FIRST_ACCOUNT.to_owned(),
            password: None,
            token: None,
        };
        let first = init(options, &LIMITS).await.unwrap().roots_sha256;
        let folder = dir.join(PKI_FOLDER);
        let roots = |folder: &Path| ServingPki::load(folder).unwrap().server_roots.hash();
        let before = dir.join(format!("pki-before-{}", const_hex::encode(&first[..4])));

        // The power went before the step that counts.
        let next = OperatorPki::rotated(&folder, None, Now { mono_ms: 0, unix_ms: unix_ms() }).unwrap();
        write_beside(&dir, &next).unwrap();
        fs::rename(dir.join(UNFINISHED_FOLDER), &before).unwrap();
        for _ in 0..2 {
            let refused = rotate_roots(&dir, None, &LIMITS).await.unwrap_err();
            assert!(matches!(&refused, RotateError::BeforeExists(there) if *there == before), "{refused}");
            assert_eq!(roots(&folder), first, "the roots are as they were");
            assert!(!dir.join(UNFINISHED_FOLDER).exists(), "no keys were made");
        }
        fs::remove_dir_all(&before).unwrap();

        // The step that counts fails.
        write_beside(&dir, &next).unwrap();
        fs::rename(&folder, room.path().join("away")).unwrap();
        assert!(matches!(change_places(&dir, &before), Err(RotateError::File(_))));
        fs::rename(room.path().join("away"), &folder).unwrap();
        assert!(!before.exists() && roots(&folder) == first);

        let report = rotate_roots(&dir, None, &LIMITS).await.unwrap();
        assert_eq!((&report.before, roots(&before)), (&before, first));
        assert_eq!(roots(&folder), report.roots_sha256);
        // As after a cut behind the step that counts: the operator saw no answer.
        let refused = rotate_roots(&dir, None, &LIMITS).await.unwrap_err();
        assert!(matches!(&refused, RotateError::Again(there) if *there == before), "{refused}");
        assert_eq!(roots(&folder), report.roots_sha256);
        assert!(!dir.join(UNFINISHED_FOLDER).exists());
    }
}
