//! Frames to messages and back. A message has exactly one encoding (RFC 8949, section 4.2) and no other is read.

use keys::cbor::{self, CborError};
use minicbor::{Decode, Encode};

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

impl From<CborError> for CodecError {
    fn from(error: CborError) -> CodecError {
        match error {
            CborError::Malformed => CodecError::Malformed,
            CborError::Trailing(bytes) => CodecError::Trailing(bytes),
            CborError::NotDeterministic => CodecError::NotDeterministic,
        }
    }
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
    let message: M = cbor::decode(body)?;
    message.check(limits)?;
    Ok(message)
}

/// Appends `message` with its length to `out` and returns how long its body is.
pub fn encode_frame<M: Encode<()> + ?Sized>(message: &M, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    cbor::append(message, out);
    let length = out.len() - start - FRAME_HEADER;
    // A body beyond u32 is beyond every bound, so that whoever encodes refuses it right after this.
    let header = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out[start..start + FRAME_HEADER].copy_from_slice(&header);
    length
}

pub(crate) fn at_most(what: &'static str, length: usize, max: usize) -> Result<(), CodecError> {
    if length > max { Err(CodecError::TooLong { what, length, max }) } else { Ok(()) }
}
