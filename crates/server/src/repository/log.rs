//! The transparency log of releases: one tree, of which a checkpoint is signed only when all that it covers is on the disk.
//!
//! Its entries are in a file, and the checkpoint signed last in another, beside the database and apart from it: a database that was put back
//! to an older state takes nothing from the log, so that there is never a second tree. A release is in the log before the database has it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use keys::cbor;
use keys::note::NoteSigner;
use keys::private_file::{self, Existing, PrivateFileError};
use release::author::{DraftError, Log};
use release::log::{LoggedRelease, SignedTree, verify_checkpoint};
use release::manifest::Manifest;

use super::RepositoryError;
use super::online_keys::OnlineKeys;

/// The checkpoint signed last, in the server's folder.
pub const CHECKPOINT_FILE: &str = "release-log.checkpoint";
/// The entries, one in each line, in hex.
pub const ENTRIES_FILE: &str = "release-log.entries";

/// The log. What it answers is in memory.
pub(super) struct ReleaseLog {
    files: Files,
    state: RwLock<State>,
}

/// Its files, and whose signatures the checkpoint may have.
struct Files {
    dir: PathBuf,
    keys: Vec<String>,
}

struct State {
    tree: Log,
    numbers: HashMap<[u8; 32], u64>,
    /// The checkpoint over the whole tree.
    note: String,
}

/// Why the log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseLogError {
    /// The file of the checkpoint signed last.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file of the entries.
    #[error("{}: {error}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line that is no entry.
    #[error(
        "{}: line {line} is no entry of the transparency log; restore the file from a copy, the checkpoint beside it says how many lines it must have at least",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
    /// A checkpoint of another key.
    #[error("{}: not signed by a key of this server's log; it belongs to the online keys: restore both from one copy", .0.display())]
    Checkpoint(PathBuf),
    /// Entries, and nothing says which of them were signed.
    #[error("{} is missing, and there are entries of the transparency log: restore it from a copy", .0.display())]
    NoCheckpoint(PathBuf),
    /// No entry, and releases.
    #[error(
        "{}: no entry of the transparency log, and this server has releases, which are in it: a second tree would begin. Restore this file and {CHECKPOINT_FILE} beside it from the newest copy",
        .0.display()
    )]
    Gone(PathBuf),
    /// Fewer entries than were signed.
    #[error(
        "{}: {have} of the {signed} entries that the transparency log's checkpoint covers; restore the file from a newer copy",
        .file.display()
    )]
    Short {
        /// The file.
        file: PathBuf,
        /// Entries that are there.
        have: u64,
        /// Entries of the checkpoint.
        signed: u64,
    },
    /// Entries that are not those of the checkpoint.
    #[error(
        "{}: other entries than those of the transparency log's checkpoint over {signed}, which is public: two histories would be signed. Restore the file from another copy",
        .file.display()
    )]
    Forked {
        /// The file.
        file: PathBuf,
        /// Entries of the checkpoint.
        signed: u64,
    },
    /// The tree.
    #[error("the transparency log cannot be written: {0}")]
    Tree(#[from] DraftError),
}

impl ReleaseLog {
    /// Reads the log of a server, and holds it against the checkpoint that was signed last, with one of these sets of keys. Where there are
    /// releases, it cannot be empty.
    pub(super) fn open(
        dir: &Path,
        sets: &[OnlineKeys],
        signer: &NoteSigner,
        has_releases: bool,
    ) -> Result<Self, RepositoryError> {
        let files = Files { dir: dir.to_owned(), keys: sets.iter().map(|keys| keys.log.key().to_string()).collect() };
        let state = RwLock::new(files.read(signer, has_releases)?);
        Ok(Self { files, state })
    }

    /// Appends an entry for each of these manifests that has none yet, and signs with this key. It blocks, and is not called twice at a time.
    pub(super) fn append(&self, manifests: &[&Manifest], signer: &NoteSigner) -> Result<(), ReleaseLogError> {
        // From the disk: an attempt before this one may have failed halfway.
        let is_begun = self.state().tree.size() > 0;
        let State { mut tree, numbers, .. } = self.files.read(signer, is_begun)?;
        let before = lines(&tree);
        for manifest in manifests.iter().filter(|manifest| !numbers.contains_key(&manifest.hash().0)) {
            tree.append(manifest)?;
        }
        let after = lines(&tree);
        self.files.append(before.len(), after.get(before.len()..).unwrap_or_default())?;
        let state = self.files.sign(tree, signer)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proof that a manifest is in the log, under the newest checkpoint.
    ///
    /// # Errors
    /// [`ReleaseLogError::Tree`].
    pub(super) fn proof(&self, image: &[u8; 32], signer: &NoteSigner) -> Result<Option<Vec<u8>>, ReleaseLogError> {
        let state = self.state();
        let Some(number) = state.numbers.get(image) else { return Ok(None) };
        Ok(Some(cbor::encode(&state.tree.prove(*number, state.tree.size(), signer)?)))
    }

    /// The newest checkpoint.
    pub(super) fn checkpoint(&self) -> String {
        self.state().note.clone()
    }

    /// A file of the log as C2SP tlog-tiles names it, below `tile/`.
    pub(super) fn tile(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.tree.tile(state.tree.size(), path)
    }
}

impl Files {
    /// What is on the disk; what was not signed yet by this key is signed. A log that is begun has entries.
    fn read(&self, signer: &NoteSigner, is_begun: bool) -> Result<State, ReleaseLogError> {
        let tree = self.entries()?;
        let have = tree.size();
        if have == 0 && is_begun {
            return Err(ReleaseLogError::Gone(self.dir.join(ENTRIES_FILE)));
        }
        let Some((SignedTree { size: signed, root }, note, key)) = self.checkpoint()? else {
            return if have == 0 {
                self.sign(tree, signer)
            } else {
                Err(ReleaseLogError::NoCheckpoint(self.dir.join(CHECKPOINT_FILE)))
            };
        };
        let file = self.dir.join(ENTRIES_FILE);
        if have < signed {
            return Err(ReleaseLogError::Short { file, have, signed });
        }
        if tree.root(signed)? != root {
            return Err(ReleaseLogError::Forked { file, signed });
        }
        if have == signed && *key == signer.key().to_string() {
            return Ok(State { numbers: numbers(&tree), tree, note });
        }
        self.sign(tree, signer)
    }

    /// Signs the whole tree. The checkpoint is on the disk before anybody sees it.
    fn sign(&self, tree: Log, signer: &NoteSigner) -> Result<State, ReleaseLogError> {
        let note = tree.checkpoint(tree.size(), signer)?;
        private_file::write(&self.dir.join(CHECKPOINT_FILE), note.as_bytes(), Existing::Replace)?;
        Ok(State { numbers: numbers(&tree), tree, note })
    }

    fn entries(&self) -> Result<Log, ReleaseLogError> {
        let file = self.dir.join(ENTRIES_FILE);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| ReleaseLogError::Io { file: file.clone(), error })?,
        };
        let mut entries = Vec::new();
        // What the power cut off in the middle of a line was never signed.
        let whole = bytes.split_inclusive(|byte| *byte == b'\n').map_while(|line| line.strip_suffix(b"\n"));
        for (line, text) in (1..).zip(whole) {
            let entry = const_hex::decode(text).ok().filter(|entry| LoggedRelease::from_entry(entry).is_ok());
            let entry = entry.filter(|entry| const_hex::encode(entry).as_bytes() == text);
            entries.push(entry.ok_or_else(|| ReleaseLogError::Damaged { file: file.clone(), line })?);
        }
        Ok(Log::of(entries)?)
    }

    /// Writes behind so many bytes of the file of entries, which are all that count of it until now.
    fn append(&self, at: usize, text: &str) -> Result<(), ReleaseLogError> {
        let path = self.dir.join(ENTRIES_FILE);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.set_len(at as u64)?;
            file.seek(SeekFrom::End(0))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|error| ReleaseLogError::Io { file: path.clone(), error })
    }

    /// The checkpoint signed last, and by which key.
    fn checkpoint(&self) -> Result<Option<(SignedTree, String, &String)>, ReleaseLogError> {
        let file = self.dir.join(CHECKPOINT_FILE);
        if !file.exists() {
            return Ok(None);
        }
        let bytes = private_file::read(&file)?;
        let note = String::from_utf8_lossy(bytes.expose()).into_owned();
        let signed = self.keys.iter().find_map(|key| Some((verify_checkpoint(key, &note).ok()?, key)));
        let (signed, key) = signed.ok_or(ReleaseLogError::Checkpoint(file))?;
        Ok(Some((signed, note, key)))
    }
}

/// Which number each manifest has.
fn numbers(tree: &Log) -> HashMap<[u8; 32], u64> {
    let entries = (0..).zip(tree.entries());
    entries.filter_map(|(number, entry)| Some((LoggedRelease::from_entry(entry).ok()?.manifest.0, number))).collect()
}

/// The file of a tree.
fn lines(tree: &Log) -> String {
    tree.entries().iter().map(|entry| const_hex::encode(entry) + "\n").collect()
}
