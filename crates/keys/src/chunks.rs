//! Chunks in order under one key: STREAM-BE32 (Hoang et al. 2015) over AES-128-GCM, for what is stored and for OS images.
//!
//! The nonce of a chunk is a prefix of seven bytes, its position, and a mark on the last one, so that no chunk can be moved,
//! left out or added. A key encrypts one sequence and is never used again.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::hashes::random;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes that sealing adds to a chunk.
pub const TAG_BYTES: usize = 16;
/// Bytes of the nonce before the position.
pub const PREFIX_BYTES: usize = 7;

/// The key of one sequence of chunks.
pub struct ChunkKey {
    key: LessSafeKey,
    prefix: [u8; PREFIX_BYTES],
}

/// The key that one OS image is encrypted with.
#[derive(Clone)]
pub struct ContentKey(Zeroizing<[u8; KEY_BYTES]>);

/// The cryptographic library refused to encrypt; nothing from outside can cause it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused")]
pub struct Refused;

/// A chunk was changed, moved, cut, or sealed under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chunk is not what was sealed under this key at this position")]
pub struct BadChunk;

impl ContentKey {
    /// A new random key.
    pub fn generate() -> ContentKey {
        ContentKey(Zeroizing::new(random()))
    }

    /// The key with these bytes, as they came out of their wrapping.
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> ContentKey {
        ContentKey(bytes)
    }

    /// The bytes themselves, to be wrapped.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key for the chunks of the image whose header has this prefix.
    ///
    /// # Errors
    /// [`Refused`], which nothing from outside can cause.
    pub fn chunks(&self, prefix: [u8; PREFIX_BYTES]) -> Result<ChunkKey, Refused> {
        ChunkKey::new(&self.0, prefix)
    }
}

impl ChunkKey {
    pub(crate) fn new(key: &[u8; KEY_BYTES], prefix: [u8; PREFIX_BYTES]) -> Result<ChunkKey, Refused> {
        let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| Refused)?;
        Ok(ChunkKey { key: LessSafeKey::new(key), prefix })
    }

    /// Encrypts the chunk at `position` in place and appends its tag; `last` marks the end of the sequence.
    ///
    /// # Errors
    /// [`Refused`], which nothing from outside can cause.
    pub fn seal(&self, position: u32, last: bool, aad: &[u8], chunk: &mut Vec<u8>) -> Result<(), Refused> {
        let sealed = self.key.seal_in_place_append_tag(self.nonce(position, last), Aad::from(aad), chunk);
        sealed.map_err(|_| Refused)
    }

    /// Checks and decrypts the chunk at `position` in place; returns the plain part of the buffer.
    ///
    /// # Errors
    /// [`BadChunk`]: then the buffer holds nothing of use.
    pub fn open<'a>(&self, position: u32, last: bool, aad: &[u8], chunk: &'a mut [u8]) -> Result<&'a [u8], BadChunk> {
        let opened = self.key.open_in_place(self.nonce(position, last), Aad::from(aad), chunk);
        opened.map(|plain| &*plain).map_err(|_| BadChunk)
    }

    /// Checks the chunk at `position` and decrypts it into `plain`, which is [`TAG_BYTES`] shorter than the chunk.
    ///
    /// # Errors
    /// [`BadChunk`]: then `plain` holds nothing of use.
    pub fn open_into(
        &self,
        position: u32,
        last: bool,
        aad: &[u8],
        chunk: &[u8],
        plain: &mut [u8],
    ) -> Result<(), BadChunk> {
        let (sealed, tag) = chunk.split_last_chunk::<TAG_BYTES>().ok_or(BadChunk)?;
        let nonce = self.nonce(position, last);
        self.key.open_separate_gather(nonce, Aad::from(aad), sealed, tag, plain).map_err(|_| BadChunk)
    }

    /// Unique under the key of one sequence.
    fn nonce(&self, position: u32, last: bool) -> Nonce {
        let mut bytes = [0; 12];
        bytes[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        bytes[PREFIX_BYTES..11].copy_from_slice(&position.to_be_bytes());
        bytes[11] = last.into();
        Nonce::assume_unique_for_key(bytes)
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(..)")
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_opening_agree_and_refuse_the_same() {
        let key = ContentKey::generate().chunks([7; PREFIX_BYTES]).unwrap();
        let mut chunk = b"plain".to_vec();
        key.seal(3, false, b"where", &mut chunk).unwrap();
        let mut plain = [0; 5];
        key.open_into(3, false, b"where", &chunk, &mut plain).unwrap();
        assert_eq!(&plain, b"plain");
        assert_eq!(key.open(3, false, b"where", &mut chunk.clone()).unwrap(), b"plain");
        for (position, last, aad) in [(2, false, &b"where"[..]), (3, true, b"where"), (3, false, b"elsewhere")] {
            assert_eq!(key.open_into(position, last, aad, &chunk, &mut plain), Err(BadChunk));
        }
        for length in 0..chunk.len() {
            assert_eq!(key.open_into(3, false, b"where", &chunk[..length], &mut plain), Err(BadChunk), "{length}");
        }
        for room in [4, 6] {
            assert_eq!(key.open_into(3, false, b"where", &chunk, &mut vec![0; room]), Err(BadChunk), "{room}");
        }
    }

    #[test]
    fn the_prefix_is_part_of_the_nonce() {
        let content = ContentKey::generate();
        let mut chunk = b"plain".to_vec();
        content.chunks([1; PREFIX_BYTES]).unwrap().seal(0, true, b"", &mut chunk).unwrap();
        assert_eq!(content.chunks([2; PREFIX_BYTES]).unwrap().open(0, true, b"", &mut chunk), Err(BadChunk));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = ContentKey::new(Zeroizing::new([0xab; KEY_BYTES]));
        assert_eq!(format!("{key:?} {:?}", key.chunks([0; 7]).unwrap()), "ContentKey(..) ChunkKey(..)");
    }
}
