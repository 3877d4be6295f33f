//! Which devices a loader boots: a digest of their key back end and their factory anchors, told from a place that secure boot covers.
//!
//! The storage alone cannot say whether it is the right one: whoever writes all of it writes its anchors as well. The pin is the same for all
//! devices of a model with the same back end, so that one signed loader fits them all.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keys::cbor;
use keys::hashes::sha256;
use keys::keystore::{KeystoreError, KeystoreSpec, read_spec};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use release::anchors::{Anchors, AnchorsError};
use release::limits::LIMITS;

use crate::folder::{BOOT_FOLDER, KEYS_FOLDER};

/// What the factory laid down, as it was, in the boot folder: nothing secret.
pub const FACTORY_ANCHORS_FILE: &str = "factory-anchors";
/// What a pin is of, so that its digest is none of anything else.
const DOMAIN: &str = "vouch boot pin";
const VERSION: u8 = 1;
const PREFIX: &str = "sha256:";

/// The digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// What a folder says that its device is. Nothing of it is believed before it is held against a pin.
#[derive(Debug)]
pub struct Pinned {
    /// The digest of both.
    pub pin: Pin,
    /// Where its keys are.
    pub keys: KeystoreSpec,
    /// What its factory laid down.
    pub anchors: Anchors,
}

/// A text that is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is written sha256: and 64 hex digits, as `vouch device status` shows it")]
pub struct NotAPin;

/// Why a folder has no pin.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It was made without one.
    #[error("{0} is not there: the device was made before devices could be pinned; provision it again")]
    NoAnchors(PathBuf),
    /// The factory's anchors.
    #[error("{file}: {source}")]
    Anchors {
        /// Their file.
        file: PathBuf,
        /// What is wrong with them.
        source: AnchorsError,
    },
    /// Which keys.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// The disk.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Form {
    #[n(0)]
    domain: String,
    #[n(1)]
    version: u8,
    #[n(2)]
    keys: String,
    #[n(3)]
    anchors: ByteVec,
}

impl Pin {
    /// The pin of devices with this back end and these factory anchors.
    pub fn of(keys: &KeystoreSpec, anchors: &Anchors) -> Pin {
        let (keys, anchors) = (keys.to_string(), anchors.to_cbor().into());
        Pin(sha256(&cbor::encode(&Form { domain: DOMAIN.to_owned(), version: VERSION, keys, anchors })))
    }
}

impl Pinned {
    /// Reads what a device's folder says of it; nothing is unsealed, and no key is touched.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn read(dir: &Path) -> Result<Pinned, PinError> {
        let file = dir.join(BOOT_FOLDER).join(FACTORY_ANCHORS_FILE);
        let keys = read_spec(&dir.join(KEYS_FOLDER))?;
        let opened = match File::open(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PinError::NoAnchors(file)),
            opened => opened,
        };
        let mut bytes = Vec::new();
        let read = opened.and_then(|from| from.take(LIMITS.anchors as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|source| PinError::Io { file: file.clone(), source })?;
        let anchors = Anchors::from_cbor(&bytes).map_err(|source| PinError::Anchors { file, source })?;
        Ok(Pinned { pin: Pin::of(&keys, &anchors), keys, anchors })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", const_hex::encode(self.0))
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Pin, NotAPin> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64).ok_or(NotAPin)?;
        Ok(Pin(const_hex::decode_to_array(digits).map_err(|_| NotAPin)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::fixture;
    use crate::boot::maker::Maker;

    #[test]
    fn a_pin_comes_back_from_its_text_and_another_text_is_none() {
        let pin = Pin::of(&KeystoreSpec::DangerSoftware, &fixture::anchors());
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let digits = pin.to_string()[PREFIX.len()..].to_owned();
        for wrong in
            [&digits, "", "sha256:", &format!("sha256:0x{}", &digits[2..]), &format!("{pin}0"), &pin.to_string()[1..]]
        {
            assert_eq!(wrong.parse::<Pin>(), Err(NotAPin), "{wrong}");
        }
    }

    #[test]
    fn another_back_end_other_registers_and_other_anchors_have_other_pins() {
        let keys = ["danger-software", "tpm2:device:/dev/tpmrm0;pcrs=0,2", "tpm2:device:/dev/tpmrm0"];
        let anchors = [fixture::anchors(), Maker::new().anchors(), Maker::new().anchors_for("test-2")];
        let mut pins: Vec<_> = keys
            .iter()
            .flat_map(|keys| anchors.iter().map(|anchors| Pin::of(&keys.parse().unwrap(), anchors).to_string()))
            .collect();
        pins.sort();
        pins.dedup();
        assert_eq!(pins.len(), keys.len() * anchors.len());
    }
}
