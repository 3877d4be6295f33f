//! What the machine boots: Debian's kernel, and an archive of one program and the few modules it needs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cpio::newc::Builder;

/// What the kernel does not have built in; their own needs follow from the modules themselves.
const MODULES: [&str; 2] = ["virtio_blk", "virtio_pci"];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// The kernel in an unpacked package, and its version.
pub(super) fn kernel(package: &Path) -> Result<(PathBuf, String)> {
    let missing = || format!("there is no kernel in {}; run `scripts/setup powercut`", package.display());
    let boot = package.join("boot");
    for entry in fs::read_dir(&boot).with_context(missing)? {
        let name = entry?.file_name();
        if let Some(version) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
            return Ok((boot.join(&name), version.to_owned()));
        }
    }
    Err(anyhow::anyhow!(missing()))
}

/// Writes the archive: the program, the OS images that it installs, and the modules.
pub(super) fn write(to: &Path, program: &Path, images: &Path, package: &Path, version: &str) -> Result<()> {
    let mut files: Vec<(Builder, Box<dyn ReadSeek>)> = Vec::new();
    for folder in ["dev", "images", "mnt", "modules", "proc"] {
        files.push((Builder::new(folder).mode(FOLDER), Box::new(Cursor::new([]))));
    }
    let console = Builder::new("dev/console").mode(CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
    files.push((console, Box::new(Cursor::new([]))));
    let init = File::open(program).with_context(|| program.display().to_string())?;
    files.push((Builder::new("init").mode(PROGRAM), Box::new(init)));
    for entry in fs::read_dir(images).with_context(|| images.display().to_string())? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let name = name.to_str().context("an image with a strange name")?;
        files.push((Builder::new(&format!("images/{name}")).mode(PLAIN), Box::new(File::open(path)?)));
    }
    let all = find_modules(&package.join("lib/modules").join(version))?;
    let mut order = Vec::new();
    for name in MODULES {
        add_module(name, &all, &mut order)?;
    }
    for (at, (name, bytes)) in order.into_iter().enumerate() {
        files.push((Builder::new(&format!("modules/{at:02}-{name}.ko")).mode(PLAIN), Box::new(Cursor::new(bytes))));
    }
    cpio::write_cpio(files.into_iter(), File::create(to)?).with_context(|| to.display().to_string())?;
    Ok(())
}

trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Every module below a folder, by its name.
fn find_modules(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                folders.push(path);
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
                found.insert(name.replace('-', "_"), path);
            }
        }
    }
    Ok(found)
}

/// Adds a module behind those that it needs.
fn add_module(name: &str, all: &BTreeMap<String, PathBuf>, order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if order.iter().any(|(added, _)| added == name) {
        return Ok(());
    }
    let path = all.get(name).with_context(|| format!("the kernel's package has no module {name}"))?;
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(order.len() < all.len(), "the modules need each other in a circle");
    for needed in needs(&bytes).with_context(|| format!("{} does not say what it needs", path.display()))? {
        add_module(&needed, all, order)?;
    }
    order.push((name.to_owned(), bytes));
    Ok(())
}

/// The names in the `depends=` of a module's `.modinfo`.
fn needs(module: &[u8]) -> Option<Vec<String>> {
    let lists = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="))?;
    let names = std::str::from_utf8(lists).ok()?.split(',').filter(|name| !name.is_empty());
    Some(names.map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(
            needs(b"\x7fELF\0licence=GPL\0depends=virtio,virtio-ring\0name=x\0").unwrap(),
            ["virtio", "virtio_ring"]
        );
        assert_eq!(needs(b"depends=\0").unwrap(), Vec::<String>::new());
        assert_eq!(needs(b"name=x\0"), None);
    }
}
