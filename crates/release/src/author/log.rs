//! The transparency log as its keeper and those who compare it see it: the tree of RFC 6962 over its entries, and its files (C2SP tlog-tiles).

use keys::note::NoteSigner;
use minicbor::bytes::ByteArray;
use tlog_tiles::{Checkpoint, Error, Hash, HashReader, Tile, prove_record, stored_hashes, tree_hash};

use super::DraftError;
use crate::limits::LIMITS;
use crate::log::{LogProof, entry};
use crate::manifest::Manifest;

/// log2 of the hashes of a full tile.
const TILE: u8 = 8;
/// More levels of tiles than the largest tree has.
const LEVELS: u8 = 5;

/// All entries and the tree's hashes, in the order in which these are stored. They are all that a proof needs.
#[derive(Debug, Clone, Default)]
pub struct Log {
    entries: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
}

impl HashReader for Log {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| usize::try_from(*index).ok().and_then(|at| self.hashes.get(at)).copied();
        indexes.iter().map(hash).collect::<Option<_>>().ok_or_else(|| Error::InvalidInput("no such hash".into()))
    }
}

impl Log {
    /// The log with these entries.
    ///
    /// # Errors
    /// [`DraftError`] for an entry that is too long.
    pub fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Result<Log, DraftError> {
        let mut log = Log::default();
        for entry in entries {
            log.push(entry)?;
        }
        Ok(log)
    }

    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entries, in their order.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Appends a manifest and gives its number.
    ///
    /// # Errors
    /// [`DraftError`], which nothing from outside can cause.
    pub fn append(&mut self, manifest: &Manifest) -> Result<u64, DraftError> {
        self.push(entry(manifest))
    }

    fn push(&mut self, entry: Vec<u8>) -> Result<u64, DraftError> {
        if entry.len() > LIMITS.log_entry {
            return Err(DraftError::Bound("an entry of the transparency log is too long"));
        }
        let number = self.size();
        let mut hashes = stored_hashes(number, &entry, self).map_err(failed)?;
        self.hashes.append(&mut hashes);
        self.entries.push(entry);
        Ok(number)
    }

    /// The root of the tree over the first so many entries.
    ///
    /// # Errors
    /// [`DraftError::Form`] when it has fewer.
    pub fn root(&self, size: u64) -> Result<[u8; 32], DraftError> {
        if size > self.size() {
            return Err(DraftError::Form(format!("the log has no {size} entries")));
        }
        Ok(tree_hash(size, self).map_err(failed)?.0)
    }

    /// The signed checkpoint (C2SP tlog-checkpoint) over the first so many entries.
    ///
    /// # Errors
    /// [`DraftError::Form`] when it has fewer.
    pub fn checkpoint(&self, size: u64, signer: &NoteSigner) -> Result<String, DraftError> {
        let root = Hash(self.root(size)?);
        let checkpoint = Checkpoint::new(signer.key().name(), size, root, "").map_err(failed)?;
        let text = String::from_utf8(checkpoint.to_bytes()).map_err(failed)?;
        signer.sign(&text).map_err(failed)
    }

    /// The proof of the entry with this number, under a checkpoint over the first so many.
    ///
    /// # Errors
    /// [`DraftError::Form`] for a number that is not among them.
    pub fn prove(&self, index: u64, size: u64, signer: &NoteSigner) -> Result<LogProof, DraftError> {
        if index >= size || size > self.size() {
            return Err(DraftError::Form(format!("the log has no entry {index} among the first {size}")));
        }
        let hashes = prove_record(size, index, self).map_err(failed)?;
        let hashes = hashes.iter().map(|hash| ByteArray::from(hash.0)).collect();
        Ok(LogProof { note: self.checkpoint(size, signer)?, index, hashes })
    }

    /// A file of the log over its first so many entries, by its path below `tile/`: `0/000.p/7`, `1/000`, `entries/x001/x234/067`.
    ///
    /// None when the tree of that size has no such file.
    pub fn tile(&self, size: u64, path: &str) -> Option<Vec<u8>> {
        let tile = named(path)?;
        let (width, level) = (u64::from(tile.width()), u32::from(tile.level()));
        let first =
            tile.level_index().checked_shl(u32::from(TILE)).filter(|first| first >> TILE == tile.level_index())?;
        let end = first.checked_add(width)?.checked_mul(1_u64.checked_shl(level.checked_mul(u32::from(TILE))?)?)?;
        if end > size.min(self.size()) {
            return None;
        }
        if !tile.is_data() {
            return tile.read_data(self).ok();
        }
        let mut bundle = Vec::new();
        for entry in self.entries.get(usize::try_from(first).ok()?..usize::try_from(end).ok()?)? {
            bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
            bundle.extend_from_slice(entry);
        }
        Some(bundle)
    }
}

/// The entries of a bundle of them (C2SP tlog-tiles, "Log entries"): these many; none when it is no such bundle.
pub fn unbundle(bundle: &[u8], count: u64) -> Option<Vec<Vec<u8>>> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry.to_vec());
        rest = behind;
    }
    (rest.is_empty() && entries.len() as u64 == count).then_some(entries)
}

/// The path below the log's prefix of the bundle of entries with this number, in a log of this size; none beyond its end.
pub fn bundle_path(number: u64, size: u64) -> Option<(String, u64)> {
    let left = size.checked_sub(number.checked_mul(1 << TILE)?).filter(|left| *left > 0)?;
    let width = left.min(1 << TILE);
    let tile = Tile::new(TILE, 0, number, u32::try_from(width).ok()?, true);
    Some((tile.path().replacen("tile/8/data", "tile/entries", 1), width))
}

/// Reads a path as C2SP writes it; the library, which it is handed to in its own form, must not see what it panics at.
fn named(path: &str) -> Option<Tile> {
    let (level, rest) = path.split_once('/')?;
    let is_empty = rest.rsplit_once(".p/").is_some_and(|(_, width)| width.parse() == Ok(0_u32));
    let level = match level {
        "entries" => "data",
        level => level.parse::<u8>().ok().filter(|number| *number <= LEVELS).map(|_| level)?,
    };
    if is_empty {
        return None;
    }
    Tile::from_path(&format!("tile/{TILE}/{level}/{rest}")).ok()
}

fn failed(error: impl std::fmt::Display) -> DraftError {
    DraftError::Form(error.to_string())
}
