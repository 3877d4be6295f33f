//! A software TPM on loopback, with its state in a folder of its own, so that it can be stopped and started again.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keys::keystore::{Keystore, KeystoreError, KeystoreSpec};
use keys::profile::Profile;
use tempfile::TempDir;
use tss_esapi::{Context, TctiNameConf};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// The TPM's library opens its sockets without FD_CLOEXEC. A swtpm that is started meanwhile would inherit another test's
/// connection and keep it open for ever.
const WITHOUT_INHERITED: &str =
    r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec swtpm "$@""#;

pub(crate) struct SoftTpm {
    state: TempDir,
    port: u16,
    process: Option<Child>,
}

impl SoftTpm {
    pub(crate) fn start() -> SoftTpm {
        let mut tpm = SoftTpm { state: tempfile::tempdir().unwrap(), port: 0, process: None };
        // Another may take the pair of ports between the look and the start.
        for _ in 0..20 {
            tpm.port = free_pair();
            if tpm.try_start() {
                return tpm;
            }
        }
        panic!("swtpm does not start");
    }

    /// Starts it again, with the state and at the place it had, as after a reset of the machine.
    pub(crate) fn start_again(&mut self) {
        let deadline = Instant::now() + STARTS_WITHIN;
        while !self.try_start() {
            assert!(Instant::now() < deadline, "swtpm does not start again");
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn try_start(&mut self) -> bool {
        let server = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut process = Command::new("bash")
            .args(["-c", WITHOUT_INHERITED, "swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", self.state.path().display())])
            .args(["--server", &server(self.port), "--ctrl", &server(self.port + 1)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed (scripts/setup test)");
        let deadline = Instant::now() + STARTS_WITHIN;
        while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
            // The second port: a connection to the first would be the one that it serves.
            if TcpStream::connect(("127.0.0.1", self.port + 1)).is_ok() {
                self.process = Some(process);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = process.kill();
        process.wait().unwrap();
        false
    }

    fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// What names this TPM; `pcrs` as in `;pcrs=0`, or nothing.
    pub(crate) fn spec(&self, pcrs: &str) -> KeystoreSpec {
        format!("tpm2:{}{pcrs}", self.tcti()).parse().unwrap()
    }

    /// A connection beside the tested code.
    pub(crate) fn beside<T>(&self, work: impl FnOnce(&mut Context) -> T) -> T {
        let mut context = Context::new(self.tcti().parse::<TctiNameConf>().unwrap()).unwrap();
        work(&mut context)
    }

    pub(crate) fn create(&self, folder: &Path, pcrs: &str, profile: Profile) -> Result<Keystore, KeystoreError> {
        Keystore::create(&self.spec(pcrs), folder, profile)
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two free ports beside each other: commands and control.
fn free_pair() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1)
            && TcpListener::bind(("127.0.0.1", next)).is_ok()
        {
            return port;
        }
    }
}
