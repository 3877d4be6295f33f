//! The RSA-4096 key that signs OS manifests: PSS with SHA-256 and 32 bytes of salt, in COSE_Sign1 as PS256 (RFC 8230).
//!
//! The private key belongs into an HSM, so signing has two halves: [`to_be_signed`] gives the bytes, and [`assemble`] takes the
//! signature and checks it before any message exists. For development there is [`DangerSoftwareReleaseKey`].

use std::{fmt, path::Path};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, ParsedPublicKey, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair},
};
use coset::iana::Algorithm;

use crate::{
    cose::{self, CoseError},
    hashes::sha256,
    private_file::{self, Existing},
    public::{BadSignature, SpkiHash},
    purpose::KeyPurpose,
    secret::Secret,
    signer::{KeyError, SignError, file_name},
};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 512;

/// Says what is signed (RFC 9052, section 4.3), so that a signature for anything else is none for a manifest.
const EXTERNAL_AAD: &[u8] = b"vouch/os-manifest/1";

/// The DER of an RSA-4096 SubjectPublicKeyInfo (RFC 3279) up to its modulus, whose first bit is set.
const SPKI_PREFIX: [u8; 33] = [
    0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
];
/// The public exponent 65537.
const SPKI_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Bytes of a release key's SubjectPublicKeyInfo.
pub const SPKI_BYTES: usize = SPKI_PREFIX.len() + 512 + SPKI_SUFFIX.len();
/// Bytes before the RSAPublicKey structure in it.
const RSA_PUBLIC_KEY_AT: usize = 24;

/// The public half, parsed and checked once.
#[derive(Clone)]
pub struct ReleaseKey {
    spki: Box<[u8]>,
    parsed: ParsedPublicKey,
}

/// Bytes that are no release key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a release key: it must be the SubjectPublicKeyInfo (DER) of an RSA key with 4096 bits and exponent 65537")]
pub struct NotAReleaseKey;

impl ReleaseKey {
    /// Reads a SubjectPublicKeyInfo in DER: RSA, exactly 4096 bits, exponent 65537, nothing after it.
    ///
    /// # Errors
    /// [`NotAReleaseKey`].
    pub fn from_spki_der(der: &[u8]) -> Result<ReleaseKey, NotAReleaseKey> {
        let modulus = der.strip_prefix(&SPKI_PREFIX).and_then(|rest| rest.strip_suffix(&SPKI_SUFFIX));
        modulus.filter(|modulus| modulus.len() == 512 && modulus[0] & 0x80 != 0).ok_or(NotAReleaseKey)?;
        let key = der.get(RSA_PUBLIC_KEY_AT..).unwrap_or_default();
        let parsed = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).map_err(|_| NotAReleaseKey)?;
        Ok(ReleaseKey { spki: der.into(), parsed })
    }

    /// The key of this modulus, as a PKCS#11 module gives it (big endian), with exponent 65537.
    ///
    /// # Errors
    /// [`NotAReleaseKey`] for a modulus of another length.
    pub fn from_modulus(modulus: &[u8]) -> Result<ReleaseKey, NotAReleaseKey> {
        ReleaseKey::from_spki_der(&[&SPKI_PREFIX, modulus, &SPKI_SUFFIX].concat())
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn spki_hash(&self) -> SpkiHash {
        SpkiHash(sha256(&self.spki))
    }

    /// Checks a PSS signature with SHA-256, MGF1-SHA256 and exactly 32 bytes of salt.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.parsed.verify_sig(message, signature).map_err(|_| BadSignature)
    }
}

impl PartialEq for ReleaseKey {
    fn eq(&self, other: &ReleaseKey) -> bool {
        self.spki == other.spki
    }
}

impl Eq for ReleaseKey {}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({})", self.spki_hash())
    }
}

/// The bytes that the release key signs for this manifest: the Sig_structure of RFC 9052, section 4.4.
pub fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    cose::sig_structure(Algorithm::PS256, EXTERNAL_AAD, payload)
}

/// The COSE_Sign1 of a manifest, once its signature is there. It is checked first, so that a bad one goes nowhere.
///
/// # Errors
/// [`CoseError::BadSignature`] when it is not the signature of this key over [`to_be_signed`].
pub fn assemble(key: &ReleaseKey, payload: &[u8], signature: &[u8]) -> Result<Vec<u8>, CoseError> {
    key.verify(&to_be_signed(payload), signature).map_err(|_| CoseError::BadSignature)?;
    Ok(cose::sign1(Algorithm::PS256, payload, signature))
}

/// Checks the COSE_Sign1 of a manifest against keys of which any may have signed it. Gives its payload, and whose it is.
///
/// # Errors
/// [`CoseError`].
pub fn verify<'k>(
    keys: impl IntoIterator<Item = &'k ReleaseKey>,
    cose: &[u8],
) -> Result<(Vec<u8>, &'k ReleaseKey), CoseError> {
    let (payload, signature) = cose::parts::<SIGNATURE_BYTES>(Algorithm::PS256, cose)?;
    let message = to_be_signed(&payload);
    let signer = keys.into_iter().find(|key| key.verify(&message, &signature).is_ok());
    Ok((payload, signer.ok_or(CoseError::BadSignature)?))
}

/// The payload of the COSE_Sign1 of a manifest, whoever signed it: good for showing and sorting, and for nothing else.
///
/// # Errors
/// [`CoseError`] when it is not in the one form.
pub fn danger_unverified(cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    cose::parts::<SIGNATURE_BYTES>(Algorithm::PS256, cose).map(|(payload, _)| payload)
}

/// A release key in a file, for development: whoever copies the file signs OS images.
pub struct DangerSoftwareReleaseKey {
    public: ReleaseKey,
    pkcs8: Secret,
    pair: RsaKeyPair,
}

impl DangerSoftwareReleaseKey {
    /// A new key. It takes seconds: primes are found by luck.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<DangerSoftwareReleaseKey, KeyError> {
        let failed = |_| KeyError::Generate { purpose: KeyPurpose::Release };
        let pair = RsaKeyPair::generate(KeySize::Rsa4096).map_err(failed)?;
        DangerSoftwareReleaseKey::from_pkcs8(Secret::new(AsDer::as_der(&pair).map_err(failed)?.as_ref().to_vec()))
    }

    /// Reads the key from its file in this folder, mode 0600.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(folder: &Path) -> Result<DangerSoftwareReleaseKey, KeyError> {
        DangerSoftwareReleaseKey::from_pkcs8(private_file::read(&folder.join(file_name(KeyPurpose::Release)))?)
    }

    /// Writes the key into its file in this folder, mode 0600, whole or not at all.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn save(&self, folder: &Path, existing: Existing) -> Result<(), KeyError> {
        let path = folder.join(file_name(KeyPurpose::Release));
        Ok(private_file::write(&path, self.pkcs8.expose(), existing)?)
    }

    /// The public half.
    pub fn public(&self) -> &ReleaseKey {
        &self.public
    }

    /// Signs the bytes that [`to_be_signed`] made.
    ///
    /// # Errors
    /// [`SignError::Failed`], which nothing from outside can cause.
    pub fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = vec![0; SIGNATURE_BYTES];
        let signed = self.pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), to_be_signed, &mut signature);
        signed.map_err(|_| SignError::Failed)?;
        Ok(signature)
    }

    /// The COSE_Sign1 of a manifest, as [`assemble`] gives it.
    ///
    /// # Errors
    /// [`SignError::Failed`], which nothing from outside can cause.
    pub fn sign_manifest(&self, payload: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign(&to_be_signed(payload))?;
        assemble(&self.public, payload, &signature).map_err(|_| SignError::Failed)
    }

    /// Takes the one encoding that [`DangerSoftwareReleaseKey::save`] writes.
    fn from_pkcs8(pkcs8: Secret) -> Result<DangerSoftwareReleaseKey, KeyError> {
        let does_not_fit = || KeyError::DoesNotFit { purpose: KeyPurpose::Release };
        let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).map_err(|_| does_not_fit())?;
        let again = AsDer::as_der(&pair).map_err(|_| does_not_fit())?;
        if !pkcs8.ct_eq(again.as_ref()) {
            return Err(does_not_fit());
        }
        let spki = [&SPKI_PREFIX[..RSA_PUBLIC_KEY_AT], pair.public_key().as_ref()].concat();
        let public = ReleaseKey::from_spki_der(&spki).map_err(|_| does_not_fit())?;
        Ok(DangerSoftwareReleaseKey { public, pkcs8, pair })
    }
}

impl fmt::Debug for DangerSoftwareReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DangerSoftwareReleaseKey({})", self.public.spki_hash())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaPssSaltLength};

    use super::*;

    fn signed_otherwise(key: &DangerSoftwareReleaseKey, message: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let salted = |length| RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(length));
        let (short, none, long) = (salted(20), salted(0), salted(33));
        let ways: [(&'static str, &'static dyn aws_lc_rs::signature::RsaEncoding); 5] = [
            ("PKCS#1 v1.5", &RSA_PKCS1_SHA256),
            ("PSS with SHA-384", &RSA_PSS_SHA384),
            ("20 bytes of salt", Box::leak(Box::new(short))),
            ("no salt", Box::leak(Box::new(none))),
            ("33 bytes of salt", Box::leak(Box::new(long))),
        ];
        ways.map(|(name, way)| {
            let mut signature = vec![0; SIGNATURE_BYTES];
            key.pair.sign(way, &SystemRandom::new(), message, &mut signature).unwrap();
            (name, signature)
        })
        .into()
    }

    #[test]
    fn only_pss_with_sha_256_and_32_bytes_of_salt_by_this_key_for_this_purpose_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        DangerSoftwareReleaseKey::generate().unwrap().save(dir.path(), Existing::Refuse).unwrap();
        let key = DangerSoftwareReleaseKey::load(dir.path()).unwrap();
        let message = to_be_signed(b"manifest");
        let signature = key.sign(&message).unwrap();
        let cose = assemble(key.public(), b"manifest", &signature).unwrap();
        assert_eq!(verify([key.public()], &cose), Ok((b"manifest".to_vec(), key.public())));

        for (name, other) in signed_otherwise(&key, &message) {
            assert_eq!(assemble(key.public(), b"manifest", &other), Err(CoseError::BadSignature), "{name}");
            let cose = cose::sign1(Algorithm::PS256, b"manifest", &other);
            assert_eq!(verify([key.public()], &cose), Err(CoseError::BadSignature), "{name}");
        }
        for purpose in cose::CosePurpose::ALL {
            let other = key.sign(&cose::sig_structure(Algorithm::PS256, purpose.external_aad(), b"manifest")).unwrap();
            assert_eq!(assemble(key.public(), b"manifest", &other), Err(CoseError::BadSignature), "{purpose:?}");
        }
        let es256 = cose::sign1(Algorithm::ES256, b"manifest", &signature);
        assert_eq!(verify([key.public()], &es256), Err(CoseError::Form));
        for byte in 0..cose.len() {
            let mut flipped = cose.clone();
            flipped[byte] ^= 1;
            assert!(verify([key.public()], &flipped).is_err(), "byte {byte}");
        }
        assert_eq!(verify([key.public()], &[&cose[..], &[0]].concat()), Err(CoseError::Form));
        assert_eq!(verify([], &cose), Err(CoseError::BadSignature));
    }

    #[test]
    fn keys_of_another_size_exponent_or_form_are_no_release_keys() {
        let modulus = |length: usize| [vec![0xc1; length - 1], vec![0x01]].concat();
        let key = ReleaseKey::from_modulus(&modulus(512)).unwrap();
        assert_eq!(key.spki_der().len(), SPKI_BYTES);
        assert_eq!(ReleaseKey::from_spki_der(key.spki_der()), Ok(key.clone()));
        for length in [256, 384, 511, 513, 1024] {
            assert_eq!(ReleaseKey::from_modulus(&modulus(length)), Err(NotAReleaseKey), "{length}");
        }
        let mut shorter = modulus(512);
        shorter[0] = 0x7f;
        assert_eq!(ReleaseKey::from_modulus(&shorter), Err(NotAReleaseKey), "4095 bits");
        let mut exponent = key.spki_der().to_vec();
        *exponent.last_mut().unwrap() = 0x03;
        assert_eq!(ReleaseKey::from_spki_der(&exponent), Err(NotAReleaseKey));
        assert_eq!(ReleaseKey::from_spki_der(&[key.spki_der(), &[0]].concat()), Err(NotAReleaseKey));
        let real = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let real = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(real.public_key()).unwrap();
        assert_eq!(ReleaseKey::from_spki_der(real.as_ref()), Err(NotAReleaseKey), "2048 bits");
    }
}
