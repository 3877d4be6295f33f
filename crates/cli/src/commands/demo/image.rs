//! The OS image of the demonstration: encrypted here, and signed by a release key that is made for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use keys::private_file::{self, Existing};
use keys::release_key::DangerSoftwareReleaseKey;
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::encrypt;
use release::manifest::Description;
use release::version::OsVersion;

use super::maker::Maker;

/// The model of the demonstration's devices.
pub(super) const MODEL: &str = "demo-1";
const PRODUCT: &str = "demo";

/// What a maker's line has for each device.
pub(super) struct Factory {
    pub(super) anchors: PathBuf,
    pub(super) image: PathBuf,
    /// For an image with the release key's signature alone; of a release bundle the server gives each device its own.
    pub(super) content_key: Option<PathBuf>,
}

impl Factory {
    /// What the maker has released.
    pub(super) fn of(maker: &Maker) -> Factory {
        Factory { anchors: maker.anchors(), image: maker.newest(), content_key: None }
    }

    /// Where there is no HSM: encrypts this program in a folder and signs it with a key of its own, unless an earlier run did.
    pub(super) fn danger_l1_only(dir: &Path, program: &Path) -> Result<Factory> {
        let file = |name: &str| dir.join(name);
        let content_key_file = file("content-key");
        let factory =
            Factory { anchors: file("anchors"), image: file("image"), content_key: Some(content_key_file.clone()) };
        if content_key_file.exists() {
            return Ok(factory);
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let program = fs::read(program).with_context(|| format!("cannot read the OS image {}", program.display()))?;
        let key = DangerSoftwareReleaseKey::generate()?;
        let slot = ReleaseKeySlot { key: key.public().clone(), revoked: false };
        let anchors = Anchors::new(PRODUCT.into(), MODEL.into(), vec![slot], Layers::DangerL1Only)?;

        let description = Description {
            product: PRODUCT.into(),
            models: vec![MODEL.into()],
            version: OsVersion::new(1, 0, 0),
            // The first session of a device steps its hardware counter for it.
            security_epoch: 1,
            built: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            sbom: None,
            mud: None,
        };
        let (sealed, built) = encrypt(&program, description)?;
        let manifest = key.sign_manifest(&built.manifest.to_cbor())?;

        let write = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
        };
        write(&factory.anchors, &anchors.to_cbor())?;
        write(&factory.image, &sealed)?;
        write(&factory.image.with_added_extension("manifest"), &manifest)?;
        let content_key = const_hex::encode(built.content_key.expose());
        private_file::write(&content_key_file, content_key.as_bytes(), Existing::Refuse)?;
        Ok(factory)
    }
}
