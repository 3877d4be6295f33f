//! The folder that is a device: its vault, and its keys and certificate in files of their own.
//!
//! Provisioning writes everything into a neighbour folder and renames it into place when it is complete, so that there
//! is never half a device. All that changes later is in the vault.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::keystore::{Keystore, KeystoreError};
use keys::pki::{Credential, PkiError, RootsBundle};
use keys::private_file::Existing;
use keys::profile::Profile;
use rustix::fs::{FlockOperation, flock};

use crate::config::DeviceConfig;
use crate::store::{Store, StoreError};

/// The vault: all that the device stores, encrypted.
pub const VAULT_FOLDER: &str = "vault";
/// What the key store keeps, and the TLS certificate chain in a file named after its key's purpose.
pub const KEYS_FOLDER: &str = "keys";
/// The configuration of devices that were made before there was a vault.
const CONFIG_WITHOUT_VAULT: &str = "config.json";

const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A complete device, read and checked, held by this process alone.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub dir: PathBuf,
    /// How to reach the server.
    pub config: DeviceConfig,
    /// The keys born on this device.
    pub keys: Arc<Keystore>,
    /// The TLS key of its profile, with the certificate chain that the server issued.
    pub tls: Credential,
    /// The roots that the server must come from.
    pub roots: RootsBundle,
    /// The time floor of the last session: milliseconds since 1970.
    pub time_floor_unix_ms: i64,
    /// What it keeps.
    pub store: Store,
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no device in it.
    #[error("{0} holds no device; make one with `vouch device provision`")]
    NoDevice(PathBuf),
    /// Something is there already.
    #[error("{0} already holds a device; its keys are not touched. Choose another folder, or remove this one yourself")]
    AlreadyDevice(PathBuf),
    /// Something that is not a device is there.
    #[error("{0} is not an empty folder; choose a new or an empty one")]
    NotEmpty(PathBuf),
    /// Another process works with the same device.
    #[error("another process already uses {0}; a device runs once only")]
    InUse(PathBuf),
    /// Others can look into the folder.
    #[error("others can open {0}; close it with `chmod 700`")]
    Open(PathBuf),
    /// It was made by a version that stored everything in clear.
    #[error(
        "{0} was made before devices had a vault, and is not read any more; provision the device again in a new folder"
    )]
    WithoutVault(PathBuf),
    /// The vault cannot be used, or does not take a change.
    #[error("{folder}: {source}")]
    Store {
        /// The vault's folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The keys cannot be used, or not be made.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// The TLS key or its certificate cannot be used.
    #[error("{folder}: {source}; restore the folder from a copy, or provision the device again in a new one")]
    Credential {
        /// The folder of the keys.
        folder: PathBuf,
        /// What is wrong with them.
        source: PkiError,
    },
    /// The disk refused.
    #[error("{file}: {source}")]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Folder {
    /// Reads a complete device and keeps other processes from using it.
    pub fn open(dir: &Path) -> Result<Folder, FolderError> {
        if !holds_device(dir) {
            return Err(FolderError::NoDevice(dir.to_owned()));
        }
        let mode = std::fs::metadata(dir).map_err(|source| io_error(dir, source))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(FolderError::Open(dir.to_owned()));
        }
        if dir.join(CONFIG_WITHOUT_VAULT).exists() {
            return Err(FolderError::WithoutVault(dir.to_owned()));
        }
        let lock = lock(dir)?;
        let in_vault = |source| store_error(dir, source);
        let keys = Keystore::open(&dir.join(KEYS_FOLDER))?;
        let store = open_store(dir, &keys)?;
        let config = store.config().map_err(in_vault)?;
        Ok(Folder {
            dir: dir.to_owned(),
            tls: read_credential(dir, &keys, config.profile)?,
            keys: Arc::new(keys),
            roots: store.roots().map_err(in_vault)?,
            time_floor_unix_ms: store.time_floor_unix_ms().map_err(in_vault)?,
            config,
            store,
            _lock: lock,
        })
    }

    /// What a device keeps, for reading only: also while another process runs the device.
    pub fn peek(dir: &Path) -> Result<Store, FolderError> {
        if !holds_device(dir) {
            return Err(FolderError::NoDevice(dir.to_owned()));
        }
        open_store(dir, &Keystore::open(&dir.join(KEYS_FOLDER))?)
    }

    /// Keeps this configuration from now on.
    pub fn store_config(&mut self, config: DeviceConfig) -> Result<(), FolderError> {
        self.store.set_config(&config).map_err(|source| store_error(&self.dir, source))?;
        self.config = config;
        Ok(())
    }

    /// Writes the time floor down; a lower one than before changes nothing.
    pub fn store_time_floor(&mut self, time_floor_unix_ms: i64) -> Result<(), FolderError> {
        if time_floor_unix_ms <= self.time_floor_unix_ms {
            return Ok(());
        }
        let stored = self.store.set_time_floor_unix_ms(time_floor_unix_ms);
        stored.map_err(|source| store_error(&self.dir, source))?;
        self.time_floor_unix_ms = time_floor_unix_ms;
        Ok(())
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

    /// Writes everything down and makes it a device in one step.
    pub fn finish(
        self,
        config: &DeviceConfig,
        keys: &Keystore,
        tls: &Credential,
        roots: &RootsBundle,
        time_floor_unix_ms: i64,
    ) -> Result<(), FolderError> {
        let dir = &self.dir;
        let folder = self.keys_folder();
        let saved = tls.save_chain(&folder, Existing::Refuse);
        saved.map_err(|source| FolderError::Credential { folder, source })?;
        let vault = dir.join(VAULT_FOLDER);
        DirBuilder::new().mode(0o700).create(&vault).map_err(|source| io_error(&vault, source))?;
        let epoch = keys.counter()?.unwrap_or_default();
        let store = Store::create(&vault, &keys.storage_root()?, epoch, config, roots, time_floor_unix_ms);
        store.map_err(|source| store_error(dir, source))?;
        // The names of the two folders, before the whole gets its own.
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

/// Whether this is a device, or was one before something happened to it.
fn holds_device(dir: &Path) -> bool {
    [VAULT_FOLDER, KEYS_FOLDER, CONFIG_WITHOUT_VAULT].iter().any(|name| dir.join(name).exists())
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

/// Locks the folder for this process. Another holder is waited for a moment: one that is just ending, or a child process
/// that holds a copy of the lock between fork and exec (flock(2)).
fn lock(dir: &Path) -> Result<File, FolderError> {
    let file = File::open(dir).map_err(|source| io_error(dir, source))?;
    for _ in 0..LOCK_TRIES {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(FolderError::InUse(dir.to_owned()))
}

fn open_store(dir: &Path, keys: &Keystore) -> Result<Store, FolderError> {
    let store = Store::open(&dir.join(VAULT_FOLDER), &keys.storage_root()?, keys.counter()?);
    store.map_err(|source| store_error(dir, source))
}

fn read_credential(dir: &Path, keys: &Keystore, profile: Profile) -> Result<Credential, FolderError> {
    let folder = dir.join(KEYS_FOLDER);
    let credential = Credential::load_chain(&folder, keys.tls_key(profile)?);
    credential.map_err(|source| FolderError::Credential { folder, source })
}

/// Nobody waits for these keys: what cannot be removed now only takes up room in a token or TPM.
fn discard_keys(dir: &Path) {
    let folder = dir.join(KEYS_FOLDER);
    if folder.exists() {
        let _ = Keystore::discard(&folder);
    }
}

fn io_error(file: &Path, source: io::Error) -> FolderError {
    FolderError::Io { file: file.to_owned(), source }
}

fn store_error(dir: &Path, source: StoreError) -> FolderError {
    FolderError::Store { folder: dir.join(VAULT_FOLDER), source }
}
