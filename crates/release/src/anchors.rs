//! The factory anchors of a device: what it is, whose signatures it believes, and which layers of them it demands.

use keys::cbor::{self, CborError};
use keys::release_key::{NotAReleaseKey, ReleaseKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::limits::LIMITS;
use crate::manifest::{Manifest, is_name};
use crate::verified::Verified;

/// The version of the encoding.
const FORMAT: u8 = 1;

/// What a device believes from the factory on. No update changes the product, the model or the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors {
    product: String,
    model: String,
    release_keys: Vec<ReleaseKeySlot>,
    layers: Layers,
}

/// One of the release keys that a device knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseKeySlot {
    /// The key.
    pub key: ReleaseKey,
    /// Whether its signatures have stopped to count.
    pub revoked: bool,
}

/// Which layers of signatures a device demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// The release key alone, for development: whoever has that key decides what the device runs.
    DangerL1Only,
}

/// An OS image that may be installed, once its bytes are those of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub(crate) manifest: Manifest,
}

/// Why anchors cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    /// More than [`LIMITS`]`.anchors` bytes.
    #[error("the factory anchors have more than {} bytes", LIMITS.anchors)]
    TooLong,
    /// Another shape, trailing bytes, or not deterministic.
    #[error("not factory anchors of this format: {0}")]
    Form(#[from] CborError),
    /// A format that a newer runtime may know.
    #[error("the factory anchors have format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// Product or model.
    #[error("the factory anchors must name a product and a model: 1 to {} printable bytes each", LIMITS.name)]
    Name,
    /// None, too many, one of them twice, or all revoked.
    #[error("the factory anchors must hold 1 to {} different release keys, of which one is not revoked", LIMITS.release_keys)]
    ReleaseKeys,
    /// One of them.
    #[error(transparent)]
    ReleaseKey(#[from] NotAReleaseKey),
}

impl Anchors {
    /// Anchors of a device of this model.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn new(
        product: String,
        model: String,
        release_keys: Vec<ReleaseKeySlot>,
        layers: Layers,
    ) -> Result<Anchors, AnchorsError> {
        if !is_name(&product) || !is_name(&model) {
            return Err(AnchorsError::Name);
        }
        let number = (1..=LIMITS.release_keys).contains(&release_keys.len());
        let twice =
            release_keys.iter().enumerate().any(|(at, slot)| release_keys[..at].iter().any(|s| s.key == slot.key));
        if !number || twice || release_keys.iter().all(|slot| slot.revoked) {
            return Err(AnchorsError::ReleaseKeys);
        }
        Ok(Anchors { product, model, release_keys, layers })
    }

    /// Reads anchors; that they are the factory's is for whoever keeps them to know.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Anchors, AnchorsError> {
        if bytes.len() > LIMITS.anchors {
            return Err(AnchorsError::TooLong);
        }
        let form: Form = cbor::decode(bytes)?;
        if form.format != FORMAT {
            return Err(AnchorsError::Format(form.format));
        }
        let slot = |slot: &SlotForm| {
            let key = ReleaseKey::from_spki_der(&slot.spki)?;
            Ok::<_, AnchorsError>(ReleaseKeySlot { key, revoked: slot.revoked })
        };
        let release_keys = form.release_keys.iter().map(slot).collect::<Result<_, _>>()?;
        let layers = match form.layers {
            LayersForm::DangerL1Only => Layers::DangerL1Only,
        };
        Anchors::new(form.product, form.model, release_keys, layers)
    }

    /// Their one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        let slot =
            |slot: &ReleaseKeySlot| SlotForm { spki: slot.key.spki_der().to_vec().into(), revoked: slot.revoked };
        let layers = match &self.layers {
            Layers::DangerL1Only => LayersForm::DangerL1Only,
        };
        cbor::encode(&Form {
            format: FORMAT,
            product: self.product.clone(),
            model: self.model.clone(),
            release_keys: self.release_keys.iter().map(slot).collect(),
            layers,
        })
    }

    /// The product that images must be for.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// The model that images must be for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The release keys, the revoked ones as well.
    pub fn release_keys(&self) -> &[ReleaseKeySlot] {
        &self.release_keys
    }

    /// What is demanded.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Admits an image to be installed, for which its manifest needs every layer that these anchors demand.
    ///
    /// # Errors
    /// None while the release key alone is demanded.
    pub fn admit(&self, manifest: Verified<Manifest>) -> Verified<Admission> {
        match self.layers {
            Layers::DangerL1Only => Verified::new(Admission { manifest: manifest.into_inner() }),
        }
    }
}

impl Layers {
    /// The name that status and attestation show.
    pub fn as_str(&self) -> &'static str {
        match self {
            Layers::DangerL1Only => "danger-l1-only",
        }
    }
}

impl Admission {
    /// The manifest of the image.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Form {
    #[n(0)]
    format: u8,
    #[n(1)]
    product: String,
    #[n(2)]
    model: String,
    #[n(3)]
    release_keys: Vec<SlotForm>,
    #[n(4)]
    layers: LayersForm,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct SlotForm {
    #[n(0)]
    spki: ByteVec,
    #[n(1)]
    revoked: bool,
}

#[derive(Encode, Decode)]
enum LayersForm {
    #[n(0)]
    DangerL1Only,
}
