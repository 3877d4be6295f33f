//! The folder that is a device: its vault, and its keys and certificate in files of their own.
//!
//! Provisioning writes everything into a neighbour folder and renames it into place when it is complete, so that there
//! is never half a device. All that changes later is in the vault.

#[cfg(feature = "parent")]
mod unfinished;

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::keystore::{Keystore, KeystoreError};
use keys::pki::{Credential, PkiError, RootsBundle};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use release::floors::Floors;
use release::root::RootContent;
use rustix::fs::{FlockOperation, flock};
use vault::VaultKeys;

use crate::approval::AppFloors;
use crate::booted::Booted;
use crate::config::DeviceConfig;
use crate::device_keys::{DeviceKeyError, DeviceKeys, ParentTlsKey};
use crate::parent::{Beginning, ParentError, ParentLink};
use crate::store::{Store, StoreError};

#[cfg(feature = "parent")]
pub(crate) use unfinished::{Completed, Given};
#[cfg(feature = "parent")]
pub use unfinished::{Factory, FactoryImage, Unfinished};

/// The vault: all that the device stores, encrypted.
pub const VAULT_FOLDER: &str = "vault";
/// The OS images and the records about them; the parent process's alone.
pub const BOOT_FOLDER: &str = "boot";
/// The folder in that one into which the child writes what it downloads.
pub const STAGING_FOLDER: &str = "staging";
/// The encrypted image in that folder.
pub const STAGED_IMAGE: &str = "image";
/// What proves that image: a `trust-map` of `docs/wire.cddl`.
pub(crate) const STAGED_TRUST: &str = "trust";
/// Newer root metadata, in the same form.
pub(crate) const STAGED_ROOTS: &str = "roots";
/// Which image is being fetched, and how much of it is there for sure.
pub(crate) const STAGED_PROGRESS: &str = "progress";
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
    pub keys: Arc<DeviceKeys>,
    /// The TLS key of its profile, with the certificate chain that the server issued.
    pub tls: Credential,
    /// The roots that the server must come from.
    pub roots: RootsBundle,
    /// The time floor of the last session: milliseconds since 1970.
    pub time_floor_unix_ms: i64,
    /// What it keeps.
    pub store: Store,
    /// What its parent has booted; nothing where it runs without one.
    pub booted: Option<Booted>,
    /// The newest root metadata that this device has seen, where the anchors demand any: apps are verified from it.
    pub(crate) root: Option<Root>,
    has_counter: bool,
    _lock: Option<File>,
}

/// Root metadata that the parent has verified.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) file: Vec<u8>,
    pub(crate) version: u64,
}

/// A complete device whose keys this process holds.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) keys: Keystore,
    pub(crate) tls: Credential,
    pub(crate) store: Store,
    pub(crate) config: DeviceConfig,
    pub(crate) lock: File,
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
    /// The parent does not say what this process needs.
    #[error(transparent)]
    Parent(#[from] ParentError),
    /// The image of the factory is not installed.
    #[cfg(feature = "parent")]
    #[error("the OS image is not installed: {0}")]
    Install(#[from] crate::boot::InstallError),
    /// A security event did not come to its end; the next start completes it.
    #[error("the security event is not complete: {0}")]
    SecurityEvent(#[from] SecurityEventError),
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

/// Why a security event did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SecurityEventError {
    /// The vault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The counter.
    #[error(transparent)]
    Counter(#[from] DeviceKeyError),
    /// A background task was ended from outside.
    #[error("it was interrupted")]
    Interrupted,
}

impl Folder {
    /// Reads a complete device and keeps other processes from using it. This process holds the keys.
    pub fn open(dir: &Path) -> Result<Folder, FolderError> {
        let Parts { keys, tls, store, config, lock } = Parts::open(dir)?;
        let has_counter = keys.counter()?.is_some();
        let folder = Folder::of(dir, DeviceKeys::Own(Box::new(keys)), tls, store, config, Some(lock))?;
        Ok(Folder { has_counter, ..folder })
    }

    /// The device of this process's parent, which holds the keys and keeps other processes from using it.
    pub fn below_parent(dir: &Path, link: ParentLink) -> Result<Folder, FolderError> {
        let Beginning { keys, tls_chain, vault_keys, counter, booted, root } = link.begin()?;
        let in_vault = |source| store_error(dir, source);
        let store = Store::open(&dir.join(VAULT_FOLDER), vault_keys, counter).map_err(in_vault)?;
        let config = store.config().map_err(in_vault)?;
        let tls = Credential::held(KeyPurpose::device_tls(config.profile), tls_chain, Arc::new(ParentTlsKey(link)));
        let tls = tls.map_err(|source| FolderError::Credential { folder: dir.to_owned(), source })?;
        let folder = Folder::of(dir, DeviceKeys::Parent(keys), tls, store, config, None)?;
        let mut folder = Folder { booted: Some(booted), has_counter: counter.is_some(), ..folder };
        if let Some(root) = root {
            folder.believe(root)?;
        }
        Ok(folder)
    }

    fn of(
        dir: &Path,
        keys: DeviceKeys,
        tls: Credential,
        store: Store,
        config: DeviceConfig,
        lock: Option<File>,
    ) -> Result<Folder, FolderError> {
        let in_vault = |source| store_error(dir, source);
        Ok(Folder {
            dir: dir.to_owned(),
            keys: Arc::new(keys),
            tls,
            roots: store.roots().map_err(in_vault)?,
            time_floor_unix_ms: store.time_floor_unix_ms().map_err(in_vault)?,
            config,
            store,
            booted: None,
            root: None,
            has_counter: false,
            _lock: lock,
        })
    }

    /// Believes this root metadata from now on, which the parent has verified, and the TLS roots that it names. What a child writes into its
    /// vault has no part in that.
    pub(crate) fn believe(&mut self, root: Vec<u8>) -> Result<(), FolderError> {
        let content = RootContent::from_file(&root).map_err(|_| ParentError::Strange)?;
        self.root = Some(Root { file: root, version: content.version });
        self.roots = content.tls_roots;
        Ok(())
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

impl Parts {
    /// Reads a complete device and keeps other processes from using it.
    pub(crate) fn open(dir: &Path) -> Result<Parts, FolderError> {
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
        let keys = Keystore::open(&dir.join(KEYS_FOLDER))?;
        let store = open_store(dir, &keys)?;
        finish_step(&keys, &store)?;
        let config = store.config().map_err(|source| store_error(dir, source))?;
        Ok(Parts { tls: read_credential(dir, &keys, config.profile)?, keys, store, config, lock })
    }
}

impl Folder {
    /// The running image has proved itself: it stays, and nothing older is taken from now on. A higher security epoch is
    /// bound to the hardware counter, where there is one; a diskless device keeps nothing that could be bound to it.
    pub(crate) async fn image_proved(&mut self) -> Result<(), FolderError> {
        let Some(booted) = &mut self.booted else { return Ok(()) };
        if let (true, DeviceKeys::Parent(keys)) = (booted.trying, &*self.keys) {
            keys.link.confirm().await?;
            booted.trying = false;
        }
        let (version, security_epoch) = (booted.version, booted.security_epoch);
        let in_vault = |source| store_error(&self.dir, source);
        let floors = self.store.os_floors().map_err(in_vault)?;
        let raised = Floors {
            version: floors.version.max(version),
            security_epoch: floors.security_epoch.max(security_epoch),
            ..floors
        };
        let is_event = raised.security_epoch > floors.security_epoch;
        if raised == floors && self.store.step_due().is_none() {
            return Ok(());
        }
        let keeper = self.floors_keeper();
        let keeping = tokio::task::spawn_blocking(move || {
            if raised != floors {
                keeper.keep_os_floors(raised, is_event)?;
            }
            keeper.finish_step()
        });
        keeping.await.map_err(|_| SecurityEventError::Interrupted)??;
        Ok(())
    }

    /// Binds newer root metadata, which may have revoked keys, to the hardware counter, where there is one.
    pub(crate) async fn root_believed(&self) -> Result<(), FolderError> {
        let (Some(root), keeper) = (&self.root, self.floors_keeper()) else { return Ok(()) };
        if !keeper.is_counted {
            return Ok(());
        }
        let in_vault = |source| store_error(&self.dir, source);
        let content = RootContent::from_file(&root.file).map_err(|_| ParentError::Strange)?;
        let floors = self.store.os_floors().map_err(in_vault)?;
        // Where the vault has seen a newer one, it is above already.
        let metadata = floors.metadata.under(&content).unwrap_or(floors.metadata);
        let raised = Floors { metadata, ..floors };
        let keeping =
            tokio::task::spawn_blocking(move || keeper.keep_os_floors(raised, has_newer_root(&raised, &floors)));
        keeping.await.map_err(|_| SecurityEventError::Interrupted)??;
        Ok(())
    }

    /// What writes floors on a thread of its own.
    pub(crate) fn floors_keeper(&self) -> FloorsKeeper {
        let is_counted = self.has_counter && !self.store.is_diskless();
        FloorsKeeper { store: self.store.clone(), keys: Arc::clone(&self.keys), is_counted }
    }
}

/// Writes floors; those of a security event with a step of the hardware counter, where the vault is bound to one.
#[derive(Debug)]
pub(crate) struct FloorsKeeper {
    pub(crate) store: Store,
    keys: Arc<DeviceKeys>,
    is_counted: bool,
}

impl FloorsKeeper {
    fn keep_os_floors(&self, floors: Floors, is_event: bool) -> Result<(), SecurityEventError> {
        if is_event && self.is_counted {
            return self.step(self.store.begin_epoch(floors)?);
        }
        Ok(self.store.set_os_floors(floors)?)
    }

    /// Keeps the floors of apps. It waits for the disk, and for the counter.
    pub(crate) fn keep_app_floors(&self, floors: &AppFloors, is_event: bool) -> Result<(), SecurityEventError> {
        if is_event && self.is_counted {
            return self.step(self.store.begin_app_epoch(floors)?);
        }
        Ok(self.store.set_app_floors(floors)?)
    }

    /// Makes up for a step that was missed: the TPM may have been away.
    fn finish_step(&self) -> Result<(), SecurityEventError> {
        self.store.step_due().map_or(Ok(()), |due| self.step(due))
    }

    /// Steps the counter to the epoch that the vault is in.
    fn step(&self, to: u64) -> Result<(), SecurityEventError> {
        self.keys.step_counter(to)?;
        self.store.stepped(to);
        Ok(())
    }
}

/// Whether there is a newer root than one that was seen before, which is a security event: it may have revoked keys.
pub(crate) fn has_newer_root(floors: &Floors, before: &Floors) -> bool {
    before.metadata.root != 0 && floors.metadata.root > before.metadata.root
}

/// Whether this is a device, or was one before something happened to it.
fn holds_device(dir: &Path) -> bool {
    [VAULT_FOLDER, KEYS_FOLDER, CONFIG_WITHOUT_VAULT].iter().any(|name| dir.join(name).exists())
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
    let vault_keys = VaultKeys::derive(&keys.storage_root()?).map_err(|source| store_error(dir, source.into()))?;
    let store = Store::open(&dir.join(VAULT_FOLDER), vault_keys, keys.counter()?);
    store.map_err(|source| store_error(dir, source))
}

/// Steps the counter where power went between the vault's step and the counter's.
fn finish_step(keys: &Keystore, store: &Store) -> Result<(), FolderError> {
    if let Some(to) = store.step_due() {
        keys.advance_counter(to)?;
        store.stepped(to);
    }
    Ok(())
}

fn read_credential(dir: &Path, keys: &Keystore, profile: Profile) -> Result<Credential, FolderError> {
    let folder = dir.join(KEYS_FOLDER);
    let credential = Credential::load_chain(&folder, keys.tls_key(profile)?);
    credential.map_err(|source| FolderError::Credential { folder, source })
}

fn io_error(file: &Path, source: io::Error) -> FolderError {
    FolderError::Io { file: file.to_owned(), source }
}

fn store_error(dir: &Path, source: StoreError) -> FolderError {
    FolderError::Store { folder: dir.join(VAULT_FOLDER), source }
}
