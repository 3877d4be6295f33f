//! OS images for the device: made and signed on the host, where a release key is made in seconds, and read in the machine.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use device::boot::Source;
use fastrand::Rng;
use keys::chunks::{ContentKey, KEY_BYTES};
use keys::release_key::DangerSoftwareReleaseKey;
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::encrypt;
use release::manifest::{Description, Manifest};

/// Where the machine finds them.
pub(crate) const IMAGES: &str = "/images";
/// Bytes of an image: a few chunks, so that an installation has stages.
const LENGTH: usize = 200 * 1024;
const PRODUCT: &str = "powercut";
const MODEL: &str = "powercut-1";
const ANCHORS: &str = "anchors";

/// An encrypted image and what goes with it.
pub(crate) struct OsImage {
    manifest: Vec<u8>,
    sealed: Vec<u8>,
    content_key: ContentKey,
}

impl OsImage {
    /// The image of this number, from a folder that [`make`] filled.
    pub(crate) fn read(folder: &Path, number: u32) -> Result<OsImage> {
        let part = |name| read(folder, &file(number, name));
        let key: [u8; KEY_BYTES] = part("key")?.try_into().ok().context("a content key of another length")?;
        Ok(OsImage { manifest: part("manifest")?, sealed: part("sealed")?, content_key: ContentKey::new(key.into()) })
    }

    /// As it is handed over to be installed.
    pub(crate) fn source(&self) -> Source<'_, &[u8]> {
        Source {
            manifest: &self.manifest,
            proof: None,
            image: &self.sealed,
            length: self.sealed.len() as u64,
            content_key: &self.content_key,
        }
    }
}

/// What the factory lays down in a device for these images.
pub(crate) fn anchors(folder: &Path) -> Result<Anchors> {
    Ok(Anchors::from_cbor(&read(folder, ANCHORS)?)?)
}

/// The number of the image that has this manifest.
pub(crate) fn number(manifest: &Manifest) -> Result<u32> {
    let version = manifest.version.to_string();
    let number = version.strip_prefix("1.0.").with_context(|| format!("version {version}"))?;
    Ok(number.parse()?)
}

/// Makes `count` images, signed by a new key, and the anchors that demand that key's signature alone.
pub(crate) fn make(folder: &Path, count: u32) -> Result<()> {
    let key = DangerSoftwareReleaseKey::generate()?;
    let slot = ReleaseKeySlot { key: key.public().clone(), revoked: false };
    let anchors = Anchors::new(PRODUCT.into(), MODEL.into(), vec![slot], Layers::DangerL1Only)?;
    fs::write(folder.join(ANCHORS), anchors.to_cbor())?;
    for number in 1..=count {
        let mut program = vec![0; LENGTH];
        Rng::with_seed(number.into()).fill(&mut program);
        let description = Description {
            product: PRODUCT.into(),
            models: vec![MODEL.into()],
            version: format!("1.0.{number}").parse()?,
            security_epoch: 0,
            built: 1_764_000_000,
            sbom: None,
            mud: None,
        };
        let (sealed, built) = encrypt(&program, description)?;
        let manifest = key.sign_manifest(&built.manifest.to_cbor())?;
        ensure!(manifest.len() < LENGTH, "a manifest without bounds");
        let parts = [("manifest", &manifest[..]), ("sealed", &sealed), ("key", built.content_key.expose())];
        for (name, bytes) in parts {
            fs::write(folder.join(file(number, name)), bytes)?;
        }
    }
    Ok(())
}

fn file(number: u32, part: &str) -> String {
    format!("{number}.{part}")
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    fs::read(folder.join(name)).with_context(|| format!("{}/{name}", folder.display()))
}
