//! A SoftHSM for one test alone: the library has one state for each process, so each test has a process of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use keys::pkcs11::{Module, Pin, Token};
use keys::secret::Secret;

pub(crate) const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const LABEL: &str = "device";
pub(crate) const PIN: &str = "user-1234";
pub(crate) const SO_PIN: &str = "so-12345678";

const FOLDER: &str = "VOUCH_TEST_SOFTHSM";

pub(crate) struct SoftHsm {
    pub(crate) dir: PathBuf,
    pub(crate) module: Module,
}

/// Runs the test's body in a process of its own, whose SoftHSM has one token.
pub(crate) fn alone(test: &str, body: impl FnOnce(&SoftHsm)) {
    if let Some(dir) = std::env::var_os(FOLDER) {
        body(&SoftHsm::start(Path::new(&dir)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(FOLDER, dir.path())
        .env("SOFTHSM2_CONF", dir.path().join("softhsm2.conf"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&status.stdout);
    assert!(told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&status.stderr));
}

impl SoftHsm {
    fn start(dir: &Path) -> SoftHsm {
        let tokens = dir.join("tokens");
        if !tokens.exists() {
            fs::create_dir(&tokens).unwrap();
            let conf = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
            fs::write(dir.join("softhsm2.conf"), conf).unwrap();
            write_pin(&dir.join("pin"), PIN);
        }
        let module = Module::load(Path::new(LIBRARY)).unwrap();
        if module.token(LABEL).is_err() {
            add_token(&module, LABEL);
        }
        SoftHsm { dir: dir.to_owned(), module }
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.dir.join("pin")
    }

    pub(crate) fn with_file(&self) -> Result<Token, keys::pkcs11::TokenError> {
        Token::open(&self.module, LABEL, Pin::File(self.pin_file()))
    }

    pub(crate) fn typed(&self, pin: &str) -> Result<Token, keys::pkcs11::TokenError> {
        Token::open(&self.module, LABEL, Pin::Typed(secret(pin)))
    }

    /// Runs one test of this binary in another process on the same tokens.
    pub(crate) fn in_another_process(&self, test: &str) -> bool {
        let exe = std::env::current_exe().unwrap();
        let output = Command::new(exe).args(["--exact", test]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("1 passed")
    }
}

pub(crate) fn add_token(module: &Module, label: &str) {
    let blank = module.tokens().unwrap().into_iter().find(|token| !token.initialised).unwrap();
    module.initialise(&blank, label, &secret(SO_PIN), &secret(PIN)).unwrap();
}

pub(crate) fn write_pin(path: &Path, pin: &str) {
    fs::write(path, format!("{pin}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}
