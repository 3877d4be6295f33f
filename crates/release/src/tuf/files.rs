//! Where metadata files come from, and where those that were verified are left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use sigstore_tuf::transport::FetchFuture;

use super::{TufError, distinct};
use crate::limits::LIMITS;

/// Gives metadata files by name, as a TUF repository with consistent snapshots has them: `2.root.json`, `timestamp.json`.
pub trait Source: Send + Sync {
    /// The file, at most `most` bytes long; `None` when there is none of this name.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be had, or is longer.
    fn metadata(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError>;
}

/// Keeps verified metadata files by name. What it gives back is verified again.
pub trait Cache: Send + Sync {
    /// The file, if it is there.
    fn load(&self, name: &str) -> Option<Vec<u8>>;

    /// Keeps the file, if it can.
    fn store(&self, name: &str, file: &[u8]);
}

/// A metadata file could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// More metadata files than may come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("release metadata may have {} files of {} bytes each", LIMITS.files, LIMITS.targets)]
pub struct TooMany;

/// Metadata files in memory, bounded in number and length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// No files.
    pub fn new() -> Files {
        Files::default()
    }

    /// Puts a file under its name, in place of one that is there.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn insert(&mut self, name: &str, file: Vec<u8>) -> Result<(), TooMany> {
        let fits = file.len() <= LIMITS.targets && name.len() <= LIMITS.file_name;
        if !fits || (self.0.len() >= LIMITS.files && !self.0.contains_key(name)) {
            return Err(TooMany);
        }
        self.0.insert(name.to_owned(), file);
        Ok(())
    }

    /// The file of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// All files with their names, in order of these.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, file)| (name.as_str(), file.as_slice()))
    }
}

impl Source for Files {
    fn metadata(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match self.get(name) {
            Some(file) if file.len() as u64 > most => Err(SourceError(format!("{name} is longer than {most} bytes"))),
            file => Ok(file.map(<[u8]>::to_vec)),
        }
    }
}

/// Without a cache: then the floors alone hold against older metadata.
impl Cache for () {
    fn load(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }

    fn store(&self, _name: &str, _file: &[u8]) {}
}

/// A [`Source`] as the library takes it, which lets no root pass that counts a key twice.
pub(super) struct Repository<S> {
    pub(super) source: S,
    pub(super) problem: Arc<Mutex<Option<TufError>>>,
}

impl<S: Source> sigstore_tuf::Repository for Repository<S> {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        let fetched = self.source.metadata(name, max_length).map_err(|error| sigstore_tuf::Error::transport(error.0));
        let checked = fetched.and_then(|file| match file {
            Some(file) if name.ends_with(".root.json") => {
                checked_root(&self.problem, &file)?;
                Ok(Some(file))
            }
            other => Ok(other),
        });
        Box::pin(std::future::ready(checked))
    }

    /// Targets are not fetched here: who has them checks them against what [`super::Trusted::find`] says.
    fn fetch_target<'a>(&'a self, _path: &'a str, _max_length: u64) -> FetchFuture<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A [`Cache`] as the library takes it.
pub(super) struct Store<C> {
    pub(super) cache: C,
    pub(super) problem: Arc<Mutex<Option<TufError>>>,
}

impl<C: Cache> sigstore_tuf::MetadataStore for Store<C> {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let file = self.cache.load(name);
        if let Some(file) = file.as_ref().filter(|_| name.ends_with("root.json")) {
            checked_root(&self.problem, file)?;
        }
        Ok(file)
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        self.cache.store(name, bytes);
        Ok(())
    }
}

/// Keeps what is wrong with a root, which the library would only pass on as a failed transport.
fn checked_root(problem: &Mutex<Option<TufError>>, root: &[u8]) -> sigstore_tuf::Result<()> {
    match distinct::in_root(root) {
        Ok(()) => Ok(()),
        // The library says the same when it reads the root itself.
        Err(TufError::Refused(error)) => Err(error),
        Err(error) => {
            let text = error.to_string();
            problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            Err(sigstore_tuf::Error::transport(text))
        }
    }
}
