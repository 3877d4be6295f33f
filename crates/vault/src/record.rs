//! The closed set of what a vault holds, and the key for each purpose.

use std::fmt;

use keys::purpose::KeyPurpose;
use keys::storage::{PurposeKey, StorageKeyError, StorageRoot};

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
}

impl Record {
    /// Every record.
    pub const ALL: [Record; 9] = [
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
            Record::Floors => LIMITS.floors,
            Record::Diary => LIMITS.diary,
            Record::SelfTest => LIMITS.self_test,
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

/// The keys of one device's vault. The storage root is not among them.
#[derive(Debug, Clone)]
pub struct VaultKeys {
    index: PurposeKey,
    records: [PurposeKey; Record::ALL.len()],
}

impl VaultKeys {
    /// Derives them from the device's storage root.
    ///
    /// # Errors
    /// [`StorageKeyError`], which nothing from outside can cause.
    pub fn derive(root: &StorageRoot) -> Result<VaultKeys, StorageKeyError> {
        let key = |record: Record| root.purpose_key(record.purpose());
        let [a, b, c, d, e, f, g, h, i] = Record::ALL.map(key);
        let records = [a?, b?, c?, d?, e?, f?, g?, h?, i?];
        Ok(VaultKeys { index: root.purpose_key(KeyPurpose::VaultIndex)?, records })
    }

    pub(crate) fn index(&self) -> &PurposeKey {
        &self.index
    }

    pub(crate) fn of(&self, record: Record) -> &PurposeKey {
        // In the order of Record::ALL, which is that of the declaration.
        &self.records[record as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_own_name_and_the_key_of_its_purpose() {
        let keys = VaultKeys::derive(&StorageRoot::generate()).unwrap();
        for (at, record) in Record::ALL.into_iter().enumerate() {
            assert_eq!(record as usize, at);
            assert_eq!(keys.of(record).purpose(), record.purpose());
            assert_eq!(Record::ALL.iter().filter(|other| other.name() == record.name()).count(), 1);
            assert!(record.name() != "index" && record.name().len() <= 24);
        }
    }
}
