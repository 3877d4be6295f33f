//! What a board says of its own protections, each with who says so: reported as it is written, never claimed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The highest number of a TPM's register (PCR; TPM 2.0 PC client profile).
const PCR_MOST: u8 = 23;
/// The most bytes of one text.
const TEXT_MOST: usize = 500;

/// The board file's section `[security]`. What it does not say is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Whether and from what the board boots only what is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<Reported<String>>,
    /// Whether the debug port is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jtag: Option<Reported<String>>,
    /// Whether flash memory and fuses can be read out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_out_protection: Option<Reported<String>>,
    /// The TPM's registers that cover what runs before the OS image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcrs: Option<Reported<Vec<u8>>>,
}

/// A value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported<T> {
    /// The value.
    pub value: T,
    /// Who says so: a data sheet, a fuse that was read, a maker's statement.
    pub source: String,
}

impl Security {
    /// Checks what the file says.
    pub(super) fn check(&self) -> Result<(), String> {
        let texts = [
            ("secure_boot", &self.secure_boot),
            ("jtag", &self.jtag),
            ("read_out_protection", &self.read_out_protection),
        ];
        for (name, reported) in texts {
            let Some(Reported { value, source }) = reported else { continue };
            check_text(name, "value", value)?;
            check_text(name, "source", source)?;
        }
        let Some(Reported { value, source }) = &self.pcrs else { return Ok(()) };
        check_text("pcrs", "source", source)?;
        let is_ascending = value.windows(2).all(|pair| pair[0] < pair[1]);
        if value.is_empty() || !is_ascending || value.iter().any(|pcr| *pcr > PCR_MOST) {
            return Err(format!("security.pcrs: numbers from 0 to {PCR_MOST}, ascending, such as [0, 2, 4, 7]"));
        }
        Ok(())
    }

    /// What is said, by name, in words; nothing where nothing is said.
    pub fn said(&self) -> [(&'static str, Option<Reported<String>>); 4] {
        let pcrs = self.pcrs.as_ref().map(|Reported { value, source }| {
            let value: Vec<String> = value.iter().map(u8::to_string).collect();
            Reported { value: value.join(", "), source: source.clone() }
        });
        [
            ("secure boot", self.secure_boot.clone()),
            ("JTAG", self.jtag.clone()),
            ("read-out protection", self.read_out_protection.clone()),
            ("PCRs", pcrs),
        ]
    }
}

fn check_text(name: &str, part: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > TEXT_MOST || text.chars().any(char::is_control) {
        return Err(format!("security.{name}: {part} is one line of 1 to {TEXT_MOST} bytes"));
    }
    Ok(())
}

impl fmt::Display for Reported<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (source: {})", self.value, self.source)
    }
}
