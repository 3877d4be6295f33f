//! What a device never goes below: it keeps these numbers where a wiped cache or an older copy does not reach them.

use keys::cbor::{self, CborError};
use minicbor::{Decode, Encode};

use crate::manifest::Manifest;
use crate::version::OsVersion;

/// The lowest that is still taken. They move only up: [`Floors::raise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Floors {
    /// The version of the last confirmed OS image.
    #[n(0)]
    pub version: OsVersion,
    /// Its security epoch.
    #[n(1)]
    pub security_epoch: u32,
}

/// Something is older than what the device has confirmed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BelowFloor {
    /// An older release.
    #[error(
        "OS version {offered} is older than {floor}, which this device has confirmed; older images are never taken"
    )]
    Version {
        /// What was offered.
        offered: OsVersion,
        /// What is needed.
        floor: OsVersion,
    },
    /// A release from before a security fix that counts.
    #[error(
        "security epoch {offered} is lower than {floor}, which this device has confirmed; such images are never taken"
    )]
    SecurityEpoch {
        /// What was offered.
        offered: u32,
        /// What is needed.
        floor: u32,
    },
}

impl Floors {
    /// The floors of a device that has confirmed nothing.
    pub const NONE: Floors = Floors { version: OsVersion::new(0, 0, 0), security_epoch: 0 };

    /// Reads floors.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Floors, CborError> {
        cbor::decode(bytes)
    }

    /// Their one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Whether an image may be started or installed.
    ///
    /// # Errors
    /// [`BelowFloor`].
    pub fn admit(&self, manifest: &Manifest) -> Result<(), BelowFloor> {
        let (offered, floor) = (manifest.version, self.version);
        if offered < floor {
            return Err(BelowFloor::Version { offered, floor });
        }
        let (offered, floor) = (manifest.security_epoch, self.security_epoch);
        if offered < floor {
            return Err(BelowFloor::SecurityEpoch { offered, floor });
        }
        Ok(())
    }

    /// The floors after this image was confirmed.
    #[must_use]
    pub fn raise(&self, confirmed: &Manifest) -> Floors {
        Floors {
            version: self.version.max(confirmed.version),
            security_epoch: self.security_epoch.max(confirmed.security_epoch),
        }
    }
}
