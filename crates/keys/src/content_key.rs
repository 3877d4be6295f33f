//! Content keys on their way to one device: HPKE (RFC 9180), DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
//!
//! The sender is rustls'. The receiver is here, since the private key may be in a TPM or a token that computes the ECDH and
//! nothing else: what follows it is RFC 9180, sections 4.1 and 5.1, on HMAC-SHA256.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::{aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_128, hpke::Hpke as _, hpke::HpkePublicKey};
use zeroize::Zeroizing;

use crate::{
    hashes::hmac_sha256,
    public::{KeyAlgorithm, PublicKey, SpkiHash},
    secret::Secret,
    signer::{SignError, Signer},
};

/// Bytes of a content key.
pub const CONTENT_KEY_BYTES: usize = 16;
/// Bytes of a content key wrapped for a device.
pub const WRAPPED_BYTES: usize = POINT_BYTES + CONTENT_KEY_BYTES + TAG_BYTES;

const POINT_BYTES: usize = 65;
const TAG_BYTES: usize = 16;
/// Separates content keys from all else that could be sent to the same key.
const INFO: &[u8] = b"vouch/content-key/1";
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
const HPKE_SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x01";

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
    if recipient.algorithm() != KeyAlgorithm::P256 {
        return Err(ContentKeyError::Recipient);
    }
    let recipient = HpkePublicKey(recipient.key_bytes().to_vec());
    let sealed = DH_KEM_P256_HKDF_SHA256_AES_128.seal(&info.to_bytes(), b"", key, &recipient);
    let (encapsulated, sealed) = sealed.map_err(|_| ContentKeyError::Refused)?;
    WrappedContentKey::from_bytes(&[encapsulated.0, sealed].concat()).map_err(|_| ContentKeyError::Refused)
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
    let (encapsulated, sealed) = wrapped.0.split_at(POINT_BYTES);
    // A TPM and a token are not asked to compute with what is no point of the curve.
    PublicKey::from_key_bytes(KeyAlgorithm::P256, encapsulated).map_err(|_| ContentKeyError::NotForUs)?;
    let shared = key.agree(encapsulated)?;
    let opened = open(&shared, encapsulated, key.public().key_bytes(), &info.to_bytes(), b"", sealed)?;
    let mut content_key = Zeroizing::new([0; CONTENT_KEY_BYTES]);
    content_key.copy_from_slice(opened.get(..CONTENT_KEY_BYTES).ok_or(ContentKeyError::NotForUs)?);
    Ok(content_key)
}

/// Decap, KeySchedule and the first Open of RFC 9180 in base mode, after the ECDH.
fn open(
    shared: &Secret,
    encapsulated: &[u8],
    recipient: &[u8],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ContentKeyError> {
    let prk = extract(KEM_SUITE, &Secret::new(Vec::new()), b"eae_prk", shared.expose());
    let shared = expand(KEM_SUITE, &prk, b"shared_secret", &[encapsulated, recipient], 32);
    let none = Secret::new(Vec::new());
    let [psk_id, info] = [(&b"psk_id_hash"[..], &b""[..]), (b"info_hash", info)]
        .map(|(label, input)| extract(HPKE_SUITE, &none, label, input));
    let context: [&[u8]; 3] = [&[0], psk_id.expose(), info.expose()];
    let secret = extract(HPKE_SUITE, &shared, b"secret", b"");
    let key = expand(HPKE_SUITE, &secret, b"key", &context, 16);
    let nonce = expand(HPKE_SUITE, &secret, b"base_nonce", &context, 12);
    let key = UnboundKey::new(&AES_128_GCM, key.expose()).map_err(|_| ContentKeyError::Refused)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce.expose()).map_err(|_| ContentKeyError::Refused)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::from(aad), &mut buffer);
    let length = opened.map_err(|_| ContentKeyError::NotForUs)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// LabeledExtract (RFC 9180, section 4). HMAC pads an empty salt with zeros, as HKDF wants.
fn extract(suite: &[u8], salt: &Secret, label: &[u8], input: &[u8]) -> Secret {
    Secret::new(hmac_sha256(salt, &[b"HPKE-v1", suite, label, input]).to_vec())
}

/// LabeledExpand (RFC 9180, section 4) to at most one block of HKDF: 32 bytes.
fn expand(suite: &[u8], prk: &Secret, label: &[u8], info: &[&[u8]], length: u8) -> Secret {
    let length_bytes = [0, length];
    let mut parts: Vec<&[u8]> = vec![&length_bytes, b"HPKE-v1", suite, label];
    parts.extend(info);
    parts.push(&[1]);
    let block = Zeroizing::new(hmac_sha256(prk, &parts));
    Secret::new(block.get(..usize::from(length)).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};

    use super::*;
    use crate::purpose::KeyPurpose;

    fn hex(text: &str) -> Vec<u8> {
        const_hex::decode(text).unwrap()
    }

    #[test]
    fn the_receiver_is_that_of_rfc_9180_appendix_a_3_1() {
        let private = hex("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2");
        let private = PrivateKey::from_private_key(&ECDH_P256, &private).unwrap();
        let recipient = private.compute_public_key().unwrap();
        let encapsulated = hex(
            "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9b\
             fcb9382657222d18c4",
        );
        let shared = agree(&private, UnparsedPublicKey::new(&ECDH_P256, &encapsulated), (), |shared| {
            Ok(Secret::new(shared.to_vec()))
        });
        let sealed = hex("5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434");
        let opened =
            open(&shared.unwrap(), &encapsulated, recipient.as_ref(), b"Ode on a Grecian Urn", b"Count-0", &sealed);
        assert_eq!(*opened.unwrap(), b"Beauty is truth, truth beauty");
    }

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
