//! The vault on a disk that loses power: at every step, with every mixture of what was not synced lost, torn or kept.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use keys::storage::StorageRoot;
use release::floors::Floors;
use vault::{Change, Record, Storage, Vault, VaultError, VaultKeys};
use vouch_device::boot::BootFolder;
use vouch_device::limits::{LIMITS, Limits};
use vouch_device::storage::{Disk, DurableFiles};

use crate::fixture;

/// How many changes the vault takes after it was made.
const CHANGES: u8 = 4;

/// A disk that keeps only what was synced, for certain.
#[derive(Clone, Default)]
struct CrashDisk(Rc<RefCell<World>>);

#[derive(Default)]
struct World {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    /// The names that a power cut leaves for certain.
    durable_names: BTreeMap<String, usize>,
    /// What was done to names since they were synced; each may have reached the disk or not.
    pending: Vec<NameStep>,
    /// Steps until the power goes; the last one is done by half.
    steps_left: usize,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone)]
enum NameStep {
    Link(String, usize),
    Rename(String, String),
}

impl NameStep {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameStep::Link(name, file) => drop(names.insert(name.clone(), *file)),
            // Where the link before it was lost, there is nothing to rename.
            NameStep::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl World {
    /// One step; true when it is done whole, false when the power goes in the middle of it.
    fn step(&mut self) -> io::Result<bool> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        Ok(self.steps_left > 0)
    }

    /// Nobody hears that a step was done in whose middle the power went.
    fn powered(is_whole: bool) -> io::Result<()> {
        if is_whole { Ok(()) } else { Err(io::Error::other("no power")) }
    }

    /// Every content that each name may have when power comes back.
    fn survivors(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        let mut all = Vec::new();
        for kept in 0..1_u32 << self.pending.len() {
            let mut names = self.durable_names.clone();
            for (at, step) in self.pending.iter().enumerate() {
                if kept & (1 << at) != 0 {
                    step.apply(&mut names);
                }
            }
            let mut worlds = vec![BTreeMap::new()];
            for (name, file) in &names {
                let variants = self.files[*file].variants();
                worlds = worlds
                    .iter()
                    .flat_map(|world| {
                        variants.iter().map(|content| {
                            let mut world = world.clone();
                            world.insert(name.clone(), content.clone());
                            world
                        })
                    })
                    .collect();
            }
            all.append(&mut worlds);
        }
        all
    }
}

impl Content {
    fn variants(&self) -> Vec<Vec<u8>> {
        if self.now == self.durable {
            return vec![self.durable.clone()];
        }
        // What was synced and not written since stays.
        let same = self.now.iter().zip(&self.durable).take_while(|(now, durable)| now == durable).count();
        let half = same + (self.now.len() - same) / 2;
        let mut torn = self.now.clone();
        torn[half..].fill(0);
        vec![self.durable.clone(), self.now[..same].to_vec(), self.now[..half].to_vec(), torn, self.now.clone()]
    }
}

impl CrashDisk {
    fn with_power_for(steps: usize) -> CrashDisk {
        CrashDisk(Rc::new(RefCell::new(World { steps_left: steps, ..World::default() })))
    }

    fn holding(files: &BTreeMap<String, Vec<u8>>) -> CrashDisk {
        let disk = CrashDisk::with_power_for(usize::MAX);
        {
            let mut world = disk.0.borrow_mut();
            for (name, bytes) in files {
                let file = world.files.len();
                world.files.push(Content { now: bytes.clone(), durable: bytes.clone() });
                world.names.insert(name.clone(), file);
                world.durable_names.insert(name.clone(), file);
            }
        }
        disk
    }
}

impl Disk for CrashDisk {
    type File = usize;

    fn create(&mut self, name: &str) -> io::Result<usize> {
        let mut world = self.0.borrow_mut();
        World::powered(world.step()?)?;
        if let Some(&file) = world.names.get(name) {
            world.files[file].now.clear();
            return Ok(file);
        }
        let file = world.files.len();
        world.files.push(Content::default());
        world.names.insert(name.to_owned(), file);
        world.pending.push(NameStep::Link(name.to_owned(), file));
        Ok(file)
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.look(name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn look(&self, name: &str) -> io::Result<Option<usize>> {
        Ok(self.0.borrow().names.get(name).copied())
    }

    fn write_at(&mut self, file: &mut usize, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let is_whole = world.step()?;
        let written = if is_whole { bytes } else { &bytes[..bytes.len() / 2] };
        let (content, at) = (&mut world.files[*file].now, usize::try_from(at).unwrap());
        content.resize(content.len().max(at + written.len()), 0);
        content[at..at + written.len()].copy_from_slice(written);
        World::powered(is_whole)
    }

    fn read_at(&self, file: &usize, at: u64, room: &mut [u8]) -> io::Result<usize> {
        let world = self.0.borrow();
        let rest = world.files[*file].now.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let length = rest.len().min(room.len());
        room[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let is_whole = world.step()?;
        if is_whole {
            world.files[*file].durable = world.files[*file].now.clone();
        }
        World::powered(is_whole)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let is_whole = world.step()?;
        let step = NameStep::Rename(from.to_owned(), to.to_owned());
        step.apply(&mut world.names);
        world.pending.push(step);
        World::powered(is_whole)
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        let is_whole = world.step()?;
        if is_whole {
            let pending = std::mem::take(&mut world.pending);
            for step in pending {
                step.apply(&mut world.durable_names);
            }
        }
        World::powered(is_whole)
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let world = self.0.borrow();
        Ok(world.names.get(name).map(|file| {
            let mut bytes = world.files[*file].now.clone();
            bytes.truncate(most + 1);
            bytes
        }))
    }
}

/// Writers that leave one step out, to show that the harness bites.
#[derive(Clone, Copy)]
enum Broken {
    NoFileSync,
    NoFolderSync,
    InPlace,
}

struct BrokenFiles(CrashDisk, Broken);

impl Storage for BrokenFiles {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        self.0.read(name, most)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let BrokenFiles(disk, broken) = self;
        let new = if matches!(broken, Broken::InPlace) { name.to_owned() } else { format!("{name}.new") };
        let mut file = disk.create(&new)?;
        disk.write_at(&mut file, 0, bytes)?;
        if !matches!(broken, Broken::NoFileSync) {
            disk.sync(&file)?;
        }
        if new != name {
            disk.rename(&new, name)?;
        }
        if !matches!(broken, Broken::NoFolderSync) {
            disk.sync_folder()?;
        }
        Ok(())
    }
}

fn content(number: u8) -> Vec<u8> {
    vec![number; 200 + usize::from(number)]
}

/// Writes until the power goes; returns how many changes were acknowledged (the making of the vault is one), and whether
/// the power lasted to the end.
fn write(storage: impl Storage, keys: &VaultKeys) -> (u8, bool) {
    let change = |number: u8| content(number);
    let both = |vault: &mut Vault<_>, number: u8| {
        let bytes = change(number);
        let changes = [Record::Configuration, Record::Proxy].map(|record| Change { record, to: Some(&bytes) });
        vault.write(&changes)
    };
    let first = change(1);
    let first = [Record::Configuration, Record::Proxy].map(|record| Change { record, to: Some(&first) });
    let Ok(mut vault) = Vault::create(storage, keys.clone(), 0, &first) else { return (0, false) };
    for number in 2..=CHANGES + 1 {
        if both(&mut vault, number).is_err() {
            return (number - 1, false);
        }
    }
    (CHANGES + 1, true)
}

/// What a vault that survived holds: the number of the change, or what is wrong with it.
fn held(files: &BTreeMap<String, Vec<u8>>, keys: &VaultKeys) -> Result<u8, String> {
    let vault = match Vault::open(DurableFiles(CrashDisk::holding(files)), keys.clone(), None) {
        Err(VaultError::Missing) => return Ok(0),
        other => other.map_err(|error| error.to_string())?,
    };
    let read = |record| vault.read(record).map_err(|error| error.to_string());
    let (one, two) = (read(Record::Configuration)?, read(Record::Proxy)?);
    let (one, two) = one.zip(two).ok_or("a record is missing")?;
    if one.expose() != two.expose() || one.expose() != content(one.expose()[0]) {
        return Err("two changes are mixed".to_owned());
    }
    Ok(one.expose()[0])
}

/// Cuts the power at each step of a writer; returns how many states were looked at, or the first that is not right.
fn cut_everywhere<S: Storage>(writer: impl Fn(CrashDisk) -> S) -> Result<usize, String> {
    let keys = VaultKeys::derive(&StorageRoot::generate()).unwrap();
    let mut looked_at = 0;
    for steps in 1.. {
        let disk = CrashDisk::with_power_for(steps);
        let (acknowledged, is_whole) = write(writer(disk.clone()), &keys);
        for files in disk.0.borrow().survivors() {
            looked_at += 1;
            match held(&files, &keys) {
                Ok(found) if (acknowledged..=acknowledged + 1).contains(&found) => {}
                Ok(found) => return Err(format!("cut at {steps}: {acknowledged} acknowledged, {found} found")),
                Err(why) => return Err(format!("cut at {steps}: {why}")),
            }
        }
        if is_whole {
            return Ok(looked_at);
        }
    }
    unreachable!("the loop ends when the power lasts")
}

#[test]
fn a_power_cut_at_any_step_leaves_the_old_or_the_new_records() {
    let looked_at = cut_everywhere(DurableFiles).unwrap();
    assert!(looked_at > 300, "{looked_at}");
}

/// Two chunks and a bit, so that an installation has progress to go on from.
fn program(number: u8) -> Vec<u8> {
    vec![number; 2 * 64 * 1024 + 100]
}

/// What a start of the parent loads, told by the first byte of the program.
fn booted(boot: &mut BootFolder<CrashDisk>) -> Result<u8, String> {
    let loaded = boot.load(&Floors::NONE, true).map_err(|error| error.to_string())?;
    let bytes = std::fs::read(loaded.program.path()).map_err(|error| error.to_string())?;
    if bytes == program(bytes[0]) { Ok(bytes[0]) } else { Err("the program is mixed".to_owned()) }
}

#[test]
fn a_power_cut_at_any_step_of_an_update_leaves_an_image_that_boots_and_the_update_goes_on() {
    let limits = Limits { slot_progress: 1, ..LIMITS };
    let root = StorageRoot::generate();
    let (first, update) = (fixture::image("1.0.0", 0, &program(1)), fixture::image("1.1.0", 0, &program(2)));
    let factory = CrashDisk::with_power_for(usize::MAX);
    BootFolder::create(factory.clone(), &root, &fixture::anchors(), first.source(), &limits).unwrap();
    let provisioned = factory.0.borrow().survivors().remove(0);
    let mut looked_at = 0;
    for steps in 1.. {
        let disk = CrashDisk::holding(&provisioned);
        disk.0.borrow_mut().steps_left = steps;
        let mut boot = BootFolder::open(disk.clone(), &root, &limits).unwrap();
        let acknowledged = boot.install(&Floors::NONE, update.source()).is_ok();
        for files in disk.0.borrow().survivors() {
            looked_at += 1;
            let survivor = CrashDisk::holding(&files);
            let mut boot = BootFolder::open(survivor.clone(), &root, &limits).unwrap();
            let found = booted(&mut boot).unwrap_or_else(|why| panic!("cut at {steps}: {why}"));
            assert!(found == 2 || !acknowledged, "cut at {steps}: the update was acknowledged and is gone");
            if found == 1 {
                boot.install(&Floors::NONE, update.source()).unwrap();
                assert_eq!(booted(&mut boot).unwrap(), 2, "cut at {steps}");
            }
        }
        if acknowledged {
            break;
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}

#[test]
fn a_writer_that_leaves_out_a_step_is_found_out() {
    for broken in [Broken::NoFileSync, Broken::NoFolderSync, Broken::InPlace] {
        assert!(cut_everywhere(|disk| BrokenFiles(disk, broken)).is_err());
    }
}
