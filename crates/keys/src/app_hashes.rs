//! Hashes that applications ask for by name; the product itself uses [`crate::hashes`] only.

use aws_lc_rs::{digest, hmac};

/// A hash function an application may choose. SHA-1 is broken for signatures and here for old protocols' sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppHash {
    /// FIPS 180-4, 20 bytes.
    Sha1,
    /// FIPS 180-4, 32 bytes.
    Sha256,
    /// FIPS 180-4, 64 bytes.
    Sha512,
}

impl AppHash {
    /// The hash of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// HMAC (RFC 2104) of `bytes` under an application's own key.
    pub fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), bytes).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_match_fips_180_4() {
        let shown = |hash: AppHash| const_hex::encode(hash.of(b"abc"));
        assert_eq!(shown(AppHash::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(shown(AppHash::Sha256), const_hex::encode(crate::hashes::sha256(b"abc")));
        assert!(shown(AppHash::Sha512).starts_with("ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn hmac_matches_rfc_2202_and_rfc_4231_case_2() {
        let mac = |hash: AppHash| const_hex::encode(hash.hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(mac(AppHash::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(mac(AppHash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(mac(AppHash::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
    }
}
