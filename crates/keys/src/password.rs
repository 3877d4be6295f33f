//! Password hashes (Argon2id) and bearer tokens.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    hashes::{random, sha256},
    limits::LIMITS,
    secret::Secret,
};

/// Memory in KiB, passes and lanes: the first choice of the OWASP Password Storage Cheat Sheet for Argon2id.
pub const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
pub const PASSES: u32 = 2;
/// Lanes computed side by side.
pub const LANES: u32 = 1;

/// Bytes of randomness in a bearer token.
const TOKEN_BYTES: usize = 32;

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty, or longer than [`LIMITS`]`.password` bytes.
    #[error("a password has 1 to {} bytes", LIMITS.password)]
    Length,
    /// The hash could not be computed.
    #[error("the password could not be hashed")]
    Hash,
}

/// Hashes a password for storage, as a PHC string with a fresh salt. Takes tens of milliseconds of CPU.
pub fn hash(password: &Secret) -> Result<String, PasswordError> {
    check_length(password)?;
    let hashed = argon2()?.hash_password_with_salt(password.expose(), &random::<16>());
    Ok(hashed.map_err(|_| PasswordError::Hash)?.to_string())
}

/// Whether this is the password of a stored hash. A hash with other parameters than ours is never a match, so
/// that nobody who can write the database makes the server spend more time or memory than one hash takes.
pub fn verify(stored: &str, password: &Secret) -> bool {
    let (Ok(()), Ok(argon2), Ok(stored)) = (check_length(password), argon2(), PasswordHash::new(stored)) else {
        return false;
    };
    let ours = Params::try_from(&stored)
        .is_ok_and(|params| (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES));
    ours && argon2.verify_password(password.expose(), &stored).is_ok()
}

/// Takes as long as [`verify`], for an account that does not exist, so that time does not tell which accounts do.
pub fn verify_absent(password: &Secret) {
    // The result has no meaning; only the time it takes has.
    let _ = hash(password);
}

/// A new bearer token: 256 random bits as base64url, 43 characters.
pub fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>())
}

/// What the server stores of a token, and looks it up by. No token is longer than [`LIMITS`]`.token` bytes.
pub fn token_hash(token: &str) -> Option<[u8; 32]> {
    (token.len() <= LIMITS.token).then(|| sha256(token.as_bytes()))
}

fn check_length(password: &Secret) -> Result<(), PasswordError> {
    let length = password.expose().len();
    if length == 0 || length > LIMITS.password { Err(PasswordError::Length) } else { Ok(()) }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Hash)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn the_right_password_matches_and_any_other_does_not() {
        let stored = hash(&secret("correct horse")).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify(&stored, &secret("correct horse")));
        assert!(!verify(&stored, &secret("correct horsf")));
        assert!(!verify(&stored, &secret("")));
        assert_ne!(stored, hash(&secret("correct horse")).unwrap());
    }

    #[test]
    fn passwords_have_a_bound_on_both_sides() {
        let longest = secret(&"x".repeat(LIMITS.password));
        assert!(verify(&hash(&longest).unwrap(), &longest));
        assert_eq!(hash(&secret(&"x".repeat(LIMITS.password + 1))), Err(PasswordError::Length));
        assert_eq!(hash(&secret("")), Err(PasswordError::Length));
    }

    #[test]
    fn a_stored_hash_with_other_parameters_or_none_is_no_match_and_costs_nothing() {
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let cheap = cheap.hash_password_with_salt(b"password", &[7; 16]).unwrap().to_string();
        assert!(!verify(&cheap, &secret("password")));
        let costly = cheap.replace("m=8,t=1", "m=4194304,t=1000");
        assert_ne!(cheap, costly);
        let began = std::time::Instant::now();
        assert!(!verify(&costly, &secret("password")));
        assert!(began.elapsed().as_secs() < 5, "the parameters of the stored hash were obeyed");
        let ours = hash(&secret("password")).unwrap();
        assert!(!verify(&ours.replace("argon2id", "argon2i"), &secret("password")));
        for garbage in ["", "$", "password", "$argon2id$v=19$m=19456,t=2,p=1$", "$argon2id$v=19$m=19456,t=2,p=1$AAAA"] {
            assert!(!verify(garbage, &secret("password")), "{garbage}");
        }
    }

    #[test]
    fn tokens_are_random_and_their_hash_has_a_bound() {
        let token = random_token();
        assert_eq!(token.len(), 43);
        assert_ne!(token, random_token());
        assert_eq!(token_hash(&token), Some(sha256(token.as_bytes())));
        assert!(token_hash(&"x".repeat(LIMITS.token)).is_some());
        assert!(token_hash(&"x".repeat(LIMITS.token + 1)).is_none());
    }
}
