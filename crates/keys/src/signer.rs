//! Private keys behind one seam: what they sign is decided by their purpose.

mod handshake;
mod held;
#[cfg(feature = "pkcs11")]
pub(crate) mod token;

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::{
    agreement,
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use rustls::sign::SigningKey as TlsSigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    cose,
    pkcs11::TokenSpec,
    private_file::{self, Existing, PrivateFileError},
    public::{KeyAlgorithm, PublicKey},
    purpose::{KeyPurpose, PurposeAlgorithm},
    secret::Secret,
};

pub use held::{HeldKey, KeyHolder};

/// A private key and its one purpose, wherever the key lives.
#[derive(Debug)]
pub enum Signer {
    /// The key is in this process's memory and in a file.
    Software(SoftwareKey),
    /// The key is elsewhere and is asked for each use.
    Held(HeldKey),
}

/// A private key in memory.
pub struct SoftwareKey {
    purpose: KeyPurpose,
    public: PublicKey,
    pkcs8: Secret,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    /// ECDH only: there is nothing here that could sign.
    Ecdh,
    Rsa(RsaKeyPair),
}

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Keys of this purpose are no key pairs.
    #[error("`{purpose}` is not the purpose of a key pair")]
    NotAKeyPair {
        /// The purpose asked for.
        purpose: KeyPurpose,
    },
    /// The bytes are no private key of the purpose's algorithm.
    #[error("not a PKCS#8 private key that fits `{purpose}` ({})", .purpose.facts().algorithm.as_str())]
    DoesNotFit {
        /// The purpose asked for.
        purpose: KeyPurpose,
    },
    /// The cryptographic library could not make a key.
    #[error("could not make a key for `{purpose}`")]
    Generate {
        /// The purpose asked for.
        purpose: KeyPurpose,
    },
    /// This program cannot reach tokens.
    #[error("this program was built without PKCS#11; use one with the feature `pkcs11`")]
    NoTokens,
    /// The token that holds the key, or shall hold it.
    #[cfg(feature = "pkcs11")]
    #[error(transparent)]
    Token(#[from] crate::pkcs11::TokenError),
    /// The key's file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
}

/// Why a key refused to sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key's purpose does not allow this kind of signature.
    #[error("a key for `{0}` does not make this signature")]
    WrongPurpose(KeyPurpose),
    /// An identity key signs nothing but a Sig_structure with a purpose of this crate.
    #[error("an identity key signs COSE Sig_structures with a known purpose only")]
    NotToBeSigned,
    /// A TLS key signs for another process nothing but a handshake of its profile.
    #[error("a TLS key signs nothing for another process but a handshake of its profile")]
    NotAHandshake,
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error("the key could not sign")]
    Failed,
    /// What holds the key cannot use it now.
    #[error("{0}")]
    Store(String),
    /// What holds the key answered with something that is no signature of this key.
    #[error("what came back is no signature of this key; it is not used. Check which key the token or TPM holds")]
    NotThisKey,
}

impl Signer {
    /// Makes a new software key for this purpose.
    pub fn generate(purpose: KeyPurpose) -> Result<Signer, KeyError> {
        let failed = |_| KeyError::Generate { purpose };
        let pkcs8 = match key_pair_algorithm(purpose)? {
            KeyAlgorithm::P256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                Secret::new(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
            }
            KeyAlgorithm::Rsa2048 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                Secret::new(AsDer::as_der(&pair).map_err(failed)?.as_ref().to_vec())
            }
        };
        Signer::from_pkcs8(pkcs8, purpose)
    }

    /// Reads the key of this purpose from `folder`, or what finds it in its token; the file is named after the purpose and has
    /// mode 0600.
    pub fn load(folder: &Path, purpose: KeyPurpose) -> Result<Signer, KeyError> {
        key_pair_algorithm(purpose)?;
        let (file, reference) = (folder.join(file_name(purpose)), folder.join(reference_name(purpose)));
        if reference.exists() && !file.exists() {
            return Signer::load_reference(&reference, purpose);
        }
        Signer::from_pkcs8(private_file::read(&file)?, purpose)
    }

    /// Has a token make a new key for this purpose.
    ///
    /// # Errors
    /// [`KeyError`], also when this program was built without PKCS#11.
    pub fn in_token(spec: &TokenSpec, purpose: KeyPurpose) -> Result<Signer, KeyError> {
        #[cfg(feature = "pkcs11")]
        return token::create(spec, purpose);
        #[cfg(not(feature = "pkcs11"))]
        {
            let _ = spec;
            key_pair_algorithm(purpose)?;
            Err(KeyError::NoTokens)
        }
    }

    pub(crate) fn load_reference(path: &Path, purpose: KeyPurpose) -> Result<Signer, KeyError> {
        #[cfg(feature = "pkcs11")]
        return token::load(path, purpose);
        #[cfg(not(feature = "pkcs11"))]
        {
            let _ = (path, purpose);
            Err(KeyError::NoTokens)
        }
    }

    /// A key elsewhere. Its signatures are held against `public` before they are used.
    pub fn held(purpose: KeyPurpose, public: PublicKey, holder: Arc<dyn KeyHolder>) -> Result<Signer, KeyError> {
        if key_pair_algorithm(purpose)? != public.algorithm() {
            return Err(KeyError::DoesNotFit { purpose });
        }
        Ok(Signer::Held(HeldKey { purpose, public, holder }))
    }

    /// Writes the key into `folder` under the name of its purpose, mode 0600, whole or not at all. Of a key in a
    /// token the file says only where it is.
    pub fn save(&self, folder: &Path, existing: Existing) -> Result<(), KeyError> {
        match self {
            Signer::Software(key) => {
                let path = folder.join(file_name(key.purpose));
                private_file::write(&path, key.pkcs8.expose(), existing)?;
            }
            Signer::Held(key) => {
                let path = folder.join(reference_name(key.purpose));
                if let Some(reference) = key.holder.reference() {
                    private_file::write(&path, reference.as_bytes(), existing)?;
                }
            }
        }
        Ok(())
    }

    /// What holds the key, where it is not in this process's memory.
    pub(crate) fn holder(&self) -> Option<&Arc<dyn KeyHolder>> {
        match self {
            Signer::Software(_) => None,
            Signer::Held(key) => Some(&key.holder),
        }
    }

    /// What the key is for.
    pub fn purpose(&self) -> KeyPurpose {
        match self {
            Signer::Software(key) => key.purpose,
            Signer::Held(key) => key.purpose,
        }
    }

    /// Whether each use of the key waits for something outside of this process.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Signer::Held(_))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        match self {
            Signer::Software(key) => &key.public,
            Signer::Held(key) => &key.public,
        }
    }

    /// Signs a COSE Sig_structure (made by [`cose::to_be_signed`]) with the identity key: r and s of ES256.
    ///
    /// No other purpose signs here, and nothing but a Sig_structure is signed, so that nobody who can ask for
    /// a signature obtains one over bytes of their own.
    pub fn sign(&self, to_be_signed: &[u8]) -> Result<[u8; 64], SignError> {
        if self.purpose() != KeyPurpose::DeviceIdentity {
            return Err(SignError::WrongPurpose(self.purpose()));
        }
        if !cose::is_to_be_signed(to_be_signed) {
            return Err(SignError::NotToBeSigned);
        }
        let key = match self {
            Signer::Software(key) => key,
            Signer::Held(key) => return key.sign(to_be_signed)?.try_into().map_err(|_| SignError::Failed),
        };
        let Pair::Ecdsa(pair) = &key.pair else { return Err(SignError::Failed) };
        let signature = pair.sign(&SystemRandom::new(), to_be_signed).map_err(|_| SignError::Failed)?;
        signature.as_ref().try_into().map_err(|_| SignError::Failed)
    }

    /// ECDH with a point (65 bytes, uncompressed): the raw shared secret, which never leaves this crate.
    pub(crate) fn agree(&self, point: &[u8]) -> Result<Secret, SignError> {
        if self.purpose().facts().algorithm != PurposeAlgorithm::EcdhP256 {
            return Err(SignError::WrongPurpose(self.purpose()));
        }
        let key = match self {
            Signer::Software(key) => key,
            Signer::Held(key) => return key.holder.agree(point),
        };
        let private = agreement::PrivateKey::from_private_key_der(&agreement::ECDH_P256, key.pkcs8.expose());
        let private = private.map_err(|_| SignError::Failed)?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
        agreement::agree(&private, peer, SignError::Failed, |shared| Ok(Secret::new(shared.to_vec())))
    }

    /// The key as rustls takes it. Only TLS purposes have one.
    pub(crate) fn tls_key(&self) -> Result<Arc<dyn TlsSigningKey>, SignError> {
        match self.purpose() {
            KeyPurpose::GatewayTlsClassic
            | KeyPurpose::GatewayTlsModern
            | KeyPurpose::DeviceTlsClassic
            | KeyPurpose::DeviceTlsModern => {}
            other => return Err(SignError::WrongPurpose(other)),
        }
        let key = match self {
            Signer::Software(key) => key,
            Signer::Held(key) => return Ok(Arc::new(key.clone())),
        };
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8.expose()));
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|_| SignError::Failed)
    }

    /// Signs a certificate or certificate request: DER for ECDSA, PKCS#1 v1.5 for RSA.
    pub(crate) fn sign_certificate(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, SignError> {
        if matches!(self.purpose(), KeyPurpose::DeviceIdentity | KeyPurpose::DeviceKeyAgreement) {
            return Err(SignError::WrongPurpose(self.purpose()));
        }
        let key = match self {
            Signer::Software(key) => key,
            Signer::Held(key) => return key.sign_for_x509(to_be_signed),
        };
        match &key.pair {
            Pair::Ecdh => Err(SignError::WrongPurpose(key.purpose)),
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), to_be_signed).map_err(|_| SignError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), to_be_signed, &mut signature)
                    .map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
        }
    }

    /// Takes a key only in the one encoding [`Signer::save`] writes: the parsers below overlook trailing bytes.
    fn from_pkcs8(pkcs8: Secret, purpose: KeyPurpose) -> Result<Signer, KeyError> {
        let does_not_fit = || KeyError::DoesNotFit { purpose };
        let algorithm = key_pair_algorithm(purpose)?;
        let (pair, public) = match algorithm {
            KeyAlgorithm::P256 => {
                // COSE wants r and s side by side, X.509 wants them in DER.
                let form = match purpose {
                    KeyPurpose::DeviceIdentity => &ECDSA_P256_SHA256_FIXED_SIGNING,
                    _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
                };
                let pair = EcdsaKeyPair::from_pkcs8(form, pkcs8.expose()).map_err(|_| does_not_fit())?;
                let again = pair.to_pkcs8v1().map_err(|_| does_not_fit())?;
                if !pkcs8.ct_eq(again.as_ref()) {
                    return Err(does_not_fit());
                }
                let public = PublicKey::from_key_bytes(algorithm, pair.public_key().as_ref());
                let agrees = purpose.facts().algorithm == PurposeAlgorithm::EcdhP256;
                (if agrees { Pair::Ecdh } else { Pair::Ecdsa(pair) }, public)
            }
            KeyAlgorithm::Rsa2048 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).map_err(|_| does_not_fit())?;
                let again = AsDer::as_der(&pair).map_err(|_| does_not_fit())?;
                if !pkcs8.ct_eq(again.as_ref()) {
                    return Err(does_not_fit());
                }
                let public = PublicKey::from_key_bytes(algorithm, pair.public_key().as_ref());
                (Pair::Rsa(pair), public)
            }
        };
        let public = public.map_err(|_| does_not_fit())?;
        Ok(Signer::Software(SoftwareKey { purpose, public, pkcs8, pair }))
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKey({}, {})", self.purpose, self.public.spki_hash())
    }
}

/// The file of a key pair: PKCS#8 in DER.
pub fn file_name(purpose: KeyPurpose) -> String {
    format!("{purpose}.key")
}

/// The file that says where the key of this purpose is: a token and an id in it.
pub fn reference_name(purpose: KeyPurpose) -> String {
    format!("{purpose}.token")
}

fn key_pair_algorithm(purpose: KeyPurpose) -> Result<KeyAlgorithm, KeyError> {
    match purpose.facts().algorithm {
        PurposeAlgorithm::EcdsaP256 | PurposeAlgorithm::EcdhP256 => Ok(KeyAlgorithm::P256),
        PurposeAlgorithm::Rsa2048 => Ok(KeyAlgorithm::Rsa2048),
        _ => Err(KeyError::NotAKeyPair { purpose }),
    }
}
