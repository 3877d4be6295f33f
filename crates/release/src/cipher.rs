//! Decrypting an image as its bytes arrive: bounded memory, and no plaintext that was not authenticated.

use keys::chunks::{ChunkKey, ContentKey, Refused, TAG_BYTES};

use crate::header::ImageHeader;

/// Decrypts the chunks of one image.
///
/// Its memory is two chunks, whatever the image's size. It does not know whether anybody signed the image:
/// [`ImageChecker`](crate::image::ImageChecker) does.
pub struct Decryptor {
    key: ChunkKey,
    header: ImageHeader,
    aad: [u8; 32],
    position: u64,
    /// The beginning of a chunk whose end is not there yet.
    partial: Vec<u8>,
    plain: Vec<u8>,
}

/// Why an image cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Changed, moved, or of another image or key.
    #[error(
        "chunk {0} of the OS image is not authentic: it was changed or moved, or the content key is another image's"
    )]
    Forged(u64),
    /// Bytes after the last chunk.
    #[error("the OS image goes on after its end")]
    TooLong,
    /// The input ended before the image.
    #[error("the OS image ends early, in chunk {0}")]
    TooShort(u64),
    /// There is no such chunk.
    #[error("the OS image has no chunk {0}")]
    NoSuchChunk(u32),
    /// The library.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Decryptor {
    /// For the image with this header, from its first chunk.
    ///
    /// # Errors
    /// [`CipherError::Refused`], which nothing from outside can cause.
    pub fn new(header: ImageHeader, key: &ContentKey) -> Result<Decryptor, CipherError> {
        Decryptor::resume(header, key, 0)
    }

    /// For the image with this header, from the chunk at `position`, which begins at [`ImageHeader::chunk_at`].
    ///
    /// # Errors
    /// [`CipherError::NoSuchChunk`] for a position that the image does not have.
    pub fn resume(header: ImageHeader, key: &ContentKey, position: u32) -> Result<Decryptor, CipherError> {
        if u64::from(position) >= header.chunks() {
            return Err(CipherError::NoSuchChunk(position));
        }
        let key = key.chunks(header.prefix)?;
        let (partial, plain) = (Vec::new(), vec![0; header.chunk()]);
        Ok(Decryptor { key, header, aad: header.aad(), position: position.into(), partial, plain })
    }

    /// The next chunk that is complete in the input: takes its bytes off the front and gives its plaintext. `None` when all
    /// input was taken, so this is called in a loop.
    ///
    /// # Errors
    /// [`CipherError`]; then the image is of no use.
    pub fn next_chunk<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<&'a [u8]>, CipherError> {
        if input.is_empty() {
            return Ok(None);
        }
        let Some(plain) = self.plain_bytes() else { return Err(CipherError::TooLong) };
        let wanted = plain + TAG_BYTES - self.partial.len();
        let Some((head, rest)) = input.split_at_checked(wanted) else {
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        };
        *input = rest;
        let whole = if self.partial.is_empty() {
            head
        } else {
            self.partial.extend_from_slice(head);
            &self.partial
        };
        let last = self.position + 1 == self.header.chunks();
        let forged = CipherError::Forged(self.position);
        let position = u32::try_from(self.position).map_err(|_| forged)?;
        let plain = self.plain.get_mut(..plain).ok_or(forged)?;
        self.key.open_into(position, last, &self.aad, whole, plain).map_err(|_| forged)?;
        self.partial.clear();
        self.position += 1;
        Ok(Some(plain))
    }

    /// Says that the input has ended.
    ///
    /// # Errors
    /// [`CipherError::TooShort`] when the image has not.
    pub fn finish(self) -> Result<(), CipherError> {
        match self.plain_bytes() {
            None => Ok(()),
            Some(_) => Err(CipherError::TooShort(self.position)),
        }
    }

    /// Plain bytes of the chunk at the position, if there is one.
    fn plain_bytes(&self) -> Option<usize> {
        let before = self.position << self.header.chunk_log2;
        let left = self.header.length.checked_sub(before).filter(|left| *left > 0)?;
        Some(usize::try_from(left).map_or(self.header.chunk(), |left| left.min(self.header.chunk())))
    }
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor")
            .field("header", &self.header)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
