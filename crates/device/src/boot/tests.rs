//! What a device boots, what it refuses to boot, and how it comes back from an image that does not prove itself.

mod quorum;
mod roots;

use std::fs;
use std::path::{Path, PathBuf};

use keys::release_key::DangerSoftwareReleaseKey;

use super::fixture::{Image, anchors, image, image_by};
use super::*;
use crate::limits::LIMITS;
use crate::storage::FolderDisk;

/// Two chunks and a bit.
const PROGRAM_BYTES: usize = 2 * slot::CHUNK + 1000;

struct Device {
    dir: tempfile::TempDir,
    root: StorageRoot,
}

fn program(number: u8) -> Vec<u8> {
    vec![number; PROGRAM_BYTES]
}

fn floors(version: &str) -> Floors {
    Floors { version: version.parse().unwrap(), ..Floors::NONE }
}

impl Device {
    fn new() -> Device {
        let (dir, root) = (tempfile::tempdir().unwrap(), StorageRoot::generate());
        let first = image("1.0.0", 0, &program(1));
        BootFolder::create(FolderDisk::new(dir.path()), &root, &anchors(), first.source(), &LIMITS).unwrap();
        Device { dir, root }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> Result<BootFolder<FolderDisk>, BootFolderError> {
        BootFolder::open(FolderDisk::new(self.dir.path()), &self.root, &LIMITS)
    }

    /// What a start of the parent loads: the first byte of the program, all of which are the same.
    fn boots(&self) -> Result<u8, BootFolderError> {
        let loaded = self.open()?.load(&Floors::NONE, false)?;
        let bytes = fs::read(loaded.program.path()).unwrap();
        assert_eq!(bytes, program(bytes[0]));
        Ok(bytes[0])
    }

    /// What is in a file cannot be read, until this is called again.
    fn toggle_fault(&self, name: &str) {
        let (file, aside) = (self.file(name), self.file("aside"));
        if aside.exists() {
            fs::remove_dir(&file).unwrap();
            fs::rename(&aside, &file).unwrap();
        } else {
            fs::rename(&file, &aside).unwrap();
            fs::create_dir(&file).unwrap();
        }
    }

    /// With two images that have proved themselves: of the factory in slot a, and 1.1.0 in slot b.
    fn confirmed() -> Device {
        let device = Device::updated();
        device.open().unwrap().confirm().unwrap();
        device
    }

    fn updated() -> Device {
        let device = Device::new();
        device.open().unwrap().install(&Floors::NONE, image("1.1.0", 0, &program(2)).source()).unwrap();
        device
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn an_image_of_the_factory_boots_and_an_update_is_tried_and_stays_once_it_is_confirmed() {
    let device = Device::new();
    assert_eq!(device.boots().unwrap(), 1);
    let mut boot = device.open().unwrap();
    let update = image("1.1.0", 0, &program(2));
    let hash = boot.install(&Floors::NONE, update.source()).unwrap();
    let loaded = boot.load(&Floors::NONE, false).unwrap();
    assert!(loaded.hash == hash && boot.is_trying());
    assert!(matches!(boot.install(&Floors::NONE, update.source()), Err(InstallError::OnTrial)));
    boot.confirm().unwrap();
    assert!(matches!(boot.install(&Floors::NONE, update.source()), Err(InstallError::Already(_))));
    for _ in 0..10 {
        assert_eq!(device.boots().unwrap(), 2);
    }
    assert!(device.open().unwrap().fell_back().is_none());
}

#[test]
fn an_image_that_does_not_prove_itself_has_its_starts_and_the_old_one_comes_back_with_the_reason() {
    let device = Device::updated();
    for _ in 0..LIMITS.image_starts {
        assert_eq!(device.boots().unwrap(), 2);
    }
    assert_eq!(device.boots().unwrap(), 1);
    let why = device.open().unwrap().fell_back().unwrap().to_owned();
    assert_eq!(why, "it did not reach the server in 3 starts");
    assert_eq!(device.boots().unwrap(), 1, "and it stays");
    let late = Device::updated();
    let mut boot = late.open().unwrap();
    boot.load(&Floors::NONE, false).unwrap();
    boot.give_up("it did not reach the server within 600 s").unwrap();
    assert_eq!((late.boots().unwrap(), boot.fell_back().is_some()), (1, true));
}

#[test]
fn a_disk_that_fails_once_costs_no_image_that_has_proved_itself() {
    let device = Device::confirmed();
    device.toggle_fault("slot-b");
    let below = device.open().unwrap().load(&Floors::NONE, false).unwrap_err();
    let fault = "the fault of the image that should boot";
    assert!(
        matches!(&below, BootFolderError::Image { slot: Slot::B, fault: ImageFault::Slot(SlotError::Disk { .. }) }),
        "{below}: {fault}"
    );
    device.toggle_fault("slot-b");
    assert_eq!(device.boots().unwrap(), 2, "and nothing was given up");
    let device = Device::new();
    let mut boot = device.open().unwrap();
    boot.install(&Floors::NONE, image("1.0.0", 0, &program(2)).source()).unwrap();
    boot.confirm().unwrap();
    device.toggle_fault("slot-b");
    assert_eq!(device.boots().unwrap(), 1, "the other one, where the floors let it");
    device.toggle_fault("slot-b");
    assert_eq!(device.boots().unwrap(), 2, "and nothing was given up");
}

#[test]
fn an_image_is_given_up_only_for_one_that_can_be_started() {
    let device = Device::confirmed();
    let good = fs::read(device.file("slot-b")).unwrap();
    fs::write(device.file("slot-b"), b"damaged").unwrap();
    let error = device.open().unwrap().load(&floors("1.1.0"), false).unwrap_err();
    assert!(matches!(error, BootFolderError::Image { slot: Slot::B, .. }), "{error}");
    fs::write(device.file("slot-b"), &good).unwrap();
    assert_eq!(device.boots().unwrap(), 2);
}

#[test]
fn an_image_on_trial_that_asks_for_more_memory_than_there_is_is_given_up() {
    let device = Device::updated();
    let mut boot = device.open().unwrap();
    // No installation leaves such a length; it stands for an image that fits on the disk and not into memory.
    boot.control.danger_set_length(u64::MAX >> 1);
    boot.store(None).unwrap();
    assert_eq!(device.boots().unwrap(), 1);
    assert!(device.open().unwrap().fell_back().unwrap().contains("memory"));
}

#[test]
fn attack_a_slot_or_the_whole_folder_of_another_device_does_not_boot() {
    let (one, other) = (Device::new(), Device::new());
    fs::copy(one.file("slot-a"), other.file("slot-a")).unwrap();
    let error = other.boots().unwrap_err();
    assert!(
        matches!(error, BootFolderError::Image { fault: ImageFault::Slot(SlotError::Changed { .. }), .. }),
        "{error}"
    );
    copy(one.dir.path(), other.dir.path());
    assert!(matches!(other.boots(), Err(BootFolderError::Records(_))));
}

#[test]
fn attack_a_flipped_bit_in_any_part_of_slot_or_record_does_not_boot() {
    let device = Device::new();
    let sealed_chunk = slot::CHUNK + 16;
    let file = device.file("slot-a");
    let good = fs::read(&file).unwrap();
    let places = [0, 1, slot::CHUNK - 1, slot::CHUNK, sealed_chunk - 1, sealed_chunk, good.len() - 17, good.len() - 1];
    for at in places {
        let mut flipped = good.clone();
        flipped[at] ^= 0x40;
        fs::write(&file, &flipped).unwrap();
        assert!(matches!(device.boots(), Err(BootFolderError::Image { .. })), "byte {at}");
    }
    fs::write(&file, &good).unwrap();
    for name in ["index", "anchors.1", "control.1", "boot-floors.1"] {
        let file = device.file(name);
        let good = fs::read(&file).unwrap();
        for at in (0..good.len()).step_by(7).chain([good.len() - 1]) {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            fs::write(&file, &flipped).unwrap();
            assert!(matches!(device.boots(), Err(BootFolderError::Records(_))), "{name}, byte {at}");
        }
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(device.boots().unwrap(), 1);
}

#[test]
fn attack_a_truncated_or_missing_slot_does_not_boot() {
    let device = Device::new();
    let good = fs::read(device.file("slot-a")).unwrap();
    for length in [0, 1, slot::CHUNK + 16, good.len() - 1] {
        fs::write(device.file("slot-a"), &good[..length]).unwrap();
        assert!(matches!(device.boots(), Err(BootFolderError::Image { .. })), "{length}");
    }
    fs::remove_file(device.file("slot-a")).unwrap();
    assert!(matches!(device.boots(), Err(BootFolderError::Image { .. })));
}

#[test]
fn attack_mixed_slots_and_records_do_not_boot() {
    let device = Device::new();
    let old = tempfile::tempdir().unwrap();
    copy(device.dir.path(), old.path());
    let mut boot = device.open().unwrap();
    boot.install(&Floors::NONE, image("1.1.0", 0, &program(2)).source()).unwrap();
    boot.load(&Floors::NONE, false).unwrap();
    boot.confirm().unwrap();
    // Of the same version: the one before is not below the floor, so that only its write decides.
    boot.install(&Floors::NONE, image("1.1.0", 0, &program(3)).source()).unwrap();
    boot.load(&Floors::NONE, false).unwrap();
    boot.confirm().unwrap();
    assert_eq!((boot.active(), device.boots().unwrap()), (Slot::A, 3));
    // The other slot in its place, and what was in it before: neither is what the record names, so that slot is given up.
    let good = tempfile::tempdir().unwrap();
    copy(device.dir.path(), good.path());
    for other in [good.path().join("slot-b"), old.path().join("slot-a")] {
        fs::copy(other, device.file("slot-a")).unwrap();
        assert_eq!(device.boots().unwrap(), 2, "the slot that is whole boots, the other one does not");
        copy(good.path(), device.dir.path());
    }
    // A record from before with an index of today.
    let device = Device::updated();
    fs::copy(old.path().join("control.1"), device.file("control.1")).unwrap();
    fs::copy(old.path().join("control.1"), device.file("control.0")).unwrap();
    assert!(matches!(device.boots(), Err(BootFolderError::Records(_))));
}

#[test]
fn attack_an_older_image_is_neither_installed_nor_started() {
    let device = Device::updated();
    let mut boot = device.open().unwrap();
    boot.load(&Floors::NONE, false).unwrap();
    boot.confirm().unwrap();
    let older = image("1.0.9", 0, &program(3));
    let refused = boot.install(&floors("1.1.0"), older.source()).unwrap_err();
    assert!(matches!(refused, InstallError::Manifest(L1Error::BelowFloor(_))), "{refused}");
    // The whole boot folder set back to the factory's, whose image is below the floor that the vault keeps.
    let device = Device::new();
    let error = device.open().unwrap().load(&floors("1.1.0"), false).unwrap_err();
    assert!(matches!(error, BootFolderError::Image { fault: ImageFault::Manifest(L1Error::BelowFloor(_)), .. }));
    // An update that is given up does not go back to something below the floor.
    let device = Device::updated();
    let mut boot = device.open().unwrap();
    boot.give_up("it does not work").unwrap();
    assert!(boot.load(&floors("1.1.0"), false).is_err());
}

#[test]
fn attack_an_image_by_another_key_for_another_model_or_with_other_bytes_is_not_installed() {
    let device = Device::new();
    let mut boot = device.open().unwrap();
    let stranger = DangerSoftwareReleaseKey::generate().unwrap();
    let forged = image_by(&stranger, "2.0.0", 0, &program(3));
    assert!(matches!(boot.install(&Floors::NONE, forged.source()), Err(InstallError::Manifest(L1Error::Signature(_)))));
    let good = image("2.0.0", 0, &program(2));
    for at in [0, 20, 39, 40, good.sealed.len() / 2, good.sealed.len() - 1] {
        let mut changed = image("2.0.0", 0, &program(2));
        changed.sealed[at] ^= 1;
        assert!(matches!(boot.install(&Floors::NONE, changed.source()), Err(InstallError::Image(_))), "byte {at}");
    }
    let mixed = Image { manifest: good.manifest.clone(), ..image("2.0.0", 0, &program(2)) };
    assert!(matches!(boot.install(&Floors::NONE, mixed.source()), Err(InstallError::Image(_))));
    assert_eq!(device.boots().unwrap(), 1, "the active image is not touched");
}

/// An image of which nothing can be read. It keeps the folder as a power cut at this moment would leave it.
struct PowerCut<'a> {
    device: &'a Path,
    kept: &'a Path,
}

impl io::Read for PowerCut<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        copy(self.device, self.kept);
        Ok(0)
    }
}

#[test]
fn attack_what_goes_on_under_another_content_key_is_not_written_under_the_same_slot_key() {
    let device = Device::new();
    let (update, other) = (image("1.1.0", 0, &program(2)), image("1.1.0", 0, &program(3)));
    // What identifies the write that a power cut interrupts.
    let cut = |content_key| {
        let kept = tempfile::tempdir().unwrap();
        let cut = PowerCut { device: device.dir.path(), kept: kept.path() };
        let Source { manifest, proof, length, .. } = update.source();
        let source = Source { manifest, proof, length, image: cut, content_key };
        device.open().unwrap().install(&Floors::NONE, source).unwrap_err();
        copy(kept.path(), device.dir.path());
        device.open().unwrap().control.installing.unwrap().content.salt
    };
    let first = cut(&update.content_key);
    assert_eq!(cut(&update.content_key), first, "it goes on");
    let forged = cut(&other.content_key);
    assert_ne!(forged, first);
    assert_ne!(cut(&update.content_key), forged);
    device.open().unwrap().install(&Floors::NONE, update.source()).unwrap();
    assert_eq!(device.boots().unwrap(), 2);
}

#[test]
fn no_update_changes_what_is_demanded() {
    let device = Device::new();
    let before = (fs::read(device.file("anchors.1")).unwrap(), device.open().unwrap().anchors().clone());
    let mut boot = device.open().unwrap();
    boot.install(&Floors::NONE, image("1.1.0", 0, &program(2)).source()).unwrap();
    boot.load(&Floors::NONE, false).unwrap();
    boot.confirm().unwrap();
    assert_eq!((fs::read(device.file("anchors.1")).unwrap(), device.open().unwrap().anchors().clone()), before);
}
