//! The vault itself: records by name, written together or not at all.

use std::io;

use keys::hashes::random;
use keys::secret::Secret;
use keys::storage::{PurposeKey, StorageKeyError};

use crate::index::{INDEX, Index, Write};
use crate::limits::LIMITS;
use crate::record::{Record, VaultKeys};
use crate::sealed::{self, Identity, Opened, SealError, VaultId, sealed_bytes};
use crate::storage::Storage;

/// The records of one device.
#[derive(Debug)]
pub struct Vault<S> {
    storage: S,
    keys: VaultKeys,
    id: VaultId,
    generation: u64,
    index: Index,
    /// The last write of the index failed: the storage holds the old one or the new one.
    unsure: bool,
    /// Where the hardware counter stands, where there is one.
    counter: Option<u64>,
}

/// One record's new content; `None` takes the record out.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// Which record.
    pub record: Record,
    /// What it shall hold.
    pub to: Option<&'a [u8]>,
}

/// Why a vault cannot be used, or did not take a change.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The storage holds no vault.
    #[error("there is no vault: its index is missing")]
    Missing,
    /// The storage holds a vault already.
    #[error("there is a vault already; it is not replaced")]
    Exists,
    /// The index names a record whose file is gone.
    #[error("{0} is gone from the vault; restore it from a copy, or provision the device again")]
    Gone(String),
    /// A file is not what was written there.
    #[error("{file}: {source}")]
    Sealed {
        /// Its name.
        file: String,
        /// What is wrong with it.
        source: SealError,
    },
    /// The index opened, and its content is of another form.
    #[error("the index of the vault is of a form that this version does not know: {0}")]
    Form(String),
    /// The vault is older than the hardware counter says.
    #[error("the vault is from epoch {vault}, and the hardware counter stands at {counter}: an old vault was put back")]
    RolledBack {
        /// The vault's epoch.
        vault: u64,
        /// The hardware counter.
        counter: u64,
    },
    /// The vault is further ahead of the hardware counter than one interrupted step.
    #[error(
        "the vault is from epoch {vault}, and the hardware counter stands only at {counter}: it was set back or changed"
    )]
    CounterBehind {
        /// The vault's epoch.
        vault: u64,
        /// The hardware counter.
        counter: u64,
    },
    /// A record is longer than its bound.
    #[error("{record} would have {length} bytes; at most {} are stored", .record.most())]
    TooLong {
        /// Which one.
        record: Record,
        /// Its length.
        length: usize,
    },
    /// The record belongs to the other vault of a device.
    #[error("{0} is not kept in this vault")]
    OtherVault(Record),
    /// A change names a record twice.
    #[error("a change names {0} twice")]
    Twice(Record),
    /// A number that only grows is at its end.
    #[error("the vault was written too often")]
    WornOut,
    /// The storage failed.
    #[error("{file}: {source}")]
    Storage {
        /// The file.
        file: String,
        /// What the storage said.
        source: io::Error,
    },
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error(transparent)]
    Key(#[from] StorageKeyError),
}

impl<S: Storage> Vault<S> {
    /// Makes a new vault with these records, in a storage that holds none. It begins in epoch `epoch`: the hardware
    /// counter's value, or 0 where there is no counter.
    ///
    /// # Errors
    /// [`VaultError::Exists`], or what [`Vault::write`] may fail with.
    pub fn create(storage: S, keys: VaultKeys, epoch: u64, first: &[Change<'_>]) -> Result<Vault<S>, VaultError> {
        if read_file(&storage, INDEX, 0)?.is_some() {
            return Err(VaultError::Exists);
        }
        let index = Index::of_epoch(epoch);
        let mut vault =
            Vault { storage, keys, id: random(), generation: 0, index, unsure: false, counter: Some(epoch) };
        vault.write(first)?;
        Ok(vault)
    }

    /// Opens the vault of a storage. `counter` is the value of the hardware counter, where there is one: the vault must be
    /// of that epoch, or one ahead when power went between the vault's step and the counter's.
    ///
    /// # Errors
    /// [`VaultError`] when there is none, when it is not this device's, was changed, or was set back.
    pub fn open(storage: S, keys: VaultKeys, counter: Option<u64>) -> Result<Vault<S>, VaultError> {
        let (opened, index) = read_index(&storage, &keys)?;
        counter.map_or(Ok(()), |counter| judge_epoch(index.epoch, counter))?;
        Ok(Vault { storage, keys, id: opened.vault, generation: opened.version, index, unsure: false, counter })
    }

    /// How many changes this vault has taken; it never falls, unless somebody puts an old copy back.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The epoch: how many security events this vault knows of.
    pub fn epoch(&self) -> u64 {
        self.index.epoch
    }

    /// The value to which the hardware counter must be stepped now, when a step was interrupted.
    pub fn step_due(&self) -> Option<u64> {
        self.counter.filter(|counter| self.index.epoch > *counter).map(|_| self.index.epoch)
    }

    /// The hardware counter was stepped to this value.
    pub fn stepped(&mut self, to: u64) {
        self.counter = Some(to);
    }

    /// Whether this record is there.
    pub fn holds(&self, record: Record) -> bool {
        self.index.get(record.name()).is_some()
    }

    /// The content of a record; `None` when it was never written, or taken out.
    ///
    /// # Errors
    /// [`VaultError`] when its file is gone, was changed, or cannot be read.
    pub fn read(&self, record: Record) -> Result<Option<Secret>, VaultError> {
        let Some(Write { version, salt }) = self.index.get(record.name()) else { return Ok(None) };
        let file = record.file(version);
        let bytes = read_file(&self.storage, &file, sealed_bytes(record.most()))?;
        let bytes = bytes.ok_or_else(|| VaultError::Gone(file.clone()))?;
        let identity = Identity { name: record.name(), vault: self.id, version, salt };
        let opened = sealed::open(self.key(record)?, &identity, record.most(), bytes);
        opened.map(Some).map_err(|source| VaultError::Sealed { file, source })
    }

    /// Makes all these changes, or none. When it returns well they last, whatever happens to the power; when power goes
    /// before, all or none of them are made.
    ///
    /// # Errors
    /// [`VaultError`]: nothing was changed, or, when the very last step failed, everything.
    pub fn write(&mut self, changes: &[Change<'_>]) -> Result<(), VaultError> {
        self.settle()?;
        self.write_in(self.index.epoch, changes)
    }

    fn write_in(&mut self, epoch: u64, changes: &[Change<'_>]) -> Result<(), VaultError> {
        for (at, change) in changes.iter().enumerate() {
            let (record, length) = (change.record, change.to.map_or(0, <[u8]>::len));
            if length > record.most() {
                return Err(VaultError::TooLong { record, length });
            }
            if changes.iter().take(at).any(|earlier| earlier.record == record) {
                return Err(VaultError::Twice(record));
            }
        }
        let mut index = self.index.clone();
        index.epoch = epoch;
        for Change { record, to } in changes {
            let write = to.map(|plain| self.write_record(*record, plain)).transpose()?;
            index.set(record.name(), write);
        }
        self.commit(index)?;
        for Change { record, .. } in changes.iter().filter(|change| change.to.is_none()) {
            self.clear(*record)?;
        }
        Ok(())
    }

    /// Makes all these changes in the next epoch, or none, and returns that epoch: the hardware counter must be stepped to it after this.
    /// While the step to an epoch is still due, that one goes on: the counter is never left two behind.
    ///
    /// # Errors
    /// As [`Vault::write`].
    pub fn begin_epoch(&mut self, changes: &[Change<'_>]) -> Result<u64, VaultError> {
        self.settle()?;
        let next = self.index.epoch.checked_add(1).ok_or(VaultError::WornOut)?;
        let epoch = self.step_due().unwrap_or(next);
        self.write_in(epoch, changes)?;
        Ok(epoch)
    }

    /// Writes a record into the file that does not count.
    fn write_record(&mut self, record: Record, plain: &[u8]) -> Result<Write, VaultError> {
        let before = self.index.get(record.name()).map_or(0, |write| write.version);
        let version = before.checked_add(1).ok_or(VaultError::WornOut)?;
        let salt = sealed::draw_salt();
        let identity = Identity { name: record.name(), vault: self.id, version, salt };
        let file = record.file(version);
        let sealed = sealed::seal(self.key(record)?, &identity, plain);
        let bytes = sealed.map_err(|source| VaultError::Sealed { file: file.clone(), source })?;
        self.replace(&file, &bytes)?;
        Ok(Write { version, salt })
    }

    fn key(&self, record: Record) -> Result<&PurposeKey, VaultError> {
        self.keys.of(record).ok_or(VaultError::OtherVault(record))
    }

    /// Lets this index count from now on.
    fn commit(&mut self, index: Index) -> Result<(), VaultError> {
        let generation = self.generation.checked_add(1).ok_or(VaultError::WornOut)?;
        let identity = Identity { name: INDEX, vault: self.id, version: generation, salt: sealed::draw_salt() };
        let sealed = sealed::seal(self.keys.index(), &identity, &index.encode());
        let bytes = sealed.map_err(|source| VaultError::Sealed { file: INDEX.to_owned(), source })?;
        self.unsure = true;
        self.replace(INDEX, &bytes)?;
        self.unsure = false;
        self.generation = generation;
        self.index = index;
        Ok(())
    }

    /// After a failed write of the index: finds out which one is there.
    fn settle(&mut self) -> Result<(), VaultError> {
        if !self.unsure {
            return Ok(());
        }
        let (opened, index) = match read_index(&self.storage, &self.keys) {
            // The very first write failed.
            Err(VaultError::Missing) if self.generation == 0 => {
                self.unsure = false;
                return Ok(());
            }
            other => other?,
        };
        let next = self.generation.checked_add(1).ok_or(VaultError::WornOut)?;
        let ours = opened.vault == self.id && (self.generation..=next).contains(&opened.version);
        if !ours {
            return Err(VaultError::Sealed { file: INDEX.to_owned(), source: SealError::OtherVault });
        }
        self.generation = opened.version;
        self.index = index;
        self.unsure = false;
        Ok(())
    }

    /// Leaves nothing of a record that was taken out.
    fn clear(&mut self, record: Record) -> Result<(), VaultError> {
        for version in [0, 1] {
            let file = record.file(version);
            if read_file(&self.storage, &file, 0)?.is_some_and(|bytes| !bytes.is_empty()) {
                self.replace(&file, &[])?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, file: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let replaced = self.storage.replace(file, bytes);
        replaced.map_err(|source| VaultError::Storage { file: file.to_owned(), source })
    }
}

fn read_file(storage: &impl Storage, file: &str, most: usize) -> Result<Option<Vec<u8>>, VaultError> {
    storage.read(file, most).map_err(|source| VaultError::Storage { file: file.to_owned(), source })
}

fn read_index(storage: &impl Storage, keys: &VaultKeys) -> Result<(Opened, Index), VaultError> {
    let bytes = read_file(storage, INDEX, sealed_bytes(LIMITS.index))?.ok_or(VaultError::Missing)?;
    let opened = sealed::open_any(keys.index(), INDEX, LIMITS.index, bytes);
    let opened = opened.map_err(|source| VaultError::Sealed { file: INDEX.to_owned(), source })?;
    let index = Index::decode(opened.plain.expose()).map_err(VaultError::Form)?;
    Ok((opened, index))
}

/// Holds a vault's epoch against the hardware counter, which may be one step behind.
fn judge_epoch(vault: u64, counter: u64) -> Result<(), VaultError> {
    match vault.checked_sub(counter) {
        None => Err(VaultError::RolledBack { vault, counter }),
        Some(0 | 1) => Ok(()),
        Some(_) => Err(VaultError::CounterBehind { vault, counter }),
    }
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("record", &self.record).finish_non_exhaustive()
    }
}
