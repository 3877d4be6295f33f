//! The two TLS profiles: `classic` and `modern`.

use std::{fmt, str::FromStr};

use crate::public::KeyAlgorithm;

/// A TLS profile: version, suite, key exchange and certificate algorithm, fixed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// TLS 1.2 with ECDHE-RSA-AES128-GCM-SHA256 and RSA-2048 certificates.
    Classic,
    /// TLS 1.3 with AES128-GCM-SHA256, hybrid X25519MLKEM768 and P-256 certificates. The default.
    Modern,
}

impl Profile {
    /// Both profiles.
    pub const ALL: [Profile; 2] = [Profile::Classic, Profile::Modern];

    /// The algorithm of every certificate key in this profile.
    pub fn key_algorithm(self) -> KeyAlgorithm {
        match self {
            Profile::Classic => KeyAlgorithm::Rsa2048,
            Profile::Modern => KeyAlgorithm::P256,
        }
    }

    /// The name used in configuration and on the wire: `classic` or `modern`.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Classic => "classic",
            Profile::Modern => "modern",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such TLS profile: use `classic` or `modern`")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL.into_iter().find(|profile| profile.as_str() == text).ok_or(UnknownProfile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nothing_else_parses() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        for wrong in ["", "Modern", "modern ", "tls13"] {
            assert_eq!(wrong.parse::<Profile>(), Err(UnknownProfile));
        }
    }
}
