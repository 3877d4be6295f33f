//! A frame: four bytes of length, big endian, and that many bytes of CBOR.

use std::borrow::Cow;

/// The bytes of length before each body.
pub const FRAME_HEADER: usize = 4;

/// Why a stream of bytes holds no frame. None of these can be recovered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A body of no bytes: no message is that short.
    #[error("a frame of length 0")]
    Empty,
    /// A body longer than allowed here.
    #[error("a frame of {length} bytes where at most {max} are allowed")]
    TooLong {
        /// What the frame says its length is.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Cuts a stream into frame bodies.
///
/// It works on the reader's own (shared) buffer and copies only the tail of a frame that has not come whole, so
/// that a connection with nothing pending holds no memory. What it holds never exceeds what really arrived: a
/// length alone makes it reserve nothing.
#[derive(Debug)]
pub struct FrameDecoder {
    max: usize,
    header: [u8; FRAME_HEADER],
    header_len: usize,
    body: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder for bodies of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max, header: [0; FRAME_HEADER], header_len: 0, body: Vec::new() }
    }

    /// Changes the bound, from the next frame on.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Takes the next body off the front of `input`; `None` means that `input` is used up and more is needed.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is then useless and nothing more may be asked of it.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, FrameError> {
        let Some(length) = self.length(input)? else {
            return Ok(None);
        };
        let missing = length - self.body.len();
        let (take, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if take.len() < missing {
            self.body.extend_from_slice(take);
            return Ok(None);
        }
        self.header_len = 0;
        if self.body.is_empty() {
            return Ok(Some(Cow::Borrowed(take)));
        }
        self.body.extend_from_slice(take);
        Ok(Some(Cow::Owned(std::mem::take(&mut self.body))))
    }

    /// Whether part of a frame has come and the rest not yet.
    pub fn is_mid_frame(&self) -> bool {
        self.header_len > 0
    }

    /// The memory held for the part of a frame that has come, in bytes.
    pub fn held(&self) -> usize {
        self.body.capacity()
    }

    fn length(&mut self, input: &mut &[u8]) -> Result<Option<usize>, FrameError> {
        let missing = FRAME_HEADER - self.header_len;
        let (take, rest) = input.split_at(missing.min(input.len()));
        self.header[self.header_len..self.header_len + take.len()].copy_from_slice(take);
        self.header_len += take.len();
        *input = rest;
        if self.header_len < FRAME_HEADER {
            return Ok(None);
        }
        let length = u32::from_be_bytes(self.header) as usize;
        match length {
            0 => Err(FrameError::Empty),
            length if length > self.max && self.body.is_empty() => Err(FrameError::TooLong { length, max: self.max }),
            length => Ok(Some(length)),
        }
    }
}
