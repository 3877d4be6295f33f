//! Where a token is and how it is opened, as people write it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// `<module path>;token=<label>;pin-file=<path>`: the vendor's library, the token's label, and the file with its PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// The vendor's PKCS#11 library.
    pub module: PathBuf,
    /// The label of the token.
    pub label: String,
    /// The file that holds the user PIN, mode 0600.
    pub pin_file: PathBuf,
}

/// A text that says not where a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenSpecError {
    /// The module's path comes first and must be absolute: the loader would look for any other along its search path.
    #[error("name the absolute path of the PKCS#11 library first, as in /usr/lib/softhsm/libsofthsm2.so;token=NAME")]
    Module,
    /// `token=` is missing, or its label has not the form of one.
    #[error("name the token's label, 1 to 32 bytes: ;token=NAME")]
    Label,
    /// `pin-file=` is missing or relative.
    #[error(
        "name the file that holds the PIN by its absolute path: ;pin-file=/path. The PIN itself is never written here"
    )]
    PinFile,
    /// Something else is there, or something is there twice.
    #[error("after the library there may be ;token= and ;pin-file=, each once")]
    Unknown,
}

impl FromStr for TokenSpec {
    type Err = TokenSpecError;

    fn from_str(text: &str) -> Result<TokenSpec, TokenSpecError> {
        let mut parts = text.split(';');
        let module = parts.next().and_then(absolute).ok_or(TokenSpecError::Module)?;
        let (mut label, mut pin_file) = (None, None);
        for part in parts {
            let before = match part.split_once('=') {
                Some(("token", value)) => label.replace(value),
                Some(("pin-file", value)) => pin_file.replace(value),
                _ => return Err(TokenSpecError::Unknown),
            };
            if before.is_some() {
                return Err(TokenSpecError::Unknown);
            }
        }
        let label = label.filter(|label| (1..=32).contains(&label.len()) && label.trim() == *label);
        let label = label.ok_or(TokenSpecError::Label)?.to_owned();
        let pin_file = pin_file.and_then(absolute).ok_or(TokenSpecError::PinFile)?;
        Ok(TokenSpec { module, label, pin_file })
    }
}

fn absolute(text: &str) -> Option<PathBuf> {
    Some(Path::new(text)).filter(|path| path.is_absolute() && !text.contains(['\n', '\0'])).map(Path::to_owned)
}

impl fmt::Display for TokenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};token={};pin-file={}", self.module.display(), self.label, self.pin_file.display())
    }
}
