//! Public keys, their hashes, and the device id made from them.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use crate::hashes::sha256;

/// The DER of a P-256 SubjectPublicKeyInfo up to its point (RFC 5480). Only uncompressed points are taken.
const P256_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P256_LEN: usize = P256_PREFIX.len() + 64;

/// The DER of an RSA-2048 SubjectPublicKeyInfo up to its modulus (RFC 3279), whose first bit is set.
const RSA_PREFIX: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// The public exponent 65537.
const RSA_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
const RSA_LEN: usize = RSA_PREFIX.len() + 256 + RSA_SUFFIX.len();
/// Bytes before the `subjectPublicKey` contents in an RSA-2048 SubjectPublicKeyInfo.
const RSA_KEY_AT: usize = 24;

/// The algorithm of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// An elliptic-curve key on P-256.
    P256,
    /// An RSA key with 2048 bits and exponent 65537.
    Rsa2048,
}

/// Why bytes are no public key that is taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither of the two forms, byte for byte.
    #[error("not a SubjectPublicKeyInfo of an uncompressed P-256 or an RSA-2048 key with exponent 65537")]
    Form,
    /// A key of the other algorithm.
    #[error("the public key has the wrong algorithm for its use")]
    WrongAlgorithm,
    /// The point is not on the curve, or the modulus is not usable.
    #[error("the public key is not a valid key of its algorithm")]
    NotValid,
}

/// A signature did not verify: it, the message or the key is not the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A public key, parsed and checked once. P-256 unless made by [`PublicKey::from_any_spki_der`].
#[derive(Clone)]
pub struct PublicKey {
    spki: Box<[u8]>,
    algorithm: KeyAlgorithm,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a P-256 SubjectPublicKeyInfo (RFC 5480) in DER, uncompressed, with nothing after it.
    pub fn from_spki_der(der: &[u8]) -> Result<PublicKey, PublicKeyError> {
        let key = PublicKey::from_any_spki_der(der)?;
        match key.algorithm {
            KeyAlgorithm::P256 => Ok(key),
            KeyAlgorithm::Rsa2048 => Err(PublicKeyError::WrongAlgorithm),
        }
    }

    /// Reads a P-256 or RSA-2048 SubjectPublicKeyInfo in DER, as TLS certificates hold them.
    ///
    /// Both forms have one length and fixed bytes around the key, so that equal keys have equal hashes.
    pub fn from_any_spki_der(der: &[u8]) -> Result<PublicKey, PublicKeyError> {
        let (algorithm, verification, key): (_, &'static dyn VerificationAlgorithm, _) =
            if der.len() == P256_LEN && der.starts_with(&P256_PREFIX) {
                (KeyAlgorithm::P256, &signature::ECDSA_P256_SHA256_FIXED, key_bytes(der, P256_PREFIX.len() - 1))
            } else if der.len() == RSA_LEN
                && der.starts_with(&RSA_PREFIX)
                && der.ends_with(&RSA_SUFFIX)
                && der.get(RSA_PREFIX.len()).is_some_and(|first| first & 0x80 != 0)
            {
                (KeyAlgorithm::Rsa2048, &signature::RSA_PKCS1_2048_8192_SHA256, key_bytes(der, RSA_KEY_AT))
            } else {
                return Err(PublicKeyError::Form);
            };
        let parsed = ParsedPublicKey::new(verification, key).map_err(|_| PublicKeyError::NotValid)?;
        Ok(PublicKey { spki: der.into(), algorithm, parsed })
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn spki_hash(&self) -> SpkiHash {
        SpkiHash(sha256(&self.spki))
    }

    /// The device id, if this is a device's identity key.
    pub fn device_id(&self) -> DeviceId {
        DeviceId::from(self.spki_hash())
    }

    /// Checks a signature: for P-256 the 64 bytes r and s (ES256, RFC 9053), for RSA PKCS#1 v1.5 with SHA-256.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.parsed.verify_sig(message, signature).map_err(|_| BadSignature)
    }

    /// The contents of `subjectPublicKey`: the point, or the RSAPublicKey structure.
    pub(crate) fn key_bytes(&self) -> &[u8] {
        let at = match self.algorithm {
            KeyAlgorithm::P256 => P256_PREFIX.len() - 1,
            KeyAlgorithm::Rsa2048 => RSA_KEY_AT,
        };
        key_bytes(&self.spki, at)
    }

    /// The RSA-2048 key of this modulus (256 bytes, big endian), with exponent 65537.
    #[cfg(any(feature = "pkcs11", feature = "tpm2"))]
    pub(crate) fn from_rsa_2048_modulus(modulus: &[u8]) -> Result<PublicKey, PublicKeyError> {
        PublicKey::from_any_spki_der(&[&RSA_PREFIX, modulus, &RSA_SUFFIX].concat())
    }

    /// The key whose `subjectPublicKey` has these contents.
    pub(crate) fn from_key_bytes(algorithm: KeyAlgorithm, key: &[u8]) -> Result<PublicKey, PublicKeyError> {
        let prefix = match algorithm {
            KeyAlgorithm::P256 => P256_PREFIX.get(..P256_PREFIX.len() - 1),
            KeyAlgorithm::Rsa2048 => RSA_PREFIX.get(..RSA_KEY_AT),
        };
        PublicKey::from_any_spki_der(&[prefix.unwrap_or_default(), key].concat())
    }
}

/// The DER form (RFC 3279, Ecdsa-Sig-Value) of a P-256 signature given as r and s side by side.
pub fn ecdsa_der(r_and_s: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = r_and_s.split_at_checked(32).filter(|(_, s)| s.len() == 32)?;
    let integers = [der_integer(r), der_integer(s)].concat();
    // Two integers of at most 33 bytes: the length takes one byte.
    Some([&[0x30, u8::try_from(integers.len()).ok()?], &integers[..]].concat())
}

/// A DER INTEGER of at most 32 big-endian bytes: without leading zeros, and one before a set first bit.
fn der_integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
    let digits = bytes.get(zeros..).unwrap_or_default();
    let sign = digits.first().is_some_and(|first| first & 0x80 != 0);
    let length = digits.len() + usize::from(sign);
    let mut out = vec![0x02, u8::try_from(length).unwrap_or_default()];
    out.extend(sign.then_some(0));
    out.extend(digits);
    out
}

fn key_bytes(spki: &[u8], at: usize) -> &[u8] {
    spki.get(at..).unwrap_or_default()
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.spki_hash())
    }
}

/// SHA-256 of a SubjectPublicKeyInfo: what everything about a device is keyed by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpkiHash(pub [u8; 32]);

impl SpkiHash {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The short name of a device: the first 8 bytes of its identity key's [`SpkiHash`], as 16 hex digits.
///
/// Never enough to authenticate: wherever identity is proved, the full hash is compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub [u8; 8]);

impl From<SpkiHash> for DeviceId {
    fn from(hash: SpkiHash) -> DeviceId {
        let [a, b, c, d, e, f, g, h, ..] = hash.0;
        DeviceId([a, b, c, d, e, f, g, h])
    }
}

/// The text is not the lower-case hex of an id of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hex digits")]
pub struct BadHex {
    digits: usize,
}

macro_rules! hex_text {
    ($name:ident, $len:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&const_hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadHex;

            fn from_str(text: &str) -> Result<$name, BadHex> {
                let bad = BadHex { digits: 2 * $len };
                let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if text.len() != 2 * $len || !lower {
                    return Err(bad);
                }
                const_hex::decode_to_array(text).map($name).map_err(|_| bad)
            }
        }
    };
}

hex_text!(SpkiHash, 32);
hex_text!(DeviceId, 8);
