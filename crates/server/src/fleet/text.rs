//! What a text that a person sends may be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// A value that breaks a rule of the fleet; the text says which and what is allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(pub String);

/// The longest name, in characters.
pub(crate) const NAME_CHARS: usize = 80;
/// The longest description, in characters.
pub(crate) const DESCRIPTION_CHARS: usize = 255;

/// Checks a name: 1 to 80 characters, none of them a control character.
pub(crate) fn name(what: &str, text: &str) -> Result<(), Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid(format!("{what} needs a name of 1 to {NAME_CHARS} characters")));
    }
    line(&format!("the name of {what}"), text, NAME_CHARS)
}

/// Checks a description: at most 255 characters; it may be empty.
pub(crate) fn description(text: &str) -> Result<(), Invalid> {
    line("a description", text, DESCRIPTION_CHARS)
}

/// Checks a text of at most `chars` characters without control characters.
pub(crate) fn line(what: &str, text: &str, chars: usize) -> Result<(), Invalid> {
    if text.chars().count() > chars {
        return Err(Invalid(format!("{what} has at most {chars} characters")));
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t') {
        return Err(Invalid(format!("{what} may not hold control characters")));
    }
    Ok(())
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn is_base64url(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_have_bounds() {
        assert!(name("a product", &"x".repeat(NAME_CHARS)).is_ok());
        assert!(name("a product", &"x".repeat(NAME_CHARS + 1)).is_err());
        assert!(name("a product", "").is_err());
        assert!(name("a product", "  ").is_err());
        assert!(name("a product", "a\0b").is_err());
        assert!(description(&"ü".repeat(DESCRIPTION_CHARS)).is_ok());
        assert!(description(&"ü".repeat(DESCRIPTION_CHARS + 1)).is_err());
        assert!(description("").is_ok());
    }
}
