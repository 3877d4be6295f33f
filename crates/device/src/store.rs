//! What a device keeps between its runs, by type: each record of the vault read, checked and written.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keys::pki::RootsBundle;
use keys::secret::Secret;
use keys::storage::StorageRoot;
use serde::{Deserialize, Serialize};
pub use vault::Record;
use vault::{Change, Vault, VaultError, VaultKeys};
use zeroize::Zeroizing;

use crate::config::{ConfigError, ConfigRecord, DeviceConfig, ProxyConfig};
use crate::storage::{DurableFiles, FolderDisk};

/// The vault of a device, shared by all that store something. Writing waits for the disk.
#[derive(Clone, Debug)]
pub struct Store(Arc<Mutex<Vault<DurableFiles<FolderDisk>>>>);

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
    /// A background task was ended from outside.
    #[error("the write was interrupted")]
    Interrupted,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floors {
    time_floor_unix_ms: i64,
}

impl Store {
    /// Makes the vault of a new device; it begins in `epoch`, the key store's counter, or 0 where there is none.
    pub(crate) fn create(
        dir: &Path,
        root: &StorageRoot,
        epoch: u64,
        config: &DeviceConfig,
        roots: &RootsBundle,
        time_floor_unix_ms: i64,
    ) -> Result<Store, StoreError> {
        let configuration = to_json(Record::Configuration, &ConfigRecord::of(config))?;
        let floors = to_json(Record::Floors, &Floors { time_floor_unix_ms })?;
        let (roots, proxy) = (roots.to_cbor(), config.proxy.as_ref().map(ProxyConfig::to_record));
        let first = [
            put(Record::Configuration, &configuration),
            put(Record::Roots, &roots),
            put(Record::Floors, &floors),
            Change { record: Record::Proxy, to: proxy.as_ref().map(|text| text.as_bytes()) },
        ];
        let keys = VaultKeys::derive(root).map_err(VaultError::from)?;
        let vault = Vault::create(DurableFiles(FolderDisk::new(dir)), keys, epoch, &first)?;
        Ok(Store(Arc::new(Mutex::new(vault))))
    }

    /// Opens the vault in a folder. Without a counter, setting the whole folder back is seen by the server alone.
    pub(crate) fn open(dir: &Path, root: &StorageRoot, counter: Option<u64>) -> Result<Store, StoreError> {
        let keys = VaultKeys::derive(root).map_err(VaultError::from)?;
        let vault = Vault::open(DurableFiles(FolderDisk::new(dir)), keys, counter)?;
        Ok(Store(Arc::new(Mutex::new(vault))))
    }

    /// How often the vault was changed; it never falls.
    pub fn generation(&self) -> u64 {
        self.vault().generation()
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
        let configuration = to_json(Record::Configuration, &ConfigRecord::of(config))?;
        let proxy = config.proxy.as_ref().map(ProxyConfig::to_record);
        let proxy = Change { record: Record::Proxy, to: proxy.as_ref().map(|text| text.as_bytes()) };
        Ok(self.vault().write(&[put(Record::Configuration, &configuration), proxy])?)
    }

    /// The pinned roots.
    pub fn roots(&self) -> Result<RootsBundle, StoreError> {
        let bytes = self.read(Record::Roots)?.ok_or(StoreError::Absent(Record::Roots))?;
        RootsBundle::from_cbor(bytes.expose())
            .map_err(|error| StoreError::Form { record: Record::Roots, why: error.to_string() })
    }

    /// The time floor: milliseconds since 1970.
    pub fn time_floor_unix_ms(&self) -> Result<i64, StoreError> {
        Ok(self.json::<Floors>(Record::Floors)?.time_floor_unix_ms)
    }

    /// Keeps this time floor.
    pub fn set_time_floor_unix_ms(&self, time_floor_unix_ms: i64) -> Result<(), StoreError> {
        self.write(Record::Floors, &to_json(Record::Floors, &Floors { time_floor_unix_ms })?)
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

    fn vault(&self) -> MutexGuard<'_, Vault<DurableFiles<FolderDisk>>> {
        // A panic cannot leave it half changed: the index in memory changes after the one on the disk, in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        Store::create(dir, &StorageRoot::generate(), 0, &config(), roots(), 7).unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_the_next_opening() {
        let dir = tempfile::tempdir().unwrap();
        let root = StorageRoot::generate();
        let store = Store::create(dir.path(), &root, 0, &config(), roots(), 7).unwrap();
        let generation = store.generation();
        store.keep(Record::UserConfiguration, Some(Zeroizing::new(b"mine".to_vec()))).await.unwrap();
        store.set_time_floor_unix_ms(8).unwrap();
        drop(store);
        let store = Store::open(dir.path(), &root, None).unwrap();
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
}
