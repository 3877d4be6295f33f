//! The transparency log as its keeper sees it: what is appended is hashed into the tree of RFC 6962 and proved from there.

use keys::note::NoteSigner;
use minicbor::bytes::ByteArray;
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, prove_record, stored_hashes, tree_hash};

use super::DraftError;
use crate::log::{LogProof, entry};
use crate::manifest::Manifest;

/// The tree's hashes, in the order in which they are stored. They are all that a proof needs.
#[derive(Debug, Clone, Default)]
pub struct Log {
    size: u64,
    hashes: Vec<Hash>,
}

impl HashReader for Log {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| usize::try_from(*index).ok().and_then(|at| self.hashes.get(at)).copied();
        indexes.iter().map(hash).collect::<Option<_>>().ok_or_else(|| Error::InvalidInput("no such hash".into()))
    }
}

impl Log {
    /// Appends a manifest and gives its number.
    ///
    /// # Errors
    /// [`DraftError::Form`], which nothing from outside can cause.
    pub fn append(&mut self, manifest: &Manifest) -> Result<u64, DraftError> {
        let mut hashes = stored_hashes(self.size, &entry(manifest), self).map_err(failed)?;
        self.hashes.append(&mut hashes);
        self.size += 1;
        Ok(self.size - 1)
    }

    /// The proof of the manifest with this number, under a checkpoint of the whole tree.
    ///
    /// # Errors
    /// [`DraftError::Form`] for a number that the log does not have.
    pub fn prove(&self, index: u64, signer: &NoteSigner) -> Result<LogProof, DraftError> {
        if index >= self.size {
            return Err(DraftError::Form(format!("the log has no entry {index}")));
        }
        let root = tree_hash(self.size, self).map_err(failed)?;
        let hashes = prove_record(self.size, index, self).map_err(failed)?;
        let checkpoint = Checkpoint::new(signer.key().name(), self.size, root, "").map_err(failed)?;
        let text = String::from_utf8(checkpoint.to_bytes()).map_err(failed)?;
        let note = signer.sign(&text).map_err(failed)?;
        Ok(LogProof { note, index, hashes: hashes.iter().map(|hash| ByteArray::from(hash.0)).collect() })
    }
}

fn failed(error: impl std::fmt::Display) -> DraftError {
    DraftError::Form(error.to_string())
}
