//! Where a device of the demonstration keeps its keys: in a software TPM of its own where `swtpm` is installed, in files otherwise.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use device::folder::KEYS_FOLDER;
use keys::keystore::{AttestationLevel, KeystoreSpec, SPEC_FILE};
use keys::tpm2::{SoftTpm, SoftTpmError};
use serde_json::{Value, json};

/// The registers that storage is sealed to: firmware, its options, and what it boots.
const SEALED_TO: &str = "0,2,7";

/// What makes and holds the keys of one device.
pub(super) struct BackEnd {
    /// As `vouch device provision --keys` takes it.
    pub(super) spec: String,
    pub(super) level: AttestationLevel,
    /// In words.
    pub(super) said: String,
    /// Ended when this goes out of scope.
    _tpm: Option<SoftTpm>,
}

impl BackEnd {
    /// What the device in this folder was made with; for one that is still to be made, the best there is. A software TPM is started, with its
    /// state in a folder beside it.
    pub(super) fn of(device_dir: &Path, boots: bool) -> Result<BackEnd> {
        let state = device_dir.with_added_extension("tpm");
        if device_dir.exists() {
            let file = device_dir.join(KEYS_FOLDER).join(SPEC_FILE);
            let spec = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            return match spec.trim().parse()? {
                KeystoreSpec::Tpm2(_) => Ok(BackEnd::tpm(SoftTpm::start(&state)?)),
                _ => Ok(BackEnd::software("as it was made")),
            };
        }
        if !boots {
            return Ok(BackEnd::software("a device that keeps them in a TPM needs an OS image to boot"));
        }
        match SoftTpm::start(&state) {
            Ok(tpm) => Ok(BackEnd::tpm(tpm)),
            Err(SoftTpmError::NotInstalled) => Ok(BackEnd::software("swtpm is not installed")),
            Err(error) => Err(error.into()),
        }
    }

    fn tpm(tpm: SoftTpm) -> BackEnd {
        BackEnd {
            spec: format!("tpm2:{};pcrs={SEALED_TO}", tpm.tcti()),
            level: AttestationLevel::Tpm,
            said: format!(
                "in a TPM of its own, its storage sealed to registers {SEALED_TO} (swtpm stands in for the chip and protects nothing)"
            ),
            _tpm: Some(tpm),
        }
    }

    fn software(why: &str) -> BackEnd {
        BackEnd {
            spec: KeystoreSpec::DangerSoftware.to_string(),
            level: AttestationLevel::Software,
            said: format!("in files, danger-software ({why})"),
            _tpm: None,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "back_end": self.spec, "meaning": self.said })
    }
}
