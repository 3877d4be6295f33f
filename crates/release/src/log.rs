//! Proof that a release stands in the transparency log: a signed checkpoint (C2SP tlog-checkpoint) and an inclusion proof (RFC 6962).

use keys::cbor::{self, CborError};
use keys::note::{BadNote, NotANoteKey, NoteKey};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use tlog_tiles::{Checkpoint, Hash, check_record, record_hash};

use crate::limits::LIMITS;
use crate::manifest::{Manifest, ManifestHash};
use crate::version::OsVersion;

/// The largest tree whose proofs are followed.
const TREE_MAX: u64 = 1 << 40;
/// Hashes of a proof in the largest tree.
const HASHES_MAX: usize = 40;
/// What entries of OS releases begin with.
const KIND: &str = "os";

/// The proof, as bundles and trust messages carry it: `log-proof` in `docs/image.cddl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LogProof {
    /// The signed checkpoint.
    #[n(0)]
    pub note: String,
    /// The leaf's number.
    #[n(1)]
    pub index: u64,
    /// The inclusion proof.
    #[n(2)]
    pub hashes: Vec<ByteArray<32>>,
}

/// A manifest that was proved to be in the log. Only [`verify_logged`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    pub(crate) manifest: ManifestHash,
    /// Its number in the log, from 0.
    pub index: u64,
    /// How many entries the log had at that checkpoint.
    pub size: u64,
}

/// A checkpoint that the log signed. Only [`verify_checkpoint`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedTree {
    /// How many entries the log has.
    pub size: u64,
    /// The root of the tree over them (RFC 6962, section 2.1).
    pub root: [u8; 32],
}

/// What an entry of the log says of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRelease {
    /// Its product.
    pub product: String,
    /// Its version.
    pub version: OsVersion,
    /// Its security epoch.
    pub security_epoch: u32,
    /// The manifest of one of its images.
    pub manifest: ManifestHash,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Too long, another shape, trailing bytes.
    #[error("not a proof of the transparency log: {0}")]
    Form(#[from] CborError),
    /// More than a proof may have.
    #[error("the proof of the transparency log is too long")]
    TooLong,
    /// The log's key.
    #[error(transparent)]
    Key(#[from] NotANoteKey),
    /// Not the log's checkpoint.
    #[error("the checkpoint is not the log's: {0}")]
    Checkpoint(#[from] BadNote),
    /// A checkpoint in another form, of another log, or of a tree that is too large.
    #[error("the checkpoint is not one of this log")]
    OtherLog,
    /// Another release, or none.
    #[error("the release is not in the transparency log at the place that the proof names")]
    NotIncluded,
}

/// What the log holds of a manifest: the leaf's content.
pub fn entry(manifest: &Manifest) -> Vec<u8> {
    let hash = ByteArray::from(manifest.hash().0);
    cbor::encode(&(KIND, &*manifest.product, manifest.version, manifest.security_epoch, hash))
}

impl LoggedRelease {
    /// Reads an entry of the log.
    ///
    /// # Errors
    /// [`LogError::Form`] when it is of no kind that this program knows.
    pub fn from_entry(entry: &[u8]) -> Result<LoggedRelease, LogError> {
        let (kind, product, version, security_epoch, hash): (String, _, _, _, ByteArray<32>) = cbor::decode(entry)?;
        if kind != KIND {
            return Err(LogError::Form(CborError::Malformed));
        }
        Ok(LoggedRelease { product, version, security_epoch, manifest: ManifestHash(*hash) })
    }
}

/// Checks that the log of this verifier key signed a checkpoint.
///
/// # Errors
/// [`LogError`].
pub fn verify_checkpoint(log: &str, note: &str) -> Result<SignedTree, LogError> {
    let key = NoteKey::parse(log)?;
    let text = key.verify(note)?;
    let checkpoint = Checkpoint::from_bytes(text.as_bytes()).map_err(|_| LogError::OtherLog)?;
    if checkpoint.origin() != key.name() || checkpoint.size() > TREE_MAX {
        return Err(LogError::OtherLog);
    }
    Ok(SignedTree { size: checkpoint.size(), root: checkpoint.hash().0 })
}

/// Checks that this manifest is in the log of this verifier key.
///
/// # Errors
/// [`LogError`].
pub fn verify_logged(log: &str, manifest: &Manifest, proof: &[u8]) -> Result<Logged, LogError> {
    if proof.len() > LIMITS.log_proof {
        return Err(LogError::TooLong);
    }
    let proof: LogProof = cbor::decode(proof)?;
    if proof.hashes.len() > HASHES_MAX {
        return Err(LogError::TooLong);
    }
    let SignedTree { size, root } = verify_checkpoint(log, &proof.note)?;
    let hashes = proof.hashes.iter().map(|hash| Hash(**hash)).collect();
    let leaf = record_hash(&entry(manifest));
    check_record(&hashes, size, Hash(root), proof.index, leaf).map_err(|_| LogError::NotIncluded)?;
    Ok(Logged { manifest: manifest.hash(), index: proof.index, size })
}
