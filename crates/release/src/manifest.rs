//! The OS manifest: what an image is, for which devices, and how it is recognised. It is what the release key signs.

use keys::cbor::{self, CborError};
use keys::hashes::sha256;
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use crate::limits::LIMITS;
use crate::version::OsVersion;

/// The version of the encoding.
const FORMAT: u8 = 1;

/// One image of a release: the content of `docs/image.cddl`, `os-manifest`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    #[n(0)]
    format: u8,
    /// The product, as the device's anchors name it.
    #[n(1)]
    pub product: String,
    /// The models that the image is for, in order and each once.
    #[n(2)]
    pub models: Vec<String>,
    /// The version of the release.
    #[n(3)]
    pub version: OsVersion,
    /// A device that confirmed an image of an epoch takes none of a lower one.
    #[n(4)]
    pub security_epoch: u32,
    /// When it was built, in seconds since 1970.
    #[n(5)]
    pub built: u64,
    /// The image as it travels: header and encrypted chunks.
    #[n(6)]
    pub sealed: Content,
    /// The image decrypted.
    #[n(7)]
    pub plain: Content,
    /// How it is encrypted.
    #[n(8)]
    pub cipher: Cipher,
    /// log2 of the plain bytes in each chunk but the last.
    #[n(9)]
    pub chunk_log2: u8,
    /// SHA-256 of the software bill of materials, where there is one.
    #[n(10)]
    pub sbom: Option<ByteArray<32>>,
    /// SHA-256 of the MUD file (RFC 8520), where there is one.
    #[n(11)]
    pub mud: Option<ByteArray<32>>,
    /// Ways to make the image out of an older one. A device that knows none of them takes the whole image.
    #[n(12)]
    pub deltas: Option<Vec<ByteVec>>,
}

/// The length and hash of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Content {
    /// How many bytes.
    #[n(0)]
    pub length: u64,
    /// Their SHA-256.
    #[n(1)]
    pub sha256: ByteArray<32>,
}

/// An encryption, by its number in the registry of COSE algorithms (RFC 9053).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Cipher {
    /// AES-128-GCM, in chunks of the STREAM construction.
    #[n(1)]
    A128Gcm,
}

/// What tells a manifest from all others: the SHA-256 of its encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestHash(pub [u8; 32]);

/// Why bytes are no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`LIMITS`]`.manifest` bytes.
    #[error("the OS manifest has more than {} bytes", LIMITS.manifest)]
    TooLong,
    /// Another shape, trailing bytes, or not deterministic.
    #[error("not an OS manifest of this format: {0}")]
    Form(#[from] CborError),
    /// A format that a newer runtime may know.
    #[error("the OS manifest has format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// A part that breaks a bound or means nothing.
    #[error("the OS manifest's {0}")]
    Meaningless(&'static str),
}

/// What a manifest says of an image beyond its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// See [`Manifest::product`].
    pub product: String,
    /// See [`Manifest::models`]; in any order.
    pub models: Vec<String>,
    /// See [`Manifest::version`].
    pub version: OsVersion,
    /// See [`Manifest::security_epoch`].
    pub security_epoch: u32,
    /// See [`Manifest::built`].
    pub built: u64,
    /// See [`Manifest::sbom`].
    pub sbom: Option<[u8; 32]>,
    /// See [`Manifest::mud`].
    pub mud: Option<[u8; 32]>,
}

impl Manifest {
    /// The manifest of an image.
    ///
    /// # Errors
    /// [`ManifestError::Meaningless`], naming the part.
    pub fn new(
        description: Description,
        sealed: Content,
        plain: Content,
        chunk_log2: u8,
    ) -> Result<Manifest, ManifestError> {
        let Description { product, mut models, version, security_epoch, built, sbom, mud } = description;
        models.sort();
        let manifest = Manifest {
            format: FORMAT,
            product,
            models,
            version,
            security_epoch,
            built,
            sealed,
            plain,
            cipher: Cipher::A128Gcm,
            chunk_log2,
            sbom: sbom.map(ByteArray::from),
            mud: mud.map(ByteArray::from),
            deltas: None,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads a manifest, which says nothing about who made it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > LIMITS.manifest {
            return Err(ManifestError::TooLong);
        }
        let manifest: Manifest = cbor::decode(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Its one encoding.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Its hash.
    pub fn hash(&self) -> ManifestHash {
        ManifestHash(sha256(&self.to_cbor()))
    }

    /// Whether the image is for this model.
    pub fn is_for(&self, model: &str) -> bool {
        self.models.iter().any(|known| known == model)
    }

    /// What it says beyond the image's bytes.
    pub fn description(&self) -> Description {
        Description {
            product: self.product.clone(),
            models: self.models.clone(),
            version: self.version,
            security_epoch: self.security_epoch,
            built: self.built,
            sbom: self.sbom.map(|hash| *hash),
            mud: self.mud.map(|hash| *hash),
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let meaningful =
            |holds: bool, else_what| if holds { Ok(()) } else { Err(ManifestError::Meaningless(else_what)) };
        if self.format != FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        meaningful(
            is_name(&self.product),
            "product must be a name: 1 to 64 printable bytes without spaces at its ends",
        )?;
        meaningful((1..=LIMITS.models).contains(&self.models.len()), "models must be 1 to 16")?;
        meaningful(
            self.models.iter().all(|model| is_name(model)),
            "models must be names: 1 to 64 printable bytes each",
        )?;
        meaningful(self.models.is_sorted_by(|a, b| a < b), "models must be in order and each of them once")?;
        meaningful(
            (LIMITS.chunk_log2.0..=LIMITS.chunk_log2.1).contains(&self.chunk_log2),
            "chunks must have 4 KiB to 1 MiB",
        )?;
        meaningful((1..=LIMITS.image).contains(&self.plain.length), "image must have 1 byte to 256 MiB")?;
        meaningful(
            self.sealed.length == crate::header::sealed_bytes(self.plain.length, self.chunk_log2),
            "two lengths do not belong together",
        )?;
        let deltas = self.deltas.as_deref();
        // "None" has one encoding: the entry is left out.
        meaningful(deltas.is_none_or(|deltas| (1..=LIMITS.deltas).contains(&deltas.len())), "deltas must be 1 to 8")?;
        let short = |delta: &ByteVec| (1..=LIMITS.delta).contains(&delta.len());
        meaningful(deltas.is_none_or(|deltas| deltas.iter().all(short)), "deltas must have 1 to 256 bytes each")
    }
}

/// Whether a product or model may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LIMITS.name).contains(&name.len()) && !name.chars().any(char::is_control) && name.trim() == name
}

impl std::fmt::Display for ManifestHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ManifestHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
