//! OS releases: one version over all models of a product, an encrypted image for each.

use release::version::OsVersion;

use super::ids::{AccountId, ReleaseId};

/// A release that the server holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// The product, as the devices' factory anchors name it.
    pub product: String,
    /// Its version.
    pub version: OsVersion,
    /// A device that confirmed it takes no image of a lower epoch.
    pub security_epoch: u32,
    /// Who uploaded it.
    pub uploader: AccountId,
    /// When, Unix milliseconds.
    pub uploaded_ms: i64,
    /// Its images.
    pub images: Vec<ReleaseImage>,
}

/// One image of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseImage {
    /// SHA-256 of its manifest's payload: its name everywhere.
    pub image: [u8; 32],
    /// The models it is for.
    pub models: Vec<String>,
    /// The length of the encrypted image, bytes.
    pub len: u32,
}

/// A release to be kept. Whoever makes it has verified all of it, and its encrypted images are in their files.
#[derive(Clone, Debug)]
pub struct NewRelease {
    /// The product.
    pub product: String,
    /// Its version.
    pub version: OsVersion,
    /// Its security epoch.
    pub security_epoch: u32,
    /// Who uploads it.
    pub uploader: AccountId,
    /// Its images.
    pub images: Vec<NewReleaseImage>,
}

/// One image of a release to be kept.
#[derive(Clone, Debug)]
pub struct NewReleaseImage {
    /// What is shown of it.
    pub shown: ReleaseImage,
    /// The manifest: COSE_Sign1 by the release key.
    pub manifest: Vec<u8>,
    /// The content key, sealed to this server's release-wrap key.
    pub sealed_key: Vec<u8>,
}

/// An image that a device is to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsUpdate {
    /// SHA-256 of its manifest's payload.
    pub image: [u8; 32],
    /// The length of the encrypted image, bytes.
    pub len: u32,
    /// The manifest: COSE_Sign1 by the release key.
    pub manifest: Vec<u8>,
}
