//! Which back end holds a device's keys, as people write it.

use std::{fmt, str::FromStr};

/// What makes and holds a device's secret keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeystoreSpec {
    /// Files that whoever reads the disk can copy: nothing but their mode protects the keys, the storage root included.
    DangerSoftware,
}

/// A text that names no back end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// None of the known ones.
    #[error(
        "`{0}` is no key back end; there is danger-software, which keeps the device's secret keys in files that can be copied"
    )]
    Unknown(String),
    /// The file that names the back end is not one line of text.
    #[error("the file does not name a key back end in one line")]
    Form,
}

impl FromStr for KeystoreSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<KeystoreSpec, SpecError> {
        match text {
            "danger-software" => Ok(KeystoreSpec::DangerSoftware),
            other => Err(SpecError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for KeystoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeystoreSpec::DangerSoftware => f.write_str("danger-software"),
        }
    }
}
