//! Verified boot: two slots for OS images, the record of which one boots, and what the factory laid down about signatures.
//!
//! # In the folder
//! `boot/` is the parent process's alone. Its records are a vault of their own, under keys that no child is handed: the
//! factory anchors, which nothing changes, and the control record. `slot-a` and `slot-b` hold an image each, encrypted again
//! under a key that exists for one write on one device.
//!
//! # Layout
//! - [`BootFolder`]: loads the image that boots, installs another, confirms it or goes back.
//! - [`control`]: which slot boots, by rules without I/O.
//! - `slot`: the file of a slot.
//! - `install`: from an encrypted image into a slot.
//! - `memory`: the image in memory. The one file with `unsafe`.

pub mod control;
#[cfg(test)]
pub(crate) mod fixture;
mod install;
mod memory;
mod slot;

use std::io;

use keys::purpose::KeyPurpose;
use keys::storage::{PurposeKey, StorageKeyError, StorageRoot};
use release::anchors::{Anchors, AnchorsError};
use release::floors::Floors;
use release::image::{ImageError, ProgramChecker};
use release::l1::{L1Error, verify_l1};
use release::manifest::{Manifest, ManifestHash};
use vault::{Change, Record, Vault, VaultError, VaultKeys};

use crate::boot::control::{Control, Slot, State};
use crate::boot::memory::Memory;
pub use crate::boot::memory::SealedProgram;
pub use crate::boot::slot::SlotError;
use crate::boot::slot::SlotReader;
pub use crate::folder::{BOOT_FOLDER, STAGED_IMAGE, STAGING_FOLDER};
use crate::limits::Limits;
use crate::storage::{Disk, DurableFiles};
pub use install::{InstallError, Source};

/// The boot folder of one device.
#[derive(Debug)]
pub struct BootFolder<D> {
    disk: D,
    records: Vault<DurableFiles<D>>,
    slot_key: PurposeKey,
    anchors: Anchors,
    control: Control,
    limits: Limits,
}

/// A verified image in memory, ready to be started.
#[derive(Debug)]
pub struct Loaded {
    /// The program.
    pub program: SealedProgram,
    /// What its signed manifest says.
    pub manifest: Manifest,
    /// The hash of that manifest: the measurement of this boot.
    pub hash: ManifestHash,
}

/// Why a device has no image to start, or its boot folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootFolderError {
    /// The records.
    #[error("the boot records: {0}")]
    Records(#[from] VaultError),
    /// A record is authentic and not of the form it should have; another version wrote it.
    #[error("the {0} of the boot folder cannot be understood; a newer version wrote it")]
    Form(Record),
    /// A record that every boot folder has is not there.
    #[error("the boot folder holds no {0}; provision the device again")]
    Absent(Record),
    /// The anchors.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The active image is not started, and there is no other one that may be.
    #[error("{} holds no image that may be started: {fault}", .slot.file())]
    Image {
        /// The slot.
        slot: Slot,
        /// What is wrong with it.
        fault: ImageFault,
    },
    /// The memory for the image.
    #[error("no memory for the OS image: {0}")]
    Memory(io::Error),
    /// The kernel locks no pages.
    #[error(
        "the kernel refuses to lock the OS image's memory ({0} bytes), so it could reach a swap device. Start this as root, \
         raise the limit (ulimit -l), or say --danger-unlocked-memory"
    )]
    NotLocked(u64),
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error(transparent)]
    Key(#[from] StorageKeyError),
}

/// What is wrong with the image in a slot.
#[derive(Debug, thiserror::Error)]
pub enum ImageFault {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// The manifest's signature, product, model, or a floor.
    #[error(transparent)]
    Manifest(#[from] L1Error),
    /// The slot's file.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The image is not the one of its manifest.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl<D: Disk + Clone> BootFolder<D> {
    /// Opens the boot folder of a device.
    ///
    /// # Errors
    /// [`BootFolderError`].
    pub fn open(disk: D, root: &StorageRoot, limits: &Limits) -> Result<BootFolder<D>, BootFolderError> {
        let records = Vault::open(DurableFiles(disk.clone()), VaultKeys::derive_boot(root)?, None)?;
        let read = |record| records.read(record)?.ok_or(BootFolderError::Absent(record));
        let anchors = Anchors::from_cbor(read(Record::Anchors)?.expose())?;
        let control = Control::decode(read(Record::Control)?.expose());
        Ok(BootFolder {
            control: control.map_err(|_| BootFolderError::Form(Record::Control))?,
            disk,
            records,
            slot_key: root.purpose_key(KeyPurpose::BootSlot)?,
            anchors,
            limits: *limits,
        })
    }

    /// What the factory laid down.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The hash of a manifest that is signed for this device and not below the floors.
    ///
    /// # Errors
    /// [`L1Error`].
    pub fn manifest_hash(&self, signed: &[u8], floors: &Floors) -> Result<ManifestHash, L1Error> {
        Ok(verify_l1(&self.anchors, floors, signed)?.hash())
    }

    /// Which slot boots.
    pub fn active(&self) -> Slot {
        self.control.active
    }

    /// Whether the active image is on trial.
    pub fn is_trying(&self) -> bool {
        self.control.is_trying()
    }

    /// The image in the other slot, where that was given up, and why.
    pub fn given_up(&self) -> Option<(ManifestHash, &str)> {
        let installed = self.control.slot(self.control.active.other())?;
        let State::Bad { why } = &installed.state else { return None };
        let manifest = verify_l1(&self.anchors, &Floors::NONE, &installed.content.manifest).ok()?;
        Some((manifest.hash(), why))
    }

    /// Why the device last went back to an older image.
    pub fn fell_back(&self) -> Option<&str> {
        self.control.fell_back.as_deref()
    }

    /// Counts a start of the active image and loads it, verified. An image on trial that has had its starts, or that cannot be
    /// started, is given up for the other one, where that is confirmed and not below the floors. So is a confirmed one that is
    /// not what was installed; one that the disk did not give is passed over this time.
    ///
    /// # Errors
    /// [`BootFolderError`] when no image may be started.
    pub fn load(&mut self, floors: &Floors, danger_unlocked_memory: bool) -> Result<Loaded, BootFolderError> {
        if self.control.count_start(self.limits.image_starts) {
            self.store()?;
        }
        let error = match self.load_active(floors, danger_unlocked_memory) {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let Some(lasting) = is_lasting(&error, self.control.is_trying()) else { return Err(error) };
        let before = self.control.clone();
        self.control.give_up(&error.to_string());
        // Nothing is given up for one that cannot be started either.
        let instead = if self.control.active == before.active {
            Err(error)
        } else {
            self.load_active(floors, danger_unlocked_memory).map_err(|_| error)
        };
        match instead {
            Ok(_) if lasting => self.store()?,
            Ok(_) => {}
            Err(_) => self.control = before,
        }
        instead
    }

    /// The active image has opened an authenticated session: it stays.
    ///
    /// # Errors
    /// [`BootFolderError::Records`] when that cannot be stored.
    pub fn confirm(&mut self) -> Result<(), BootFolderError> {
        if self.control.confirm() { self.store() } else { Ok(()) }
    }

    /// Gives up an image on trial, and goes back to the other one.
    ///
    /// # Errors
    /// [`BootFolderError::Records`] when that cannot be stored.
    pub fn give_up(&mut self, why: &str) -> Result<(), BootFolderError> {
        if !self.control.is_trying() {
            return Ok(());
        }
        self.control.give_up(why);
        self.store()
    }

    fn load_active(&self, floors: &Floors, danger_unlocked_memory: bool) -> Result<Loaded, BootFolderError> {
        let slot = self.control.active;
        let fault = |fault: ImageFault| BootFolderError::Image { slot, fault };
        let installed = self.control.slot(slot).filter(|installed| !matches!(installed.state, State::Bad { .. }));
        let content = &installed.ok_or_else(|| fault(ImageFault::Empty))?.content;
        let manifest = verify_l1(&self.anchors, floors, &content.manifest).map_err(|error| fault(error.into()))?;
        let (inner, hash) = (Manifest::clone(&manifest), manifest.hash());
        let length =
            usize::try_from(content.length).map_err(|error| BootFolderError::Memory(io::Error::other(error)))?;
        let mut memory = Memory::new(length).map_err(BootFolderError::Memory)?;
        if !memory.is_locked() && !danger_unlocked_memory {
            return Err(BootFolderError::NotLocked(content.length));
        }
        let opened = SlotReader::open(&self.disk, slot, content, &self.slot_key);
        let mut reader = opened.map_err(|error| fault(error.into()))?;
        let (mut checker, mut at) = (ProgramChecker::new(manifest), 0);
        while let Some(chunk) = reader.next().map_err(|error| fault(error.into()))? {
            checker.update(chunk);
            memory.write(at, chunk).map_err(BootFolderError::Memory)?;
            at += chunk.len() as u64;
        }
        checker.finish().map_err(|error| fault(error.into()))?;
        let program = memory.seal().map_err(BootFolderError::Memory)?;
        Ok(Loaded { program, manifest: inner, hash })
    }

    fn store(&mut self) -> Result<(), BootFolderError> {
        let control = self.control.encode();
        Ok(self.records.write(&[Change { record: Record::Control, to: Some(&control) }])?)
    }
}

/// Whether this speaks against the active image: `Some(true)` where it lasts, `Some(false)` where the next start may find it
/// whole, `None` where another image would fare no better.
fn is_lasting(error: &BootFolderError, is_trying: bool) -> Option<bool> {
    match error {
        // An image that has proved itself is as good as before when a disk does not give it once.
        BootFolderError::Image { fault: ImageFault::Slot(SlotError::Disk { .. }), .. } => Some(is_trying),
        BootFolderError::Image { .. } => Some(true),
        // One on trial may ask for more memory than there is, or than may be locked.
        BootFolderError::Memory(_) | BootFolderError::NotLocked(_) if is_trying => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
