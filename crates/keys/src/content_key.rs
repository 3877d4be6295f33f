//! Content keys on their way to one device, sealed by HPKE.

use zeroize::Zeroizing;

use crate::{
    hpke::{self, HpkeError, OVERHEAD_BYTES, Sealed},
    public::{PublicKey, SpkiHash},
    signer::{SignError, Signer},
};

/// Bytes of a content key.
pub const CONTENT_KEY_BYTES: usize = 16;
/// Bytes of a content key wrapped for a device.
pub const WRAPPED_BYTES: usize = OVERHEAD_BYTES + CONTENT_KEY_BYTES;

/// Separates content keys from all else that could be sent to the same key.
const INFO: &[u8] = b"vouch/content-key/1";

/// A content key that one device alone can unwrap.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedContentKey([u8; WRAPPED_BYTES]);

/// What a wrapped content key is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentKeyInfo {
    /// SHA-256 of the OS manifest.
    pub manifest_sha256: [u8; 32],
    /// The device, by its identity key.
    pub identity: SpkiHash,
}

/// Why a content key could not be wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentKeyError {
    /// Not [`WRAPPED_BYTES`] bytes.
    #[error("a wrapped content key has {WRAPPED_BYTES} bytes")]
    Length,
    /// It cannot be sent to this key.
    #[error("content keys are wrapped for P-256 keys only")]
    Recipient,
    /// It is for another device, for another image, or was changed.
    #[error("the content key is not for this device and this image, or was changed on its way")]
    NotForUs,
    /// The private key.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error("the cryptographic library refused")]
    Refused,
}

impl From<HpkeError> for ContentKeyError {
    fn from(error: HpkeError) -> ContentKeyError {
        match error {
            HpkeError::Recipient => ContentKeyError::Recipient,
            HpkeError::NotForUs => ContentKeyError::NotForUs,
            HpkeError::Refused => ContentKeyError::Refused,
        }
    }
}

impl WrappedContentKey {
    /// Takes the bytes as they come over the wire.
    ///
    /// # Errors
    /// [`ContentKeyError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<WrappedContentKey, ContentKeyError> {
        bytes.try_into().map(WrappedContentKey).map_err(|_| ContentKeyError::Length)
    }

    /// The bytes: the encapsulated key, then the sealed content key.
    pub fn as_bytes(&self) -> &[u8; WRAPPED_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for WrappedContentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WrappedContentKey(..)")
    }
}

impl ContentKeyInfo {
    fn to_bytes(self) -> Vec<u8> {
        [INFO, &self.manifest_sha256, self.identity.as_bytes()].concat()
    }
}

/// Wraps a content key for the device with this key for agreement.
///
/// # Errors
/// [`ContentKeyError::Recipient`] for a key that is not P-256.
pub fn wrap(
    key: &[u8; CONTENT_KEY_BYTES],
    recipient: &PublicKey,
    info: &ContentKeyInfo,
) -> Result<WrappedContentKey, ContentKeyError> {
    let sealed = hpke::seal(recipient, &info.to_bytes(), b"", key)?;
    WrappedContentKey::from_bytes(&sealed.to_bytes()).map_err(|_| ContentKeyError::Refused)
}

/// Unwraps a content key with the key it was wrapped for.
///
/// # Errors
/// [`ContentKeyError::NotForUs`], or what the key's holder says.
pub fn unwrap(
    key: &Signer,
    wrapped: &WrappedContentKey,
    info: &ContentKeyInfo,
) -> Result<Zeroizing<[u8; CONTENT_KEY_BYTES]>, ContentKeyError> {
    let sealed = Sealed::from_bytes(&wrapped.0).ok_or(ContentKeyError::NotForUs)?;
    let opened = hpke::open(&sealed, key.public(), &info.to_bytes(), b"", |point| key.agree(point))??;
    let mut content_key = Zeroizing::new([0; CONTENT_KEY_BYTES]);
    content_key.copy_from_slice(opened.expose().get(..CONTENT_KEY_BYTES).ok_or(ContentKeyError::NotForUs)?);
    Ok(content_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purpose::KeyPurpose;

    #[test]
    fn a_content_key_opens_for_its_device_and_image_only() {
        let [ours, other] = [(); 2].map(|()| Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap());
        let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: SpkiHash([2; 32]) };
        let wrapped = wrap(&[7; 16], ours.public(), &info).unwrap();
        assert_eq!(*unwrap(&ours, &wrapped, &info).unwrap(), [7; 16]);
        let other_image = ContentKeyInfo { manifest_sha256: [3; 32], ..info };
        let other_device = ContentKeyInfo { identity: SpkiHash([3; 32]), ..info };
        for info in [other_image, other_device] {
            assert_eq!(unwrap(&ours, &wrapped, &info), Err(ContentKeyError::NotForUs));
        }
        assert_eq!(unwrap(&other, &wrapped, &info), Err(ContentKeyError::NotForUs));
        let identity = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
        assert!(matches!(unwrap(&identity, &wrapped, &info), Err(ContentKeyError::Key(SignError::WrongPurpose(_)))));
    }

    #[test]
    fn each_flipped_bit_and_each_wrong_length_is_found() {
        let ours = Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap();
        let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: SpkiHash([2; 32]) };
        let wrapped = wrap(&[7; 16], ours.public(), &info).unwrap();
        for bit in 0..WRAPPED_BYTES * 8 {
            let mut flipped = *wrapped.as_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = WrappedContentKey::from_bytes(&flipped).unwrap();
            assert_eq!(unwrap(&ours, &flipped, &info), Err(ContentKeyError::NotForUs), "bit {bit}");
        }
        for length in [0, WRAPPED_BYTES - 1, WRAPPED_BYTES + 1] {
            assert_eq!(WrappedContentKey::from_bytes(&vec![4; length]), Err(ContentKeyError::Length));
        }
    }

    #[test]
    fn an_rsa_key_receives_no_content_key() {
        let rsa = Signer::generate(KeyPurpose::DeviceTlsClassic).unwrap();
        let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: SpkiHash([2; 32]) };
        assert_eq!(wrap(&[7; 16], rsa.public(), &info), Err(ContentKeyError::Recipient));
    }
}
