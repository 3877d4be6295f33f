//! Ways to write: the device's own, and careless ones that must be found out.

use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use device::storage::{Disk as Steps, FolderDisk};

use crate::disk::Disk;
use crate::os::IMAGES;
use crate::state::{self, Device, STEPS};

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// As devices do.
    Sound,
    /// The new name of a file is never synced.
    NoFolderSync,
    /// Nothing is ever synced.
    NoSync,
}

impl FromStr for Writer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Writer> {
        Ok(match name {
            "sound" => Writer::Sound,
            "no-folder-sync" => Writer::NoFolderSync,
            "no-sync" => Writer::NoSync,
            other => bail!("there is no writer {other:?}"),
        })
    }
}

/// The steps of a device's folder, without those that a careless writer leaves out.
#[derive(Clone)]
pub(crate) struct WriterDisk {
    pub(crate) folder: FolderDisk,
    pub(crate) writer: Writer,
}

impl Steps for WriterDisk {
    type File = File;

    fn create(&mut self, name: &str) -> io::Result<File> {
        self.folder.create(name)
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        self.folder.open(name)
    }

    fn look(&self, name: &str) -> io::Result<Option<File>> {
        self.folder.look(name)
    }

    fn write_at(&mut self, file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.folder.write_at(file, at, bytes)
    }

    fn read_at(&self, file: &File, at: u64, room: &mut [u8]) -> io::Result<usize> {
        self.folder.read_at(file, at, room)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        if self.writer == Writer::NoSync { Ok(()) } else { self.folder.sync(file) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        if self.writer == Writer::Sound { self.folder.sync_folder() } else { Ok(()) }
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        self.folder.read(name, most)
    }
}

/// Makes a device on a disk, and has it take one step after the other; each is acknowledged when it is believed to last.
pub(crate) fn record(disk: Disk, writer: Writer) -> Result<()> {
    let acknowledgements = disk.acknowledgements()?;
    let mounted = disk.mount()?;
    state::make_folders(mounted.path())?;
    rustix::fs::sync();
    acknowledgements.say(0)?;
    let way = |folder: &Path| WriterDisk { folder: FolderDisk::new(folder), writer };
    let mut device = Device::create(mounted.path(), Path::new(IMAGES), way)?;
    acknowledgements.say(1)?;
    for step in 2..=STEPS {
        device.step(step).with_context(|| format!("step {step}"))?;
        acknowledgements.say(step)?;
    }
    drop((device, acknowledgements));
    mounted.unmount()
}
