//! A private key that is not in this process's memory: what holds it is asked for each use, and its answer is checked.

use std::{fmt, sync::Arc};

use rustls::{
    SignatureAlgorithm, SignatureScheme,
    sign::{Signer as TlsSigner, SigningKey as TlsSigningKey},
};

use super::SignError;
use crate::{
    public::{KeyAlgorithm, PublicKey, ecdsa_der},
    purpose::KeyPurpose,
    secret::Secret,
};

/// What uses one private key on request: a TPM, a PKCS#11 token, a parent process.
pub trait KeyHolder: fmt::Debug + Send + Sync {
    /// Signs a message: with P-256 the 64 bytes r and s of ECDSA with SHA-256, with RSA PKCS#1 v1.5 with SHA-256. It may take
    /// a second and must not be called where that delays others.
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The shared secret of ECDH with this point (65 bytes, uncompressed): its 32-byte x coordinate.
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used, or is not for agreement.
    fn agree(&self, point: &[u8]) -> Result<Secret, SignError>;

    /// What finds the key again, for a file in its place; `None` where files are not how it is found.
    fn reference(&self) -> Option<String> {
        None
    }

    /// Removes a key that is of no use for ever; nothing where it goes by itself.
    ///
    /// # Errors
    /// [`SignError`] when what holds it is away, or refuses.
    fn discard(&self) -> Result<(), SignError> {
        Ok(())
    }
}

/// A private key elsewhere and its one purpose.
#[derive(Clone)]
pub struct HeldKey {
    pub(super) purpose: KeyPurpose,
    pub(super) public: PublicKey,
    pub(super) holder: Arc<dyn KeyHolder>,
}

impl HeldKey {
    /// Signs, and checks that it is this key's signature before anybody sees it: a token that looked up another key, or was
    /// disturbed while it computed, gives away nothing.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.holder.sign(message)?;
        self.public.verify(message, &signature).map_err(|_| SignError::NotThisKey)?;
        Ok(signature)
    }

    /// As [`HeldKey::sign`], in the form that X.509 and TLS want.
    pub(super) fn sign_for_x509(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.sign(message)?;
        match self.public.algorithm() {
            KeyAlgorithm::P256 => ecdsa_der(&signature).ok_or(SignError::Failed),
            KeyAlgorithm::Rsa2048 => Ok(signature),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        match self.public.algorithm() {
            KeyAlgorithm::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyAlgorithm::Rsa2048 => SignatureScheme::RSA_PKCS1_SHA256,
        }
    }
}

impl TlsSigningKey for HeldKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.public.algorithm() {
            KeyAlgorithm::P256 => SignatureAlgorithm::ECDSA,
            KeyAlgorithm::Rsa2048 => SignatureAlgorithm::RSA,
        }
    }
}

impl TlsSigner for HeldKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.sign_for_x509(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        HeldKey::scheme(self)
    }
}

impl fmt::Debug for HeldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldKey({}, {}, {:?})", self.purpose, self.public.spki_hash(), self.holder)
    }
}
