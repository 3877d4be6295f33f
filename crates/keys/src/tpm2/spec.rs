//! Where a TPM is and which of its registers the storage root is sealed to, as people write it.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// The register that is extended with what is about to run (SHA-256 bank). It is not resettable, and no storage is sealed to
/// it, so that an OS update needs no sealing again.
pub const MEASURED_PCR: u8 = 15;

/// The registers of the PC Client profile that only a reset of the machine clears: 0 to 15.
const LAST_PCR: u8 = 15;

/// `<TCTI>[;pcrs=0,2,7]`: how the TPM is reached, and the registers that the storage root is sealed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmSpec {
    /// How the TPM is reached: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
    pub tcti: String,
    /// The registers (SHA-256 bank) that must be as they were when the device was provisioned; none: the storage root is bound
    /// to the TPM alone, not to what was booted.
    pub pcrs: BTreeSet<u8>,
}

/// A text that says not where a TPM is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TpmSpecError {
    /// No way to a TPM that is known.
    #[error("say how the TPM is reached: device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321")]
    Tcti,
    /// The list of registers.
    #[error("name the registers as in pcrs=0,2,7: each from 0 to {LAST_PCR} and once")]
    Pcrs,
    /// The register that this program extends itself.
    #[error("register {MEASURED_PCR} is extended with what is about to run, so the storage cannot be sealed to it")]
    OwnPcr,
    /// The board file names others.
    #[error(
        "pcrs={named} are not the registers {board} that the board file names under [security]; leave pcrs= out to take the board's, or \
         correct the one that is wrong"
    )]
    OtherPcrs {
        /// Those named with the TPM.
        named: String,
        /// Those of the board.
        board: String,
    },
    /// Something else is there.
    #[error("after the way to the TPM there may be ;pcrs= once")]
    Unknown,
}

impl FromStr for TpmSpec {
    type Err = TpmSpecError;

    fn from_str(text: &str) -> Result<TpmSpec, TpmSpecError> {
        let (tcti, rest) = text.split_once(';').map_or((text, None), |(tcti, rest)| (tcti, Some(rest)));
        let known = tcti.strip_prefix("device:/").or_else(|| tcti.strip_prefix("swtpm:"));
        known.filter(|rest| !rest.is_empty() && !rest.contains(['\n', '\0'])).ok_or(TpmSpecError::Tcti)?;
        let pcrs = rest.map(|rest| rest.strip_prefix("pcrs=").ok_or(TpmSpecError::Unknown).and_then(registers));
        Ok(TpmSpec { tcti: tcti.to_owned(), pcrs: pcrs.transpose()?.unwrap_or_default() })
    }
}

fn registers(list: &str) -> Result<BTreeSet<u8>, TpmSpecError> {
    let mut pcrs = BTreeSet::new();
    for number in list.split(',') {
        let number: u8 = number.parse().map_err(|_| TpmSpecError::Pcrs)?;
        if number == MEASURED_PCR {
            return Err(TpmSpecError::OwnPcr);
        }
        if number > LAST_PCR || !pcrs.insert(number) {
            return Err(TpmSpecError::Pcrs);
        }
    }
    Ok(pcrs)
}

impl TpmSpec {
    /// The registers as people write them.
    pub fn pcr_list(&self) -> String {
        list(&self.pcrs)
    }

    /// Seals to the registers that the maker of the board names.
    ///
    /// # Errors
    /// The registers of the board where others are named here already, or it cannot be sealed to them.
    pub fn for_board(mut self, pcrs: &[u8]) -> Result<TpmSpec, TpmSpecError> {
        let pcrs = registers(&list(pcrs))?;
        if !self.pcrs.is_empty() && self.pcrs != pcrs {
            return Err(TpmSpecError::OtherPcrs { named: self.pcr_list(), board: list(&pcrs) });
        }
        self.pcrs = pcrs;
        Ok(self)
    }
}

fn list<'a>(pcrs: impl IntoIterator<Item = &'a u8>) -> String {
    let numbers: Vec<String> = pcrs.into_iter().map(u8::to_string).collect();
    numbers.join(",")
}

impl fmt::Display for TpmSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tcti)?;
        if self.pcrs.is_empty() { Ok(()) } else { write!(f, ";pcrs={}", self.pcr_list()) }
    }
}
