//! Encrypting an image as its bytes arrive, and the manifest that describes the result.

use keys::chunks::{ChunkKey, ContentKey, Refused, TAG_BYTES};
use keys::hashes::{Sha256, random};
use minicbor::bytes::ByteArray;

use super::CHUNK_LOG2;
use crate::cipher::CipherError;
use crate::header::ImageHeader;
use crate::limits::LIMITS;
use crate::manifest::{Content, Description, Manifest, ManifestError};

/// Encrypts one image under a key of its own.
pub struct Encryptor {
    content_key: ContentKey,
    chunks: ChunkKey,
    header: ImageHeader,
    aad: [u8; 32],
    position: u64,
    plain: Sha256,
    sealed: Sha256,
    chunk: Vec<u8>,
}

/// What an encrypted image came to.
#[derive(Debug)]
pub struct Built {
    /// To be signed.
    pub manifest: Manifest,
    /// To be wrapped and kept nowhere else.
    pub content_key: ContentKey,
}

impl Encryptor {
    /// For an image of `length` bytes, under a fresh content key. The image's file begins with [`Encryptor::header`].
    ///
    /// # Errors
    /// [`ManifestError::Meaningless`] for an image that is empty or longer than an image may be.
    pub fn new(length: u64) -> Result<Encryptor, ManifestError> {
        let header = ImageHeader { chunk_log2: CHUNK_LOG2, prefix: random(), length, id: random() };
        Encryptor::with(ContentKey::generate(), header)
    }

    fn with(content_key: ContentKey, header: ImageHeader) -> Result<Encryptor, ManifestError> {
        if !(1..=LIMITS.image).contains(&header.length) {
            return Err(ManifestError::Meaningless("image must have 1 byte to 256 MiB"));
        }
        let chunks =
            content_key.chunks(header.prefix).map_err(|Refused| ManifestError::Meaningless("key was refused"))?;
        let mut sealed = Sha256::new();
        sealed.update(&header.to_bytes());
        let chunk = Vec::with_capacity(header.chunk() + TAG_BYTES);
        Ok(Encryptor {
            content_key,
            chunks,
            header,
            aad: header.aad(),
            position: 0,
            plain: Sha256::new(),
            sealed,
            chunk,
        })
    }

    /// What stands before the chunks.
    pub fn header(&self) -> ImageHeader {
        self.header
    }

    /// Encrypts the next chunk, [`ImageHeader::chunk`] bytes long but for the last.
    ///
    /// # Errors
    /// [`CipherError`] when the chunk has another length than its position asks for.
    pub fn seal(&mut self, plain: &[u8]) -> Result<&[u8], CipherError> {
        let left = self.header.length - (self.position << self.header.chunk_log2).min(self.header.length);
        let wanted = left.min(self.header.chunk() as u64);
        match (plain.len() as u64).cmp(&wanted) {
            _ if wanted == 0 => return Err(CipherError::TooLong),
            std::cmp::Ordering::Less => return Err(CipherError::TooShort(self.position)),
            std::cmp::Ordering::Greater => return Err(CipherError::TooLong),
            std::cmp::Ordering::Equal => {}
        }
        let position = u32::try_from(self.position).map_err(|_| CipherError::TooLong)?;
        self.chunk.clear();
        self.chunk.extend_from_slice(plain);
        self.chunks.seal(position, left == wanted, &self.aad, &mut self.chunk)?;
        self.plain.update(plain);
        self.sealed.update(&self.chunk);
        self.position += 1;
        Ok(&self.chunk)
    }

    /// Says that the image has ended.
    ///
    /// # Errors
    /// [`ManifestError`] when the description breaks a bound or chunks are missing.
    pub fn finish(self, description: Description) -> Result<Built, ManifestError> {
        if self.position != self.header.chunks() {
            return Err(ManifestError::Meaningless("image ended early"));
        }
        let content = |length, sha: Sha256| Content { length, sha256: ByteArray::from(sha.finish()) };
        let sealed = content(self.header.sealed_bytes(), self.sealed);
        let plain = content(self.header.length, self.plain);
        let manifest = Manifest::new(description, sealed, plain, self.header.chunk_log2)?;
        Ok(Built { manifest, content_key: self.content_key })
    }
}

/// Why an image is not encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// Its length, or a description that breaks a bound.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The cipher.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

/// Encrypts an image that is in memory as a whole, under a fresh content key. Gives the bytes of its file and what it came to.
///
/// # Errors
/// [`EncryptError::Manifest`] for an image that is empty or longer than an image may be, or a description that breaks a bound.
pub fn encrypt(plain: &[u8], description: Description) -> Result<(Vec<u8>, Built), EncryptError> {
    let mut encryptor = Encryptor::new(plain.len() as u64)?;
    let header = encryptor.header();
    let mut sealed = header.to_bytes().to_vec();
    for chunk in plain.chunks(header.chunk()) {
        sealed.extend_from_slice(encryptor.seal(chunk)?);
    }
    Ok((sealed, encryptor.finish(description)?))
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor")
            .field("header", &self.header)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
