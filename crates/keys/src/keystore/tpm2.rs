//! Keys in a TPM: the folder holds what it wrapped, and what to recognise it by.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{KeystoreError, present};
use crate::{
    private_file::{self, Existing},
    profile::Profile,
    purpose::{KeyPurpose, PurposeAlgorithm},
    secret::Secret,
    signer::{KeyHolder, SignError, Signer},
    storage::StorageRoot,
    tpm2::{Sealed, Tpm, TpmError, TpmKeyKind, TpmSpec, Wrapped},
};

/// The name of the TPM's storage primary.
const TPM_FILE: &str = "tpm";

/// The TPM of a device, and what it sealed for it.
#[derive(Debug)]
pub(super) struct Store {
    tpm: Tpm,
    sealed: Wrapped,
}

#[derive(Debug)]
struct TpmKey {
    tpm: Tpm,
    wrapped: Wrapped,
}

/// Makes all keys, the storage root and the counter.
pub(super) fn create(spec: &TpmSpec, folder: &Path, profile: Profile) -> Result<(), KeystoreError> {
    let tpm = Tpm::new(spec.clone());
    write(&folder.join(TPM_FILE), &tpm.name()?)?;
    for purpose in [KeyPurpose::DeviceIdentity, KeyPurpose::DeviceKeyAgreement, KeyPurpose::device_tls(profile)] {
        let kind = match purpose.facts().algorithm {
            PurposeAlgorithm::EcdhP256 => TpmKeyKind::P256Agree,
            PurposeAlgorithm::Rsa2048 => TpmKeyKind::Rsa2048Sign,
            _ => TpmKeyKind::P256Sign,
        };
        write(&folder.join(file_name(purpose)), &tpm.create_key(kind)?.to_bytes()?)?;
    }
    let sealed = tpm.seal(&Sealed { root: StorageRoot::generate(), counter: tpm.create_counter()? })?;
    write(&folder.join(file_name(KeyPurpose::StorageRoot)), &sealed.to_bytes()?)
}

/// Reads what the folder holds; the TPM is not needed for that.
pub(super) fn open(spec: &TpmSpec, folder: &Path) -> Result<(Store, [Signer; 2]), KeystoreError> {
    let name = private_file::read(&present(folder.join(TPM_FILE))?)?;
    let tpm = Tpm::known(spec.clone(), name.expose().to_vec());
    let store = Store { tpm, sealed: read(folder, KeyPurpose::StorageRoot)?.1 };
    let keys = [store.key(folder, KeyPurpose::DeviceIdentity)?, store.key(folder, KeyPurpose::DeviceKeyAgreement)?];
    Ok((store, keys))
}

impl Store {
    pub(super) fn key(&self, folder: &Path, purpose: KeyPurpose) -> Result<Signer, KeystoreError> {
        let (file, wrapped) = read(folder, purpose)?;
        let public = wrapped.public_key().ok_or_else(|| in_file(&file, TpmError::Form))?;
        let holder = Arc::new(TpmKey { tpm: self.tpm.clone(), wrapped });
        Signer::held(purpose, public, holder).map_err(|source| KeystoreError::Key { file, source })
    }

    pub(super) fn storage_root(&self) -> Result<StorageRoot, TpmError> {
        Ok(self.tpm.unseal(&self.sealed)?.root)
    }

    pub(super) fn counter(&self) -> Result<u64, TpmError> {
        self.tpm.counter(&self.sealed)
    }

    pub(super) fn advance_counter(&self, to: u64) -> Result<(), TpmError> {
        self.tpm.advance(&self.sealed, to)
    }

    pub(super) fn measure(&self, digest: &[u8; 32]) -> Result<(), TpmError> {
        self.tpm.measure(digest)
    }

    /// Removes the counter; all else goes with the folder.
    pub(super) fn discard(&self) -> Result<(), TpmError> {
        self.tpm.remove_counter(&self.sealed)
    }
}

impl KeyHolder for TpmKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.tpm.sign(&self.wrapped, message).map_err(|error| SignError::Store(error.to_string()))
    }

    fn agree(&self, point: &[u8]) -> Result<Secret, SignError> {
        self.tpm.agree(&self.wrapped, point).map_err(|error| SignError::Store(error.to_string()))
    }
}

fn read(folder: &Path, purpose: KeyPurpose) -> Result<(PathBuf, Wrapped), KeystoreError> {
    let file = present(folder.join(file_name(purpose)))?;
    let bytes = private_file::read(&file)?;
    let wrapped = Wrapped::from_bytes(bytes.expose()).map_err(|source| in_file(&file, source))?;
    Ok((file, wrapped))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KeystoreError> {
    Ok(private_file::write(path, bytes, Existing::Refuse)?)
}

fn file_name(purpose: KeyPurpose) -> String {
    format!("{purpose}.tpm")
}

fn in_file(file: &Path, source: TpmError) -> KeystoreError {
    KeystoreError::Wrapped { file: file.to_owned(), source }
}
