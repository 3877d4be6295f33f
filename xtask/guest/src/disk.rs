//! The disk of a device: a file system, and behind its end one block that holds the number of the last acknowledged step.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Where the file system is mounted.
pub(crate) const MOUNTED: &str = "/mnt";
/// Bytes of the acknowledgement's block: what a write past all caches must be a multiple of.
const BLOCK: usize = 4096;
const MARK: &[u8; 8] = b"acknowl.";

/// A disk of this machine.
pub(crate) struct Disk {
    path: String,
}

/// Bytes at an address that a write past all caches accepts.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

impl Disk {
    /// The disk at this place in the machine, from 0.
    pub(crate) fn number(at: usize) -> Disk {
        let letter = u8::try_from(at).ok().and_then(|at| b'a'.checked_add(at)).map_or('?', char::from);
        Disk { path: format!("/dev/vd{letter}") }
    }

    /// Its bytes from the first on.
    pub(crate) fn read(&self) -> Result<BufReader<File>> {
        File::open(&self.path).map(BufReader::new).with_context(|| self.path.clone())
    }

    /// Replaces every byte of it.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut disk = OpenOptions::new().write(true).open(&self.path)?;
        disk.write_all(bytes).and_then(|()| disk.sync_data()).with_context(|| self.path.clone())
    }

    /// Mounts its file system, which recovers it from its journal where it was not unmounted.
    pub(crate) fn mount(&self) -> Result<Mounted> {
        let mounted = mount(&self.path, MOUNTED, "ext4", MountFlags::empty(), c"data=ordered,errors=remount-ro");
        mounted.map(|()| Mounted).with_context(|| format!("mounting {}", self.path))
    }

    /// The place for acknowledgements.
    pub(crate) fn acknowledgements(&self) -> Result<Acknowledgements> {
        let flags = OFlags::DIRECT | OFlags::SYNC;
        let disk = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(&self.path)?;
        let length = rustix::fs::seek(&disk, rustix::fs::SeekFrom::End(0))?;
        Ok(Acknowledgements { at: length.checked_sub(BLOCK as u64).context("a disk without room")?, disk })
    }
}

/// A file system in use.
pub(crate) struct Mounted;

impl Mounted {
    /// Where it is.
    pub(crate) fn path(&self) -> &'static Path {
        Path::new(MOUNTED)
    }

    /// Takes it out of use.
    pub(crate) fn unmount(self) -> Result<()> {
        unmount(MOUNTED, UnmountFlags::empty()).context("unmounting")
    }
}

/// The block behind the file system. It is in the same log as all other writes, so that no clock is needed to say what was
/// acknowledged before the power went.
pub(crate) struct Acknowledgements {
    disk: File,
    at: u64,
}

impl Acknowledgements {
    /// Says that everything up to this number will survive. Returns when that itself is on the disk.
    pub(crate) fn say(&self, number: u32) -> Result<()> {
        let mut block = Box::new(Block([0; BLOCK]));
        let (mark, rest) = block.0.split_at_mut(MARK.len());
        mark.copy_from_slice(MARK);
        rest.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        self.disk.write_all_at(&block.0, self.at).context("acknowledging")
    }
}

/// The acknowledged number in the bytes of a disk; `None` before the first.
pub(crate) fn acknowledged(disk: &[u8]) -> Option<u32> {
    let block = disk.get(acknowledgement_at(disk.len())?..)?;
    let number = block.strip_prefix(MARK)?.first_chunk()?;
    Some(u32::from_be_bytes(*number))
}

/// Where the acknowledgement is in a disk of this length.
pub(crate) fn acknowledgement_at(length: usize) -> Option<usize> {
    length.checked_sub(BLOCK)
}
