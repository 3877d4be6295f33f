//! Keys in files of mode 0600, each named after its purpose.

use std::path::Path;

use super::{KeystoreError, present};
use crate::{
    private_file::Existing,
    profile::Profile,
    purpose::KeyPurpose,
    signer::{self, KeyError, Signer},
    storage::{self, StorageRoot},
};

/// Makes all keys.
pub(super) fn create(folder: &Path, profile: Profile) -> Result<(), KeystoreError> {
    for purpose in [KeyPurpose::DeviceIdentity, KeyPurpose::DeviceKeyAgreement, KeyPurpose::device_tls(profile)] {
        let made = Signer::generate(purpose).and_then(|key| key.save(folder, Existing::Refuse));
        made.map_err(|source| in_file(folder, purpose, source))?;
    }
    let saved = StorageRoot::generate().danger_save(folder);
    saved.map_err(|source| KeystoreError::StorageRoot { file: folder.join(storage::file_name()), source })
}

/// The identity key and the key for agreement.
pub(super) fn open(folder: &Path) -> Result<[Signer; 2], KeystoreError> {
    Ok([key(folder, KeyPurpose::DeviceIdentity)?, key(folder, KeyPurpose::DeviceKeyAgreement)?])
}

pub(super) fn storage_root(folder: &Path) -> Result<StorageRoot, KeystoreError> {
    let file = present(folder.join(storage::file_name()))?;
    StorageRoot::danger_load(folder).map_err(|source| KeystoreError::StorageRoot { file, source })
}

pub(super) fn key(folder: &Path, purpose: KeyPurpose) -> Result<Signer, KeystoreError> {
    present(folder.join(signer::file_name(purpose)))?;
    Signer::load(folder, purpose).map_err(|source| in_file(folder, purpose, source))
}

fn in_file(folder: &Path, purpose: KeyPurpose, source: KeyError) -> KeystoreError {
    KeystoreError::Key { file: folder.join(signer::file_name(purpose)), source }
}
