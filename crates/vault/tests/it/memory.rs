//! A storage in memory that many tests can look into, cut the power of, and let fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use keys::storage::StorageRoot;
use vault::{Change, Record, Storage, Vault, VaultKeys};

/// Files by name; clones look at the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What the next replacements do, first one first; after them, all succeed.
    pub(crate) next: Vec<Outcome>,
    /// How many replacements were asked for.
    pub(crate) replaced: usize,
}

/// How a replacement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It fails and the old content is there.
    FailedOld,
    /// It fails, and yet the new content is there.
    FailedNew,
}

impl Memory {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// A copy of all files, as somebody makes it who takes the flash out.
    pub(crate) fn image(&self) -> BTreeMap<String, Vec<u8>> {
        self.inside().files.clone()
    }

    pub(crate) fn holding(files: BTreeMap<String, Vec<u8>>) -> Memory {
        Memory(Arc::new(Mutex::new(Inside { files, ..Inside::default() })))
    }
}

impl Storage for Memory {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let found = self.inside().files.get(name).cloned();
        Ok(found.map(|mut bytes| {
            bytes.truncate(most + 1);
            bytes
        }))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.inside();
        inside.replaced += 1;
        let outcome = if inside.next.is_empty() { Outcome::Done } else { inside.next.remove(0) };
        if outcome != Outcome::FailedOld {
            inside.files.insert(name.to_owned(), bytes.to_vec());
        }
        if outcome == Outcome::Done { Ok(()) } else { Err(io::Error::other("the disk failed")) }
    }
}

pub(crate) fn keys() -> VaultKeys {
    VaultKeys::derive(&StorageRoot::generate()).unwrap()
}

pub(crate) fn put(record: Record, to: &[u8]) -> Change<'_> {
    Change { record, to: Some(to) }
}

pub(crate) fn read(vault: &Vault<Memory>, record: Record) -> Option<Vec<u8>> {
    vault.read(record).unwrap().map(|secret| secret.expose().to_vec())
}

/// A vault with some records, and where it is.
pub(crate) fn filled(keys: &VaultKeys) -> (Vault<Memory>, Memory) {
    let memory = Memory::default();
    let first = [put(Record::Configuration, b"configuration 1"), put(Record::Proxy, b"user:password")];
    let vault = Vault::create(memory.clone(), keys.clone(), 0, &first).unwrap();
    (vault, memory)
}
