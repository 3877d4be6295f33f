//! Where the vault keeps its files: a folder, and the one order of steps in which anything in it is ever replaced.
//!
//! New file, its bytes, fsync of the file, rename over the old one, fsync of the folder. Without the first fsync a power
//! cut may leave a file of the right name with nothing in it; without the second one the rename itself may be lost after
//! it was acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The single steps that a folder on a disk can take. What a step did may be lost or torn by a power cut until it is synced.
pub trait Disk {
    /// An open file.
    type File;

    /// Makes an empty file for writing; one of the same name is emptied.
    ///
    /// # Errors
    /// As the operating system says, like those of the other steps.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Writes all these bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;

    /// Returns when the file's bytes would survive a power cut.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&mut self, file: Self::File) -> io::Result<()>;

    /// Gives a file the name of another, which is gone then.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Returns when the names in the folder would survive a power cut.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// The first `most` + 1 bytes of a file; `None` when there is none of that name.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>>;
}

/// Files that are replaced durably and whole or not at all, on a disk.
#[derive(Debug)]
pub struct DurableFiles<D>(pub D);

impl<D: Disk> vault::Storage for DurableFiles<D> {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.read(name, most)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // One writer at a time: what an interrupted write left under this name is simply emptied.
        let new = format!("{name}.new");
        let mut file = self.0.create(&new)?;
        self.0.write(&mut file, bytes)?;
        self.0.sync(file)?;
        self.0.rename(&new, name)?;
        self.0.sync_folder()
    }
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct FolderDisk {
    dir: PathBuf,
}

impl FolderDisk {
    /// The folder at `dir`.
    pub fn new(dir: &Path) -> FolderDisk {
        FolderDisk { dir: dir.to_owned() }
    }
}

impl Disk for FolderDisk {
    type File = File;

    fn create(&mut self, name: &str) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let path = self.dir.join(name);
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        // Non-blocking, so that a pipe in the file's place is refused instead of waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?;
        if !length.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::with_capacity(usize::try_from(length.len().min(bound)).unwrap_or(0));
        file.take(bound).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use vault::Storage as _;

    #[test]
    fn what_is_replaced_is_private_and_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = DurableFiles(FolderDisk::new(dir.path()));
        assert_eq!(files.read("a", 10).unwrap(), None);
        std::fs::write(dir.path().join("a.new"), b"left over from a write that was cut").unwrap();
        for content in [&b"first, longer"[..], b"second"] {
            files.replace("a", content).unwrap();
            assert_eq!(files.read("a", 100).unwrap().unwrap(), content);
        }
        assert_eq!(files.read("a", 3).unwrap().unwrap(), b"seco");
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
        files.replace("b", b"x").unwrap();
        let mode = std::fs::metadata(dir.path().join("b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_or_a_folder_in_a_files_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let files = DurableFiles(FolderDisk::new(dir.path()));
        std::fs::write(dir.path().join("target"), b"x").unwrap();
        std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(files.read("link", 10).is_err());
        assert!(files.read("folder", 10).is_err());
    }
}
