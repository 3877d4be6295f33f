//! A device in the making: everything is written into a neighbour folder, which becomes the device in one step.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keys::chunks::ContentKey;
use keys::keystore::Keystore;
use keys::pki::{Credential, RootsBundle};
use keys::private_file::Existing;
use keys::public::SpkiHash;
use keys::release_key;
use keys::storage::StorageRoot;
use protocol::os::Trust;
use release::anchors::Anchors;
use release::l1::L1Error;
use release::manifest::Manifest;

use super::{FolderError, KEYS_FOLDER, VAULT_FOLDER, holds_device, io_error, lock, store_error};
use crate::board::BOARD_FILE;
use crate::boot::{BOOT_FOLDER, BootFolder, FACTORY_ANCHORS_FILE, InstallError, Proof, STAGING_FOLDER, Source};
use crate::config::DeviceConfig;
use crate::limits::LIMITS;
use crate::storage::FolderDisk;
use crate::store::Store;

/// What the factory gives a device beside its keys.
#[derive(Debug, Default)]
pub struct Factory {
    /// Its first OS image.
    pub image: Option<FactoryImage>,
    /// The device stores nothing after this.
    pub diskless: bool,
    /// What its board file holds, where it has one.
    pub board: Option<String>,
}

/// The first OS image of a device, and whose signatures it demands from then on.
#[derive(Debug)]
pub struct FactoryImage {
    /// What the device believes.
    pub anchors: Anchors,
    /// The signed manifest (COSE_Sign1).
    pub manifest: Vec<u8>,
    /// A file that is to be read from where the encrypted image begins.
    pub image: File,
    /// How many bytes that has.
    pub length: u64,
    /// The key that it is encrypted with; without it, the server is asked for the key and for all that the anchors demand.
    pub content_key: Option<ContentKey>,
}

/// What a first image needs to be installed.
#[derive(Debug)]
pub(crate) struct Given {
    /// Its key.
    pub(crate) content_key: ContentKey,
    /// What proves it, where more than the release key's signature is demanded.
    pub(crate) trust: Option<Trust>,
    /// As of when, in Unix seconds.
    pub(crate) judged_at: u64,
}

/// What the factory gives a device, with what its image needs.
#[derive(Debug)]
pub(crate) struct Completed {
    pub(crate) factory: Factory,
    pub(crate) given: Option<Given>,
}

impl FactoryImage {
    /// What the image says that it is; nobody's signature is checked.
    ///
    /// # Errors
    /// [`InstallError`] when there is no manifest.
    pub(crate) fn danger_unverified_manifest(&self) -> Result<Manifest, InstallError> {
        let payload = release_key::danger_unverified(&self.manifest).map_err(L1Error::Signature)?;
        Ok(Manifest::from_cbor(&payload).map_err(L1Error::from)?)
    }

    fn install(self, given: &Given, dir: &Path, root: &StorageRoot, identity: SpkiHash) -> Result<(), FolderError> {
        DirBuilder::new().mode(0o700).create(dir).map_err(|source| io_error(dir, source))?;
        let staging = dir.join(STAGING_FOLDER);
        DirBuilder::new().mode(0o700).create(&staging).map_err(|source| io_error(&staging, source))?;
        let source = Source {
            manifest: &self.manifest,
            proof: given.trust.as_ref().map(|trust| Proof { trust, identity, now: given.judged_at }),
            image: self.image.take(self.length),
            length: self.length,
            content_key: &given.content_key,
        };
        BootFolder::create(FolderDisk::new(dir), root, &self.anchors, source, &LIMITS)?;
        write_new(&dir.join(FACTORY_ANCHORS_FILE), &self.anchors.to_cbor())?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, source))
    }
}

/// A device in the making, in a neighbour folder that nobody takes for a device.
#[derive(Debug)]
pub struct Unfinished {
    dir: PathBuf,
    target: PathBuf,
    _lock: File,
}

impl Unfinished {
    /// Begins a device that shall end up in `target`: a folder that is not there yet, or an empty one.
    pub fn begin(target: &Path) -> Result<Unfinished, FolderError> {
        refuse_used(target)?;
        let name = target.file_name().ok_or_else(|| FolderError::NotEmpty(target.to_owned()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".unfinished");
        let dir = target.with_file_name(hidden);
        if dir.exists() {
            // What an earlier attempt left behind was never enrolled completely; another one at work holds its lock.
            let _unused = lock(&dir)?;
            discard_keys(&dir);
            std::fs::remove_dir_all(&dir).map_err(|source| io_error(&dir, source))?;
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| io_error(&dir, source))?;
        let lock = lock(&dir)?;
        Ok(Unfinished { dir, target: target.to_owned(), _lock: lock })
    }

    /// Where the parts are collected.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the keys are to be made.
    pub fn keys_folder(&self) -> PathBuf {
        self.dir.join(KEYS_FOLDER)
    }

    /// Writes everything down and makes it a device in one step. The factory's image needs what was given for it.
    pub(crate) fn finish(
        self,
        config: &DeviceConfig,
        keys: &Keystore,
        tls: &Credential,
        roots: &RootsBundle,
        time_floor_unix_ms: i64,
        Completed { factory, given }: Completed,
    ) -> Result<(), FolderError> {
        let dir = &self.dir;
        let folder = self.keys_folder();
        let saved = tls.save_chain(&folder, Existing::Refuse);
        saved.map_err(|source| FolderError::Credential { folder, source })?;
        let vault = dir.join(VAULT_FOLDER);
        DirBuilder::new().mode(0o700).create(&vault).map_err(|source| io_error(&vault, source))?;
        let epoch = keys.counter()?.unwrap_or_default();
        let root = keys.storage_root()?;
        let store = Store::create(&vault, &root, epoch, config, roots, time_floor_unix_ms, factory.diskless);
        store.map_err(|source| store_error(dir, source))?;
        if let Some((image, given)) = factory.image.zip(given) {
            image.install(&given, &dir.join(BOOT_FOLDER), &root, keys.identity().spki_hash())?;
        }
        if let Some(board) = factory.board {
            write_new(&dir.join(BOARD_FILE), board.as_bytes())?;
        }
        // The names of the folders, before the whole gets its own.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(dir, source))?;
        refuse_used(&self.target)?;
        std::fs::rename(dir, &self.target).map_err(|source| io_error(&self.target, source))?;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| io_error(parent, source))
    }
}

/// A device that was not finished is given up, with what its key store keeps in a token or TPM.
impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.dir.exists() {
            discard_keys(&self.dir);
            // What is left is removed by the next attempt.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn write_new(file: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let written = File::create_new(file).and_then(|mut to| to.write_all(bytes).and_then(|()| to.sync_all()));
    written.map_err(|source| io_error(file, source))
}

fn refuse_used(target: &Path) -> Result<(), FolderError> {
    if holds_device(target) {
        return Err(FolderError::AlreadyDevice(target.to_owned()));
    }
    match std::fs::read_dir(target) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(FolderError::NotEmpty(target.to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error(target, source)),
    }
}

/// Nobody waits for these keys: what cannot be removed now only takes up room in a token or TPM.
fn discard_keys(dir: &Path) {
    let folder = dir.join(KEYS_FOLDER);
    if folder.exists() {
        let _ = Keystore::discard(&folder);
    }
}
