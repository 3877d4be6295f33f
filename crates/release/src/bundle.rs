//! The bundle file `.vouchos`: one release for all its models, with all that proves it.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | 0x89 `vouchos` |
//! | 4 | length of the head, big endian |
//! | n | the head, CBOR: `bundle-head` in `docs/image.cddl` |
//! | rest | the encrypted images, in the order of the head |
//!
//! The head alone says where each image begins, so that the image of one model is read without the others.

mod report;

use std::io::{self, Read};

use keys::cbor::{self, CborError};
use keys::release_key;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

#[cfg(feature = "author")]
pub(crate) use report::check_image;
pub use report::{Report, ReportError, ReportedImage, verify_bundle, verify_head};

use crate::limits::LIMITS;
use crate::manifest::{Manifest, ManifestError};

/// The bytes before the head's length.
pub const MAGIC: [u8; 8] = *b"\x89vouchos";
const FORMAT: u8 = 1;

/// The head of a bundle: all but the encrypted images. Nothing of it is to be believed before [`verify_head`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Root metadata, from the first one on.
    pub roots: Vec<Vec<u8>>,
    /// What the custodians signed.
    pub targets: Vec<u8>,
    /// How each of them approved, as their cards signed it; a bundle of before has none.
    pub approvals: Vec<Vec<u8>>,
    /// One image for each model or group of models.
    pub images: Vec<BundleImage>,
    /// Bytes before the first encrypted image.
    head: u64,
}

/// One image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleImage {
    /// The manifest as the release key signed it: COSE_Sign1.
    pub signed_manifest: Vec<u8>,
    /// The content key, sealed to the server.
    pub content_key: Vec<u8>,
    /// The proof that it stands in the transparency log, where there is one.
    pub log_proof: Option<Vec<u8>>,
    manifest: Manifest,
}

/// Why bytes are no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Other bytes at the beginning.
    #[error("not a release bundle: it does not begin as one")]
    NotABundle,
    /// More than [`LIMITS`]`.bundle_head` bytes.
    #[error("the bundle's head has {found} bytes, at most {} are taken", LIMITS.bundle_head)]
    TooLong {
        /// Its length.
        found: u64,
    },
    /// Another shape, trailing bytes, or not deterministic.
    #[error("not the head of a release bundle: {0}")]
    Form(#[from] CborError),
    /// A format that a newer program may know.
    #[error("the bundle has format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// A part that breaks a bound.
    #[error("the bundle's {0}")]
    Bound(&'static str),
    /// A manifest that is none.
    #[error("image {at} of the bundle: {error}")]
    Manifest {
        /// Which, from 0.
        at: usize,
        /// Why.
        error: ManifestError,
    },
    /// A manifest that is not signed in the one form.
    #[error("image {0} of the bundle has a manifest that is not signed as manifests are")]
    NotSigned(usize),
    /// The reader.
    #[error("the bundle cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl BundleImage {
    /// An image; its manifest is read, and nobody's signature checked.
    ///
    /// # Errors
    /// [`BundleError`] when the message holds no manifest.
    pub fn new(
        signed_manifest: Vec<u8>,
        content_key: Vec<u8>,
        log_proof: Option<Vec<u8>>,
    ) -> Result<BundleImage, BundleError> {
        BundleImage::at(0, signed_manifest, content_key, log_proof)
    }

    fn at(
        at: usize,
        signed_manifest: Vec<u8>,
        content_key: Vec<u8>,
        log_proof: Option<Vec<u8>>,
    ) -> Result<BundleImage, BundleError> {
        if content_key.len() > LIMITS.sealed_key
            || log_proof.as_ref().is_some_and(|proof| proof.len() > LIMITS.log_proof)
        {
            return Err(BundleError::Bound("sealed content key or log proof is too long"));
        }
        let payload = release_key::danger_unverified(&signed_manifest).map_err(|_| BundleError::NotSigned(at))?;
        let manifest = Manifest::from_cbor(&payload).map_err(|error| BundleError::Manifest { at, error })?;
        Ok(BundleImage { signed_manifest, content_key, log_proof, manifest })
    }

    /// What the manifest says; nobody's signature was checked.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Bundle {
    /// A head of these parts.
    ///
    /// # Errors
    /// [`BundleError::Bound`].
    pub fn new(
        roots: Vec<Vec<u8>>,
        targets: Vec<u8>,
        approvals: Vec<Vec<u8>>,
        images: Vec<BundleImage>,
    ) -> Result<Bundle, BundleError> {
        let bound = |holds: bool, else_what| if holds { Ok(()) } else { Err(BundleError::Bound(else_what)) };
        bound((1..=LIMITS.bundle_images).contains(&images.len()), "images must be 1 to 64")?;
        bound((1..=LIMITS.bundle_roots).contains(&roots.len()), "root metadata must be 1 to 64 files")?;
        bound(roots.iter().all(|root| root.len() <= LIMITS.metadata), "root metadata is too long")?;
        bound(targets.len() <= LIMITS.targets, "targets metadata is too long")?;
        bound(
            approvals.len() <= keys::limits::LIMITS.quorum_people,
            "approvals are more than there can be custodians",
        )?;
        bound(approvals.iter().all(|approval| approval.len() <= LIMITS.approval), "approval is too long")?;
        let mut bundle = Bundle { roots, targets, approvals, images, head: 0 };
        let head = bundle.head_cbor().len() as u64;
        if head > LIMITS.bundle_head {
            return Err(BundleError::TooLong { found: head });
        }
        bundle.head = MAGIC.len() as u64 + 4 + head;
        Ok(bundle)
    }

    /// Reads the head and leaves the reader at the first encrypted image.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn read(from: &mut impl Read) -> Result<Bundle, BundleError> {
        let (mut magic, mut length) = ([0; 8], [0; 4]);
        from.read_exact(&mut magic).map_err(|_| BundleError::NotABundle)?;
        if magic != MAGIC {
            return Err(BundleError::NotABundle);
        }
        from.read_exact(&mut length)?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > LIMITS.bundle_head {
            return Err(BundleError::TooLong { found: length });
        }
        let mut head = Vec::new();
        if from.take(length).read_to_end(&mut head)? as u64 != length {
            return Err(BundleError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let form: Form = cbor::decode(&head)?;
        if form.format != FORMAT {
            return Err(BundleError::Format(form.format));
        }
        let image = |(at, image): (usize, ImageForm)| {
            BundleImage::at(at, image.manifest.into(), image.content_key.into(), image.log_proof.map(Into::into))
        };
        let images = form.images.into_iter().enumerate().map(image).collect::<Result<_, _>>()?;
        let all = |files: Vec<ByteVec>| files.into_iter().map(Into::into).collect();
        Bundle::new(all(form.roots), form.targets.into(), all(form.approvals.unwrap_or_default()), images)
    }

    /// All before the first encrypted image.
    pub fn head(&self) -> Vec<u8> {
        let head = self.head_cbor();
        // The length is within its bound, which is below 2^32.
        let length = u32::try_from(head.len()).unwrap_or_default().to_be_bytes();
        [&MAGIC[..], &length, &head].concat()
    }

    /// Where the encrypted image at this place in [`Bundle::images`] begins, and its length.
    pub fn place(&self, at: usize) -> Option<(u64, u64)> {
        let length = self.images.get(at)?.manifest.sealed.length;
        let before: u64 = self.images.iter().take(at).map(|image| image.manifest.sealed.length).sum();
        Some((self.head + before, length))
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.head + self.images.iter().map(|image| image.manifest.sealed.length).sum::<u64>()
    }

    /// The place of the image for a model.
    pub fn find(&self, model: &str) -> Option<usize> {
        self.images.iter().position(|image| image.manifest.is_for(model))
    }

    fn head_cbor(&self) -> Vec<u8> {
        let bytes = |bytes: &Vec<u8>| ByteVec::from(bytes.clone());
        let image = |image: &BundleImage| ImageForm {
            manifest: bytes(&image.signed_manifest),
            content_key: bytes(&image.content_key),
            log_proof: image.log_proof.as_ref().map(bytes),
        };
        cbor::encode(&Form {
            format: FORMAT,
            roots: self.roots.iter().map(bytes).collect(),
            targets: bytes(&self.targets),
            images: self.images.iter().map(image).collect(),
            approvals: Some(self.approvals.iter().map(bytes).collect()).filter(|all: &Vec<_>| !all.is_empty()),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Form {
    #[n(0)]
    format: u8,
    #[n(1)]
    roots: Vec<ByteVec>,
    #[n(2)]
    targets: ByteVec,
    #[n(3)]
    images: Vec<ImageForm>,
    #[n(4)]
    approvals: Option<Vec<ByteVec>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ImageForm {
    #[n(0)]
    manifest: ByteVec,
    #[n(1)]
    content_key: ByteVec,
    #[n(2)]
    log_proof: Option<ByteVec>,
}
