//! What a device writes, step by step, and what must be found of it after a power cut.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use device::boot::{BOOT_FOLDER, BootFolder};
use device::folder::{KEYS_FOLDER, VAULT_FOLDER};
use device::limits::{LIMITS, Limits};
use device::storage::{Disk, DurableFiles, FolderDisk};
use fastrand::Rng;
use keys::storage::StorageRoot;
use release::floors::Floors;
use vault::{Change, Record, Storage, Vault, VaultError, VaultKeys};

use crate::os::{self, OsImage};

/// How many steps a device takes. The first makes it.
pub(crate) const STEPS: u32 = 60;
/// Of so many steps one installs an OS image, and the next one confirms it; the others change the vault.
const CYCLE: u32 = 6;
/// How many images that takes: the factory's, one for each installation, and one more for the judge.
pub(crate) const IMAGES: u32 = STEPS / CYCLE + 3;
/// What each change of the vault writes, with the fewest and the most bytes.
const WRITTEN: [(Record, usize, usize); 3] =
    [(Record::Configuration, 100, 16 * 1024), (Record::Proxy, 4, 4 * 1024), (Record::App, 4, 200 * 1024)];
/// Each change of such a number takes the proxy out.
const WITHOUT_PROXY: u32 = 4;

/// A device that writes.
pub(crate) struct Device<'a, D> {
    vault: Vault<DurableFiles<D>>,
    boot: BootFolder<D>,
    images: &'a Path,
}

/// What a device holds after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// The number of the last change of its vault.
    change: u32,
    /// The number of the image that boots.
    image: u32,
    /// Whether that image is still to prove itself.
    trying: bool,
}

/// What is wrong with a device after a power cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was acknowledged is gone.
    Lost(String),
    /// Something is there, and is no state that the device was ever in.
    Torn(String),
    /// There is no verified image to start.
    Unbootable(String),
}

impl<D: Disk + Clone> Device<'_, D> {
    /// Makes a device, step 1; `disk` gives the way in which a folder is written.
    pub(crate) fn create<'a>(folder: &Path, images: &'a Path, disk: impl Fn(&Path) -> D) -> Result<Device<'a, D>> {
        let root = root(folder)?;
        let (vault, boot) = (disk(&folder.join(VAULT_FOLDER)), disk(&folder.join(BOOT_FOLDER)));
        let content = contents(1);
        let vault = Vault::create(DurableFiles(vault), VaultKeys::derive(&root)?, 0, &changes(&content))?;
        let factory = OsImage::read(images, 1)?;
        BootFolder::create(boot.clone(), &root, &os::anchors(images)?, factory.source(), &limits())?;
        let boot = BootFolder::open(boot, &root, &limits())?;
        Ok(Device { vault, boot, images })
    }

    /// Takes the step of this number, which is not the first.
    pub(crate) fn step(&mut self, number: u32) -> Result<()> {
        let (before, after) = (expected(number - 1), expected(number));
        if after.image != before.image {
            self.install(after.image)
        } else if after.trying != before.trying {
            self.load()?;
            Ok(self.boot.confirm()?)
        } else {
            change(&mut self.vault, after.change)
        }
    }

    fn install(&mut self, number: u32) -> Result<()> {
        self.boot.install(&Floors::NONE, OsImage::read(self.images, number)?.source())?;
        Ok(())
    }

    /// What a start of the device loads, verified: the image's number.
    fn load(&mut self) -> Result<u32> {
        os::number(&self.boot.load(&Floors::NONE, true)?.manifest)
    }
}

/// Makes the folders of a device and the root of its keys.
pub(crate) fn make_folders(device: &Path) -> Result<()> {
    for folder in [KEYS_FOLDER, VAULT_FOLDER, BOOT_FOLDER] {
        DirBuilder::new().mode(0o700).create(device.join(folder))?;
    }
    Ok(StorageRoot::generate().danger_save(&device.join(KEYS_FOLDER))?)
}

/// Opens a device with its own code and judges it.
pub(crate) fn judge(device: &Path, images: &Path, acknowledged: u32) -> Result<(), Fault> {
    let torn = |error: anyhow::Error| Fault::Torn(format!("{error:#}"));
    let root = root(device).map_err(torn)?;
    let keys = VaultKeys::derive(&root).map_err(|error| torn(error.into()))?;
    let vault = match Vault::open(DurableFiles(FolderDisk::new(&device.join(VAULT_FOLDER))), keys, None) {
        Ok(vault) => vault,
        // It was still being made.
        Err(VaultError::Missing) if acknowledged == 0 => return Ok(()),
        Err(VaultError::Missing) => return Err(Fault::Lost("the vault is gone".to_owned())),
        Err(error) => return Err(torn(error.into())),
    };
    let found = held(&vault).map_err(torn)?;
    let boot = match BootFolder::open(FolderDisk::new(&device.join(BOOT_FOLDER)), &root, &limits()) {
        Ok(boot) => boot,
        Err(_) if acknowledged == 0 => return Ok(()),
        Err(error) => return Err(Fault::Unbootable(error.to_string())),
    };
    let mut device = Device { vault, boot, images };
    let image = device.load().map_err(|error| Fault::Unbootable(format!("{error:#}")))?;
    let found = Held { change: found, image, trying: device.boot.is_trying() };
    compare(found, acknowledged)?;
    go_on(&mut device, found).map_err(torn)
}

/// Holds what was found against what was acknowledged. The step after that may have been done, or not.
fn compare(found: Held, acknowledged: u32) -> Result<(), Fault> {
    let allowed = [expected(acknowledged), expected(acknowledged + 1)];
    if allowed.contains(&found) {
        return Ok(());
    }
    let is_old = (1..acknowledged).any(|step| expected(step) == found) || found.change < allowed[0].change;
    let why = format!("{found:?} is there, and after {acknowledged} acknowledged steps it must be one of {allowed:?}");
    Err(if is_old { Fault::Lost(why) } else { Fault::Torn(why) })
}

/// Whatever the cut left behind, the device goes on: its vault takes a change, and another image is installed and boots.
fn go_on(device: &mut Device<'_, FolderDisk>, found: Held) -> Result<()> {
    change(&mut device.vault, found.change + 1)?;
    ensure!(held(&device.vault)? == found.change + 1, "the vault did not take the next change");
    device.boot.confirm()?;
    device.install(found.image + 1)?;
    let image = device.load()?;
    ensure!(image == found.image + 1, "image {image} boots after {} was installed", found.image + 1);
    Ok(())
}

/// What a device holds after the step of this number.
fn expected(step: u32) -> Held {
    let installed = (step + 1) / CYCLE;
    let confirmed = step / CYCLE;
    // Step 0 holds nothing; it is only ever compared with what is no less.
    let change = step.saturating_sub(installed + confirmed);
    Held { change, image: 1 + installed, trying: installed > confirmed }
}

/// The rules of a device, but that an installation notes each chunk.
fn limits() -> Limits {
    Limits { slot_progress: 1, ..LIMITS }
}

fn root(device: &Path) -> Result<StorageRoot> {
    Ok(StorageRoot::danger_load(&device.join(KEYS_FOLDER))?)
}

/// Makes the change of this number.
fn change<S: Storage>(vault: &mut Vault<S>, number: u32) -> Result<()> {
    let content = contents(number);
    Ok(vault.write(&changes(&content))?)
}

/// The number of the change that a vault holds, whole.
fn held<S: Storage>(vault: &Vault<S>) -> Result<u32> {
    let configuration = vault.read(Record::Configuration)?.context("no configuration")?;
    let number = configuration.expose().first_chunk().context("a configuration without number")?;
    let number = u32::from_be_bytes(*number);
    ensure!(vault.generation() == u64::from(number), "generation {} with change {number}", vault.generation());
    for (record, expected) in contents(number) {
        let found = vault.read(record)?;
        if found.as_ref().map(|secret| secret.expose()) != expected.as_deref() {
            bail!("the {record} is not that of change {number}, which the configuration is of");
        }
    }
    Ok(number)
}

/// What each record holds after the change of this number.
fn contents(number: u32) -> Vec<(Record, Option<Vec<u8>>)> {
    let mut random = Rng::with_seed(number.into());
    let mut content = |least, most| {
        let mut bytes = vec![0; random.usize(least..=most)];
        random.fill(&mut bytes);
        bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        bytes
    };
    let all = WRITTEN.into_iter().map(|(record, least, most)| {
        let bytes = content(least, most);
        let is_out = record == Record::Proxy && number.is_multiple_of(WITHOUT_PROXY);
        (record, (!is_out).then_some(bytes))
    });
    all.collect()
}

fn changes(contents: &[(Record, Option<Vec<u8>>)]) -> Vec<Change<'_>> {
    contents.iter().map(|(record, to)| Change { record: *record, to: to.as_deref() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_change_install_and_confirm_in_turn() {
        let held = |step| {
            let Held { change, image, trying } = expected(step);
            (change, image, trying)
        };
        assert_eq!(
            [1, 2, 4, 5, 6, 7].map(held),
            [(1, 1, false), (2, 1, false), (4, 1, false), (4, 2, true), (4, 2, false), (5, 2, false)]
        );
        assert!(expected(STEPS + 1).image < IMAGES);
    }

    #[test]
    fn what_is_found_must_be_what_was_acknowledged_or_the_step_after() {
        for acknowledged in 1..=STEPS {
            assert_eq!(compare(expected(acknowledged), acknowledged), Ok(()));
            assert_eq!(compare(expected(acknowledged + 1), acknowledged), Ok(()));
            assert!(matches!(compare(expected(acknowledged + 2), acknowledged), Err(Fault::Torn(_))));
            if acknowledged > 1 {
                assert!(matches!(compare(expected(acknowledged - 1), acknowledged), Err(Fault::Lost(_))));
            }
        }
        let mixed = Held { change: 4, image: 3, trying: true };
        assert!(matches!(compare(mixed, 4), Err(Fault::Torn(_))));
    }

    #[test]
    fn a_device_is_judged_by_what_was_acknowledged() {
        let dir = std::env::temp_dir().join(format!("powercut-guest-{}", std::process::id()));
        let images = dir.join("images");
        std::fs::create_dir_all(&images).unwrap();
        os::make(&images, 4).unwrap();
        make_folders(&dir).unwrap();
        assert_eq!(judge(&dir, &images, 0), Ok(()));
        assert!(matches!(judge(&dir, &images, 1), Err(Fault::Lost(_))));
        let mut device = Device::create(&dir, &images, FolderDisk::new).unwrap();
        for step in 2..=CYCLE {
            device.step(step).unwrap();
        }
        drop(device);
        // Each judgement makes one more change, and installs one more image.
        assert_eq!(judge(&dir, &images, CYCLE), Ok(()));
        assert!(matches!(judge(&dir, &images, CYCLE), Err(Fault::Torn(_))));
        std::fs::write(dir.join(BOOT_FOLDER).join("slot-a"), b"").unwrap();
        std::fs::write(dir.join(BOOT_FOLDER).join("slot-b"), b"").unwrap();
        assert!(matches!(judge(&dir, &images, CYCLE), Err(Fault::Unbootable(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
