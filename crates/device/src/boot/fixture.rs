//! OS images for tests: encrypted, signed by a key of the test, with anchors that demand that key's signature alone.

use std::sync::OnceLock;

use keys::chunks::ContentKey;
use keys::release_key::DangerSoftwareReleaseKey;
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::encrypt;
use release::manifest::Description;

// Of `device::boot`, under whichever name the program knows it that this file is part of.
use super::Source;

/// An encrypted image and what goes with it.
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) content_key: ContentKey,
}

impl Image {
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

/// The release key of all tests of a program.
pub(crate) fn release_key() -> &'static DangerSoftwareReleaseKey {
    static KEY: OnceLock<DangerSoftwareReleaseKey> = OnceLock::new();
    KEY.get_or_init(|| DangerSoftwareReleaseKey::generate().unwrap())
}

/// Anchors that demand the signature of that key.
pub(crate) fn anchors() -> Anchors {
    let slot = ReleaseKeySlot { key: release_key().public().clone(), revoked: false };
    Anchors::new("test".into(), "test-1".into(), vec![slot], Layers::DangerL1Only).unwrap()
}

/// An image of this program.
pub(crate) fn image(version: &str, security_epoch: u32, program: &[u8]) -> Image {
    image_by(release_key(), version, security_epoch, program)
}

/// The same, signed by another key.
pub(crate) fn image_by(key: &DangerSoftwareReleaseKey, version: &str, security_epoch: u32, program: &[u8]) -> Image {
    let description = Description {
        product: "test".into(),
        models: vec!["test-1".into()],
        version: version.parse().unwrap(),
        security_epoch,
        built: 1_764_000_000,
        sbom: None,
        mud: None,
    };
    let (sealed, built) = encrypt(program, description).unwrap();
    let manifest = key.sign_manifest(&built.manifest.to_cbor()).unwrap();
    Image { manifest, sealed, content_key: built.content_key }
}
