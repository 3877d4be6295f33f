//! The first layer: the release key's signature over an OS manifest. It is small, since it is checked at every start.

use keys::cose::CoseError;
use keys::release_key;

use crate::anchors::Anchors;
use crate::floors::{BelowFloor, Floors};
use crate::manifest::{Manifest, ManifestError};
use crate::verified::Verified;

/// Why a signed manifest is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum L1Error {
    /// Not signed by a release key of this device that is in force, or altered since.
    #[error("the OS manifest is not signed by a release key of this device: {0}")]
    Signature(CoseError),
    /// The payload.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An image for something else.
    #[error("the OS image is for the product {image:?}, this device is a {device:?}")]
    Product {
        /// What the manifest says.
        image: String,
        /// What the anchors say.
        device: String,
    },
    /// An image for other models.
    #[error("the OS image is for {}, this device is a {device:?}", .image.join(", "))]
    Model {
        /// What the manifest says.
        image: Vec<String>,
        /// What the anchors say.
        device: String,
    },
    /// Older than what the device confirmed.
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
}

/// Checks the COSE_Sign1 of a manifest: signature, product, model and floors.
///
/// # Errors
/// [`L1Error`].
pub fn verify_l1(anchors: &Anchors, floors: &Floors, cose: &[u8]) -> Result<Verified<Manifest>, L1Error> {
    let in_force = anchors.release_keys().iter().filter(|slot| !slot.revoked).map(|slot| &slot.key);
    let (payload, _) = release_key::verify(in_force, cose).map_err(L1Error::Signature)?;
    let manifest = Manifest::from_cbor(&payload)?;
    if manifest.product != anchors.product() {
        return Err(L1Error::Product { image: manifest.product, device: anchors.product().to_owned() });
    }
    if !manifest.is_for(anchors.model()) {
        return Err(L1Error::Model { image: manifest.models, device: anchors.model().to_owned() });
    }
    floors.admit(&manifest)?;
    Ok(Verified::new(manifest))
}
