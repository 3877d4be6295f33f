//! The ceremony's folder: the roots, the sealed login secrets, what the HSM is, and the record; nothing in it is secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keys::pkcs11::KeyId;
use keys::private_file::{self, Existing, PrivateFileError};
use keys::secret::Secret;
use serde::{Deserialize, Serialize};

use super::hsm::HsmFacts;
use super::login::{LoginError, LoginOf, SealedSecret};
use crate::author::{Delegation, Quorum};
use crate::limits::LIMITS;
use crate::manifest::Manifest;
use crate::root::{Custodian, RootChain, RootContent, RootError};

const FORMAT: u32 = 1;
const STATE_FILE: &str = "state.json";
const ROOTS_FOLDER: &str = "roots";
const RECORDS_FOLDER: &str = "records";

/// A login secret, and during its replacement the one that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The secret that the HSM has.
    pub current: SealedSecret,
    /// Written down before the HSM is given it, so that a cut in between locks nobody out; or the same secret for the custodians of the next
    /// root, written down before that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<SealedSecret>,
}

/// Where the HSM has a release key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPlace {
    /// SHA-256 of the public key, in hex.
    pub spki_sha256: String,
    /// The CKA_ID, in hex.
    pub id: String,
}

/// What is known between two meetings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// The product that is released.
    pub product: String,
    /// The HSM.
    pub hsm: HsmFacts,
    /// Its release keys.
    pub keys: Vec<KeyPlace>,
    /// The user's secret.
    pub user: Login,
    /// The security officer's secret.
    pub security_officer: Login,
    /// The version of the targets that were approved last; 0 before the first release.
    pub targets_version: u64,
    /// The release that was signed last, for who is to approve the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRelease>,
}

/// What was signed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastRelease {
    /// Its OS version.
    pub version: String,
    /// Its security epoch.
    pub security_epoch: u32,
    /// The models it had images for.
    pub models: Vec<String>,
    /// All manifests that its targets approve, those of releases before that it kept as well.
    #[serde(default)]
    pub approved: Vec<ApprovedManifest>,
    /// The owners whose apps a quorum of their own approves.
    #[serde(default)]
    pub quorums: Vec<AppQuorum>,
}

/// A manifest that targets approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovedManifest {
    /// The OS version.
    pub version: String,
    /// For which models.
    pub models: Vec<String>,
    /// SHA-256 of the manifest, in hex.
    pub sha256: String,
}

/// The quorum that an owner has for their apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppQuorum {
    /// The owner's id.
    pub owner: String,
    /// How many must approve.
    pub threshold: usize,
    /// SHA-256 of each public key, in hex.
    pub keys: Vec<String>,
}

impl LastRelease {
    /// What is signed with a release: its manifests, those that it keeps, and who approves apps.
    pub fn of(manifests: &[Manifest], kept: &[Manifest], apps: &[Delegation]) -> Option<LastRelease> {
        let first = manifests.first()?;
        let approved = manifests.iter().chain(kept).map(|manifest| ApprovedManifest {
            version: manifest.version.to_string(),
            models: manifest.models.clone(),
            sha256: manifest.hash().to_string(),
        });
        let quorum = |apps: &Delegation| match apps {
            Delegation::Server { .. } => None,
            Delegation::Owner { owner, quorum: Quorum { keys, threshold } } => {
                let keys = keys.iter().map(|key| key.spki_hash().to_string()).collect();
                Some(AppQuorum { owner: owner.clone(), threshold: *threshold, keys })
            }
        };
        Some(LastRelease {
            version: first.version.to_string(),
            security_epoch: first.security_epoch,
            models: manifests.iter().flat_map(|manifest| manifest.models.clone()).collect(),
            approved: approved.collect(),
            quorums: apps.iter().filter_map(quorum).collect(),
        })
    }

    /// The owner of a quorum that these approvers of apps leave out.
    pub fn quorum_gone(&self, apps: &[Delegation]) -> Option<&str> {
        let is_there =
            |gone: &str| apps.iter().any(|app| matches!(app, Delegation::Owner { owner, .. } if owner == gone));
        self.quorums.iter().map(|quorum| quorum.owner.as_str()).find(|owner| !is_there(owner))
    }

    /// Whether a manifest is among those that were approved.
    pub fn approves(&self, manifest: &Manifest) -> bool {
        let hash = manifest.hash().to_string();
        self.approved.iter().any(|approved| approved.sha256 == hash)
    }
}

/// The folder, read and checked.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    /// What is known.
    pub state: State,
    /// The roots from the first one on.
    pub roots: Vec<Vec<u8>>,
    /// What the newest says.
    pub root: RootContent,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no ceremony in it.
    #[error("{0} holds no ceremony; found one with `vouch ceremony init`")]
    None(PathBuf),
    /// There is one already.
    #[error("{0} holds a ceremony already; it is not replaced")]
    Exists(PathBuf),
    /// A file is damaged or of another version.
    #[error("{file}: {why}; take the folder from a copy")]
    Form {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The roots do not follow from each other.
    #[error("{folder}: {source}")]
    Roots {
        /// The folder of the roots.
        folder: PathBuf,
        /// What is wrong with them.
        source: RootError,
    },
    /// The disk refused.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file cannot be written whole.
    #[error(transparent)]
    Write(#[from] PrivateFileError),
}

impl Login {
    /// What was next is the one that the HSM has, or that the custodians in force can open.
    pub(super) fn go_on(&mut self) {
        if let Some(next) = self.next.take() {
            self.current = next;
        }
    }

    /// The HSM has this secret: it is sealed to the custodians in force, whomever a cut has left it sealed to.
    pub(super) fn settle(
        &mut self,
        of: LoginOf,
        secret: &Secret,
        needed: usize,
        custodians: &[Custodian],
    ) -> Result<(), LoginError> {
        (self.current, self.next) = (SealedSecret::deal(of, secret, needed, custodians)?, None);
        Ok(())
    }
}

impl State {
    /// The state of a new ceremony.
    pub fn new(product: &str, hsm: HsmFacts, user: SealedSecret, security_officer: SealedSecret) -> State {
        let login = |current| Login { current, next: None };
        State {
            format: FORMAT,
            product: product.to_owned(),
            hsm,
            keys: Vec::new(),
            user: login(user),
            security_officer: login(security_officer),
            targets_version: 0,
            last: None,
        }
    }

    /// Where the HSM has the release key with this public half.
    pub fn key_id(&self, spki_sha256: &str) -> Option<KeyId> {
        self.keys.iter().find(|place| place.spki_sha256 == spki_sha256).and_then(|place| place.id.parse().ok())
    }
}

impl Folder {
    /// Refuses a folder that holds a ceremony. A first root alone is none: the founding was cut off before its folder was whole, and nothing
    /// follows from that root.
    ///
    /// # Errors
    /// [`FolderError::Exists`].
    pub fn refuse_used(dir: &Path) -> Result<(), FolderError> {
        let later = [dir.join(STATE_FILE), root_file(dir, 2), record_file(dir, 1)];
        if later.iter().any(|file| file.exists()) {
            return Err(FolderError::Exists(dir.to_owned()));
        }
        Ok(())
    }

    /// Refuses a folder whose ceremony is founded: its record has begun.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn refuse_founded(&self) -> Result<(), FolderError> {
        if self.records()?.is_empty() { Ok(()) } else { Err(FolderError::Exists(self.dir.clone())) }
    }

    /// Makes the folder of a new ceremony.
    ///
    /// # Errors
    /// [`FolderError`] when there is one already, or the disk refuses.
    pub fn create(dir: &Path, state: State, root: RootContent, root_file: Vec<u8>) -> Result<Folder, FolderError> {
        Folder::refuse_used(dir)?;
        for folder in [dir.to_owned(), dir.join(ROOTS_FOLDER), dir.join(RECORDS_FOLDER)] {
            fs::create_dir_all(&folder).map_err(|source| FolderError::Io { file: folder, source })?;
        }
        let folder = Folder { dir: dir.to_owned(), state, roots: vec![root_file.clone()], root };
        folder.write_root(&root_file, Existing::Replace)?;
        // What makes it a ceremony, and so written last.
        folder.save()?;
        Ok(folder)
    }

    /// Opens the folder: the roots must follow from the first one.
    ///
    /// # Errors
    /// [`FolderError`]; each says what to do.
    pub fn open(dir: &Path) -> Result<Folder, FolderError> {
        let file = dir.join(STATE_FILE);
        if !file.exists() {
            return match Folder::refuse_used(dir) {
                Ok(()) => Err(FolderError::None(dir.to_owned())),
                Err(_) => Err(FolderError::Form { file, why: "it is missing".to_owned() }),
            };
        }
        let state: State = serde_json::from_slice(&read(&file)?)
            .map_err(|error| FolderError::Form { file: file.clone(), why: error.to_string() })?;
        if state.format != FORMAT {
            return Err(FolderError::Form { file, why: format!("it has format {}, not {FORMAT}", state.format) });
        }
        let folder = dir.join(ROOTS_FOLDER);
        let mut roots = Vec::new();
        while let Some(file) = Some(root_file(dir, roots.len() as u64 + 1)).filter(|file| file.exists()) {
            roots.push(read(&file)?);
        }
        let chain = RootChain::follow(roots.iter().map(Vec::as_slice));
        let root = chain.map_err(|source| FolderError::Roots { folder, source })?.content;
        Ok(Folder { dir: dir.to_owned(), state, roots, root })
    }

    /// Writes the state down, whole or not at all.
    ///
    /// # Errors
    /// [`FolderError`] when the disk refuses.
    pub fn save(&self) -> Result<(), FolderError> {
        let file = self.dir.join(STATE_FILE);
        let text = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| FolderError::Form { file: file.clone(), why: error.to_string() })?;
        Ok(private_file::write(&file, &text, Existing::Replace)?)
    }

    /// Adds a root, which must follow from those that are there.
    ///
    /// # Errors
    /// [`FolderError`] when it does not.
    pub fn add_root(&mut self, file: Vec<u8>) -> Result<(), FolderError> {
        let chain = RootChain::follow(self.roots.iter().chain([&file]).map(Vec::as_slice));
        let folder = self.dir.join(ROOTS_FOLDER);
        self.root = chain.map_err(|source| FolderError::Roots { folder, source })?.content;
        self.write_root(&file, Existing::Refuse)?;
        self.roots.push(file);
        Ok(())
    }

    fn write_root(&self, file: &[u8], existing: Existing) -> Result<(), FolderError> {
        Ok(private_file::write(&root_file(&self.dir, self.root.version), file, existing)?)
    }

    /// The files of the record, oldest first.
    ///
    /// # Errors
    /// [`FolderError`] when one cannot be read.
    pub fn records(&self) -> Result<Vec<Vec<u8>>, FolderError> {
        let mut records = Vec::new();
        while let Some(file) = Some(record_file(&self.dir, records.len() + 1)).filter(|file| file.exists()) {
            records.push(read(&file)?);
        }
        Ok(records)
    }

    /// Adds a file to the record.
    ///
    /// # Errors
    /// [`FolderError`] when the disk refuses, or it is there already.
    pub fn add_record(&self, number: usize, file: &[u8]) -> Result<(), FolderError> {
        Ok(private_file::write(&record_file(&self.dir, number), file, Existing::Refuse)?)
    }
}

fn root_file(dir: &Path, version: u64) -> PathBuf {
    dir.join(ROOTS_FOLDER).join(format!("{version}.root.json"))
}

fn record_file(dir: &Path, number: usize) -> PathBuf {
    dir.join(RECORDS_FOLDER).join(format!("{number:04}.json"))
}

fn read(file: &Path) -> Result<Vec<u8>, FolderError> {
    let io = |source| FolderError::Io { file: file.to_owned(), source };
    let length = fs::metadata(file).map_err(io)?.len();
    if length > LIMITS.metadata as u64 {
        let why = format!("it has {length} bytes, at most {} are read", LIMITS.metadata);
        return Err(FolderError::Form { file: file.to_owned(), why });
    }
    fs::read(file).map_err(io)
}
