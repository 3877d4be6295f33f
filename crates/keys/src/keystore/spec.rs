//! Which back end holds secret keys, as people write it.

use std::{fmt, str::FromStr};

use crate::{
    pkcs11::{TokenSpec, TokenSpecError},
    tpm2::{TpmSpec, TpmSpecError},
};

/// What makes and holds secret keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeystoreSpec {
    /// Files that whoever reads the disk can copy: nothing but their mode protects the keys, a storage root included.
    DangerSoftware,
    /// A TPM 2.0.
    Tpm2(TpmSpec),
    /// A PKCS#11 token.
    Pkcs11(TokenSpec),
}

/// A text that names no back end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// None of the known ones.
    #[error(
        "`{0}` is no key back end; there are tpm2:device:/dev/tpmrm0;pcrs=0,2,7 and \
         pkcs11:/path/to/library.so;token=NAME;pin-file=/path, and danger-software, which keeps secret keys in files that can be \
         copied"
    )]
    Unknown(String),
    /// The file that names the back end is not one line of text.
    #[error("the file does not name a key back end in one line")]
    Form,
    /// A TPM that cannot be meant.
    #[error("tpm2: {0}")]
    Tpm(#[from] TpmSpecError),
    /// A token that cannot be meant.
    #[error("pkcs11: {0}")]
    Token(#[from] TokenSpecError),
}

impl FromStr for KeystoreSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<KeystoreSpec, SpecError> {
        match text.split_once(':') {
            None if text == "danger-software" => Ok(KeystoreSpec::DangerSoftware),
            Some(("tpm2", rest)) => Ok(KeystoreSpec::Tpm2(rest.parse()?)),
            Some(("pkcs11", rest)) => Ok(KeystoreSpec::Pkcs11(rest.parse()?)),
            _ => Err(SpecError::Unknown(text.to_owned())),
        }
    }
}

impl KeystoreSpec {
    /// Seals storage to the registers that the maker of the board names, where the back end can.
    ///
    /// # Errors
    /// [`SpecError::Tpm`] when other registers are named here already, or it cannot be sealed to those.
    pub fn for_board(self, pcrs: &[u8]) -> Result<KeystoreSpec, SpecError> {
        match self {
            KeystoreSpec::Tpm2(tpm) => Ok(KeystoreSpec::Tpm2(tpm.for_board(pcrs)?)),
            other => Ok(other),
        }
    }
}

impl fmt::Display for KeystoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeystoreSpec::DangerSoftware => f.write_str("danger-software"),
            KeystoreSpec::Tpm2(tpm) => write!(f, "tpm2:{tpm}"),
            KeystoreSpec::Pkcs11(token) => write!(f, "pkcs11:{token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in [
            "danger-software",
            "tpm2:device:/dev/tpmrm0",
            "tpm2:device:/dev/tpmrm0;pcrs=0,2,7",
            "tpm2:swtpm:host=127.0.0.1,port=2321;pcrs=0",
            "pkcs11:/usr/lib/p11.so;token=device;pin-file=/etc/pin",
            "pkcs11:/usr/lib/p11.so;token=device;serial=0123456789abcdef;pin-file=/etc/pin",
        ] {
            assert_eq!(text.parse::<KeystoreSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (text, says) in [
            ("", "no key back end"),
            ("software", "danger-software"),
            ("danger-software:", "no key back end"),
            ("tpm2:", "how the TPM is reached"),
            ("tpm2:/dev/tpmrm0", "how the TPM is reached"),
            ("tpm2:device:/dev/tpmrm0;pcrs=", "each from 0 to 15"),
            ("tpm2:device:/dev/tpmrm0;pcrs=0,0", "each from 0 to 15"),
            ("tpm2:device:/dev/tpmrm0;pcrs=16", "each from 0 to 15"),
            ("tpm2:device:/dev/tpmrm0;pcrs=14,15", "register 15"),
            ("tpm2:device:/dev/tpmrm0;pins=1", ";pcrs="),
            ("pkcs11:lib.so;token=a;pin-file=/pin", "absolute path of the PKCS#11 library"),
            ("pkcs11:/lib.so;pin-file=/pin", "the token's label"),
            ("pkcs11:/lib.so;token=a", "file that holds the PIN"),
            ("pkcs11:/lib.so;token=a;pin-file=pin", "file that holds the PIN"),
            ("pkcs11:/lib.so;token=a;pin=1234", "each once"),
            ("pkcs11:/lib.so;token=a;token=b;pin-file=/pin", "each once"),
            ("pkcs11:/lib.so;token=a;serial=;pin-file=/pin", "serial number has 1 to 16 bytes"),
            ("pkcs11:/lib.so;token=a;serial=0123456789abcdef0;pin-file=/pin", "serial number has 1 to 16 bytes"),
            ("pkcs11:/lib.so;serial=1;pin-file=/pin", "the token's label"),
        ] {
            let error = text.parse::<KeystoreSpec>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let label =
            |length| format!("pkcs11:/lib.so;token={};pin-file=/pin", "a".repeat(length)).parse::<KeystoreSpec>();
        assert!(label(32).is_ok() && label(33).is_err());
        let highest: KeystoreSpec = "tpm2:device:/dev/tpmrm0;pcrs=14".parse().unwrap();
        assert!(matches!(highest, KeystoreSpec::Tpm2(tpm) if tpm.pcrs.contains(&14)));
    }
    #[test]
    fn the_registers_are_those_of_the_board() {
        let sealed = |text: &str, pcrs: &[u8]| text.parse::<KeystoreSpec>().unwrap().for_board(pcrs);
        let tpm = "tpm2:device:/dev/tpmrm0";
        for named in ["", ";pcrs=0,2,7", ";pcrs=7,0,2"] {
            let spec = sealed(&format!("{tpm}{named}"), &[0, 2, 7]).unwrap();
            assert_eq!(spec.to_string(), format!("{tpm};pcrs=0,2,7"));
        }
        let other = sealed(&format!("{tpm};pcrs=0,7"), &[0, 2, 7]).unwrap_err().to_string();
        assert!(other.contains("pcrs=0,7 are not the registers 0,2,7 that the board file names"), "{other}");
        assert!(sealed(tpm, &[0, 15]).unwrap_err().to_string().contains("register 15"));
        assert!(sealed(tpm, &[16]).unwrap_err().to_string().contains("each from 0 to 15"));
        assert_eq!(sealed("danger-software", &[0]).unwrap(), KeystoreSpec::DangerSoftware);
    }
}
