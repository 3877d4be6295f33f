//! Where a device keeps its files: folders, and the one order of steps in which anything in them is ever changed.
//!
//! Records are replaced: new file, its bytes, fsync of the file, rename over the old one, fsync of the folder. Without the first fsync a power
//! cut may leave a file of the right name with nothing in it; without the second one the rename itself may be lost after
//! it was acknowledged. The slots of OS images are too large for that: they are written in place, and a record that is
//! replaced says up to where they count.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
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

    /// Opens a file to write in it; `look` opens one to read.
    ///
    /// # Errors
    /// As the operating system says.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read from it; `None` when there is none of that name.
    ///
    /// # Errors
    /// As the operating system says.
    fn look(&self, name: &str) -> io::Result<Option<Self::File>>;

    /// Writes all these bytes at a place, and makes the file longer where they go beyond its end.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `room` with the bytes at a place, up to the end of the file; says how many there were.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, file: &Self::File, at: u64, room: &mut [u8]) -> io::Result<usize>;

    /// Returns when the file's bytes would survive a power cut.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;

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
        self.0.write_at(&mut file, 0, bytes)?;
        self.0.sync(&file)?;
        drop(file);
        self.0.rename(&new, name)?;
        self.0.sync_folder()
    }
}

/// Files of which nothing is changed: what is written stays in memory and hides what is below it.
#[derive(Debug)]
pub struct Overlay<S> {
    below: S,
    written: BTreeMap<String, Vec<u8>>,
}

impl<S> Overlay<S> {
    /// Over these files.
    pub fn over(below: S) -> Overlay<S> {
        Overlay { below, written: BTreeMap::new() }
    }
}

impl<S: vault::Storage> vault::Storage for Overlay<S> {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        match self.written.get(name) {
            Some(bytes) => Ok(Some(bytes.iter().copied().take(most.saturating_add(1)).collect())),
            None => self.below.read(name, most),
        }
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.written.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// A folder of the operating system.
#[derive(Clone, Debug)]
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

    fn open(&mut self, name: &str) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        regular(OpenOptions::new().write(true).custom_flags(flags).open(self.dir.join(name))?)
    }

    fn look(&self, name: &str) -> io::Result<Option<File>> {
        // Non-blocking, so that a pipe in the file's place is refused instead of waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        match OpenOptions::new().read(true).custom_flags(flags).open(self.dir.join(name)) {
            Ok(file) => regular(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_at(&mut self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn read_at(&self, file: &File, at: u64, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.look(name)? else { return Ok(None) };
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(bound)).unwrap_or(0));
        file.take(bound).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
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
