//! The keys of the server's online roles: files of mode 0600 in a folder of the server's.
//!
//! They can withhold, never invent: what a device installs is signed by the custodians and the release key.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keys::note::{NoteSigner, VERIFIER_FILE};
use keys::private_file::Existing;
use keys::purpose::KeyPurpose;
use keys::signer::{KeyError, Signer, file_name};

use super::log::CHECKPOINT_FILE;

/// The folder in the server's folder.
pub const ONLINE_KEYS_FOLDER: &str = "online-keys";

/// The server's online keys.
#[derive(Debug)]
pub struct OnlineKeys {
    /// Content keys of images are sealed to it.
    pub release_wrap: Signer,
    /// Signs which metadata belong together.
    pub snapshot: Signer,
    /// Signs what is newest.
    pub timestamp: Signer,
    /// Signs which image a device is to install.
    pub director: Signer,
    /// Signs apps of owners without a quorum.
    pub apps: Signer,
    /// Signs what the transparency log holds.
    pub log: NoteSigner,
}

/// Why the online keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OnlineKeysError {
    /// Their folder.
    #[error("{}: {error}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// One of them.
    #[error("an online key cannot be used: restore {} from a copy", .path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        error: KeyError,
    },
}

impl OnlineKeys {
    /// Reads the keys of a server's folder. Those of a server from before there were such keys are made; one that is missing beside others
    /// is not, since the operator's root names it. The transparency log that is begun is called after the server, by this name.
    ///
    /// # Errors
    /// [`OnlineKeysError`].
    pub fn open(dir: &Path, name: &str) -> Result<Self, OnlineKeysError> {
        let folder = dir.join(ONLINE_KEYS_FOLDER);
        if !folder.exists() {
            make(dir, &folder).map_err(|error| OnlineKeysError::Folder { path: folder.clone(), error })??;
        }
        let load = |purpose| {
            let path = folder.join(file_name(purpose));
            Signer::load(&folder, purpose).map_err(|error| OnlineKeysError::Key { path, error })
        };
        // Written last: without it nobody has seen the key, unless the log has signed something.
        let verifier = folder.join(VERIFIER_FILE);
        let log = if verifier.exists() || dir.join(CHECKPOINT_FILE).exists() {
            NoteSigner::load(&folder)
        } else {
            NoteSigner::create(&folder, &format!("{name}/log"))
        };
        Ok(Self {
            release_wrap: load(KeyPurpose::ReleaseWrap)?,
            snapshot: load(KeyPurpose::ReleaseSnapshot)?,
            timestamp: load(KeyPurpose::ReleaseTimestamp)?,
            director: load(KeyPurpose::ReleaseDirector)?,
            apps: load(KeyPurpose::AppApproval)?,
            log: log.map_err(|error| OnlineKeysError::Key {
                path: if verifier.exists() { folder.join(file_name(KeyPurpose::ReleaseLog)) } else { verifier },
                error,
            })?,
        })
    }

    /// The public halves, as the operator's root has them.
    pub fn public(&self) -> release::root::OnlineKeys {
        release::root::OnlineKeys {
            snapshot: self.snapshot.public().clone(),
            timestamp: self.timestamp.public().clone(),
            director: self.director.public().clone(),
            apps: self.apps.public().clone(),
        }
    }
}

/// Makes all of them in a neighbour folder that then takes its name, so that there are all or none.
fn make(dir: &Path, folder: &Path) -> io::Result<Result<(), OnlineKeysError>> {
    let unfinished = dir.join(format!(".{ONLINE_KEYS_FOLDER}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished)?;
    for purpose in [
        KeyPurpose::ReleaseWrap,
        KeyPurpose::ReleaseSnapshot,
        KeyPurpose::ReleaseTimestamp,
        KeyPurpose::ReleaseDirector,
        KeyPurpose::AppApproval,
    ] {
        let made = Signer::generate(purpose).and_then(|key| key.save(&unfinished, Existing::Refuse));
        if let Err(error) = made {
            return Ok(Err(OnlineKeysError::Key { path: unfinished.join(file_name(purpose)), error }));
        }
    }
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, folder)?;
    File::open(dir)?.sync_all()?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_keys_are_made_once_are_private_and_a_missing_one_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = OnlineKeys::open(dir.path(), "server.example").unwrap().public();
        assert_eq!(OnlineKeys::open(dir.path(), "server.example").unwrap().public(), first);
        let folder = dir.path().join(ONLINE_KEYS_FOLDER);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 7);
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        // A log that has signed something keeps its key.
        let (verifier, log_key) = (folder.join(VERIFIER_FILE), folder.join(file_name(KeyPurpose::ReleaseLog)));
        let before = fs::read(&log_key).unwrap();
        fs::write(dir.path().join(CHECKPOINT_FILE), "signed").unwrap();
        let public = fs::read(&verifier).unwrap();
        fs::remove_file(&verifier).unwrap();
        let error = OnlineKeys::open(dir.path(), "server.example").unwrap_err();
        assert!(matches!(error, OnlineKeysError::Key { path, .. } if path == verifier));
        assert_eq!(fs::read(&log_key).unwrap(), before);
        fs::write(&verifier, public).unwrap();
        let director = folder.join(file_name(KeyPurpose::ReleaseDirector));
        fs::remove_file(&director).unwrap();
        let error = OnlineKeys::open(dir.path(), "server.example").unwrap_err();
        assert!(matches!(error, OnlineKeysError::Key { path, .. } if path == director));
    }
}
