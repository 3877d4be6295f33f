//! The format of every file of a vault: a header in clear, then chunks of AES-128-GCM that each authenticate the header.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `vouch/v1` |
//! | 24 | the record's name, filled up with zero bytes |
//! | 16 | the vault's random id |
//! | 8 | the version, big-endian; the index has the generation here |
//! | 8 | how many plain bytes follow, big-endian |
//! | 16 | the salt of this write |
//! | n x (64 KiB + 16), last one shorter | chunks, each with its tag; at least one |
//!
//! The key of the chunks is HKDF(purpose key, salt) and used for this one write; the nonce is the chunk's position with a
//! mark on the last. So no chunk can be moved, dropped, added, or taken from another write, record, version, vault or device.

use keys::chunks::{KEY_BYTES, Refused, TAG_BYTES};
use keys::hashes::{ct_eq, random};
use keys::secret::Secret;
use keys::storage::PurposeKey;
use zeroize::Zeroizing;

use crate::limits::LIMITS;

const MAGIC: &[u8; 8] = b"vouch/v1";
const NAME_BYTES: usize = 24;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = MAGIC.len() + NAME_BYTES + ID_BYTES + 8 + 8 + KEY_BYTES;
const ID_BYTES: usize = 16;

/// What tells one vault from another under the same keys.
pub(crate) type VaultId = [u8; ID_BYTES];
/// What each write draws anew.
pub(crate) type WriteSalt = [u8; KEY_BYTES];

/// Why a file of a vault is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not begin as a file of a vault does.
    #[error("it is no file of a vault")]
    NotAVault,
    /// It has fewer or more bytes than its header says.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// Bytes that its header asks for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// It was longer than its kind of record may be.
    #[error("it holds more than {most} bytes")]
    TooLong {
        /// The bound.
        most: usize,
    },
    /// It is another record under this one's name.
    #[error("it holds the record `{found}`; somebody renamed it")]
    Renamed {
        /// The name inside.
        found: String,
    },
    /// It is from another vault.
    #[error("it belongs to another vault")]
    OtherVault,
    /// It is not the write that the index names: an older one put back, or one that never came into force.
    #[error("it holds version {found} of another write, not version {expected} that counts; somebody put it back")]
    OtherWrite {
        /// The version that the index names.
        expected: u64,
        /// The version inside.
        found: u64,
    },
    /// A chunk, or the header, was changed; or another device sealed it.
    #[error("chunk {chunk} does not open: the file was changed, or written by another device")]
    Forged {
        /// Which one, from 0.
        chunk: u32,
    },
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error(transparent)]
    Key(#[from] Refused),
}

/// What identifies one write of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    pub(crate) name: &'a str,
    pub(crate) vault: VaultId,
    pub(crate) version: u64,
    pub(crate) salt: WriteSalt,
}

/// An opened file whose identity was not known before.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) vault: VaultId,
    pub(crate) version: u64,
    pub(crate) plain: Secret,
}

/// The fields of a header, as they stand in the file; not yet to be believed.
struct Header<'a> {
    name: &'a [u8],
    vault: VaultId,
    version: u64,
    length: u64,
    salt: WriteSalt,
}

/// A salt for one write.
pub(crate) fn draw_salt() -> WriteSalt {
    random()
}

/// The bytes of the file that holds `plain`.
pub(crate) fn seal(key: &PurposeKey, identity: &Identity<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let header = header(identity, plain.len());
    let write_key = key.write_key(&identity.salt)?;
    let mut file = Vec::with_capacity(sealed_bytes(plain.len()));
    file.extend_from_slice(&header);
    let mut rest = plain;
    for position in 0_u32.. {
        let (now, later) = rest.split_at(rest.len().min(LIMITS.chunk));
        let mut chunk = Vec::with_capacity(now.len() + TAG_BYTES);
        chunk.extend_from_slice(now);
        write_key.seal(position, later.is_empty(), &header, &mut chunk)?;
        file.append(&mut chunk);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    Ok(file)
}

/// Opens the file of exactly this write.
pub(crate) fn open(key: &PurposeKey, identity: &Identity<'_>, most: usize, file: Vec<u8>) -> Result<Secret, SealError> {
    let header = Header::read(&file, identity.name)?;
    if header.vault != identity.vault {
        return Err(SealError::OtherVault);
    }
    if header.version != identity.version || !ct_eq(&header.salt, &identity.salt) {
        return Err(SealError::OtherWrite { expected: identity.version, found: header.version });
    }
    Ok(open_any(key, identity.name, most, file)?.plain)
}

/// Opens a file of this name, from whatever vault of this device and of whatever version.
pub(crate) fn open_any(key: &PurposeKey, name: &str, most: usize, file: Vec<u8>) -> Result<Opened, SealError> {
    let Header { vault, version, length, salt, .. } = Header::read(&file, name)?;
    let found = file.len() as u64;
    let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(SealError::TooLong { most })?;
    let expected = sealed_bytes(length) as u64;
    if found != expected {
        return Err(SealError::Length { expected, found });
    }
    let write_key = key.write_key(&salt)?;
    let header: [u8; HEADER_BYTES] = *file.first_chunk().ok_or(SealError::NotAVault)?;
    // Chunks are decrypted where they are and moved to the front: pages of a second buffer would cost more than the cipher does.
    let mut bytes = Zeroizing::new(file);
    let (mut from, mut to) = (HEADER_BYTES, 0);
    for position in 0_u32.. {
        let end = bytes.len().min(from + LIMITS.chunk + TAG_BYTES);
        let chunk = bytes.get_mut(from..end).unwrap_or_default();
        let opened = write_key.open(position, end as u64 == found, &header, chunk);
        let opened = opened.map_err(|_| SealError::Forged { chunk: position })?.len();
        bytes.copy_within(from..from + opened, to);
        (from, to) = (end, to + opened);
        if end as u64 == found {
            break;
        }
    }
    bytes.truncate(to);
    Ok(Opened { vault, version, plain: Secret::new(std::mem::take(&mut *bytes)) })
}

/// Bytes of a file with this many plain bytes.
pub(crate) fn sealed_bytes(plain: usize) -> usize {
    HEADER_BYTES + plain + TAG_BYTES * plain.div_ceil(LIMITS.chunk).max(1)
}

fn header(identity: &Identity<'_>, length: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut rest = header.as_mut_slice();
    let mut put = |bytes: &[u8], room: usize| {
        let (field, after) = std::mem::take(&mut rest).split_at_mut(room);
        for (to, from) in field.iter_mut().zip(bytes) {
            *to = *from;
        }
        rest = after;
    };
    put(MAGIC, MAGIC.len());
    put(identity.name.as_bytes(), NAME_BYTES);
    put(&identity.vault, ID_BYTES);
    put(&identity.version.to_be_bytes(), 8);
    put(&(length as u64).to_be_bytes(), 8);
    put(&identity.salt, KEY_BYTES);
    header
}

impl<'a> Header<'a> {
    /// The header of a file that stands under `name`.
    fn read(file: &'a [u8], name: &str) -> Result<Header<'a>, SealError> {
        let header = Header::parse(file).ok_or(SealError::NotAVault)?;
        if header.name != name.as_bytes() {
            return Err(SealError::Renamed { found: String::from_utf8_lossy(header.name).into_owned() });
        }
        Ok(header)
    }

    fn parse(file: &'a [u8]) -> Option<Header<'a>> {
        let (magic, rest) = file.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(NAME_BYTES)?;
        let (vault, rest) = rest.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (salt, _) = rest.split_first_chunk()?;
        let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        (magic == MAGIC).then_some(Header {
            name: name.get(..end)?,
            vault: *vault,
            version: u64::from_be_bytes(*version),
            length: u64::from_be_bytes(*length),
            salt: *salt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::purpose::KeyPurpose;
    use keys::storage::StorageRoot;

    const SMALL: usize = 3 * LIMITS.chunk;

    fn key() -> PurposeKey {
        StorageRoot::generate().purpose_key(KeyPurpose::VaultApp).unwrap()
    }

    fn identity() -> Identity<'static> {
        Identity { name: "app", vault: [1; ID_BYTES], version: 7, salt: [2; KEY_BYTES] }
    }

    #[test]
    fn every_length_around_a_chunk_comes_back_and_the_length_is_what_the_table_says() {
        let (key, identity) = (key(), identity());
        for length in [0, 1, LIMITS.chunk - 1, LIMITS.chunk, LIMITS.chunk + 1, 2 * LIMITS.chunk, SMALL] {
            let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let file = seal(&key, &identity, &plain).unwrap();
            assert_eq!(file.len(), sealed_bytes(length));
            assert_eq!(open(&key, &identity, SMALL, file).unwrap().expose(), plain, "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_in_any_part_is_found() {
        let (key, identity) = (key(), identity());
        let file = seal(&key, &identity, &vec![3; LIMITS.chunk + 40]).unwrap();
        // Every bit of the header and around the end of each chunk, one bit of every 97th byte between.
        let near = |at: usize| {
            at < HEADER_BYTES + 32 || file.len() - at < 80 || (HEADER_BYTES + LIMITS.chunk).abs_diff(at) < 24
        };
        for at in (0..file.len()).filter(|at| near(*at) || at % 97 == 0) {
            for bit in 0..if near(at) { 8 } else { 1 } {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                assert!(open(&key, &identity, SMALL, flipped).is_err(), "byte {at} bit {bit}");
            }
        }
        assert!(open(&key, &identity, SMALL, file).is_ok());
    }

    #[test]
    fn a_flipped_bit_in_the_header_of_an_unknown_write_is_found_too() {
        let (key, identity) = (key(), identity());
        let file = seal(&key, &identity, b"index").unwrap();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_any(&key, "app", SMALL, flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn truncation_and_growth_at_every_chunk_are_refused() {
        let (key, identity) = (key(), identity());
        let file = seal(&key, &identity, &vec![3; 2 * LIMITS.chunk]).unwrap();
        let chunk = LIMITS.chunk + TAG_BYTES;
        let cuts = [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + chunk, file.len() - 1];
        for length in cuts {
            assert!(open(&key, &identity, SMALL, file[..length].to_vec()).is_err(), "cut to {length}");
        }
        let grown = [&file[..], &[0]].concat();
        assert!(matches!(open(&key, &identity, SMALL, grown), Err(SealError::Length { .. })));
        let doubled = [&file[..], &file[file.len() - chunk..]].concat();
        assert!(matches!(open(&key, &identity, SMALL, doubled), Err(SealError::Length { .. })));
    }

    #[test]
    fn chunks_cannot_change_places_and_a_cut_with_a_shorter_length_is_no_whole() {
        let (key, identity) = (key(), identity());
        let chunk = LIMITS.chunk + TAG_BYTES;
        let file = seal(&key, &identity, &vec![3; 2 * LIMITS.chunk]).unwrap();
        let (header, chunks) = file.split_at(HEADER_BYTES);
        let swapped = [header, &chunks[chunk..], &chunks[..chunk]].concat();
        assert_eq!(open(&key, &identity, SMALL, swapped).unwrap_err(), SealError::Forged { chunk: 0 });
        let mut shorter = file[..HEADER_BYTES + chunk].to_vec();
        let length_at = HEADER_BYTES - KEY_BYTES - 8;
        shorter[length_at..length_at + 8].copy_from_slice(&(LIMITS.chunk as u64).to_be_bytes());
        assert_eq!(open(&key, &identity, SMALL, shorter).unwrap_err(), SealError::Forged { chunk: 0 });
    }

    #[test]
    fn the_bound_holds_before_anything_is_decrypted() {
        let (key, identity) = (key(), identity());
        let file = seal(&key, &identity, &[3; 100]).unwrap();
        assert!(open(&key, &identity, 100, file.clone()).is_ok());
        assert_eq!(open(&key, &identity, 99, file).unwrap_err(), SealError::TooLong { most: 99 });
    }

    #[test]
    fn the_same_content_looks_different_each_time() {
        let key = key();
        let once = seal(&key, &Identity { salt: draw_salt(), ..identity() }, b"same").unwrap();
        let again = seal(&key, &Identity { salt: draw_salt(), ..identity() }, b"same").unwrap();
        assert_ne!(once[HEADER_BYTES..], again[HEADER_BYTES..]);
    }
}
