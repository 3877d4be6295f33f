//! The folder that is a device: its configuration, keys, roots, certificate and time floor, each in a file of its own.
//!
//! Provisioning writes everything into a neighbour folder and renames it into place when it is complete, so that there
//! is never half a device. Later writes replace one file at a time: new file, fsync, rename, fsync of the folder.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keys::pki::{Credential, PkiError, RootsBundle};
use keys::private_file::{self, Existing, PrivateFileError};
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::{self, KeyError, Signer};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{ConfigError, ConfigFile, DeviceConfig};

/// The server, the ports, the proxy, the model and the profile.
pub const CONFIG_FILE: &str = "config.json";
/// The proxy's password, when there is one.
pub const PASSWORD_FILE: &str = "proxy-password";
/// The pinned roots bundle.
pub const ROOTS_FILE: &str = "roots.cbor";
/// What changes while the device works: the time floor.
pub const STATE_FILE: &str = "state.json";
/// The private keys and the TLS certificate chain, each in a file named after its purpose.
pub const KEYS_FOLDER: &str = "keys";

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
    pub keys: DeviceKeys,
    /// The roots that the server must come from.
    pub roots: RootsBundle,
    /// The time floor of the last session: milliseconds since 1970.
    pub time_floor_unix_ms: i64,
    _lock: File,
}

/// The keys born on this device.
#[derive(Debug)]
pub struct DeviceKeys {
    /// Proves who the device is; signs only.
    pub identity: Arc<Signer>,
    /// For key agreement only.
    pub agreement: Signer,
    /// For TLS only, of the device's profile, with the certificate chain that the server issued.
    pub tls: Credential,
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
    /// A part of the device is missing.
    #[error("{0} is missing; restore the folder from a copy, or provision the device again in a new folder")]
    Missing(PathBuf),
    /// A part of the device cannot be understood.
    #[error("{file} is damaged: {why}; restore it from a copy, or provision the device again in a new folder")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration cannot be used.
    #[error("{file}: {source}")]
    Config {
        /// The file.
        file: PathBuf,
        /// What cannot be used.
        source: ConfigError,
    },
    /// A key cannot be used, or not be made.
    #[error("{file}: {source}; restore it from a copy, or provision the device again in a new folder")]
    Key {
        /// The key's file.
        file: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The TLS key or its certificate cannot be used.
    #[error("{folder}: {source}; restore the folder from a copy, or provision the device again in a new one")]
    Credential {
        /// The folder of the keys.
        folder: PathBuf,
        /// What is wrong with them.
        source: PkiError,
    },
    /// A private file cannot be used, or not be written.
    #[error(transparent)]
    PrivateFile(#[from] PrivateFileError),
    /// The disk refused.
    #[error("{file}: {source}")]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    time_floor_unix_ms: i64,
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
        let lock = lock(dir)?;
        let config = read_config(dir)?;
        Ok(Folder {
            dir: dir.to_owned(),
            keys: DeviceKeys {
                identity: Arc::new(read_key(dir, KeyPurpose::DeviceIdentity)?),
                agreement: read_key(dir, KeyPurpose::DeviceKeyAgreement)?,
                tls: read_credential(dir, KeyPurpose::device_tls(config.profile))?,
            },
            roots: read_with(dir, ROOTS_FILE, |bytes| {
                RootsBundle::from_cbor(bytes).map_err(|error| error.to_string())
            })?,
            time_floor_unix_ms: read_json::<StateFile>(dir, STATE_FILE)?.time_floor_unix_ms,
            config,
            _lock: lock,
        })
    }

    /// Writes the time floor down; a lower one than before changes nothing.
    pub fn store_time_floor(&mut self, time_floor_unix_ms: i64) -> Result<(), FolderError> {
        if time_floor_unix_ms <= self.time_floor_unix_ms {
            return Ok(());
        }
        write_json(&self.dir, STATE_FILE, &StateFile { time_floor_unix_ms }, Existing::Replace)?;
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

    /// Writes everything down and makes it a device in one step.
    pub fn finish(
        self,
        config: &DeviceConfig,
        keys: &DeviceKeys,
        roots: &RootsBundle,
        time_floor_unix_ms: i64,
    ) -> Result<(), FolderError> {
        let dir = &self.dir;
        write_keys(&dir.join(KEYS_FOLDER), keys)?;
        if let Some(credentials) = config.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref()) {
            private_file::write(&dir.join(PASSWORD_FILE), credentials.password.as_bytes(), Existing::Refuse)?;
        }
        private_file::write(&dir.join(ROOTS_FILE), &roots.to_cbor(), Existing::Refuse)?;
        write_json(dir, STATE_FILE, &StateFile { time_floor_unix_ms }, Existing::Refuse)?;
        write_json(dir, CONFIG_FILE, &ConfigFile::of(config), Existing::Refuse)?;
        refuse_used(&self.target)?;
        std::fs::rename(dir, &self.target).map_err(|source| io_error(&self.target, source))?;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| io_error(parent, source))
    }
}

/// Whether this is a device, or was one before something happened to it.
fn holds_device(dir: &Path) -> bool {
    dir.join(CONFIG_FILE).exists() || dir.join(KEYS_FOLDER).exists()
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

fn read_config(dir: &Path) -> Result<DeviceConfig, FolderError> {
    let file = read_json::<ConfigFile>(dir, CONFIG_FILE)?;
    let mut password = Zeroizing::new(String::new());
    if file.wants_password() {
        password = read_with(dir, PASSWORD_FILE, |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
            Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
        })?;
    }
    file.with_password(password).map_err(|source| FolderError::Config { file: dir.join(CONFIG_FILE), source })
}

fn read_key(dir: &Path, purpose: KeyPurpose) -> Result<Signer, FolderError> {
    let folder = dir.join(KEYS_FOLDER);
    let file = folder.join(signer::file_name(purpose));
    if !file.exists() {
        return Err(FolderError::Missing(file));
    }
    Signer::load(&folder, purpose).map_err(|source| FolderError::Key { file, source })
}

fn read_credential(dir: &Path, purpose: KeyPurpose) -> Result<Credential, FolderError> {
    let folder = dir.join(KEYS_FOLDER);
    Credential::load(&folder, purpose).map_err(|source| FolderError::Credential { folder, source })
}

fn read_with<T>(dir: &Path, name: &str, read: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, FolderError> {
    let file = dir.join(name);
    let bytes: Secret = match private_file::read(&file) {
        Ok(bytes) => bytes,
        Err(PrivateFileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FolderError::Missing(file));
        }
        Err(error) => return Err(error.into()),
    };
    read(bytes.expose()).map_err(|why| FolderError::Damaged { file, why })
}

fn read_json<T: for<'de> Deserialize<'de>>(dir: &Path, name: &str) -> Result<T, FolderError> {
    read_with(dir, name, |bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string()))
}

fn write_json(dir: &Path, name: &str, value: &impl Serialize, existing: Existing) -> Result<(), FolderError> {
    let file = dir.join(name);
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| io_error(&file, error.into()))?;
    bytes.push(b'\n');
    Ok(private_file::write(&file, &bytes, existing)?)
}

fn write_keys(folder: &Path, keys: &DeviceKeys) -> Result<(), FolderError> {
    DirBuilder::new().mode(0o700).create(folder).map_err(|source| io_error(folder, source))?;
    for key in [&*keys.identity, &keys.agreement] {
        let file = folder.join(signer::file_name(key.purpose()));
        key.save(folder, Existing::Refuse).map_err(|source| FolderError::Key { file, source })?;
    }
    let saved = keys.tls.save(folder, Existing::Refuse);
    saved.map_err(|source| FolderError::Credential { folder: folder.to_owned(), source })
}

fn io_error(file: &Path, source: io::Error) -> FolderError {
    FolderError::Io { file: file.to_owned(), source }
}
