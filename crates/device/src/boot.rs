//! Verified boot: two slots for OS images, the record of which one boots, and what the factory laid down about signatures.
//!
//! # In the folder
//! `boot/` is the parent process's alone. Its records are a vault of their own, under keys that no child is handed: the
//! factory anchors, of which a newer root that the custodians signed changes the keys and nothing else, all such roots that were
//! seen, the control record, and the floors. `slot-a` and `slot-b` hold an image each, encrypted again under a key that exists for one write on one device.
//!
//! # Layout
//! - [`BootFolder`]: loads the image that boots, installs another, confirms it or goes back.
//! - [`control`]: which slot boots, by rules without I/O.
//! - `judge`: whether an image may be installed.
//! - `pin`: which devices a loader boots.
//! - `roots`: the root metadata that was seen, also without an image.
//! - `slot`: the file of a slot.
//! - `install`: from an encrypted image into a slot.
//! - `memory`: the image in memory. The one file with `unsafe`.

pub mod control;
#[cfg(test)]
pub(crate) mod fixture;
mod install;
mod judge;
#[cfg(test)]
pub(crate) mod maker;
mod memory;
mod pin;
mod roots;
mod slot;

use std::io;

use keys::purpose::KeyPurpose;
use keys::release_key;
use keys::storage::{PurposeKey, StorageKeyError, StorageRoot};
use release::anchors::{Anchors, AnchorsError, Layers};
use release::floors::Floors;
use release::image::{ImageError, ProgramChecker};
use release::l1::{L1Error, verify_l1};
use release::manifest::{Manifest, ManifestHash};
use release::root::RootError;
use vault::{Change, Record, Vault, VaultError, VaultKeys};

use crate::boot::control::{Control, Installed, Slot, State};
use crate::boot::memory::Memory;
pub use crate::boot::memory::SealedProgram;
use crate::boot::roots::Roots;
pub use crate::boot::slot::SlotError;
use crate::boot::slot::SlotReader;
pub use crate::folder::{BOOT_FOLDER, STAGED_IMAGE, STAGING_FOLDER};
use crate::limits::Limits;
use crate::storage::{Disk, DurableFiles};
pub use install::{InstallError, Source};
pub use judge::Proof;
pub(crate) use judge::judge;
pub use pin::{FACTORY_ANCHORS_FILE, NotAPin, Pin, PinError, Pinned};
pub use roots::RootRefused;

/// The boot folder of one device.
#[derive(Debug)]
pub struct BootFolder<D> {
    disk: D,
    records: Vault<DurableFiles<D>>,
    slot_key: PurposeKey,
    anchors: Anchors,
    /// What takes the place of the anchors when the image on trial is confirmed.
    next_anchors: Option<Anchors>,
    /// Where the anchors demand the custodians' approval.
    roots: Option<Roots>,
    control: Control,
    floors: Floors,
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
    /// The root metadata that the device began with, or that came with an image.
    #[error("the root metadata: {0}")]
    Roots(#[from] RootError),
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
    /// The anchors in force have not come from the factory's that the loader is to boot.
    #[error(
        "the boot records do not follow from the factory's anchors to which this loader is pinned: {0}; somebody has put other records there. \
         Restore the folder from a copy, or provision the device again"
    )]
    NotTheFactorys(&'static str),
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
        let next_anchors = records.read(Record::NextAnchors)?;
        let next_anchors = next_anchors.map(|next| Anchors::from_cbor(next.expose())).transpose()?;
        let roots = match anchors.layers() {
            Layers::DangerL1Only => None,
            Layers::Quorum { root } => Some(match records.read(Record::ReleaseRoots)? {
                Some(roots) => Roots::from_record(roots.expose())?,
                // A device of before there was this record.
                None => Roots::from_factory(root)?,
            }),
        };
        let control = Control::decode(read(Record::Control)?.expose());
        let floors = Floors::from_cbor(read(Record::BootFloors)?.expose());
        Ok(BootFolder {
            control: control.map_err(|_| BootFolderError::Form(Record::Control))?,
            floors: floors.map_err(|_| BootFolderError::Form(Record::BootFloors))?,
            disk,
            records,
            slot_key: root.purpose_key(KeyPurpose::BootSlot)?,
            anchors,
            next_anchors,
            roots,
            limits: *limits,
        })
    }

    /// What the factory laid down, with the root metadata that is in force.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Below which nothing is taken.
    pub fn floors(&self) -> &Floors {
        &self.floors
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
        Some((manifest_of(installed)?.hash(), why))
    }

    /// Why the device last went back to an older image.
    pub fn fell_back(&self) -> Option<&str> {
        self.control.fell_back.as_deref()
    }

    /// Counts a start of the active image and loads it, verified. An image on trial that has had its starts, or that cannot be
    /// started, is given up for the other one, where that is confirmed and not below the floors. So is a confirmed one that is
    /// not what was installed; one that the disk did not give is passed over this time. `floors` are those that the
    /// device's vault holds.
    ///
    /// # Errors
    /// [`BootFolderError`] when no image may be started.
    pub fn load(&mut self, floors: &Floors, danger_unlocked_memory: bool) -> Result<Loaded, BootFolderError> {
        self.raise(self.floors.highest(floors))?;
        if self.control.count_start(self.limits.image_starts) {
            self.store(None)?;
        }
        let error = match self.load_active(danger_unlocked_memory) {
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
            self.load_active(danger_unlocked_memory).map_err(|_| error)
        };
        match instead {
            Ok(_) if lasting => self.store(None)?,
            Ok(_) => {}
            Err(_) => self.control = before,
        }
        instead
    }

    /// The active image has opened an authenticated session: it stays, nothing older is taken, and the root metadata that spoke for it is in
    /// force.
    ///
    /// # Errors
    /// [`BootFolderError`] when that cannot be stored; then nothing has changed.
    pub fn confirm(&mut self) -> Result<(), BootFolderError> {
        let mut control = self.control.clone();
        if !control.confirm() {
            return Ok(());
        }
        let manifest = control.slot(control.active).and_then(manifest_of);
        let floors = self.floors.raise(&manifest.ok_or(BootFolderError::Form(Record::Control))?);
        let (control_bytes, floors_bytes) = (control.encode(), floors.to_cbor());
        let mut changes = vec![put(Record::Control, &control_bytes), put(Record::BootFloors, &floors_bytes)];
        let anchors = self.next_anchors.as_ref().map(Anchors::to_cbor);
        if let Some(anchors) = &anchors {
            changes.extend([put(Record::Anchors, anchors), Change { record: Record::NextAnchors, to: None }]);
        }
        self.records.write(&changes)?;
        (self.control, self.floors) = (control, floors);
        if let Some(next) = self.next_anchors.take() {
            self.anchors = next;
        }
        Ok(())
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
        self.store(None)
    }

    fn load_active(&self, danger_unlocked_memory: bool) -> Result<Loaded, BootFolderError> {
        let slot = self.control.active;
        let fault = |fault: ImageFault| BootFolderError::Image { slot, fault };
        let installed = self.control.slot(slot).filter(|installed| !matches!(installed.state, State::Bad { .. }));
        let content = &installed.ok_or_else(|| fault(ImageFault::Empty))?.content;
        // The image before the one on trial stays bootable also where a newer root revokes the key that signed it.
        let next_anchors = self.next_anchors.as_ref().filter(|_| self.control.is_trying());
        let anchors = next_anchors.unwrap_or(&self.anchors);
        let manifest = verify_l1(anchors, &self.floors, &content.manifest).map_err(|error| fault(error.into()))?;
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

    /// Stores the control record; with other anchors that belong to the image which is installed, these as well. When no image is installed
    /// or tried any more, they are forgotten.
    fn store(&mut self, installed_by: Option<&Anchors>) -> Result<(), BootFolderError> {
        let control = self.control.encode();
        let next = match installed_by {
            Some(anchors) => Some(anchors).filter(|anchors| **anchors != self.anchors).cloned(),
            None => self.next_anchors.clone().filter(|_| self.control.is_trying()),
        };
        let next_bytes = next.as_ref().map(Anchors::to_cbor);
        let mut changes = vec![put(Record::Control, &control)];
        if next != self.next_anchors {
            changes.push(Change { record: Record::NextAnchors, to: next_bytes.as_deref() });
        }
        self.records.write(&changes)?;
        self.next_anchors = next;
        Ok(())
    }

    /// Stores floors that have risen.
    fn raise(&mut self, floors: Floors) -> Result<(), BootFolderError> {
        if floors != self.floors {
            self.records.write(&[put(Record::BootFloors, &floors.to_cbor())])?;
            self.floors = floors;
        }
        Ok(())
    }
}

/// What is in a slot: the control record, which nobody else can write, vouches for it.
fn manifest_of(installed: &Installed) -> Option<Manifest> {
    let payload = release_key::danger_unverified(&installed.content.manifest).ok()?;
    Manifest::from_cbor(&payload).ok()
}

fn put(record: Record, bytes: &[u8]) -> Change<'_> {
    Change { record, to: Some(bytes) }
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
