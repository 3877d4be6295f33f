//! The last step of a release: all of it is verified, and only then the bundle is written.

use std::io::{self, Read, Seek, Write};

use crate::bundle::{Bundle, Report, ReportError, check_image, verify_head};

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
