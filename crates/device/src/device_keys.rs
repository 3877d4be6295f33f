//! Who holds the secret keys of a running device: its parent, or, for development, the process itself.

use keys::cose::CosePurpose;
use keys::keystore::{AttestationLevel, Keystore, KeystoreError};
use keys::public::PublicKey;
use keys::secret::Secret;
use keys::signer::{KeyHolder, SignError};

use crate::parent::{ParentError, ParentLink};

/// Where signatures come from.
#[derive(Debug)]
pub enum DeviceKeys {
    /// This process holds the keys itself.
    Own(Box<Keystore>),
    /// The parent holds them, and does with them only what its messages allow.
    Parent(ParentKeys),
}

/// What a child knows of keys that it does not have.
#[derive(Debug)]
pub struct ParentKeys {
    pub(crate) link: ParentLink,
    pub(crate) identity: PublicKey,
    pub(crate) level: AttestationLevel,
}

/// Why a key did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// The key refused, or its back end failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key store failed.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The parent.
    #[error(transparent)]
    Parent(#[from] ParentError),
}

/// A TLS key that the parent holds.
#[derive(Debug)]
pub(crate) struct ParentTlsKey(pub(crate) ParentLink);

impl KeyHolder for ParentTlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign_tls(message).map_err(|error| SignError::Store(error.to_string()))
    }

    fn agree(&self, _point: &[u8]) -> Result<Secret, SignError> {
        Err(SignError::Store("a TLS key is not for agreement".to_owned()))
    }
}

impl DeviceKeys {
    /// The public half of the identity key.
    pub fn identity(&self) -> &PublicKey {
        match self {
            DeviceKeys::Own(keys) => keys.identity(),
            DeviceKeys::Parent(keys) => &keys.identity,
        }
    }

    /// How well the identity key is kept.
    pub fn level(&self) -> AttestationLevel {
        match self {
            DeviceKeys::Own(keys) => keys.level(),
            DeviceKeys::Parent(keys) => keys.level,
        }
    }

    /// Signs this payload for this purpose with the identity key: r and s of ES256. It waits for the back end.
    ///
    /// # Errors
    /// [`DeviceKeyError`].
    pub fn sign(&self, purpose: CosePurpose, payload: &[u8]) -> Result<[u8; 64], DeviceKeyError> {
        match self {
            DeviceKeys::Own(keys) => Ok(keys.sign(purpose, payload)?),
            DeviceKeys::Parent(keys) => Ok(keys.link.sign(purpose, payload)?),
        }
    }

    /// Steps the hardware counter to the epoch that the vault has begun.
    ///
    /// # Errors
    /// [`DeviceKeyError`].
    pub(crate) fn step_counter(&self, to: u64) -> Result<(), DeviceKeyError> {
        match self {
            DeviceKeys::Own(keys) => Ok(keys.advance_counter(to)?),
            DeviceKeys::Parent(keys) => Ok(keys.link.step_counter(to)?),
        }
    }
}
