//! The 40 bytes before an encrypted image; their hash is authenticated with each chunk.
//!
//! | bytes | what |
//! |---|---|
//! | 6 | 0x89 `vouch` |
//! | 1 | the version of the format: 1 |
//! | 1 | the COSE number of the encryption: 1, AES-128-GCM |
//! | 1 | log2 of the plain bytes in each chunk but the last |
//! | 7 | the prefix of the chunks' nonces |
//! | 8 | plain bytes of the image, big endian |
//! | 16 | the image's id, random |

use keys::chunks::{PREFIX_BYTES, TAG_BYTES};
use keys::hashes::sha256;

use crate::limits::LIMITS;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 40;

const MAGIC: [u8; 6] = *b"\x89vouch";
const FORMAT: u8 = 1;
const A128GCM: u8 = 1;

/// What stands before an encrypted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// log2 of the plain bytes in each chunk but the last.
    pub chunk_log2: u8,
    /// The prefix of the chunks' nonces.
    pub prefix: [u8; PREFIX_BYTES],
    /// Plain bytes of the image.
    pub length: u64,
    /// Random, so that no two images have one header.
    pub id: [u8; 16],
}

/// Why bytes are no header of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Other bytes at the beginning.
    #[error("not an encrypted OS image: it does not begin as one")]
    NotAnImage,
    /// A format that a newer runtime may know.
    #[error("the OS image has format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// Another encryption.
    #[error("the OS image is encrypted with COSE algorithm {0}; this program knows {A128GCM} (AES-128-GCM) only")]
    Algorithm(u8),
    /// A chunk size or a length out of bounds.
    #[error("the OS image's chunk size or length is out of bounds")]
    Bounds,
}

impl ImageHeader {
    /// Reads a header; nothing of it is to be believed before a chunk was authenticated with it.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<ImageHeader, HeaderError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(HeaderError::NotAnImage)?;
        let ([format, algorithm, chunk_log2], rest) = rest.split_first_chunk().ok_or(HeaderError::NotAnImage)?;
        let (prefix, rest) = rest.split_first_chunk().ok_or(HeaderError::NotAnImage)?;
        let (length, id) = rest.split_first_chunk().ok_or(HeaderError::NotAnImage)?;
        let id = id.try_into().map_err(|_| HeaderError::NotAnImage)?;
        match (*format, *algorithm) {
            (FORMAT, A128GCM) => {}
            (FORMAT, other) => return Err(HeaderError::Algorithm(other)),
            (other, _) => return Err(HeaderError::Format(other)),
        }
        let header = ImageHeader { chunk_log2: *chunk_log2, prefix: *prefix, length: u64::from_be_bytes(*length), id };
        let (least, most) = LIMITS.chunk_log2;
        let fits = (least..=most).contains(&header.chunk_log2) && (1..=LIMITS.image).contains(&header.length);
        if fits { Ok(header) } else { Err(HeaderError::Bounds) }
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..6].copy_from_slice(&MAGIC);
        bytes[6..9].copy_from_slice(&[FORMAT, A128GCM, self.chunk_log2]);
        bytes[9..16].copy_from_slice(&self.prefix);
        bytes[16..24].copy_from_slice(&self.length.to_be_bytes());
        bytes[24..].copy_from_slice(&self.id);
        bytes
    }

    /// What each chunk authenticates.
    pub(crate) fn aad(&self) -> [u8; 32] {
        sha256(&self.to_bytes())
    }

    /// Plain bytes in each chunk but the last.
    pub fn chunk(&self) -> usize {
        1 << self.chunk_log2
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        self.length.div_ceil(1 << self.chunk_log2)
    }

    /// Bytes of the encrypted image, with the header.
    pub fn sealed_bytes(&self) -> u64 {
        sealed_bytes(self.length, self.chunk_log2)
    }

    /// Where the chunk at `position` begins in the encrypted image.
    pub fn chunk_at(&self, position: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(position) * (self.chunk() + TAG_BYTES) as u64
    }
}

/// Bytes of an encrypted image of this many plain bytes, with its header. Both arguments are within bounds.
pub(crate) fn sealed_bytes(length: u64, chunk_log2: u8) -> u64 {
    let tags = length.div_ceil(1 << chunk_log2) * TAG_BYTES as u64;
    length + tags + HEADER_BYTES as u64
}
