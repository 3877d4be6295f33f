//! Libraries: sources that an account's code asks for with `#require "Name:1.2.3"`.

use super::ids::AccountId;
use super::text::{Invalid, NAME_CHARS};

/// The most versions of libraries that one account keeps.
pub const LIBRARIES_PER_ACCOUNT: i64 = 1_000;
/// The longest version, characters.
const VERSION_CHARS: usize = 32;

/// One version of a library, without its code. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Whose code can ask for it.
    pub owner: AccountId,
    /// 1 to 80 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Three numbers with points between them.
    pub version: String,
    /// Of the code.
    pub sha256: [u8; 32],
    /// When it was added, Unix milliseconds.
    pub added_ms: i64,
}

impl Library {
    /// Checks name and version.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if self.name.is_empty() || self.name.len() > NAME_CHARS || !self.name.chars().all(allowed) {
            return Err(Invalid(format!("the name of a library has 1 to {NAME_CHARS} letters, digits and . _ - only")));
        }
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = self.version.split('.').collect();
        if parts.len() != 3 || !parts.into_iter().all(number) || self.version.len() > VERSION_CHARS {
            return Err(Invalid("the version of a library is three numbers, as 1.2.3".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(name: &str, version: &str) -> bool {
        let (name, version) = (name.to_owned(), version.to_owned());
        Library { owner: AccountId::random(), name, version, sha256: [0; 32], added_ms: 0 }.check().is_ok()
    }

    #[test]
    fn names_and_versions_are_what_require_can_ask_for() {
        assert!(is_allowed("Rocky.class.nut", "1.2.3"));
        assert!(is_allowed(&"x".repeat(NAME_CHARS), "10.0.0"));
        for name in ["", "a:b", "a b", "a\"b", "ü", &"x".repeat(NAME_CHARS + 1)] {
            assert!(!is_allowed(name, "1.2.3"), "{name}");
        }
        for version in ["", "1", "1.2", "1.2.3.4", "1..3", "a.b.c", "1.2.-3", &format!("1.2.{}", "3".repeat(40))] {
            assert!(!is_allowed("x", version), "{version}");
        }
    }
}
