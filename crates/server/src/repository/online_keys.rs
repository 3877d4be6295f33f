//! The keys of the server's online roles: files of mode 0600 in a folder of the server's, and further sets of them in folders beside it.
//!
//! They can withhold, never invent: what a device installs is signed by the custodians and the release key. Whose turn it is says the newest
//! root: a set that was made beside another one signs nothing before the custodians name it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use keys::content_key::{CONTENT_KEY_BYTES, ContentKeyError, WrappedContentKey, unwrap};
use keys::note::{NoteSigner, VERIFIER_FILE};
use keys::private_file::Existing;
use keys::purpose::KeyPurpose;
use keys::signer::{KeyError, Signer, file_name};
use release::author::sealed_for;
use release::manifest::ManifestHash;
use release::root::RootContent;

/// The folder of the first set in the server's folder; those of further ones have a number behind a dot.
pub const ONLINE_KEYS_FOLDER: &str = "online-keys";

/// One set of the server's online keys.
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

/// All sets of a server, the oldest first; there is at least one.
#[derive(Debug)]
pub struct KeySets {
    sets: Vec<OnlineKeys>,
    /// Which of them signs.
    in_force: AtomicUsize,
}

impl KeySets {
    /// Reads the sets of a server's folder; the newest is in force. Where there is none, the first is made; a key that is missing beside
    /// others is not, since the operator's root names it. The transparency log of a new set is called after the server, by this name.
    ///
    /// # Errors
    /// [`OnlineKeysError`].
    pub fn open(dir: &Path, name: &str) -> Result<Self, OnlineKeysError> {
        let mut sets = folders(dir)?;
        if sets.is_empty() {
            let folder = dir.join(ONLINE_KEYS_FOLDER);
            make(dir, &folder, name)?;
            sets.insert(1, folder);
        }
        let sets = sets.values().map(|folder| OnlineKeys::load(folder)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { in_force: AtomicUsize::new(sets.len() - 1), sets })
    }

    /// Makes another set beside those that are there. It is in force once a root names it.
    ///
    /// # Errors
    /// [`OnlineKeysError`].
    pub fn add(&self, dir: &Path, name: &str) -> Result<OnlineKeys, OnlineKeysError> {
        let last = folders(dir)?.last_key_value().map_or(1, |(number, _)| *number);
        let folder = dir.join(format!("{ONLINE_KEYS_FOLDER}.{}", last.saturating_add(1)));
        make(dir, &folder, name)?;
        OnlineKeys::load(&folder)
    }

    /// All of them.
    pub fn all(&self) -> &[OnlineKeys] {
        &self.sets
    }

    /// The set that signs.
    pub fn in_force(&self) -> &OnlineKeys {
        &self.sets[self.in_force.load(Ordering::Acquire)]
    }

    /// The content key of an image, sealed to whichever of the sets.
    ///
    /// # Errors
    /// [`ContentKeyError`] of the newest set, when it is sealed to none.
    pub(super) fn open_content_key(
        &self,
        sealed: &[u8],
        image: ManifestHash,
    ) -> Result<impl Deref<Target = [u8; CONTENT_KEY_BYTES]> + use<>, ContentKeyError> {
        let sealed = WrappedContentKey::from_bytes(sealed)?;
        let mut opened = Err(ContentKeyError::NotForUs);
        for OnlineKeys { release_wrap, .. } in &self.sets {
            opened = opened
                .or_else(|_| unwrap(release_wrap, &sealed, &sealed_for(image, release_wrap.public().spki_hash())));
        }
        opened
    }

    /// The set that a root names. A root that names no log is from before there was one.
    pub(super) fn named_by(&self, root: &RootContent) -> Option<&OnlineKeys> {
        let is_its_log = |keys: &OnlineKeys| root.log.as_ref().is_none_or(|log| *log == keys.log.key().to_string());
        self.sets.iter().find(|keys| keys.public() == root.online && is_its_log(keys))
    }

    /// Has the set sign that a root names; gives whether there is one.
    pub(super) fn put_in_force(&self, root: &RootContent) -> bool {
        let at = self.named_by(root).and_then(|named| self.sets.iter().position(|keys| std::ptr::eq(keys, named)));
        at.inspect(|at| self.in_force.store(*at, Ordering::Release)).is_some()
    }
}

impl OnlineKeys {
    fn load(folder: &Path) -> Result<Self, OnlineKeysError> {
        let load = |purpose| {
            let path = folder.join(file_name(purpose));
            Signer::load(folder, purpose).map_err(|error| OnlineKeysError::Key { path, error })
        };
        let verifier = folder.join(VERIFIER_FILE);
        Ok(Self {
            release_wrap: load(KeyPurpose::ReleaseWrap)?,
            snapshot: load(KeyPurpose::ReleaseSnapshot)?,
            timestamp: load(KeyPurpose::ReleaseTimestamp)?,
            director: load(KeyPurpose::ReleaseDirector)?,
            apps: load(KeyPurpose::AppApproval)?,
            log: NoteSigner::load(folder).map_err(|error| OnlineKeysError::Key {
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

/// The folders of the sets, by their numbers.
fn folders(dir: &Path) -> Result<BTreeMap<u32, PathBuf>, OnlineKeysError> {
    let failed = |error| OnlineKeysError::Folder { path: dir.to_owned(), error };
    let mut folders = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let number = match entry.file_name().to_str().and_then(|name| name.strip_prefix(ONLINE_KEYS_FOLDER)) {
            Some("") => Some(1),
            Some(behind) => {
                behind.strip_prefix('.').and_then(|number| number.parse().ok()).filter(|number| *number > 1)
            }
            None => None,
        };
        folders.extend(number.map(|number| (number, entry.path())));
    }
    Ok(folders)
}

/// Makes a whole set in a neighbour folder that then takes its name, so that there are all keys or none.
fn make(dir: &Path, folder: &Path, name: &str) -> Result<(), OnlineKeysError> {
    let failed = |error| OnlineKeysError::Folder { path: folder.to_owned(), error };
    let unfinished = dir.join(format!(".{ONLINE_KEYS_FOLDER}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(failed)?;
    let key = |purpose| {
        let path = unfinished.join(file_name(purpose));
        move |error| OnlineKeysError::Key { path, error }
    };
    for purpose in [
        KeyPurpose::ReleaseWrap,
        KeyPurpose::ReleaseSnapshot,
        KeyPurpose::ReleaseTimestamp,
        KeyPurpose::ReleaseDirector,
        KeyPurpose::AppApproval,
    ] {
        Signer::generate(purpose).and_then(|made| made.save(&unfinished, Existing::Refuse)).map_err(key(purpose))?;
    }
    NoteSigner::create(&unfinished, &format!("{name}/log")).map_err(key(KeyPurpose::ReleaseLog))?;
    let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all());
    sync(&unfinished).and_then(|()| fs::rename(&unfinished, folder)).and_then(|()| sync(dir)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(dir: &tempfile::TempDir) -> Result<KeySets, OnlineKeysError> {
        KeySets::open(dir.path(), "server.example")
    }

    #[test]
    fn the_keys_are_made_once_are_private_and_a_missing_one_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&dir).unwrap().in_force().public();
        assert_eq!(open(&dir).unwrap().in_force().public(), first);
        let folder = dir.path().join(ONLINE_KEYS_FOLDER);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 7);
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let (verifier, log_key) = (folder.join(VERIFIER_FILE), folder.join(file_name(KeyPurpose::ReleaseLog)));
        let before = fs::read(&log_key).unwrap();
        let public = fs::read(&verifier).unwrap();
        fs::remove_file(&verifier).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(matches!(error, OnlineKeysError::Key { path, .. } if path == verifier));
        assert_eq!(fs::read(&log_key).unwrap(), before);
        fs::write(&verifier, public).unwrap();
        let director = folder.join(file_name(KeyPurpose::ReleaseDirector));
        fs::remove_file(&director).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(matches!(error, OnlineKeysError::Key { path, .. } if path == director));
    }
    #[test]
    fn another_set_is_made_beside_the_first_and_the_order_is_that_of_their_making() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&dir).unwrap();
        let added: Vec<_> = (0..10).map(|_| first.add(dir.path(), "server.example").unwrap()).collect();
        // What was cut off, and what is none.
        fs::create_dir(dir.path().join(".online-keys.unfinished")).unwrap();
        fs::create_dir(dir.path().join("online-keys.old")).unwrap();
        let sets = open(&dir).unwrap();
        assert_eq!(sets.all().len(), 11);
        for (set, made) in sets.all().iter().zip(first.all().iter().chain(&added)) {
            assert_eq!((set.public(), set.log.key()), (made.public(), made.log.key()));
        }
        // The first may go once nothing is sealed to it any more.
        fs::remove_dir_all(dir.path().join(ONLINE_KEYS_FOLDER)).unwrap();
        assert_eq!(open(&dir).unwrap().all().len(), 10);
        assert!(!dir.path().join(ONLINE_KEYS_FOLDER).exists());
    }
}
