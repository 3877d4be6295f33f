//! Files that only their owner may read, written whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use crate::{hashes::random, limits::LIMITS, secret::Secret};

/// The only mode a private file may have for group and others: none.
const FORBIDDEN: u32 = 0o077;
const MODE: u32 = 0o600;

/// What to do when the file is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail: a key that exists is never overwritten by accident.
    Refuse,
    /// Put the new content in its place, in one step.
    Replace,
}

/// Why a private file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Others may read or write it.
    #[error(
        "{path}: mode {mode:04o} lets group or others use this file; \
         if nobody has read it, run `chmod 600` on it, otherwise replace what it holds"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A link, directory, pipe or device, not a file.
    #[error("{path}: not a regular file; put the file itself there, links are not followed")]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// More than the bound.
    #[error("{path}: longer than {max} bytes, so it is not what it should be")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        max: usize,
    },
    /// The file is there already.
    #[error("{path}: exists already and is not overwritten; move it away first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Reads a private file, and refuses one that group or others may use.
pub fn read(path: &Path) -> Result<Secret, PrivateFileError> {
    let io = |error| PrivateFileError::Io { path: path.to_owned(), error };
    // Non-blocking, so that a pipe in the file's place is refused instead of waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP) => PrivateFileError::NotAFile { path: path.to_owned() },
            _ => io(error),
        }
    })?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(PrivateFileError::NotAFile { path: path.to_owned() });
    }
    let mode = meta.mode() & 0o7777;
    if mode & FORBIDDEN != 0 {
        return Err(PrivateFileError::TooOpen { path: path.to_owned(), mode });
    }
    let max = LIMITS.private_file;
    // Reserved at once, so that no growing buffer leaves unwiped copies behind.
    let mut bytes = Vec::with_capacity(max + 1);
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let secret = Secret::new(bytes);
    if secret.expose().len() > max {
        return Err(PrivateFileError::TooLong { path: path.to_owned(), max });
    }
    Ok(secret)
}

/// Writes a private file: after a power cut at any moment the old or the new content is there, never a part.
pub fn write(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), PrivateFileError> {
    let io = |error| PrivateFileError::Io { path: path.to_owned(), error };
    if bytes.len() > LIMITS.private_file {
        return Err(PrivateFileError::TooLong { path: path.to_owned(), max: LIMITS.private_file });
    }
    let temporary = temporary_name(path).map_err(io)?;
    let written = write_temporary(&temporary, bytes).and_then(|()| put_in_place(&temporary, path, existing));
    if let Err(error) = written {
        // Nothing more can be done about a left-over; its name is fresh each time, so it blocks nobody.
        let _ = fs::remove_file(&temporary);
        return Err(if error.kind() == io::ErrorKind::AlreadyExists {
            PrivateFileError::Exists { path: path.to_owned() }
        } else {
            io(error)
        });
    }
    Ok(())
}

/// Lets two files or folders of one disk change places in one step.
pub fn exchange(one: &Path, other: &Path) -> Result<(), PrivateFileError> {
    let exchanged = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    exchanged.map_err(|error| PrivateFileError::Io { path: other.to_owned(), error: error.into() })
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", const_hex::encode(random::<8>())));
    Ok(path.with_file_name(temporary))
}

fn write_temporary(temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn put_in_place(temporary: &Path, path: &Path, existing: Existing) -> io::Result<()> {
    let flags = match existing {
        Existing::Refuse => RenameFlags::NOREPLACE,
        Existing::Replace => RenameFlags::empty(),
    };
    renameat_with(CWD, temporary, CWD, path, flags)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
