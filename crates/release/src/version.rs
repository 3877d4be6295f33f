//! The version of an OS release: one number of three parts over all models of a product.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

/// Three parts, compared from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct OsVersion {
    /// The first part.
    #[n(0)]
    pub major: u16,
    /// The second part.
    #[n(1)]
    pub minor: u16,
    /// The third part.
    #[n(2)]
    pub patch: u16,
}

/// The text is no OS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an OS version is three numbers from 0 to 65535 with dots between them and no leading zeros, as in 1.4.0")]
pub struct NotAVersion;

impl OsVersion {
    /// The version of these parts.
    pub const fn new(major: u16, minor: u16, patch: u16) -> OsVersion {
        OsVersion { major, minor, patch }
    }
}

impl fmt::Display for OsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for OsVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<OsVersion, NotAVersion> {
        let mut parts = text.splitn(3, '.').map(|part| part.parse::<u16>().map_err(|_| NotAVersion));
        let mut next = || parts.next().ok_or(NotAVersion)?;
        let version = OsVersion::new(next()?, next()?, next()?);
        // The one spelling, so that equal versions are equal texts.
        if version.to_string() == text { Ok(version) } else { Err(NotAVersion) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_spelling_and_an_order() {
        for text in ["0.0.0", "1.4.0", "10.0.65535"] {
            assert_eq!(text.parse::<OsVersion>().unwrap().to_string(), text);
        }
        for text in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "+1.2.3", "1.2.65536", "1.2.-1", " 1.2.3", "1.2.3 ", "1..3", "a.b.c"]
        {
            assert_eq!(text.parse::<OsVersion>(), Err(NotAVersion), "{text:?}");
        }
        assert!(OsVersion::new(1, 9, 9) < OsVersion::new(1, 10, 0));
        assert!(OsVersion::new(1, 65535, 65535) < OsVersion::new(2, 0, 0));
    }
}
