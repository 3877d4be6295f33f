//! A SoftHSM for one test alone: the library has one state for each process, so each test has a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use keys::pkcs11::{Module, SoftHsm};

const FOLDER: &str = "VOUCH_TEST_SOFTHSM";

/// Runs the test's body in a process of its own, with a folder for a SoftHSM that has no tokens yet. A process that such a test starts has
/// the same one.
pub(crate) fn alone(test: &str, body: impl FnOnce(PathBuf, Module)) {
    if let Some(dir) = std::env::var_os(FOLDER) {
        let hsm = soft_hsm(Path::new(&dir));
        hsm.make().unwrap();
        return body(dir.into(), Module::load(hsm.library()).unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(FOLDER, dir.path())
        .env(SoftHsm::CONFIGURED_BY, soft_hsm(dir.path()).configuration())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn soft_hsm(dir: &Path) -> SoftHsm {
    SoftHsm::find(dir).expect("SoftHSM is installed (scripts/setup test)")
}
