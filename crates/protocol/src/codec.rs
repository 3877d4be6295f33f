//! Frames to messages and back. A message has exactly one encoding (RFC 8949, section 4.2) and no other is read.

use std::convert::Infallible;

use minicbor::encode::Write;
use minicbor::{Decode, Encode, Encoder};

use crate::frame::FRAME_HEADER;
use crate::limits::Limits;

/// Why the body of a frame is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No message of this side has that shape.
    #[error("the frame holds no message known here")]
    Malformed,
    /// The frame goes on after its message.
    #[error("{0} bytes follow the message in its frame")]
    Trailing(usize),
    /// The same message has a shorter or differently ordered encoding, which is the only one allowed.
    #[error("the message is not in its deterministic encoding")]
    NotDeterministic,
    /// A part of the message breaks a bound.
    #[error("{what} is too long: {length}, at most {max} allowed")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        length: usize,
        /// What is allowed.
        max: usize,
    },
    /// A part of the message has a value that means nothing.
    #[error("{0} has a value that it cannot have")]
    Meaningless(&'static str),
}

/// A message of one side: it knows its own bounds.
pub trait Message: Encode<()> + for<'b> Decode<'b, ()> {
    /// Its name in `docs/wire.cddl`.
    fn name(&self) -> &'static str;

    /// Whether each part keeps its bound and has a meaning.
    ///
    /// # Errors
    /// [`CodecError::TooLong`] or [`CodecError::Meaningless`], naming the part.
    fn check(&self, limits: &Limits) -> Result<(), CodecError>;
}

/// Reads the one message that `body` must be.
///
/// # Errors
/// [`CodecError`]; nothing of the message may then be used.
pub fn decode_message<M: Message>(body: &[u8], limits: &Limits) -> Result<M, CodecError> {
    let message: M = decode_exact(body)?;
    message.check(limits)?;
    Ok(message)
}

/// Appends `message` with its length to `out` and returns how long its body is.
pub fn encode_frame<M: Encode<()> + ?Sized>(message: &M, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    encode_into(message, out);
    let length = out.len() - start - FRAME_HEADER;
    // A body beyond u32 is beyond every bound, so that whoever encodes refuses it right after this.
    let header = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out[start..start + FRAME_HEADER].copy_from_slice(&header);
    length
}

/// The encoding of anything, for payloads that are signed.
pub(crate) fn encode_exact<T: Encode<()> + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

/// Reads the one value that `bytes` must be.
pub(crate) fn decode_exact<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| CodecError::Malformed)?;
    let used = decoder.position();
    if used < bytes.len() {
        return Err(CodecError::Trailing(bytes.len() - used));
    }
    let mut twin = Twin { expected: bytes };
    let same = Encoder::new(&mut twin).encode(&value).is_ok();
    if same && twin.expected.is_empty() { Ok(value) } else { Err(CodecError::NotDeterministic) }
}

pub(crate) fn at_most(what: &'static str, length: usize, max: usize) -> Result<(), CodecError> {
    if length > max { Err(CodecError::TooLong { what, length, max }) } else { Ok(()) }
}

fn encode_into<T: Encode<()> + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let result: Result<_, minicbor::encode::Error<Infallible>> = Encoder::new(out).encode(value).map(|_| ());
    debug_assert!(result.is_ok(), "no encoder of this crate fails on a growing buffer");
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
