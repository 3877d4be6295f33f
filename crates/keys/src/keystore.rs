//! The secret keys of one device, wherever they live: made once, used for their purposes, never handed out.
//!
//! A device has an identity key that signs, a separate key for agreement, a TLS key, a storage root and, where the back end
//! has one, a counter that only goes up. The folder of its keys says in `keystore` which back end holds them.
//!
//! | back end | keys | storage root | counter |
//! |---|---|---|---|
//! | `tpm2` | born in the TPM, in files that it wrapped | sealed to the TPM and, if wanted, to what was booted | an NV counter |
//! | `pkcs11` | born in the token, never given out | computed with the token's key; bound to the token alone | none |
//! | `danger-software` | in files: whoever copies them has the device | in a file | none: the whole folder can be set back |
//!
//! A stand-in such as swtpm or SoftHSM claims the level of what it stands in for.

#[cfg(feature = "pkcs11")]
mod pkcs11;
mod software;
mod spec;
#[cfg(feature = "tpm2")]
mod tpm2;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::{
    content_key::{self, CONTENT_KEY_BYTES, ContentKeyError, ContentKeyInfo, WrappedContentKey},
    cose::{self, CosePurpose},
    private_file::{self, Existing, PrivateFileError},
    profile::Profile,
    public::PublicKey,
    purpose::KeyPurpose,
    signer::{KeyError, SignError, Signer},
    storage::{StorageRoot, StorageRootError},
};

pub use spec::{KeystoreSpec, SpecError};

/// The file that names the back end.
pub const SPEC_FILE: &str = "keystore";

/// Where the identity key lives, as the device claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum AttestationLevel {
    /// In a file: whoever copies the file is the device.
    #[n(1)]
    Software,
    /// In a TPM 2.0.
    #[n(2)]
    Tpm,
    /// In another chip reached over PKCS#11.
    #[n(3)]
    SecureElement,
}

/// The secret keys of one device.
#[derive(Debug)]
pub struct Keystore {
    folder: PathBuf,
    spec: KeystoreSpec,
    identity: Signer,
    agreement: Signer,
    back_end: BackEnd,
}

#[derive(Debug)]
enum BackEnd {
    Software,
    #[cfg(feature = "tpm2")]
    Tpm2(tpm2::Store),
    #[cfg(feature = "pkcs11")]
    Pkcs11,
}

/// Why the keys of a device cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file of the back end is missing.
    #[error("{0} is missing; restore the folder from a copy, or provision the device again in a new folder")]
    Missing(PathBuf),
    /// The file that names the back end holds something else.
    #[error("{file}: {source}; restore it from a copy, or provision the device again in a new folder")]
    Spec {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
    /// A key in a file cannot be used, or not be made.
    #[error("{file}: {source}; restore it from a copy, or provision the device again in a new folder")]
    Key {
        /// The key's file.
        file: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The storage root in a file cannot be used, or not be made.
    #[error("{file}: {source}; restore it from a copy, or provision the device again in a new folder")]
    StorageRoot {
        /// The root's file.
        file: PathBuf,
        /// What is wrong with it.
        source: StorageRootError,
    },
    /// A private file cannot be used, or not be written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The folder of the keys cannot be made.
    #[error("{folder}: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The back end has no counter that could be stepped.
    #[error("the keys are in {0}, which has no counter")]
    NoCounter(KeystoreSpec),
    /// This program was built without the back end.
    #[error("this program was built without the key back end of {0}; use one with its feature (tpm2 or pkcs11)")]
    NotBuilt(KeystoreSpec),
    /// The identity key or the key for agreement cannot be used.
    #[error(transparent)]
    Sign(SignError),
    /// The TPM.
    #[cfg(feature = "tpm2")]
    #[error(transparent)]
    Tpm(#[from] crate::tpm2::TpmError),
    /// A file with something that the TPM wrapped cannot be used.
    #[cfg(feature = "tpm2")]
    #[error("{file}: {source}; restore it from a copy, or provision the device again in a new folder")]
    Wrapped {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: crate::tpm2::TpmError,
    },
}

impl Keystore {
    /// Makes all keys of a new device in a new folder, the TLS key for this profile.
    ///
    /// # Errors
    /// [`KeystoreError`]: then the folder is of no use and can be removed.
    pub fn create(spec: &KeystoreSpec, folder: &Path, profile: Profile) -> Result<Keystore, KeystoreError> {
        let made = DirBuilder::new().mode(0o700).create(folder);
        made.map_err(|source| KeystoreError::Folder { folder: folder.to_owned(), source })?;
        // First, so that a half-made store can be discarded.
        private_file::write(&folder.join(SPEC_FILE), format!("{spec}\n").as_bytes(), Existing::Refuse)?;
        match spec {
            KeystoreSpec::DangerSoftware => software::create(folder, profile)?,
            #[cfg(feature = "tpm2")]
            KeystoreSpec::Tpm2(tpm) => tpm2::create(tpm, folder, profile)?,
            #[cfg(feature = "pkcs11")]
            KeystoreSpec::Pkcs11(token) => pkcs11::create(token, folder, profile)?,
            #[cfg(not(all(feature = "tpm2", feature = "pkcs11")))]
            other => return Err(KeystoreError::NotBuilt(other.clone())),
        }
        Keystore::open(folder)
    }

    /// Opens the keys of a device. A token is logged in to; a TPM is not needed before its first use.
    ///
    /// # Errors
    /// [`KeystoreError`]; each says what to do next.
    pub fn open(folder: &Path) -> Result<Keystore, KeystoreError> {
        let spec = read_spec(folder)?;
        let ([identity, agreement], back_end) = match &spec {
            KeystoreSpec::DangerSoftware => (software::open(folder)?, BackEnd::Software),
            #[cfg(feature = "tpm2")]
            KeystoreSpec::Tpm2(tpm) => {
                let (store, keys) = tpm2::open(tpm, folder)?;
                (keys, BackEnd::Tpm2(store))
            }
            #[cfg(feature = "pkcs11")]
            KeystoreSpec::Pkcs11(_) => (pkcs11::open(folder)?, BackEnd::Pkcs11),
            #[cfg(not(all(feature = "tpm2", feature = "pkcs11")))]
            other => return Err(KeystoreError::NotBuilt(other.clone())),
        };
        Ok(Keystore { folder: folder.to_owned(), spec, identity, agreement, back_end })
    }

    /// Removes what a back end keeps outside of this folder for a device that is given up: its keys on the token, its counter in
    /// the TPM. The folder itself is left.
    ///
    /// # Errors
    /// [`KeystoreError`] of the first thing that could not be removed; the rest is tried all the same.
    pub fn discard(folder: &Path) -> Result<(), KeystoreError> {
        match read_spec(folder)? {
            KeystoreSpec::DangerSoftware => Ok(()),
            #[cfg(feature = "tpm2")]
            KeystoreSpec::Tpm2(tpm) => Ok(tpm2::open(&tpm, folder)?.0.discard()?),
            #[cfg(feature = "pkcs11")]
            KeystoreSpec::Pkcs11(_) => pkcs11::discard(folder),
            #[cfg(not(all(feature = "tpm2", feature = "pkcs11")))]
            other => Err(KeystoreError::NotBuilt(other)),
        }
    }

    /// Which back end holds the keys.
    pub fn spec(&self) -> &KeystoreSpec {
        &self.spec
    }

    /// How well the identity key is kept.
    pub fn level(&self) -> AttestationLevel {
        match self.spec {
            KeystoreSpec::DangerSoftware => AttestationLevel::Software,
            KeystoreSpec::Tpm2(_) => AttestationLevel::Tpm,
            KeystoreSpec::Pkcs11(_) => AttestationLevel::SecureElement,
        }
    }

    /// The public half of the identity key.
    pub fn identity(&self) -> &PublicKey {
        self.identity.public()
    }

    /// The public half of the key for agreement.
    pub fn agreement(&self) -> &PublicKey {
        self.agreement.public()
    }

    /// Signs with the identity key: r and s of ES256 over the Sig_structure that is built here from purpose and payload, so
    /// that nobody obtains a signature over bytes of their own. It waits for the back end: a TPM takes most of a second.
    ///
    /// # Errors
    /// [`SignError`] when the back end fails.
    pub fn sign(&self, purpose: CosePurpose, payload: &[u8]) -> Result<[u8; 64], SignError> {
        self.identity.sign(&cose::to_be_signed(purpose, payload))
    }

    /// The TLS key of this profile.
    ///
    /// # Errors
    /// [`KeystoreError`] when there is none.
    pub fn tls_key(&self, profile: Profile) -> Result<Signer, KeystoreError> {
        let purpose = KeyPurpose::device_tls(profile);
        match &self.back_end {
            BackEnd::Software => software::key(&self.folder, purpose),
            #[cfg(feature = "tpm2")]
            BackEnd::Tpm2(store) => store.key(&self.folder, purpose),
            #[cfg(feature = "pkcs11")]
            BackEnd::Pkcs11 => pkcs11::key(&self.folder, purpose),
        }
    }

    /// Unwraps the content key of the image with this manifest.
    ///
    /// # Errors
    /// [`ContentKeyError`], for instance when it is another device's.
    pub fn open_content_key(
        &self,
        wrapped: &WrappedContentKey,
        manifest_sha256: [u8; 32],
    ) -> Result<Zeroizing<[u8; CONTENT_KEY_BYTES]>, ContentKeyError> {
        let info = ContentKeyInfo { manifest_sha256, identity: self.identity().spki_hash() };
        content_key::unwrap(&self.agreement, wrapped, &info)
    }

    /// The secret that all storage keys of the device are derived from.
    ///
    /// # Errors
    /// [`KeystoreError`] when the back end does not give it, for instance since something else than before was booted.
    pub fn storage_root(&self) -> Result<StorageRoot, KeystoreError> {
        match &self.back_end {
            BackEnd::Software => software::storage_root(&self.folder),
            #[cfg(feature = "tpm2")]
            BackEnd::Tpm2(store) => Ok(store.storage_root()?),
            #[cfg(feature = "pkcs11")]
            BackEnd::Pkcs11 => pkcs11::storage_root(&self.identity, &self.agreement),
        }
    }

    /// The counter that never goes back; `None` where the back end has none.
    ///
    /// # Errors
    /// [`KeystoreError`] when the back end fails.
    pub fn counter(&self) -> Result<Option<u64>, KeystoreError> {
        match &self.back_end {
            #[cfg(feature = "tpm2")]
            BackEnd::Tpm2(store) => Ok(Some(store.counter()?)),
            _ => Ok(None),
        }
    }

    /// Steps the counter to `to`, which must be its value or the next one.
    ///
    /// # Errors
    /// [`KeystoreError::NoCounter`] where there is none, or when the back end fails.
    pub fn advance_counter(&self, to: u64) -> Result<(), KeystoreError> {
        let _ = to;
        match &self.back_end {
            #[cfg(feature = "tpm2")]
            BackEnd::Tpm2(store) => Ok(store.advance_counter(to)?),
            _ => Err(KeystoreError::NoCounter(self.spec.clone())),
        }
    }

    /// Tells the back end what is about to run, by the SHA-256 of its manifest: a TPM extends a register with it, others
    /// have none. To be called after [`Keystore::storage_root`], once for each start of the machine's software.
    ///
    /// # Errors
    /// [`KeystoreError`] when the back end fails.
    pub fn measure(&self, manifest_sha256: &[u8; 32]) -> Result<(), KeystoreError> {
        let _ = manifest_sha256;
        match &self.back_end {
            #[cfg(feature = "tpm2")]
            BackEnd::Tpm2(store) => Ok(store.measure(manifest_sha256)?),
            _ => Ok(()),
        }
    }
}

/// Which back end holds the keys of this folder. No key is touched.
///
/// # Errors
/// [`KeystoreError`] when the folder does not say.
pub fn read_spec(folder: &Path) -> Result<KeystoreSpec, KeystoreError> {
    let file = present(folder.join(SPEC_FILE))?;
    let bytes = private_file::read(&file)?;
    let text = std::str::from_utf8(bytes.expose()).ok().and_then(|text| text.strip_suffix('\n'));
    let spec = text.ok_or(SpecError::Form).and_then(str::parse);
    spec.map_err(|source| KeystoreError::Spec { file, source })
}

/// The path, if there is something at it.
fn present(file: PathBuf) -> Result<PathBuf, KeystoreError> {
    if file.exists() { Ok(file) } else { Err(KeystoreError::Missing(file)) }
}
