//! A maker's release key, and images signed by it.

use std::sync::OnceLock;

use keys::chunks::ContentKey;
use keys::release_key::DangerSoftwareReleaseKey;
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::author::{Built, encrypt};
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

pub(crate) fn signed(plain: Vec<u8>, description: Description) -> Signed {
    let (sealed, Built { manifest, content_key }) = encrypt(&plain, description).unwrap();
    let cose = release_keys()[0].sign_manifest(&manifest.to_cbor()).unwrap();
    Signed { plain, sealed, content_key, manifest, cose }
}
