//! SHA-256, HMAC-SHA256, constant-time comparison and random bytes.

use aws_lc_rs::{constant_time, digest, hmac, rand};

use crate::secret::Secret;

/// SHA-256 of the whole input.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(bytes);
    sha.finish()
}

/// SHA-256 of input that arrives in pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// A hash over no input yet.
    pub fn new() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

/// HMAC-SHA256 (RFC 2104) over the concatenation of `parts`; the caller makes the split unambiguous.
pub fn hmac_sha256(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let mut mac = hmac::Context::with_key(&key);
    for part in parts {
        mac.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(mac.sign().as_ref());
    out
}

/// Whether two byte strings are equal, in time that depends on their lengths only.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Fills the buffer with random bytes from the operating system's generator.
#[expect(clippy::expect_used, reason = "without randomness there is no safe way on, and nothing outside can cause it")]
pub fn fill_random(out: &mut [u8]) {
    rand::fill(out).expect("the operating system gave no random bytes");
}

/// `N` random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill_random(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_matches_fips_180_4_and_is_the_same_in_pieces() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(const_hex::encode(sha256(b"abc")), expected);
        let mut sha = Sha256::new();
        sha.update(b"a");
        sha.update(b"");
        sha.update(b"bc");
        assert_eq!(const_hex::encode(sha.finish()), expected);
    }

    #[test]
    fn hmac_matches_rfc_4231_case_2() {
        let mac = hmac_sha256(&Secret::from("Jefe".to_owned()), &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(const_hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn random_bytes_differ_each_time() {
        assert_ne!(random::<32>(), random::<32>());
    }
}
