//! The checkers of bytes: an encrypted image that is installed, and a decrypted one that is started.

use keys::chunks::ContentKey;
use keys::hashes::Sha256;
use minicbor::bytes::ByteArray;

use crate::anchors::Admission;
use crate::cipher::{CipherError, Decryptor};
use crate::header::{HEADER_BYTES, HeaderError, ImageHeader};
use crate::manifest::{Content, Manifest};
use crate::verified::Verified;

/// An encrypted image of which each byte is what an admitted manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    manifest: Manifest,
}

/// A decrypted image of which each byte is what a signed manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    manifest: Manifest,
}

/// Why an image is not the one of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// More or fewer bytes, known before the first of them is looked at.
    #[error("the OS image has {found} bytes, its manifest says {expected}")]
    Length {
        /// What the manifest says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The bytes before the chunks.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A header that says something else than the manifest.
    #[error("the OS image's header is not the one of its manifest")]
    OtherHeader,
    /// A chunk.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// All is consistent, but it is another image.
    #[error("the OS image's SHA-256 is not the one of its manifest")]
    Hash,
}

/// Decrypts and checks an encrypted image as it arrives.
#[derive(Debug)]
pub struct ImageChecker<'k> {
    manifest: Manifest,
    key: &'k ContentKey,
    header: Vec<u8>,
    decryptor: Option<Decryptor>,
    sealed: Sha256,
    plain: Sha256,
}

/// Checks a decrypted image.
#[derive(Debug)]
pub struct ProgramChecker {
    manifest: Manifest,
    plain: Sha256,
    length: u64,
}

impl<'k> ImageChecker<'k> {
    /// For the image of `length` bytes that is said to be the admitted one.
    ///
    /// # Errors
    /// [`ImageError::Length`].
    pub fn new(
        admission: Verified<Admission>,
        length: u64,
        key: &'k ContentKey,
    ) -> Result<ImageChecker<'k>, ImageError> {
        let manifest = admission.into_inner().manifest;
        let expected = manifest.sealed.length;
        if length != expected {
            return Err(ImageError::Length { expected, found: length });
        }
        let (sealed, plain) = (Sha256::new(), Sha256::new());
        Ok(ImageChecker { manifest, key, header: Vec::new(), decryptor: None, sealed, plain })
    }

    /// The next plaintext that is authentic; takes what it needs off the front of the input. `None` when all input was taken,
    /// so this is called in a loop. Nothing of it may run before [`ImageChecker::finish`].
    ///
    /// # Errors
    /// [`ImageError`]; then nothing of the image may be used.
    pub fn next_chunk<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<&'a [u8]>, ImageError> {
        let before = *input;
        let plain = match &mut self.decryptor {
            Some(decryptor) => decryptor.next_chunk(input)?,
            none => {
                let wanted = (HEADER_BYTES - self.header.len()).min(input.len());
                let (head, rest) = input.split_at(wanted);
                self.header.extend_from_slice(head);
                *input = rest;
                if let Some(header) = self.header.first_chunk() {
                    let header = header_of(&self.manifest, header)?;
                    none.insert(Decryptor::new(header, self.key)?).next_chunk(input)?
                } else {
                    None
                }
            }
        };
        self.sealed.update(&before[..before.len() - input.len()]);
        if let Some(plain) = plain {
            self.plain.update(plain);
        }
        Ok(plain)
    }

    /// Says that the input has ended.
    ///
    /// # Errors
    /// [`ImageError`] when anything is missing or is not what the manifest says.
    pub fn finish(self) -> Result<Verified<Image>, ImageError> {
        self.decryptor.ok_or(CipherError::TooShort(0))?.finish()?;
        let hashes = (ByteArray::from(self.sealed.finish()), ByteArray::from(self.plain.finish()));
        if hashes != (self.manifest.sealed.sha256, self.manifest.plain.sha256) {
            return Err(ImageError::Hash);
        }
        Ok(Verified::new(Image { manifest: self.manifest }))
    }
}

impl ProgramChecker {
    /// For the image of a manifest that was signed.
    pub fn new(manifest: Verified<Manifest>) -> ProgramChecker {
        ProgramChecker { manifest: manifest.into_inner(), plain: Sha256::new(), length: 0 }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, plain: &[u8]) {
        self.length = self.length.saturating_add(plain.len() as u64);
        self.plain.update(plain);
    }

    /// Says that the image has ended.
    ///
    /// # Errors
    /// [`ImageError::Length`] or [`ImageError::Hash`] when it is not the manifest's.
    pub fn finish(self) -> Result<Verified<Program>, ImageError> {
        let Content { length: expected, sha256 } = self.manifest.plain;
        if self.length != expected {
            return Err(ImageError::Length { expected, found: self.length });
        }
        if ByteArray::from(self.plain.finish()) != sha256 {
            return Err(ImageError::Hash);
        }
        Ok(Verified::new(Program { manifest: self.manifest }))
    }
}

impl Image {
    /// The manifest of the image.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Program {
    /// The manifest of the image.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// The header, if it is one that the manifest allows.
fn header_of(manifest: &Manifest, bytes: &[u8; HEADER_BYTES]) -> Result<ImageHeader, ImageError> {
    let header = ImageHeader::from_bytes(bytes)?;
    let same = header.length == manifest.plain.length && header.chunk_log2 == manifest.chunk_log2;
    if same { Ok(header) } else { Err(ImageError::OtherHeader) }
}
