//! The OS image in memory: a sealed file without a name, kept mapped and locked, so that it reaches no disk.
//!
//! This file calls the kernel where rustix has no safe way: mmap(2) and mlock(2) of a file of its own.
#![allow(unsafe_code, reason = "mapping and locking memory; each block says why it is sound")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::ptr::{NonNull, null_mut};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create, open};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, munmap};

/// A program in the making. Its pages are locked before anything is written into them.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    map: Mapping,
    locked: bool,
}

/// A program that nobody can change any more, and that this process keeps in memory.
#[derive(Debug)]
pub struct SealedProgram {
    file: File,
    _map: Mapping,
    locked: bool,
}

/// A mapping for reading only that nobody reads through: it holds the pages in memory.
#[derive(Debug)]
struct Mapping {
    at: NonNull<c_void>,
    length: usize,
}

// SAFETY: nothing is ever read or written through the address; it is only given back.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Memory {
    /// Room for a program of this many bytes. Pages that the kernel does not lock may reach a swap device.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn new(length: usize) -> io::Result<Memory> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = match memfd_create("vouch-os", flags | MemfdFlags::EXEC) {
            // Kernels before 6.3 know no such flag, and let every such file be executed.
            Err(Errno::INVAL) => memfd_create("vouch-os", flags)?,
            other => other?,
        };
        ftruncate(&made, u64::try_from(length).map_err(io::Error::other)?)?;
        let map = Mapping::new(&made, length)?;
        let locked = map.lock().is_ok();
        Ok(Memory { file: made.into(), map, locked })
    }

    /// Whether the kernel keeps it in memory.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked
    }

    /// Writes these bytes at a place.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Lets nobody change the content, the length or the seals any more, this process included.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn seal(self) -> io::Result<SealedProgram> {
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&self.file, seals)?;
        Ok(SealedProgram { file: self.file, _map: self.map, locked: self.locked })
    }
}

impl SealedProgram {
    /// The path under which a child of this process can execute it (proc_pid_fd(5)).
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Whether the kernel keeps it in memory.
    pub fn is_locked(&self) -> bool {
        self.locked
    }
}

impl Mapping {
    fn new(file: &OwnedFd, length: usize) -> io::Result<Mapping> {
        // A file that is open for writing counts as one that might be written through the mapping, and could not be sealed.
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let readable = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // SAFETY: a new mapping at an address that the kernel chooses replaces none that anybody uses.
        let at = unsafe { mmap(null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &readable, 0) }?;
        let at = NonNull::new(at).ok_or_else(|| io::Error::other("a mapping at address 0"))?;
        Ok(Mapping { at, length })
    }

    fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, which lives as long as `self`.
        Ok(unsafe { mlock(self.at.as_ptr(), self.length) }?)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and nobody holds a reference into it.
        let _ = unsafe { munmap(self.at.as_ptr(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn program(bytes: &[u8]) -> SealedProgram {
        let mut memory = Memory::new(bytes.len()).unwrap();
        memory.write(0, bytes).unwrap();
        memory.seal().unwrap()
    }

    #[test]
    fn a_sealed_program_runs_and_nobody_can_change_it() {
        let sealed = program(&std::fs::read("/bin/true").unwrap());
        assert!(Command::new(sealed.path()).status().unwrap().success());
        assert!(sealed.file.write_all_at(b"x", 0).is_err());
        assert!(sealed.file.set_len(1).is_err());
        assert!(fcntl_add_seals(&sealed.file, SealFlags::WRITE).is_err());
        let again = std::fs::OpenOptions::new().write(true).open(sealed.path());
        assert!(again.and_then(|file| file.write_all_at(b"x", 0)).is_err());
    }

    #[test]
    fn pages_are_locked_before_they_hold_anything() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let memory = Memory::new(64 * 1024).unwrap();
        assert!(memory.locked && locked() >= 64);
        let sealed = memory.seal().unwrap();
        assert!(sealed.is_locked() && locked() >= 64);
    }
}
