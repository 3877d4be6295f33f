//! CBOR of which each value has exactly one encoding (RFC 8949, section 4.2), so that it can be signed and compared as bytes.

use std::convert::Infallible;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Why bytes are not the one encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The value has another shape.
    #[error("the bytes have not the shape of what they should be")]
    Malformed,
    /// More bytes than the value has.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// The same value has a shorter or differently ordered encoding, which is the only one allowed.
    #[error("the encoding is not the deterministic one")]
    NotDeterministic,
}

/// The encoding of a value. Its `Encode` must write shortest lengths, and map keys in order.
pub fn encode<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    append(value, &mut out);
    out
}

/// Appends the encoding of a value.
pub fn append<T: Encode<()> + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let result: Result<_, minicbor::encode::Error<Infallible>> = Encoder::new(out).encode(value).map(|_| ());
    debug_assert!(result.is_ok(), "no encoder of the project fails on a growing buffer");
}

/// Reads the one value that `bytes` must be.
///
/// # Errors
/// [`CborError`]; nothing of the value may then be used.
pub fn decode<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, CborError> {
    let mut decoder = Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| CborError::Malformed)?;
    let used = decoder.position();
    if used < bytes.len() {
        return Err(CborError::Trailing(bytes.len() - used));
    }
    let mut twin = Twin { expected: bytes };
    let same = Encoder::new(&mut twin).encode(&value).is_ok();
    if same && twin.expected.is_empty() { Ok(value) } else { Err(CborError::NotDeterministic) }
}

/// Compares what is written with what was read, without a copy.
struct Twin<'a> {
    expected: &'a [u8],
}

impl Write for Twin<'_> {
    type Error = Differs;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Differs> {
        self.expected = self.expected.strip_prefix(written).ok_or(Differs)?;
        Ok(())
    }
}

#[derive(Debug)]
struct Differs;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_from_its_one_encoding_only() {
        let bytes = encode(&[1_u32, 500]);
        assert_eq!(bytes, [0x82, 0x01, 0x19, 0x01, 0xf4]);
        assert_eq!(decode::<[u32; 2]>(&bytes), Ok([1, 500]));
        for length in 0..bytes.len() {
            assert_eq!(decode::<[u32; 2]>(&bytes[..length]), Err(CborError::Malformed), "{length}");
        }
        assert_eq!(decode::<[u32; 2]>(&[&bytes[..], &[0, 0]].concat()), Err(CborError::Trailing(2)));
        let longer = [0x82, 0x18, 0x01, 0x19, 0x01, 0xf4];
        assert_eq!(decode::<[u32; 2]>(&longer), Err(CborError::NotDeterministic));
        let indefinite = [0x9f, 0x01, 0x19, 0x01, 0xf4, 0xff];
        assert_eq!(decode::<[u32; 2]>(&indefinite), Err(CborError::NotDeterministic));
    }
}
