//! The factory anchors of a device: what it is, whose signatures it believes, and which layers of them it demands.

use keys::cbor::{self, CborError};
use keys::hashes::sha256;
use keys::release_key::{NotAReleaseKey, ReleaseKey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::limits::LIMITS;
use crate::manifest::{Manifest, ManifestHash, is_name};
use crate::root::RootContent;
use crate::tuf::{self, Approval, Trusted};
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
    /// The release key, the custodians' approval, and freshness.
    Quorum {
        /// The root metadata that all other metadata is verified from.
        root: Vec<u8>,
    },
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
    /// The root metadata.
    #[error("the factory anchors' root metadata is not usable: {0}")]
    Root(String),
}

/// Why an image is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The device demands the custodians' approval.
    #[error("the OS image has the release key's signature alone; this device demands the custodians' approval as well")]
    NoApproval,
    /// An approval of something else.
    #[error("the custodians' approval is for another OS image ({approved}) than this one ({offered})")]
    OtherManifest {
        /// What they approved.
        approved: ManifestHash,
        /// What is to be admitted.
        offered: ManifestHash,
    },
    /// The root in force names a log.
    #[error("this device demands proof that the OS image is in the transparency log")]
    NotLogged,
    /// An approval under another root than the anchors'.
    #[error("the custodians' approval was not given under this device's root metadata")]
    OtherRoot,
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
        if let Layers::Quorum { root } = &layers {
            tuf::check_root(root).map_err(|error| AnchorsError::Root(error.to_string()))?;
            RootContent::from_file(root).map_err(|error| AnchorsError::Root(error.to_string()))?;
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
            LayersForm::Quorum(root) => Layers::Quorum { root: root.into() },
        };
        Anchors::new(form.product, form.model, release_keys, layers)
    }

    /// Their one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        let slot =
            |slot: &ReleaseKeySlot| SlotForm { spki: slot.key.spki_der().to_vec().into(), revoked: slot.revoked };
        let layers = match &self.layers {
            Layers::DangerL1Only => LayersForm::DangerL1Only,
            Layers::Quorum { root } => LayersForm::Quorum(root.clone().into()),
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

    /// The version of the root metadata, where the custodians' approval is demanded.
    pub fn root_version(&self) -> Option<u64> {
        let Layers::Quorum { root } = &self.layers else { return None };
        // It was read when these anchors were made.
        RootContent::from_file(root).ok().map(|content| content.version)
    }

    /// Admits an image to be installed, for which its manifest needs every layer that these anchors demand. An approval counts for the
    /// anchors that have [advanced](Anchors::advance) to the root that was in force for it.
    ///
    /// # Errors
    /// [`AdmissionError`] when one is missing.
    pub fn admit(
        &self,
        manifest: Verified<Manifest>,
        approval: Option<Approval>,
    ) -> Result<Verified<Admission>, AdmissionError> {
        if let Layers::Quorum { root } = &self.layers {
            let approval = approval.ok_or(AdmissionError::NoApproval)?;
            let offered = manifest.hash();
            if approval.manifest != offered {
                return Err(AdmissionError::OtherManifest { approved: approval.manifest, offered });
            }
            if approval.root != sha256(root) {
                return Err(AdmissionError::OtherRoot);
            }
            if approval.log_owed {
                return Err(AdmissionError::NotLogged);
            }
        }
        Ok(Verified::new(Admission { manifest: manifest.into_inner() }))
    }

    /// These anchors with the root metadata that was verified from theirs, and with the release keys that it names. Product,
    /// model and demanded layers stay as they are.
    ///
    /// # Errors
    /// [`AnchorsError`] when the metadata was verified from another root, or names no usable keys.
    pub fn advance(&self, trusted: &Trusted) -> Result<Anchors, AnchorsError> {
        let Layers::Quorum { root } = &self.layers else { return Ok(self.clone()) };
        if trusted.start() != sha256(root) {
            return Err(AnchorsError::Root("the metadata was verified from another root".to_owned()));
        }
        let content = trusted.content().map_err(|error| AnchorsError::Root(error.to_string()))?;
        let layers = Layers::Quorum { root: trusted.root().to_vec() };
        Anchors::new(self.product.clone(), self.model.clone(), content.release_keys, layers)
    }
}

impl Layers {
    /// The name that status and attestation show.
    pub fn as_str(&self) -> &'static str {
        match self {
            Layers::DangerL1Only => "danger-l1-only",
            Layers::Quorum { .. } => "l1+l2",
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
    #[n(1)]
    Quorum(#[n(0)] ByteVec),
}
