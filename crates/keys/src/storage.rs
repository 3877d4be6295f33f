//! Keys for what a device stores: one root, a key for each purpose derived from it, and a one-time key for each write.
//!
//! Root, purpose key and one-time key all have 128 bits. A one-time key encrypts one sequence of [`chunks`](crate::chunks)
//! and is never used again.

use std::{fmt, path::Path};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

pub use crate::chunks::KEY_BYTES;
use crate::{
    chunks::{ChunkKey, PREFIX_BYTES, Refused},
    hashes::fill_random,
    private_file::{self, Existing, PrivateFileError},
    purpose::{KeyPurpose, PurposeAlgorithm},
};
#[cfg(feature = "pkcs11")]
use crate::{public::SpkiHash, secret::Secret};

/// Separates the derivation of purpose keys from every other use of a root.
const PURPOSE_SALT: &[u8] = b"vouch/storage/1";
/// Separates the derivation of a root from every other use of a shared secret.
#[cfg(feature = "pkcs11")]
const SHARED_SALT: &[u8] = b"vouch/storage-root/1";
/// Separates one-time keys from every other use of a purpose key.
const WRITE_INFO: &[u8] = b"vouch/storage/write/1";

/// The secret from which all storage keys of one device are derived.
pub struct StorageRoot(Zeroizing<[u8; KEY_BYTES]>);

/// The key for one purpose of storage. It encrypts nothing itself; each write has a one-time key derived from it.
#[derive(Clone)]
pub struct PurposeKey {
    purpose: KeyPurpose,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why there is no storage root.
#[derive(Debug, thiserror::Error)]
pub enum StorageRootError {
    /// The file holds something else than 16 bytes.
    #[error("not a storage root: it has {0} bytes instead of 16")]
    Length(usize),
    /// The root's file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

/// Why storage keys cannot be used in this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageKeyError {
    /// Keys of this purpose are not derived from a storage root.
    #[error("`{0}` is not a purpose of storage")]
    WrongPurpose(KeyPurpose),
    /// The cryptographic library refused.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl StorageRoot {
    /// A new random root.
    pub fn generate() -> StorageRoot {
        let mut root = Zeroizing::new([0; KEY_BYTES]);
        fill_random(&mut *root);
        StorageRoot(root)
    }

    /// The root that belongs to this device's shared secret with a fixed point: HKDF-SHA256 with its identity as info.
    #[cfg(feature = "pkcs11")]
    pub(crate) fn from_shared(shared: &Secret, identity: &SpkiHash) -> Result<StorageRoot, StorageKeyError> {
        Ok(StorageRoot(hkdf(SHARED_SALT, shared.expose(), identity.as_bytes())?))
    }

    /// The root that these bytes are.
    #[cfg(feature = "tpm2")]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<StorageRoot> {
        let mut root = Zeroizing::new([0; KEY_BYTES]);
        (bytes.len() == KEY_BYTES).then(|| root.copy_from_slice(bytes))?;
        Some(StorageRoot(root))
    }

    #[cfg(feature = "tpm2")]
    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Reads a root that a file keeps, mode 0600. Whoever copies that file can read and replace all that it protects.
    ///
    /// # Errors
    /// [`StorageRootError`] when the file cannot be read, is open to others, or has another length.
    pub fn danger_load(folder: &Path) -> Result<StorageRoot, StorageRootError> {
        let bytes = private_file::read(&folder.join(file_name()))?;
        let mut root = Zeroizing::new([0; KEY_BYTES]);
        if bytes.expose().len() != KEY_BYTES {
            return Err(StorageRootError::Length(bytes.expose().len()));
        }
        root.copy_from_slice(bytes.expose());
        Ok(StorageRoot(root))
    }

    /// Writes the root into a file of mode 0600; one that is there already is never replaced.
    ///
    /// # Errors
    /// [`StorageRootError::File`] when it cannot be written.
    pub fn danger_save(&self, folder: &Path) -> Result<(), StorageRootError> {
        Ok(private_file::write(&folder.join(file_name()), &*self.0, Existing::Refuse)?)
    }

    /// The key for one purpose: HKDF-SHA256 (RFC 5869) with the purpose's name as info.
    ///
    /// # Errors
    /// [`StorageKeyError::WrongPurpose`] for a purpose whose keys are no storage keys.
    pub fn purpose_key(&self, purpose: KeyPurpose) -> Result<PurposeKey, StorageKeyError> {
        if purpose.facts().algorithm != PurposeAlgorithm::Aes128Gcm {
            return Err(StorageKeyError::WrongPurpose(purpose));
        }
        let key = hkdf(PURPOSE_SALT, &*self.0, purpose.as_str().as_bytes())?;
        Ok(PurposeKey { purpose, key })
    }
}

/// The name of the file that holds a root in software.
pub fn file_name() -> String {
    format!("{}.key", KeyPurpose::StorageRoot)
}

impl PurposeKey {
    /// What the key is for.
    pub fn purpose(&self) -> KeyPurpose {
        self.purpose
    }

    /// The key of this purpose with these bytes, as [`PurposeKey::expose`] gave them.
    ///
    /// # Errors
    /// [`StorageKeyError::WrongPurpose`] for a purpose whose keys are no storage keys.
    pub fn from_exposed(purpose: KeyPurpose, key: &[u8; KEY_BYTES]) -> Result<PurposeKey, StorageKeyError> {
        if purpose.facts().algorithm != PurposeAlgorithm::Aes128Gcm {
            return Err(StorageKeyError::WrongPurpose(purpose));
        }
        Ok(PurposeKey { purpose, key: Zeroizing::new(*key) })
    }

    /// The bytes of the key, for the process that stores what it protects.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.key
    }

    /// The one-time key of the write that drew this salt.
    ///
    /// # Errors
    /// [`Refused`], which nothing from outside can cause.
    pub fn write_key(&self, salt: &[u8; KEY_BYTES]) -> Result<ChunkKey, Refused> {
        ChunkKey::new(&*hkdf(salt, &*self.key, WRITE_INFO)?, [0; PREFIX_BYTES])
    }
}

/// HKDF-SHA256 to 16 bytes.
fn hkdf(salt: &[u8], input: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, Refused> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            KEY_BYTES
        }
    }
    let mut out = Zeroizing::new([0; KEY_BYTES]);
    let prk = Salt::new(HKDF_SHA256, salt).extract(input);
    let info = [info];
    let okm = prk.expand(&info, Length).map_err(|_| Refused)?;
    okm.fill(&mut *out).map_err(|_| Refused)?;
    Ok(out)
}

impl fmt::Debug for StorageRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageRoot(..)")
    }
}

impl fmt::Debug for PurposeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurposeKey").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::{BadChunk, TAG_BYTES};

    fn write_key(root: &StorageRoot, purpose: KeyPurpose, salt: u8) -> ChunkKey {
        root.purpose_key(purpose).unwrap().write_key(&[salt; KEY_BYTES]).unwrap()
    }

    fn sealed(key: &ChunkKey) -> Vec<u8> {
        let mut chunk = b"plain".to_vec();
        key.seal(3, true, b"where", &mut chunk).unwrap();
        chunk
    }

    #[test]
    fn a_chunk_opens_under_its_own_key_position_and_name_only() {
        let (root, other) = (StorageRoot::generate(), StorageRoot::generate());
        let key = write_key(&root, KeyPurpose::VaultApp, 1);
        let chunk = sealed(&key);
        assert_eq!(chunk.len(), 5 + TAG_BYTES);
        let open = |key: &ChunkKey, position, last, aad: &[u8]| {
            key.open(position, last, aad, &mut chunk.clone()).map(<[u8]>::to_vec)
        };
        assert_eq!(open(&key, 3, true, b"where").unwrap(), b"plain");
        assert_eq!(open(&key, 2, true, b"where"), Err(BadChunk));
        assert_eq!(open(&key, 3, false, b"where"), Err(BadChunk));
        assert_eq!(open(&key, 3, true, b"elsewhere"), Err(BadChunk));
        assert_eq!(open(&write_key(&root, KeyPurpose::VaultApp, 2), 3, true, b"where"), Err(BadChunk));
        assert_eq!(open(&write_key(&root, KeyPurpose::VaultDiary, 1), 3, true, b"where"), Err(BadChunk));
        assert_eq!(open(&write_key(&other, KeyPurpose::VaultApp, 1), 3, true, b"where"), Err(BadChunk));
    }

    #[test]
    fn each_flipped_bit_is_found() {
        let key = write_key(&StorageRoot::generate(), KeyPurpose::VaultApp, 1);
        let chunk = sealed(&key);
        for bit in 0..chunk.len() * 8 {
            let mut flipped = chunk.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(3, true, b"where", &mut flipped), Err(BadChunk), "bit {bit}");
        }
    }

    #[test]
    fn only_purposes_of_storage_have_storage_keys() {
        let root = StorageRoot::generate();
        for purpose in KeyPurpose::ALL {
            let name = purpose.as_str();
            let storage = name.starts_with("vault-") || name.starts_with("boot-");
            assert_eq!(root.purpose_key(purpose).is_ok(), storage, "{purpose}");
        }
    }

    #[test]
    fn derivation_is_hkdf_of_rfc_5869_and_stays_as_it_is() {
        // Computed with HMAC-SHA256 as RFC 5869, section 2 writes it.
        let root = StorageRoot(Zeroizing::new([7; KEY_BYTES]));
        let key = root.purpose_key(KeyPurpose::VaultApp).unwrap();
        let extract = crate::hashes::hmac_sha256(&PURPOSE_SALT.to_vec().into(), &[&[7; KEY_BYTES]]);
        let expand = crate::hashes::hmac_sha256(&extract.to_vec().into(), &[b"vault-app", &[1]]);
        assert_eq!(*key.key, expand[..KEY_BYTES]);
    }

    #[test]
    fn a_root_in_a_file_is_private_whole_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let root = StorageRoot::generate();
        root.danger_save(dir.path()).unwrap();
        assert_eq!(*StorageRoot::danger_load(dir.path()).unwrap().0, *root.0);
        assert!(StorageRoot::generate().danger_save(dir.path()).is_err());
        let path = dir.path().join(file_name());
        for length in [0, 15, 17] {
            std::fs::write(&path, vec![1; length]).unwrap();
            let error = StorageRoot::danger_load(dir.path()).unwrap_err();
            assert!(matches!(error, StorageRootError::Length(found) if found == length), "{error}");
        }
        std::fs::write(&path, [1; 16]).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(StorageRoot::danger_load(dir.path()), Err(StorageRootError::File(_))));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let root = StorageRoot(Zeroizing::new([0xab; KEY_BYTES]));
        let text = format!("{root:?} {:?}", root.purpose_key(KeyPurpose::VaultApp).unwrap());
        assert!(!text.contains("171") && !text.contains("ab, "), "{text}");
    }
}
