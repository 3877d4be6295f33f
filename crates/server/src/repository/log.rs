//! The transparency log of releases: one tree, of which a checkpoint is signed only when all that it covers is on the disk.
//!
//! The checkpoint signed last is in a file beside the database. A database that was put back to an older state cannot make a second tree:
//! nothing is signed until the same releases are in it again, in the same order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use keys::cbor;
use keys::note::NoteSigner;
use keys::private_file::{self, Existing, PrivateFileError};
use release::author::{DraftError, Log};
use release::log::{LogError, SignedTree, verify_checkpoint};
use release::manifest::Manifest;

use super::RepositoryError;
use crate::store::{NewLogEntry, Store};

/// The checkpoint signed last, in the server's folder.
pub const CHECKPOINT_FILE: &str = "release-log.checkpoint";

/// The log. What it answers is in memory.
pub(super) struct ReleaseLog {
    file: PathBuf,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    tree: Log,
    numbers: HashMap<[u8; 32], u64>,
    /// The checkpoint signed last, and its note.
    signed: Option<(SignedTree, String)>,
}

/// What is to be appended, and the tree as it is then.
pub(super) struct Appending {
    pub(super) entries: Vec<NewLogEntry>,
    tree: Log,
}

/// Why the log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseLogError {
    /// The file of the checkpoint signed last.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A checkpoint of another key.
    #[error("{}: {error}; it belongs to the key of the log: restore both from one copy", .file.display())]
    Checkpoint {
        /// Its file.
        file: PathBuf,
        /// Why.
        error: LogError,
    },
    /// Entries that are not those of the checkpoint.
    #[error(
        "the database holds other releases than the transparency log's checkpoint over {0} entries, which is public: two histories would be signed. Restore the database from a newer copy"
    )]
    Forked(u64),
    /// A release that is not the one that stood there.
    #[error(
        "the database was put back to an older state: it has {have} of the {signed} entries of the transparency log. Upload the releases that came after, in the order of the log, before any other"
    )]
    OutOfOrder {
        /// Entries that are there.
        have: u64,
        /// Entries of the checkpoint.
        signed: u64,
    },
    /// The tree.
    #[error("the transparency log cannot be written: {0}")]
    Tree(#[from] DraftError),
}

impl ReleaseLog {
    /// Reads the log of a server, and holds it against the checkpoint that was signed last.
    pub(super) async fn open(dir: &Path, store: &Store, signer: &NoteSigner) -> Result<Self, RepositoryError> {
        let file = dir.join(CHECKPOINT_FILE);
        let (mut entries, mut numbers) = (Vec::new(), HashMap::new());
        for (number, (image, entry)) in (0..).zip(store.release_log().await?) {
            numbers.insert(image, number);
            entries.push(entry);
        }
        let tree = Log::of(entries).map_err(ReleaseLogError::from)?;
        let signed = read_checkpoint(&file, signer)?;
        if let Some((known, _)) = signed.as_ref().filter(|(known, _)| known.size <= tree.size())
            && tree.root(known.size).map_err(ReleaseLogError::from)? != known.root
        {
            return Err(ReleaseLogError::Forked(known.size).into());
        }
        let log = Self { file, state: RwLock::new(State { tree, numbers, signed }) };
        match log.behind() {
            Some((have, signed)) => tracing::error!(
                have,
                signed,
                "the database lacks releases of the transparency log; none is proved until they are uploaded again"
            ),
            None => log.sign(signer)?,
        }
        Ok(log)
    }

    /// What has to be appended for these manifests: none of those that are there already.
    ///
    /// # Errors
    /// [`ReleaseLogError::OutOfOrder`] when the result would contradict what was signed.
    pub(super) fn plan(&self, manifests: &[&Manifest]) -> Result<Appending, ReleaseLogError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (mut tree, mut entries) = (state.tree.clone(), Vec::new());
        for manifest in manifests {
            let image = manifest.hash().0;
            if !state.numbers.contains_key(&image) {
                let number = tree.append(manifest)?;
                entries.push(NewLogEntry { number, image, entry: release::log::entry(manifest) });
            }
        }
        if let Some((signed, _)) = state.signed.as_ref().filter(|(signed, _)| signed.size > state.tree.size())
            && tree.size() >= signed.size
            && tree.root(signed.size)? != signed.root
        {
            return Err(ReleaseLogError::OutOfOrder { have: state.tree.size(), signed: signed.size });
        }
        Ok(Appending { entries, tree })
    }

    /// Takes over what is on the disk by now, and signs it. It blocks.
    pub(super) fn appended(&self, appending: Appending, signer: &NoteSigner) -> Result<(), ReleaseLogError> {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.numbers.extend(appending.entries.iter().map(|entry| (entry.image, entry.number)));
            state.tree = appending.tree;
        }
        self.sign(signer)
    }

    /// Signs the whole tree, if that was not done and contradicts nothing. The checkpoint is on the disk before anybody sees it.
    fn sign(&self, signer: &NoteSigner) -> Result<(), ReleaseLogError> {
        let (signed, note) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let size = state.tree.size();
            if state.signed.as_ref().is_some_and(|(signed, _)| signed.size >= size) {
                return Ok(());
            }
            (SignedTree { size, root: state.tree.root(size)? }, state.tree.checkpoint(size, signer)?)
        };
        private_file::write(&self.file, note.as_bytes(), Existing::Replace)?;
        self.state.write().unwrap_or_else(PoisonError::into_inner).signed = Some((signed, note));
        Ok(())
    }

    /// How many entries are there and how many were signed, when the database was put back.
    fn behind(&self) -> Option<(u64, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (have, signed) = (state.tree.size(), state.signed.as_ref()?.0.size);
        (have < signed).then_some((have, signed))
    }

    /// The proof that a manifest is in the log, under the newest checkpoint.
    ///
    /// # Errors
    /// [`ReleaseLogError::Tree`].
    pub(super) fn proof(&self, image: &[u8; 32], signer: &NoteSigner) -> Result<Option<Vec<u8>>, ReleaseLogError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(number), Some(size)) = (state.numbers.get(image), state.served()) else { return Ok(None) };
        if *number >= size {
            return Ok(None);
        }
        Ok(Some(cbor::encode(&state.tree.prove(*number, size, signer)?)))
    }

    /// The newest checkpoint; none while the database lacks what it covers.
    pub(super) fn checkpoint(&self) -> Option<String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.served()?;
        state.signed.as_ref().map(|(_, note)| note.clone())
    }

    /// A file of the log as C2SP tlog-tiles names it, below `tile/`.
    pub(super) fn tile(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.tree.tile(state.served()?, path)
    }
}

impl State {
    /// Over how many entries the checkpoint is that is shown.
    fn served(&self) -> Option<u64> {
        self.signed.as_ref().map(|(signed, _)| signed.size).filter(|size| *size <= self.tree.size())
    }
}

fn read_checkpoint(file: &Path, signer: &NoteSigner) -> Result<Option<(SignedTree, String)>, ReleaseLogError> {
    if !file.exists() {
        return Ok(None);
    }
    let bytes = private_file::read(file)?;
    let note = String::from_utf8_lossy(bytes.expose()).into_owned();
    let signed = verify_checkpoint(&signer.key().to_string(), &note);
    let signed = signed.map_err(|error| ReleaseLogError::Checkpoint { file: file.to_owned(), error })?;
    Ok(Some((signed, note)))
}
