//! Software tokens for trials and tests: SoftHSM, with its tokens in a folder of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where distributions put it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// An installed SoftHSM and the folder of its tokens. It protects nothing from whoever reads that folder.
#[derive(Clone, Debug)]
pub struct SoftHsm {
    library: &'static Path,
    folder: PathBuf,
}

impl SoftHsm {
    /// The variable of the environment that must name [`SoftHsm::configuration`] where the library is loaded.
    pub const CONFIGURED_BY: &str = "SOFTHSM2_CONF";

    /// The one whose tokens are in this folder; none where SoftHSM is not installed.
    pub fn find(folder: &Path) -> Option<SoftHsm> {
        let library = LIBRARIES.iter().map(Path::new).find(|library| library.exists())?;
        Some(SoftHsm { library, folder: folder.to_owned() })
    }

    /// Makes the folder and what is in it unless they are there. There is a blank token then.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.tokens())?;
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", self.tokens().display());
        fs::write(self.configuration(), text)
    }

    /// The PKCS#11 library.
    pub fn library(&self) -> &Path {
        self.library
    }

    /// The file that tells the library where its tokens are.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The folder that has one folder for each token.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// What names the token with this label: `pkcs11:LIBRARY;token=LABEL`.
    pub fn token(&self, label: &str) -> String {
        format!("pkcs11:{};token={label}", self.library.display())
    }

    /// The same with the file that holds its PIN.
    pub fn opened_token(&self, label: &str, pin_file: &Path) -> String {
        format!("{};pin-file={}", self.token(label), pin_file.display())
    }
}
