//! A maker's release key, and images signed by it.

use std::sync::OnceLock;

use keys::chunks::ContentKey;
use keys::release_key::{self, DangerSoftwareReleaseKey};
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::{Built, Encryptor};
use release::manifest::{Description, Manifest};
use release::version::OsVersion;

/// The maker's key, and one that is not the maker's.
pub(crate) fn release_keys() -> [&'static DangerSoftwareReleaseKey; 2] {
    static KEYS: OnceLock<[DangerSoftwareReleaseKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| std::array::from_fn(|_| DangerSoftwareReleaseKey::generate().unwrap())).each_ref()
}

pub(crate) fn description() -> Description {
    Description {
        product: "Thermostat".into(),
        models: vec!["hall-2".into(), "hall-1".into()],
        version: OsVersion::new(1, 4, 0),
        security_epoch: 3,
        built: 1_790_000_000,
        sbom: Some([0x5b; 32]),
        mud: None,
    }
}

pub(crate) fn slot(key: &DangerSoftwareReleaseKey) -> ReleaseKeySlot {
    ReleaseKeySlot { key: key.public().clone(), revoked: false }
}

pub(crate) fn danger_anchors() -> Anchors {
    let keys = vec![slot(release_keys()[0])];
    Anchors::new("Thermostat".into(), "hall-1".into(), keys, Layers::DangerL1Only).unwrap()
}

/// An image with all that belongs to it.
pub(crate) struct Signed {
    pub(crate) plain: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) content_key: ContentKey,
    pub(crate) manifest: Manifest,
    pub(crate) cose: Vec<u8>,
}

/// Bytes that differ from chunk to chunk.
pub(crate) fn program(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

pub(crate) fn sign(key: &DangerSoftwareReleaseKey, payload: &[u8]) -> Vec<u8> {
    let signature = key.sign(&release_key::to_be_signed(payload)).unwrap();
    release_key::assemble(key.public(), payload, &signature).unwrap()
}

pub(crate) fn signed(plain: Vec<u8>, description: Description) -> Signed {
    let mut encryptor = Encryptor::new(plain.len() as u64).unwrap();
    let header = encryptor.header();
    let mut sealed = header.to_bytes().to_vec();
    for chunk in plain.chunks(header.chunk()) {
        sealed.extend_from_slice(encryptor.seal(chunk).unwrap());
    }
    let Built { manifest, content_key } = encryptor.finish(description).unwrap();
    let cose = sign(release_keys()[0], &manifest.to_cbor());
    Signed { plain, sealed, content_key, manifest, cose }
}
