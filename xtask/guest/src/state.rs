//! What a device writes, by the number of the change, and what must be found of it after a power cut.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use device::storage::{DurableFiles, FolderDisk};
use fastrand::Rng;
use keys::storage::StorageRoot;
use vault::{Change, Record, Storage, Vault, VaultError, VaultKeys};

/// How many changes a vault takes, its making included.
pub(crate) const CHANGES: u32 = 60;
/// What each change writes, with the fewest and the most bytes.
const WRITTEN: [(Record, usize, usize); 3] =
    [(Record::Configuration, 100, 16 * 1024), (Record::Proxy, 4, 4 * 1024), (Record::App, 4, 200 * 1024)];
/// Each change of such a number takes the proxy out.
const WITHOUT_PROXY: u32 = 4;

/// Where a device's vault is.
pub(crate) fn vault_folder(device: &Path) -> PathBuf {
    device.join(device::folder::VAULT_FOLDER)
}

/// Makes the folders of a device and the root of its keys.
pub(crate) fn make_root(device: &Path) -> Result<VaultKeys> {
    let keys = device.join(device::folder::KEYS_FOLDER);
    for folder in [&keys, &vault_folder(device)] {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    let root = StorageRoot::generate();
    root.danger_save(&keys)?;
    Ok(VaultKeys::derive(&root)?)
}

/// Makes the vault: change 1.
pub(crate) fn create<S: Storage>(storage: S, keys: VaultKeys) -> Result<Vault<S>> {
    let content = contents(1);
    Ok(Vault::create(storage, keys, 0, &changes(&content))?)
}

/// Makes the change of this number.
pub(crate) fn change<S: Storage>(vault: &mut Vault<S>, number: u32) -> Result<()> {
    let content = contents(number);
    Ok(vault.write(&changes(&content))?)
}

/// What is wrong with a device after a power cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What was acknowledged is gone.
    Lost(String),
    /// Something is there, and is no state that the device was ever in.
    Torn(String),
}

/// Opens the vault of a device with the device's own code and judges it.
pub(crate) fn judge(device: &Path, acknowledged: u32) -> Result<(), Fault> {
    let torn = |error: anyhow::Error| Fault::Torn(format!("{error:#}"));
    let root =
        StorageRoot::danger_load(&device.join(device::folder::KEYS_FOLDER)).map_err(|error| torn(error.into()))?;
    let keys = VaultKeys::derive(&root).map_err(|error| torn(error.into()))?;
    let storage = DurableFiles(FolderDisk::new(&vault_folder(device)));
    let mut vault = match Vault::open(storage, keys, None) {
        Ok(vault) => vault,
        Err(VaultError::Missing) if acknowledged == 0 => return Ok(()),
        Err(VaultError::Missing) => return Err(Fault::Lost(format!("no vault; {acknowledged} were acknowledged"))),
        Err(error) => return Err(torn(error.into())),
    };
    let found = held(&vault).map_err(torn)?;
    if found < acknowledged {
        return Err(Fault::Lost(format!("change {found} is there; {acknowledged} were acknowledged")));
    }
    if found > acknowledged + 1 {
        return Err(Fault::Torn(format!("change {found} is there before {} was done", acknowledged + 1)));
    }
    // Whatever the cut left behind, the device goes on.
    change(&mut vault, found + 1).map_err(torn)?;
    let after = held(&vault).map_err(torn)?;
    if after == found + 1 { Ok(()) } else { Err(Fault::Torn(format!("the next change left {after}"))) }
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
    fn a_device_is_judged_by_what_was_acknowledged() {
        let dir = std::env::temp_dir().join(format!("powercut-guest-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let keys = make_root(&dir).unwrap();
        assert_eq!(judge(&dir, 0), Ok(()));
        assert!(matches!(judge(&dir, 1), Err(Fault::Lost(_))));
        let storage = DurableFiles(FolderDisk::new(&vault_folder(&dir)));
        let mut vault = create(storage, keys).unwrap();
        for number in 2..=WITHOUT_PROXY {
            change(&mut vault, number).unwrap();
        }
        drop(vault);
        // Each judgement makes one more change.
        assert_eq!(judge(&dir, WITHOUT_PROXY), Ok(()));
        assert_eq!(judge(&dir, WITHOUT_PROXY), Ok(()));
        assert!(matches!(judge(&dir, WITHOUT_PROXY), Err(Fault::Torn(_))), "two ahead of what was acknowledged");
        assert!(matches!(judge(&dir, WITHOUT_PROXY + 3), Err(Fault::Lost(_))));
        std::fs::write(vault_folder(&dir).join("index"), b"").unwrap();
        assert!(matches!(judge(&dir, WITHOUT_PROXY), Err(Fault::Torn(_))));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
