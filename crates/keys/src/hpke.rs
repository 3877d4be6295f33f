//! Something secret sealed to one public key: HPKE (RFC 9180), DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
//!
//! The sender is rustls'. The receiver is here, since the private key may be in a TPM or a token that computes the ECDH and
//! nothing else: what follows it is RFC 9180, sections 4.1 and 5.1, on HMAC-SHA256.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::{aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_128, hpke::Hpke as _, hpke::HpkePublicKey};
use zeroize::Zeroizing;

use crate::{
    hashes::hmac_sha256,
    limits::LIMITS,
    public::{KeyAlgorithm, PublicKey},
    secret::Secret,
};

/// Bytes that sealing adds: the encapsulated key, a point, and the tag.
pub const OVERHEAD_BYTES: usize = POINT_BYTES + TAG_BYTES;

const POINT_BYTES: usize = 65;
const TAG_BYTES: usize = 16;
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
const HPKE_SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x01";

/// What one key's holder alone can open.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    encapsulated: [u8; POINT_BYTES],
    ciphertext: Vec<u8>,
}

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpkeError {
    /// The key is not P-256.
    #[error("secrets are sealed to P-256 keys only")]
    Recipient,
    /// It is for another key or purpose, or was changed.
    #[error("it is sealed for another key or purpose, or was changed")]
    NotForUs,
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error("the cryptographic library refused")]
    Refused,
}

impl Sealed {
    /// The encapsulated key, then the ciphertext.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.encapsulated[..], &self.ciphertext].concat()
    }

    /// Reads [`Sealed::to_bytes`]; `None` when they are too few or too many.
    pub fn from_bytes(bytes: &[u8]) -> Option<Sealed> {
        let (encapsulated, ciphertext) = bytes.split_first_chunk()?;
        let fits = (TAG_BYTES..=TAG_BYTES + LIMITS.sealed_secret).contains(&ciphertext.len());
        fits.then(|| Sealed { encapsulated: *encapsulated, ciphertext: ciphertext.to_vec() })
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// Seals a secret to a P-256 key for agreement. `info` says what it is, `aad` whose.
///
/// # Errors
/// [`HpkeError::Recipient`] for a key that is not P-256.
pub fn seal(recipient: &PublicKey, info: &[u8], aad: &[u8], secret: &[u8]) -> Result<Sealed, HpkeError> {
    if recipient.algorithm() != KeyAlgorithm::P256 {
        return Err(HpkeError::Recipient);
    }
    let recipient = HpkePublicKey(recipient.key_bytes().to_vec());
    let sealed = DH_KEM_P256_HKDF_SHA256_AES_128.seal(info, aad, secret, &recipient);
    let (encapsulated, ciphertext) = sealed.map_err(|_| HpkeError::Refused)?;
    let encapsulated = encapsulated.0.try_into().map_err(|_| HpkeError::Refused)?;
    Ok(Sealed { encapsulated, ciphertext })
}

/// Opens what was sealed to `recipient`, whose holder computes the ECDH with a point in `agree`. The outer result is the
/// holder's, the inner one tells whether it was for this key.
///
/// # Errors
/// What the holder says, and inside [`HpkeError::NotForUs`].
pub fn open<E>(
    sealed: &Sealed,
    recipient: &PublicKey,
    info: &[u8],
    aad: &[u8],
    agree: impl FnOnce(&[u8]) -> Result<Secret, E>,
) -> Result<Result<Secret, HpkeError>, E> {
    // A TPM and a token are not asked to compute with what is no point of the curve.
    if PublicKey::from_key_bytes(KeyAlgorithm::P256, &sealed.encapsulated).is_err() {
        return Ok(Err(HpkeError::NotForUs));
    }
    let shared = agree(&sealed.encapsulated)?;
    Ok(open_shared(&shared, &sealed.encapsulated, recipient.key_bytes(), info, aad, &sealed.ciphertext))
}

/// Decap, KeySchedule and the first Open of RFC 9180 in base mode, after the ECDH.
fn open_shared(
    shared: &Secret,
    encapsulated: &[u8],
    recipient: &[u8],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Secret, HpkeError> {
    let prk = extract(KEM_SUITE, &Secret::new(Vec::new()), b"eae_prk", shared.expose());
    let shared = expand(KEM_SUITE, &prk, b"shared_secret", &[encapsulated, recipient], 32);
    let none = Secret::new(Vec::new());
    let [psk_id, info] = [(&b"psk_id_hash"[..], &b""[..]), (b"info_hash", info)]
        .map(|(label, input)| extract(HPKE_SUITE, &none, label, input));
    let context: [&[u8]; 3] = [&[0], psk_id.expose(), info.expose()];
    let secret = extract(HPKE_SUITE, &shared, b"secret", b"");
    let key = expand(HPKE_SUITE, &secret, b"key", &context, 16);
    let nonce = expand(HPKE_SUITE, &secret, b"base_nonce", &context, 12);
    let key = UnboundKey::new(&AES_128_GCM, key.expose()).map_err(|_| HpkeError::Refused)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce.expose()).map_err(|_| HpkeError::Refused)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::from(aad), &mut buffer);
    Ok(Secret::new(opened.map_err(|_| HpkeError::NotForUs)?.to_vec()))
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
    use crate::{purpose::KeyPurpose, signer::Signer};

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
        let opened = open_shared(
            &shared.unwrap(),
            &encapsulated,
            recipient.as_ref(),
            b"Ode on a Grecian Urn",
            b"Count-0",
            &sealed,
        );
        assert!(opened.unwrap().ct_eq(b"Beauty is truth, truth beauty"));
    }

    #[test]
    fn what_is_sealed_opens_for_its_key_purpose_and_owner_only() {
        let [ours, other] = [(); 2].map(|()| Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap());
        let sealed = seal(ours.public(), b"share", b"ada", b"secret").unwrap();
        let open = |key: &Signer, info: &[u8], aad: &[u8]| {
            open(&sealed, key.public(), info, aad, |point| key.agree(point)).unwrap()
        };
        assert!(open(&ours, b"share", b"ada").unwrap().ct_eq(b"secret"));
        for (key, info, aad) in
            [(&other, &b"share"[..], &b"ada"[..]), (&ours, b"other", b"ada"), (&ours, b"share", b"ben")]
        {
            assert_eq!(open(key, info, aad).unwrap_err(), HpkeError::NotForUs);
        }
    }

    #[test]
    fn the_bytes_of_something_sealed_have_bounds() {
        for length in [0, OVERHEAD_BYTES - 1, OVERHEAD_BYTES + LIMITS.sealed_secret + 1] {
            assert!(Sealed::from_bytes(&vec![4; length]).is_none(), "{length}");
        }
        for length in [OVERHEAD_BYTES, OVERHEAD_BYTES + LIMITS.sealed_secret] {
            assert_eq!(Sealed::from_bytes(&vec![4; length]).unwrap().to_bytes(), vec![4; length]);
        }
    }
}
