//! Accounts: the people and organisations that own things.

use std::fmt;
use std::str::FromStr;

use super::ids::AccountId;
use super::text::{self, Invalid};

/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in bytes; more costs the hash time without giving strength.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Who owns products and devices. The password's hash is not part of it and never leaves the store but to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it logs in with, beside the e-mail address.
    pub username: AccountName,
    /// Its e-mail address; may be empty.
    pub email: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it last changed, Unix milliseconds.
    pub updated_ms: i64,
}

/// A user name: 1 to 80 characters of letters, digits and `.`, `_`, `-`, `+`, `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccountName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text::name("an account", text)?;
        let allowed = |letter: char| letter.is_alphanumeric() || "._-+@".contains(letter);
        if text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid("an account's name has letters, digits and . _ - + @ only".to_owned()))
        }
    }
}

/// Checks that a new password is long enough to be worth hashing.
///
/// # Errors
/// Too short or too long.
pub fn check_new_password(password: &[u8]) -> Result<(), Invalid> {
    let chars = String::from_utf8_lossy(password).chars().count();
    if chars < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(Invalid(format!(
            "a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_plain() {
        for good in ["me", "a.b-c_d+e@example.com", "ünal"] {
            assert!(good.parse::<AccountName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a\nb", &"x".repeat(81)] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_has_8_characters_to_1024_bytes() {
        assert!(check_new_password(b"1234567").is_err());
        assert!(check_new_password(b"12345678").is_ok());
        assert!(check_new_password(&[b'x'; PASSWORD_BYTES_MAX]).is_ok());
        assert!(check_new_password(&[b'x'; PASSWORD_BYTES_MAX + 1]).is_err());
    }
}
