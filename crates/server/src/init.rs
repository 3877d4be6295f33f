//! Makes the folder that a server runs on: roots, gateway certificates, secrets, database, first account.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keys::hashes::random;
use keys::password::{self, PasswordError, random_token};
use keys::pkcs11::TokenSpec;
use keys::pki::{OperatorPki, PkiError, ServerName};
use keys::private_file::{self, Existing, PrivateFileError};
use keys::secret::Secret;
use keys::time::Now;
use thiserror::Error;

use crate::fleet::account::check_new_password;
use crate::fleet::{AccountName, AgentIdSecret, EnvVars, GroupType, Invalid};
use crate::limits::Limits;
use crate::store::{ChangeError, Store, StoreError, unix_ms};

/// The name of the first account, unless somebody chooses another.
pub const FIRST_ACCOUNT: &str = "admin";
/// Where the first account's password is, if it was made here and not given.
pub const FIRST_PASSWORD_FILE: &str = "first-password";
/// The name of the first product and of its first device group.
pub const FIRST_GROUP: &str = "default";
/// The folder of the operator's keys and certificates in the server's folder.
pub const PKI_FOLDER: &str = "pki";
/// The secret that agents' ids are derived from, in the server's folder.
pub const AGENT_ID_SECRET_FILE: &str = "agent-id-secret";

/// What is to be made.
#[derive(Debug)]
pub struct InitOptions {
    /// The folder; it does not exist, or is empty.
    pub dir: PathBuf,
    /// The DNS names and IP addresses that devices know the server by.
    pub names: Vec<String>,
    /// The operator's name, as the certificates show it.
    pub operator: String,
    /// The first account's name.
    pub account: String,
    /// Its password; without one, a random one is made and kept in [`FIRST_PASSWORD_FILE`].
    pub password: Option<Secret>,
    /// The PKCS#11 token in which the keys of the roots and of the gateway are born; without one they are in files.
    pub token: Option<TokenSpec>,
}

/// What was made.
#[derive(Debug)]
pub struct InitReport {
    /// Where the password is, if it was made here.
    pub password_file: Option<PathBuf>,
    /// What enrolment tokens pin: SHA-256 of the bundle of the server's roots.
    pub roots_sha256: [u8; 32],
}

/// Why nothing was made.
#[derive(Debug, Error)]
pub enum InitError {
    /// There is something in the folder already.
    #[error("{} is not empty; nothing in it is overwritten: choose another folder", .0.display())]
    NotEmpty(PathBuf),
    /// A folder could not be made.
    #[error("cannot make {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// Not a name that a certificate can hold.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// The account's name or password is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The keys or certificates could not be made.
    #[error("the keys and certificates could not be made")]
    Pki(#[from] PkiError),
    /// A secret could not be written.
    #[error("a secret could not be written")]
    Secret(#[from] PrivateFileError),
    /// The password could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database could not be made.
    #[error("the database could not be made")]
    Store(#[from] StoreError),
    /// The first account, product or group could not be made.
    #[error("the first account, product or group could not be made")]
    First(#[from] ChangeError),
}

/// Makes a server's folder, whole or not at all: everything is made in a neighbour folder, which then takes its name.
///
/// # Errors
/// [`InitError`]; nothing that existed is changed.
pub async fn init(options: InitOptions, limits: &Limits) -> Result<InitReport, InitError> {
    let InitOptions { dir, names, operator, account, password, token } = options;
    let account: AccountName = account.parse()?;
    let parsed = |name: &String| ServerName::try_from(name.clone()).map_err(|_| InitError::Name(name.clone()));
    let names = names.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    if let Some(password) = &password {
        check_new_password(password.expose())?;
    }
    refuse_contents(&dir)?;
    let unfinished = Unfinished::beside(&dir)?;
    let given = password.is_some();
    let password = password.unwrap_or_else(|| Secret::from(random_token()));
    let now = Now { mono_ms: 0, unix_ms: unix_ms() };
    let pki = match &token {
        Some(token) => OperatorPki::create_in_token(token, &operator, &names, now)?,
        None => OperatorPki::create(&operator, &names, now)?,
    };
    let password_file = (!given).then(|| dir.join(FIRST_PASSWORD_FILE));
    let roots_sha256 = pki.serving.server_roots.hash();
    match fill(unfinished, &dir, &pki, &account, &password, given, limits).await {
        Ok(()) => Ok(InitReport { password_file, roots_sha256 }),
        Err(error) => {
            pki.discard();
            Err(error)
        }
    }
}

/// Writes everything into the unfinished folder, which then becomes `dir`.
async fn fill(
    unfinished: Unfinished,
    dir: &Path,
    pki: &OperatorPki,
    account: &AccountName,
    password: &Secret,
    is_given: bool,
    limits: &Limits,
) -> Result<(), InitError> {
    let pki_folder = unfinished.path.join(PKI_FOLDER);
    make_folder(&pki_folder)?;
    pki.save(&pki_folder)?;
    if !is_given {
        private_file::write(&unfinished.path.join(FIRST_PASSWORD_FILE), password.expose(), Existing::Refuse)?;
    }
    let secret = Secret::new(random::<{ AgentIdSecret::BYTES }>().to_vec());
    private_file::write(&unfinished.path.join(AGENT_ID_SECRET_FILE), secret.expose(), Existing::Refuse)?;
    fill_store(&unfinished.path, AgentIdSecret::new(secret), account, password, limits).await?;
    unfinished.take_place(dir)
}

async fn fill_store(
    dir: &Path,
    agent_ids: AgentIdSecret,
    account: &AccountName,
    password: &Secret,
    limits: &Limits,
) -> Result<(), InitError> {
    let store = Store::create(dir, agent_ids, limits).await?;
    let owner = store.create_account(account, "", &password::hash(password)?).await?;
    let product = store.create_product(owner, owner, FIRST_GROUP, "").await?;
    store.create_group(GroupType::Development, product.id, owner, FIRST_GROUP, "", &EnvVars::default()).await?;
    store.close().await;
    Ok(())
}

fn refuse_contents(dir: &Path) -> Result<(), InitError> {
    let first = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(InitError::Folder(dir.to_owned(), error)),
    };
    if first.is_some() { Err(InitError::NotEmpty(dir.to_owned())) } else { Ok(()) }
}

fn make_folder(path: &Path) -> Result<(), InitError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| InitError::Folder(path.to_owned(), error))
}

/// The folder while it is made; removed with all it holds when something fails.
struct Unfinished {
    path: PathBuf,
    parent: PathBuf,
}

impl Unfinished {
    fn beside(dir: &Path) -> Result<Self, InitError> {
        let at = |error| InitError::Folder(dir.to_owned(), error);
        let dir = std::path::absolute(dir).map_err(at)?;
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(InitError::NotEmpty(dir));
        };
        fs::create_dir_all(parent).map_err(at)?;
        let mut unfinished = std::ffi::OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(".{}.unfinished", const_hex::encode(random::<4>())));
        let path = parent.join(unfinished);
        make_folder(&path)?;
        Ok(Self { path, parent: parent.to_owned() })
    }

    /// Takes the place of `dir` if it does not exist or is empty, which the system checks in the same step.
    fn take_place(self, dir: &Path) -> Result<(), InitError> {
        fs::rename(&self.path, dir).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => InitError::NotEmpty(dir.to_owned()),
            _ => InitError::Folder(dir.to_owned(), error),
        })?;
        File::open(&self.parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|error| InitError::Folder(self.parent.clone(), error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After success there is nothing at this path any more.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use keys::pki::ServingPki;

    use super::*;
    use crate::limits::LIMITS;
    use crate::store::DATABASE_FILE;

    fn options(dir: &Path) -> InitOptions {
        InitOptions {
            dir: dir.to_owned(),
            names: vec!["server.example".to_owned(), "127.0.0.1".to_owned()],
            operator: "Test".to_owned(),
            account: FIRST_ACCOUNT.to_owned(),
            password: None,
            token: None,
        }
    }

    #[tokio::test]
    async fn makes_a_private_folder_that_a_server_can_be_started_on() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/server");
        let report = init(options(&dir), &LIMITS).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(AGENT_ID_SECRET_FILE)), 0o600);
        assert_eq!(mode(&dir.join(FIRST_PASSWORD_FILE)), 0o600);
        assert_eq!(ServingPki::load(&dir.join(PKI_FOLDER)).unwrap().server_roots.hash(), report.roots_sha256);
        let password = private_file::read(&report.password_file.unwrap()).unwrap();
        let secret = AgentIdSecret::new(private_file::read(&dir.join(AGENT_ID_SECRET_FILE)).unwrap());
        let store = Store::open(&dir, secret, &LIMITS).await.unwrap();
        let (_, hash) = store.password_hash(FIRST_ACCOUNT).await.unwrap().unwrap();
        assert!(password::verify(&hash, &password));
        assert_eq!(fs::read_dir(parent.path().join("a")).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[tokio::test]
    async fn nothing_that_exists_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("server");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(DATABASE_FILE), b"precious").unwrap();
        assert!(matches!(init(options(&dir), &LIMITS).await, Err(InitError::NotEmpty(_))));
        assert_eq!(fs::read(dir.join(DATABASE_FILE)).unwrap(), b"precious");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[tokio::test]
    async fn a_wrong_name_or_password_makes_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("server");
        let names = InitOptions { names: vec!["no name".to_owned()], ..options(&dir) };
        assert!(matches!(init(names, &LIMITS).await, Err(InitError::Name(_))));
        let short = InitOptions { password: Some(Secret::from("short".to_owned())), ..options(&dir) };
        assert!(matches!(init(short, &LIMITS).await, Err(InitError::Invalid(_))));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
