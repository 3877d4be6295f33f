//! OS images for tests: encrypted, signed by a key of the test, with anchors that demand that key's signature alone.

use std::sync::OnceLock;

use keys::chunks::ContentKey;
use keys::release_key::{self, DangerSoftwareReleaseKey};
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::Encryptor;
use release::manifest::Description;

/// An encrypted image and what goes with it.
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) content_key: ContentKey,
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
    let mut encryptor = Encryptor::new(program.len() as u64).unwrap();
    let header = encryptor.header();
    let mut sealed = header.to_bytes().to_vec();
    for chunk in program.chunks(header.chunk()) {
        sealed.extend_from_slice(encryptor.seal(chunk).unwrap());
    }
    let description = Description {
        product: "test".into(),
        models: vec!["test-1".into()],
        version: version.parse().unwrap(),
        security_epoch,
        built: 1_764_000_000,
        sbom: None,
        mud: None,
    };
    let built = encryptor.finish(description).unwrap();
    let payload = built.manifest.to_cbor();
    let signature = key.sign(&release_key::to_be_signed(&payload)).unwrap();
    let manifest = release_key::assemble(key.public(), &payload, &signature).unwrap();
    Image { manifest, sealed, content_key: built.content_key }
}
