//! Where a token is and how it is opened, as people write it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Which token of a library is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName {
    /// Its label.
    pub label: String,
    /// Its serial number, where several share a label.
    pub serial: Option<String>,
}

impl From<&str> for TokenName {
    fn from(label: &str) -> TokenName {
        TokenName { label: label.to_owned(), serial: None }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        self.serial.as_ref().map_or(Ok(()), |serial| write!(f, ";serial={serial}"))
    }
}

/// `<module path>;token=<label>[;serial=<serial number>];pin-file=<path>`: the vendor's library, the token, and the file with its PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// The vendor's PKCS#11 library.
    pub module: PathBuf,
    /// The token.
    pub token: TokenName,
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
    /// `serial=` has not the form of a serial number.
    #[error("a token's serial number has 1 to 16 bytes: ;serial=NUMBER, as `pkcs11-tool -L` shows it")]
    Serial,
    /// `pin-file=` is missing or relative.
    #[error(
        "name the file that holds the PIN by its absolute path: ;pin-file=/path. The PIN itself is never written here"
    )]
    PinFile,
    /// Something else is there, or something is there twice.
    #[error("after the library there may be ;token=, ;serial= and ;pin-file=, each once")]
    Unknown,
}

impl FromStr for TokenSpec {
    type Err = TokenSpecError;

    fn from_str(text: &str) -> Result<TokenSpec, TokenSpecError> {
        let mut parts = text.split(';');
        let module = parts.next().and_then(absolute).ok_or(TokenSpecError::Module)?;
        let (mut label, mut serial, mut pin_file) = (None, None, None);
        for part in parts {
            let before = match part.split_once('=') {
                Some(("token", value)) => label.replace(value),
                Some(("serial", value)) => serial.replace(value),
                Some(("pin-file", value)) => pin_file.replace(value),
                _ => return Err(TokenSpecError::Unknown),
            };
            if before.is_some() {
                return Err(TokenSpecError::Unknown);
            }
        }
        let label = label.filter(|label| (1..=32).contains(&label.len()) && label.trim() == *label);
        let label = label.ok_or(TokenSpecError::Label)?.to_owned();
        if serial.is_some_and(|serial| !(1..=16).contains(&serial.len()) || serial.trim() != serial) {
            return Err(TokenSpecError::Serial);
        }
        let token = TokenName { label, serial: serial.map(str::to_owned) };
        let pin_file = pin_file.and_then(absolute).ok_or(TokenSpecError::PinFile)?;
        Ok(TokenSpec { module, token, pin_file })
    }
}

fn absolute(text: &str) -> Option<PathBuf> {
    Some(Path::new(text)).filter(|path| path.is_absolute() && !text.contains(['\n', '\0'])).map(Path::to_owned)
}

impl fmt::Display for TokenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};token={};pin-file={}", self.module.display(), self.token, self.pin_file.display())
    }
}
