//! The closed set of what a vault holds, and the key for each purpose.

use std::fmt;

use keys::purpose::KeyPurpose;
use keys::storage::{KEY_BYTES, PurposeKey, StorageKeyError, StorageRoot};
use zeroize::Zeroizing;

use crate::limits::LIMITS;

/// One kind of thing that a device stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Record {
    /// The server, the ports, the model, the profile.
    Configuration,
    /// The roots that the server must come from.
    Roots,
    /// The addresses of the device and its name servers.
    Network,
    /// The proxy and its user name and password.
    Proxy,
    /// What the app stored for itself.
    UserConfiguration,
    /// The app.
    App,
    /// What never goes back: the time floor.
    Floors,
    /// The attempts to connect.
    Diary,
    /// The signed result of the last self-test.
    SelfTest,
    /// What the factory laid down about OS images: whose signatures are demanded. In the vault of the boot folder.
    Anchors,
    /// What takes the place of the anchors when the image on trial is confirmed. In the vault of the boot folder.
    NextAnchors,
    /// The root metadata that was seen, from the factory's on. In the vault of the boot folder.
    ReleaseRoots,
    /// Which OS image boots, and what is known of each. In the vault of the boot folder.
    Control,
    /// Below which no OS image and no metadata about one is taken. In the vault of the boot folder.
    BootFloors,
}

impl Record {
    /// Every record of the vault that the device runtime keeps.
    pub const DEVICE: [Record; 9] = [
        Record::Configuration,
        Record::Roots,
        Record::Network,
        Record::Proxy,
        Record::UserConfiguration,
        Record::App,
        Record::Floors,
        Record::Diary,
        Record::SelfTest,
    ];

    /// Every record of the vault that the parent process keeps in the boot folder.
    pub const BOOT: [Record; 5] =
        [Record::Anchors, Record::NextAnchors, Record::ReleaseRoots, Record::Control, Record::BootFloors];

    /// Its stable name: part of the format, and the stem of its files' names.
    pub fn name(self) -> &'static str {
        match self {
            Record::Configuration => "configuration",
            Record::Roots => "roots",
            Record::Network => "network",
            Record::Proxy => "proxy",
            Record::UserConfiguration => "user-configuration",
            Record::App => "app",
            Record::Floors => "floors",
            Record::Diary => "diary",
            Record::SelfTest => "self-test",
            Record::Anchors => "anchors",
            Record::NextAnchors => "next-anchors",
            Record::ReleaseRoots => "release-roots",
            Record::Control => "control",
            Record::BootFloors => "boot-floors",
        }
    }

    /// The purpose of the key that encrypts it.
    pub fn purpose(self) -> KeyPurpose {
        match self {
            Record::Configuration | Record::Roots => KeyPurpose::VaultConfiguration,
            Record::Network => KeyPurpose::VaultNetwork,
            Record::Proxy => KeyPurpose::VaultProxy,
            Record::UserConfiguration => KeyPurpose::VaultUserConfiguration,
            Record::App => KeyPurpose::VaultApp,
            Record::Floors => KeyPurpose::VaultFloors,
            Record::Diary | Record::SelfTest => KeyPurpose::VaultDiary,
            Record::Anchors | Record::NextAnchors | Record::ReleaseRoots => KeyPurpose::BootAnchors,
            Record::Control | Record::BootFloors => KeyPurpose::BootControl,
        }
    }

    /// The most bytes it may have.
    pub fn most(self) -> usize {
        match self {
            Record::Configuration => LIMITS.configuration,
            Record::Roots => LIMITS.roots,
            Record::Network => LIMITS.network,
            Record::Proxy => LIMITS.proxy,
            Record::UserConfiguration => LIMITS.user_configuration,
            Record::App => LIMITS.app,
            Record::Floors | Record::BootFloors => LIMITS.floors,
            Record::Diary => LIMITS.diary,
            Record::SelfTest => LIMITS.self_test,
            Record::Anchors | Record::NextAnchors => LIMITS.anchors,
            Record::ReleaseRoots => LIMITS.release_roots,
            Record::Control => LIMITS.control,
        }
    }

    /// The file that holds a version: two in turn, so that writing one leaves the other alone.
    pub(crate) fn file(self, version: u64) -> String {
        format!("{}.{}", self.name(), version % 2)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The keys of one vault of a device. The storage root is not among them.
#[derive(Debug, Clone)]
pub struct VaultKeys {
    index: PurposeKey,
    records: Vec<(Record, PurposeKey)>,
}

/// Bytes that are not the keys of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these are not the keys of a vault")]
pub struct NotVaultKeys;

impl VaultKeys {
    /// Derives those of the device runtime's vault from the device's storage root.
    ///
    /// # Errors
    /// [`StorageKeyError`], which nothing from outside can cause.
    pub fn derive(root: &StorageRoot) -> Result<VaultKeys, StorageKeyError> {
        VaultKeys::of_records(KeyPurpose::VaultIndex, &Record::DEVICE, |purpose| root.purpose_key(purpose))
    }

    /// Derives those of the boot folder's vault, which the parent process hands to nobody.
    ///
    /// # Errors
    /// [`StorageKeyError`], which nothing from outside can cause.
    pub fn derive_boot(root: &StorageRoot) -> Result<VaultKeys, StorageKeyError> {
        VaultKeys::of_records(KeyPurpose::BootIndex, &Record::BOOT, |purpose| root.purpose_key(purpose))
    }

    /// The keys one after another, for the child that keeps this vault.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        let keys = std::iter::once(&self.index).chain(self.records.iter().map(|(_, key)| key));
        let mut bytes = Zeroizing::new(Vec::with_capacity((1 + self.records.len()) * KEY_BYTES));
        keys.for_each(|key| bytes.extend_from_slice(key.expose()));
        bytes
    }

    /// The keys of the device runtime's vault, as [`VaultKeys::expose`] gave them.
    ///
    /// # Errors
    /// [`NotVaultKeys`].
    pub fn from_exposed(bytes: &[u8]) -> Result<VaultKeys, NotVaultKeys> {
        if bytes.len() != (1 + Record::DEVICE.len()) * KEY_BYTES {
            return Err(NotVaultKeys);
        }
        let mut keys = bytes.as_chunks::<KEY_BYTES>().0.iter();
        VaultKeys::of_records(KeyPurpose::VaultIndex, &Record::DEVICE, |purpose| {
            PurposeKey::from_exposed(purpose, keys.next().ok_or(NotVaultKeys)?).map_err(|_| NotVaultKeys)
        })
    }

    fn of_records<E>(
        index: KeyPurpose,
        records: &[Record],
        mut key: impl FnMut(KeyPurpose) -> Result<PurposeKey, E>,
    ) -> Result<VaultKeys, E> {
        let index = key(index)?;
        let records = records.iter().map(|record| Ok((*record, key(record.purpose())?)));
        Ok(VaultKeys { index, records: records.collect::<Result<_, E>>()? })
    }

    pub(crate) fn index(&self) -> &PurposeKey {
        &self.index
    }

    /// The key of a record; `None` for one that the other vault keeps.
    pub(crate) fn of(&self, record: Record) -> Option<&PurposeKey> {
        self.records.iter().find(|(other, _)| *other == record).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_own_name_and_the_key_of_its_purpose_in_one_vault() {
        let root = StorageRoot::generate();
        let vaults = [
            (VaultKeys::derive(&root).unwrap(), &Record::DEVICE[..]),
            (VaultKeys::derive_boot(&root).unwrap(), &Record::BOOT),
        ];
        let all: Vec<_> = vaults.iter().flat_map(|(_, records)| records.iter()).collect();
        for record in &all {
            assert_eq!(all.iter().filter(|other| other.name() == record.name()).count(), 1);
            assert!(record.name() != "index" && record.name().len() <= 24);
            for (keys, records) in &vaults {
                let purpose = keys.of(**record).map(PurposeKey::purpose);
                assert_eq!(purpose, records.contains(record).then_some(record.purpose()));
            }
        }
    }

    #[test]
    fn keys_that_were_handed_over_are_the_same_and_other_bytes_are_none() {
        let keys = VaultKeys::derive(&StorageRoot::generate()).unwrap();
        let bytes = keys.expose();
        assert_eq!(VaultKeys::from_exposed(&bytes).unwrap().expose(), bytes);
        for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
            assert!(VaultKeys::from_exposed(wrong).is_err(), "{}", wrong.len());
        }
    }
}
