//! What a device keeps between its runs, by type: each record of the vault read, checked and written.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keys::cbor;
use keys::pki::RootsBundle;
use keys::secret::Secret;
use keys::storage::StorageKeyError;
#[cfg(any(feature = "parent", test))]
use keys::storage::StorageRoot;
use release::floors::Floors;
use serde::{Deserialize, Serialize};
pub use vault::Record;
use vault::{Change, Vault, VaultError, VaultKeys};
use zeroize::Zeroizing;

use crate::approval::AppFloors;
use crate::config::{ConfigError, ConfigRecord, DeviceConfig, ProxyConfig};
use crate::storage::{DurableFiles, FolderDisk, Overlay};

/// The vault of a device, shared by all that store something. Writing waits for the disk.
#[derive(Clone, Debug)]
pub struct Store {
    vault: Arc<Mutex<Vault<DeviceFiles>>>,
    diskless: bool,
}

/// Where what is written goes.
#[derive(Debug)]
enum DeviceFiles {
    Durable(DurableFiles<FolderDisk>),
    Diskless(Overlay<DurableFiles<FolderDisk>>),
}

impl vault::Storage for DeviceFiles {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            DeviceFiles::Durable(files) => files.read(name, most),
            DeviceFiles::Diskless(files) => files.read(name, most),
        }
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            DeviceFiles::Durable(files) => files.replace(name, bytes),
            DeviceFiles::Diskless(files) => files.replace(name, bytes),
        }
    }
}

/// Why something cannot be read from the store, or be kept in it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A record is authentic and not of the form it should have; another version wrote it.
    #[error("the {record} of the vault cannot be understood: {why}; update the runtime, or provision the device again")]
    Form {
        /// Which record.
        record: Record,
        /// What is wrong with it.
        why: String,
    },
    /// A record that every device has is not there.
    #[error("the vault holds no {0}; provision the device again")]
    Absent(Record),
    /// The stored configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device stores nothing.
    #[error("this device is diskless: what it was provisioned with stays; provision it again to change that")]
    Diskless,
    /// A background task was ended from outside.
    #[error("the write was interrupted")]
    Interrupted,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorsRecord {
    time_floor_unix_ms: i64,
    /// Of the last confirmed OS image: `release::floors::Floors` as CBOR in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    /// Of the apps: [`AppFloors`] as CBOR in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
}

impl From<StorageKeyError> for StoreError {
    fn from(error: StorageKeyError) -> StoreError {
        StoreError::Vault(error.into())
    }
}

impl Store {
    /// Makes the vault of a new device; it begins in `epoch`, the key store's counter, or 0 where there is none.
    #[cfg(any(feature = "parent", test))]
    pub(crate) fn create(
        dir: &Path,
        root: &StorageRoot,
        epoch: u64,
        config: &DeviceConfig,
        roots: &RootsBundle,
        time_floor_unix_ms: i64,
        diskless: bool,
    ) -> Result<Store, StoreError> {
        let configuration = to_json(Record::Configuration, &ConfigRecord::of_factory(config, diskless))?;
        let floors = to_json(Record::Floors, &FloorsRecord { time_floor_unix_ms, os: None, app: None })?;
        let (roots, proxy) = (roots.to_cbor(), config.proxy.as_ref().map(ProxyConfig::to_record));
        let first = [
            put(Record::Configuration, &configuration),
            put(Record::Roots, &roots),
            put(Record::Floors, &floors),
            Change { record: Record::Proxy, to: proxy.as_ref().map(|text| text.as_bytes()) },
        ];
        let keys = VaultKeys::derive(root).map_err(VaultError::from)?;
        let vault = Vault::create(DeviceFiles::Durable(DurableFiles(FolderDisk::new(dir))), keys, epoch, &first)?;
        Ok(Store { vault: Arc::new(Mutex::new(vault)), diskless })
    }

    /// Opens the vault in a folder. Without a counter, setting the whole folder back is seen by the server alone.
    pub(crate) fn open(dir: &Path, keys: VaultKeys, counter: Option<u64>) -> Result<Store, StoreError> {
        let disk = || DurableFiles(FolderDisk::new(dir));
        let vault = Vault::open(DeviceFiles::Durable(disk()), keys.clone(), counter)?;
        let store = Store { vault: Arc::new(Mutex::new(vault)), diskless: false };
        if !store.json::<ConfigRecord>(Record::Configuration)?.diskless {
            return Ok(store);
        }
        let vault = Vault::open(DeviceFiles::Diskless(Overlay::over(disk())), keys, counter)?;
        Ok(Store { vault: Arc::new(Mutex::new(vault)), diskless: true })
    }

    /// How often the vault was changed; it never falls, but on a diskless device, which begins anew with each start.
    pub fn generation(&self) -> u64 {
        self.vault().generation()
    }

    /// Whether all that is written is forgotten when the process ends.
    pub fn is_diskless(&self) -> bool {
        self.diskless
    }

    /// Keeps these floors in the next epoch, and returns that: the hardware counter is to be stepped to it.
    pub(crate) fn begin_epoch(&self, floors: Floors) -> Result<u64, StoreError> {
        let record = self.floors_record(floors)?;
        Ok(self.vault().begin_epoch(&[put(Record::Floors, &record)])?)
    }

    /// The same with the floors of apps.
    pub(crate) fn begin_app_epoch(&self, floors: &AppFloors) -> Result<u64, StoreError> {
        let record = self.app_floors_record(floors)?;
        Ok(self.vault().begin_epoch(&[put(Record::Floors, &record)])?)
    }

    /// The hardware counter was stepped.
    pub(crate) fn stepped(&self, to: u64) {
        self.vault().stepped(to);
    }

    /// The value to which the hardware counter must be stepped now, when a step was interrupted.
    pub(crate) fn step_due(&self) -> Option<u64> {
        self.vault().step_due()
    }

    /// The configuration, with the proxy and its password.
    pub fn config(&self) -> Result<DeviceConfig, StoreError> {
        let record: ConfigRecord = self.json(Record::Configuration)?;
        let proxy = self.read(Record::Proxy)?.map(|bytes| ProxyConfig::from_record(bytes.expose()));
        let proxy = proxy.transpose().map_err(|why| StoreError::Form { record: Record::Proxy, why: why.to_owned() })?;
        Ok(record.with_proxy(proxy)?)
    }

    /// Keeps this configuration and its proxy from now on.
    pub fn set_config(&self, config: &DeviceConfig) -> Result<(), StoreError> {
        config.check()?;
        if self.diskless {
            return Err(StoreError::Diskless);
        }
        let configuration = to_json(Record::Configuration, &ConfigRecord::of(config))?;
        let proxy = config.proxy.as_ref().map(ProxyConfig::to_record);
        let proxy = Change { record: Record::Proxy, to: proxy.as_ref().map(|text| text.as_bytes()) };
        Ok(self.vault().write(&[put(Record::Configuration, &configuration), proxy])?)
    }

    /// Keeps this proxy, or none, from now on; whether that is another than before.
    pub(crate) fn set_proxy(&self, proxy: Option<ProxyConfig>) -> Result<bool, StoreError> {
        let before = self.config()?;
        if before.proxy == proxy {
            return Ok(false);
        }
        self.set_config(&DeviceConfig { proxy, ..before })?;
        Ok(true)
    }

    /// The pinned roots.
    pub fn roots(&self) -> Result<RootsBundle, StoreError> {
        let bytes = self.read(Record::Roots)?.ok_or(StoreError::Absent(Record::Roots))?;
        RootsBundle::from_cbor(bytes.expose())
            .map_err(|error| StoreError::Form { record: Record::Roots, why: error.to_string() })
    }

    /// The time floor: milliseconds since 1970.
    pub fn time_floor_unix_ms(&self) -> Result<i64, StoreError> {
        Ok(self.json::<FloorsRecord>(Record::Floors)?.time_floor_unix_ms)
    }

    /// Keeps this time floor.
    pub fn set_time_floor_unix_ms(&self, time_floor_unix_ms: i64) -> Result<(), StoreError> {
        let record = FloorsRecord { time_floor_unix_ms, ..self.json(Record::Floors)? };
        self.write(Record::Floors, &to_json(Record::Floors, &record)?)
    }

    /// Below which no OS image is taken.
    pub fn os_floors(&self) -> Result<Floors, StoreError> {
        Ok(floors_in(self.json::<FloorsRecord>(Record::Floors)?.os)?.unwrap_or(Floors::NONE))
    }

    /// Keeps these floors.
    pub(crate) fn set_os_floors(&self, floors: Floors) -> Result<(), StoreError> {
        self.write(Record::Floors, &self.floors_record(floors)?)
    }

    fn floors_record(&self, floors: Floors) -> Result<Vec<u8>, StoreError> {
        let os = Some(const_hex::encode(floors.to_cbor()));
        to_json(Record::Floors, &FloorsRecord { os, ..self.json(Record::Floors)? })
    }

    /// Below which no metadata about an app is taken, and whose apps alone are.
    pub(crate) fn app_floors(&self) -> Result<AppFloors, StoreError> {
        Ok(floors_in(self.json::<FloorsRecord>(Record::Floors)?.app)?.unwrap_or_default())
    }

    /// Keeps these floors.
    pub(crate) fn set_app_floors(&self, floors: &AppFloors) -> Result<(), StoreError> {
        self.write(Record::Floors, &self.app_floors_record(floors)?)
    }

    fn app_floors_record(&self, floors: &AppFloors) -> Result<Vec<u8>, StoreError> {
        let app = Some(const_hex::encode(cbor::encode(floors)));
        to_json(Record::Floors, &FloorsRecord { app, ..self.json(Record::Floors)? })
    }

    /// One record as it is.
    pub fn read(&self, record: Record) -> Result<Option<Secret>, StoreError> {
        Ok(self.vault().read(record)?)
    }

    /// Keeps one record as it is.
    pub fn write(&self, record: Record, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(self.vault().write(&[put(record, bytes)])?)
    }

    /// Takes one record out, if it is there.
    pub fn remove(&self, record: Record) -> Result<(), StoreError> {
        let mut vault = self.vault();
        if vault.holds(record) {
            vault.write(&[Change { record, to: None }])?;
        }
        Ok(())
    }

    /// Keeps one record, or takes it out, without holding up what else this thread has to do.
    pub(crate) async fn keep(&self, record: Record, bytes: Option<Zeroizing<Vec<u8>>>) -> Result<(), StoreError> {
        let store = self.clone();
        let writing = tokio::task::spawn_blocking(move || match bytes {
            Some(bytes) => store.write(record, &bytes),
            None => store.remove(record),
        });
        writing.await.map_err(|_| StoreError::Interrupted)?
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, record: Record) -> Result<T, StoreError> {
        let bytes = self.read(record)?.ok_or(StoreError::Absent(record))?;
        serde_json::from_slice(bytes.expose()).map_err(|error| StoreError::Form { record, why: error.to_string() })
    }

    fn vault(&self) -> MutexGuard<'_, Vault<DeviceFiles>> {
        // A panic cannot leave it half changed: the index in memory changes after the one on the disk, in one step.
        self.vault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Floors out of a field of their record.
fn floors_in<T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>>(
    field: Option<String>,
) -> Result<Option<T>, StoreError> {
    let form = |why: String| StoreError::Form { record: Record::Floors, why };
    let Some(field) = field else { return Ok(None) };
    let bytes = const_hex::decode(field).map_err(|error| form(error.to_string()))?;
    cbor::decode(&bytes).map(Some).map_err(|error| form(error.to_string()))
}

fn put(record: Record, bytes: &[u8]) -> Change<'_> {
    Change { record, to: Some(bytes) }
}

pub(crate) fn to_json(record: Record, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Form { record, why: error.to_string() })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use keys::pki::{OperatorPki, ServerName, ServingPki};
    use keys::profile::Profile;
    use std::sync::OnceLock;

    fn roots() -> &'static RootsBundle {
        static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
        ROOTS.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let now = keys::time::Now { mono_ms: 0, unix_ms: crate::clock::BUILD_FLOOR_UNIX_MS };
            let names = [ServerName::try_from("iot.example").unwrap()];
            OperatorPki::create("Test", &names, now).unwrap().save(dir.path()).unwrap();
            ServingPki::load(dir.path()).unwrap().server_roots
        })
    }

    pub(crate) fn config() -> DeviceConfig {
        DeviceConfig {
            server: "iot.example".into(),
            address: None,
            ports: crate::ports::PortMap::default(),
            proxy: None,
            dns: Vec::new(),
            model: "probe-1".into(),
            profile: Profile::Modern,
        }
    }

    /// The store of a new device in an empty folder.
    pub(crate) fn store(dir: &Path) -> Store {
        store_of(dir, &StorageRoot::generate())
    }

    pub(crate) fn store_of(dir: &Path, root: &StorageRoot) -> Store {
        Store::create(dir, root, 0, &config(), roots(), 7, false).unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let root = StorageRoot::generate();
        let store = Store::create(dir.path(), &root, 0, &config(), roots(), 7, false).unwrap();
        let generation = store.generation();
        store.keep(Record::UserConfiguration, Some(Zeroizing::new(b"mine".to_vec()))).await.unwrap();
        store.set_time_floor_unix_ms(8).unwrap();
        drop(store);
        let store = Store::open(dir.path(), VaultKeys::derive(&root).unwrap(), None).unwrap();
        assert_eq!(store.generation(), generation + 2);
        assert_eq!(store.time_floor_unix_ms().unwrap(), 8);
        assert_eq!(store.read(Record::UserConfiguration).unwrap().unwrap().expose(), b"mine");
        store.keep(Record::UserConfiguration, None).await.unwrap();
        assert!(store.read(Record::UserConfiguration).unwrap().is_none());
        assert_eq!(store.config().unwrap().server, "iot.example");
        assert_eq!(store.roots().unwrap().hash(), roots().hash());
    }

    #[test]
    fn a_record_of_another_form_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.write(Record::Floors, b"{}").unwrap();
        let error = store.time_floor_unix_ms().unwrap_err().to_string();
        assert!(error.contains("floors"), "{error}");
        store.remove(Record::Roots).unwrap();
        assert!(matches!(store.roots(), Err(StoreError::Absent(Record::Roots))));
    }

    #[test]
    fn a_diskless_device_forgets_what_it_wrote_and_its_disk_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = StorageRoot::generate();
        Store::create(dir.path(), &root, 0, &config(), roots(), 7, true).unwrap();
        let files = || {
            let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> = entries.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
            files.sort();
            files
        };
        let before = files();
        let store = Store::open(dir.path(), VaultKeys::derive(&root).unwrap(), None).unwrap();
        assert!(store.is_diskless());
        store.write(Record::App, b"an app").unwrap();
        store.set_time_floor_unix_ms(8).unwrap();
        assert_eq!(store.read(Record::App).unwrap().unwrap().expose(), b"an app");
        assert!(matches!(store.set_config(&config()), Err(StoreError::Diskless)));
        assert_eq!(files(), before);
        let again = Store::open(dir.path(), VaultKeys::derive(&root).unwrap(), None).unwrap();
        assert!(again.read(Record::App).unwrap().is_none());
        assert_eq!(again.time_floor_unix_ms().unwrap(), 7);
    }

    #[test]
    fn floors_of_the_os_stay_beside_the_one_of_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert_eq!(store.os_floors().unwrap(), Floors::NONE);
        let floors = Floors { version: "1.4.0".parse().unwrap(), security_epoch: 2, ..Floors::NONE };
        store.set_os_floors(floors).unwrap();
        store.set_time_floor_unix_ms(9).unwrap();
        let of_apps = AppFloors { quorum_of: Some("careful".into()), ..AppFloors::default() };
        store.set_app_floors(&of_apps).unwrap();
        store.set_time_floor_unix_ms(10).unwrap();
        store.set_os_floors(floors).unwrap();
        assert_eq!((store.os_floors().unwrap(), store.time_floor_unix_ms().unwrap()), (floors, 10));
        assert_eq!(store.app_floors().unwrap(), of_apps);
    }
}
