//! A software TPM with its state in a folder of its own, so that it can be stopped and started again.

use std::path::Path;

use keys::keystore::{Keystore, KeystoreError, KeystoreSpec};
use keys::profile::Profile;
use tempfile::TempDir;
use tss_esapi::{Context, TctiNameConf};

pub(crate) struct SoftTpm {
    running: keys::tpm2::SoftTpm,
    _state: TempDir,
}

impl SoftTpm {
    pub(crate) fn start() -> SoftTpm {
        let state = tempfile::tempdir().unwrap();
        SoftTpm { running: keys::tpm2::SoftTpm::start(state.path()).unwrap(), _state: state }
    }

    /// Starts it again, with the state and at the place it had, as after a reset of the machine.
    pub(crate) fn start_again(&mut self) {
        self.running.start_again().unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.running.stop();
    }

    /// What names this TPM; `pcrs` as in `;pcrs=0`, or nothing.
    pub(crate) fn spec(&self, pcrs: &str) -> KeystoreSpec {
        format!("tpm2:{}{pcrs}", self.running.tcti()).parse().unwrap()
    }

    /// A connection beside the tested code.
    pub(crate) fn beside<T>(&self, work: impl FnOnce(&mut Context) -> T) -> T {
        let mut context = Context::new(self.running.tcti().parse::<TctiNameConf>().unwrap()).unwrap();
        work(&mut context)
    }

    pub(crate) fn create(&self, folder: &Path, pcrs: &str, profile: Profile) -> Result<Keystore, KeystoreError> {
        Keystore::create(&self.spec(pcrs), folder, profile)
    }
}
