//! The last steps of a release: all of it is verified, and only then the bundle is written; later the proofs of the log are added.

use std::io::{self, Read, Seek, Write};

use crate::bundle::{Bundle, BundleError, Report, ReportError, check_image, verify_head};

/// Why a bundle is not written.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Something that devices or auditors would refuse.
    #[error(transparent)]
    Refused(#[from] ReportError),
    /// The number of files.
    #[error("the bundle has {images} images, but {files} encrypted files were given")]
    Files {
        /// Images of the head.
        images: usize,
        /// Files.
        files: usize,
    },
    /// The number of proofs.
    #[error("the bundle has {images} images, but {proofs} proofs were given")]
    Proofs {
        /// Images of the head.
        images: usize,
        /// Proofs.
        proofs: usize,
    },
    /// An encrypted image or the bundle.
    #[error("the bundle cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// Verifies the head against the trusted first root and each encrypted image against its manifest, and then writes the file.
/// Nothing is written when anything is wrong.
///
/// # Errors
/// [`AssembleError`].
pub fn assemble<R: Read + Seek>(
    bundle: &Bundle,
    first_root: &[u8],
    images: &mut [R],
    out: &mut impl Write,
) -> Result<Report, AssembleError> {
    let report = verify_head(bundle, Some(first_root))?;
    if images.len() != bundle.images.len() {
        return Err(AssembleError::Files { images: bundle.images.len(), files: images.len() });
    }
    for (image, file) in bundle.images.iter().zip(images.iter_mut()) {
        file.rewind()?;
        check_image(image.manifest(), file)?;
        if file.read(&mut [0])? != 0 {
            return Err(ReportError::OtherImage(image.manifest().models.clone()).into());
        }
    }
    out.write_all(&bundle.head())?;
    for file in images {
        file.rewind()?;
        io::copy(file, out)?;
    }
    Ok(report)
}

/// Reads a bundle and writes it again with the proofs that its images are in the transparency log, in their order. All
/// signatures and proofs are verified before anything is written; the encrypted images are copied as they are.
///
/// # Errors
/// [`AssembleError`].
pub fn add_proofs(from: &mut impl Read, proofs: Vec<Vec<u8>>, out: &mut impl Write) -> Result<Report, AssembleError> {
    let mut bundle = Bundle::read(from).map_err(ReportError::from)?;
    if bundle.images.len() != proofs.len() {
        return Err(AssembleError::Proofs { images: bundle.images.len(), proofs: proofs.len() });
    }
    for (image, proof) in bundle.images.iter_mut().zip(proofs) {
        image.log_proof = Some(proof);
    }
    let bundle =
        Bundle::new(bundle.roots, bundle.targets, bundle.approvals, bundle.images).map_err(ReportError::from)?;
    let report = verify_head(&bundle, None)?;
    out.write_all(&bundle.head())?;
    let copied = io::copy(from, out)?;
    let expected: u64 = bundle.images.iter().map(|image| image.manifest().sealed.length).sum();
    if copied != expected {
        return Err(ReportError::from(BundleError::Read(io::ErrorKind::UnexpectedEof.into())).into());
    }
    Ok(report)
}
