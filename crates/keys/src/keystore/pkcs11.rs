//! Keys in a PKCS#11 token: the folder holds where they are.
//!
//! PKCS#11 knows no boot state and no counter. The storage root is what ECDH of the key for agreement gives with a fixed point:
//! it works with all that can agree on keys at all (HSMs, OP-TEE, smartcards, SoftHSM), nothing of it is on the disk that could
//! be read or replaced there, and whoever has the disk alone cannot compute it. For that, nobody may know the point's discrete
//! logarithm, so it is one that was made in public for this very property. A secret key on the token with HMAC would do as well,
//! but smartcards have none; a random root sealed *to* the token could be replaced by anybody, since its public key is public.

use std::path::Path;

use super::KeystoreError;
use crate::{
    pkcs11::TokenSpec,
    private_file::Existing,
    profile::Profile,
    purpose::KeyPurpose,
    signer::{KeyError, SignError, Signer, reference_name, token},
    storage::StorageRoot,
};

/// The point M of SPAKE2 for P-256 (RFC 9382, section 4), uncompressed. Appendix A says how it was hashed into being.
const POINT: [u8; 65] = [
    0x04, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55, 0xba, 0x9d, 0xd7, 0x24, 0x25, 0x79, 0xf2, 0x99, 0x3b, 0x64,
    0xe1, 0x6e, 0xf3, 0xdc, 0xab, 0x95, 0xaf, 0xd4, 0x97, 0x33, 0x3d, 0x8f, 0xa1, 0x2f, 0x5f, 0xf3, 0x55, 0x16, 0x3e,
    0x43, 0xce, 0x22, 0x4e, 0x0b, 0x0e, 0x65, 0xff, 0x02, 0xac, 0x8e, 0x5c, 0x7b, 0xe0, 0x94, 0x19, 0xc7, 0x85, 0xe0,
    0xca, 0x54, 0x7d, 0x55, 0xa1, 0x2e, 0x2d, 0x20,
];

/// Makes all keys on the token.
pub(super) fn create(spec: &TokenSpec, folder: &Path, profile: Profile) -> Result<(), KeystoreError> {
    for purpose in [KeyPurpose::DeviceIdentity, KeyPurpose::DeviceKeyAgreement, KeyPurpose::device_tls(profile)] {
        let made = Signer::in_token(spec, purpose).and_then(|key| key.save(folder, Existing::Refuse));
        made.map_err(|source| in_file(folder, purpose, source))?;
    }
    Ok(())
}

/// The identity key and the key for agreement.
pub(super) fn open(folder: &Path) -> Result<[Signer; 2], KeystoreError> {
    Ok([key(folder, KeyPurpose::DeviceIdentity)?, key(folder, KeyPurpose::DeviceKeyAgreement)?])
}

/// The key on the token: a file with a key beside the reference counts for nothing.
pub(super) fn key(folder: &Path, purpose: KeyPurpose) -> Result<Signer, KeystoreError> {
    Signer::load_reference(&folder.join(reference_name(purpose)), purpose)
        .map_err(|source| in_file(folder, purpose, source))
}

/// Removes the keys from the token.
pub(super) fn discard(folder: &Path) -> Result<(), KeystoreError> {
    let mut first = Ok(());
    for purpose in [
        KeyPurpose::DeviceIdentity,
        KeyPurpose::DeviceKeyAgreement,
        KeyPurpose::DeviceTlsClassic,
        KeyPurpose::DeviceTlsModern,
    ] {
        let reference = folder.join(reference_name(purpose));
        if reference.exists() {
            let gone = token::destroy(&reference, purpose);
            first = first.and(gone.map_err(|source| in_file(folder, purpose, source)));
        }
    }
    first
}

pub(super) fn storage_root(identity: &Signer, agreement: &Signer) -> Result<StorageRoot, KeystoreError> {
    let shared = agreement.agree(&POINT).map_err(KeystoreError::Sign)?;
    let root = StorageRoot::from_shared(&shared, &identity.public().spki_hash());
    root.map_err(|_| KeystoreError::Sign(SignError::Failed))
}

fn in_file(folder: &Path, purpose: KeyPurpose, source: KeyError) -> KeystoreError {
    KeystoreError::Key { file: folder.join(reference_name(purpose)), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public::{KeyAlgorithm, PublicKey};

    #[test]
    fn the_fixed_point_is_on_the_curve_and_is_that_of_rfc_9382() {
        assert!(PublicKey::from_key_bytes(KeyAlgorithm::P256, &POINT).is_ok());
        // Compressed, as the RFC prints it: the first byte says whether y is odd.
        let compressed = [&[2 + (POINT[64] & 1)][..], &POINT[1..33]].concat();
        let printed = "02886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f";
        assert_eq!(const_hex::encode(compressed), printed);
    }
}
