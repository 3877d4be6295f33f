//! A SoftHSM with one token.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use cryptoki::context::Pkcs11;
use keys::pkcs11::{Module, Pin, Token};
use keys::secret::Secret;

use crate::alone::soft_hsm;

pub(crate) const LABEL: &str = "device";
pub(crate) const PIN: &str = "user-1234";
pub(crate) const SO_PIN: &str = "so-12345678";

pub(crate) struct Rig {
    pub(crate) dir: PathBuf,
    pub(crate) module: Module,
}

/// Runs the test's body in a process of its own, whose SoftHSM has one token.
pub(crate) fn alone(test: &str, body: impl FnOnce(&Rig)) {
    crate::alone::alone(test, |dir, module| {
        let rig = Rig { dir, module };
        if rig.module.token(&LABEL.into()).is_err() {
            write_pin(&rig.pin_file(), PIN);
            add_token(&rig.module, LABEL);
        }
        body(&rig);
    });
}

/// The library beside the tested code.
pub(crate) fn library() -> Pkcs11 {
    Pkcs11::new(soft_hsm(Path::new("")).library()).unwrap()
}

impl Rig {
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
