//! What the parent has booted, as it tells its child.

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use protocol::eat::DemandedLayers;
use release::version::OsVersion;

/// The OS image that runs, and how it came to run.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Booted {
    /// SHA-256 of the image's manifest: the measurement of this boot.
    #[n(0)]
    pub manifest_sha256: ByteArray<32>,
    /// The version of the image.
    #[n(1)]
    pub version: OsVersion,
    /// Its security epoch.
    #[n(2)]
    pub security_epoch: u32,
    /// Whose signatures the factory anchors demand.
    #[n(3)]
    pub layers: DemandedLayers,
    /// The kernel does not keep the image in memory, so it could reach a swap device.
    #[n(4)]
    pub danger_unlocked_memory: bool,
    /// The image has still to prove itself by a session.
    #[n(5)]
    pub trying: bool,
    /// Why the device went back to this image from a newer one.
    #[n(6)]
    pub fell_back: Option<String>,
    /// The image that is not tried again.
    #[n(7)]
    pub given_up: Option<GivenUp>,
    /// The version of the root metadata that an image must be proved from, where the anchors demand that.
    #[n(8)]
    pub root_version: Option<u64>,
    /// The loader was told which devices it boots, and this is one of them.
    #[n(9)]
    pub pinned: bool,
}

/// An image that ran and did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct GivenUp {
    /// SHA-256 of its manifest.
    #[n(0)]
    pub manifest_sha256: ByteArray<32>,
    /// Why.
    #[n(1)]
    pub why: String,
}

/// What these anchors demand, as the device proves it.
#[cfg(feature = "parent")]
pub(crate) fn demanded(layers: &release::anchors::Layers) -> DemandedLayers {
    match layers {
        release::anchors::Layers::DangerL1Only => DemandedLayers::DangerL1Only,
        release::anchors::Layers::Quorum { .. } => DemandedLayers::L1AndL2,
    }
}

/// The name that people see.
pub(crate) fn shown(layers: DemandedLayers) -> &'static str {
    match layers {
        DemandedLayers::DangerL1Only => "danger-l1-only",
        DemandedLayers::L1AndL2 => "l1+l2",
    }
}
