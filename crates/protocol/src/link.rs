//! Both directions of a connection as messages: bytes in, and an outbox that is bounded and sent in one piece.

use minicbor::Encode;

use crate::codec::{CodecError, Message, decode_message, encode_frame};
use crate::error::{ProtocolError, SendError};
use crate::frame::{FRAME_HEADER, FrameDecoder};
use crate::limits::Limits;

/// Frames in and out of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    decoder: FrameDecoder,
    out: Vec<u8>,
    frame_max: usize,
    out_max: usize,
    pong_waits: bool,
}

impl Link {
    pub(crate) fn new(frame_max: usize, limits: &Limits) -> Self {
        Self {
            decoder: FrameDecoder::new(frame_max),
            out: Vec::new(),
            frame_max,
            out_max: limits.outbox,
            pong_waits: false,
        }
    }

    /// Changes the longest frame in both directions, from the next one on.
    pub(crate) fn set_frame_max(&mut self, max: usize) {
        self.frame_max = max;
        self.decoder.set_max(max);
    }

    /// The next message at the front of `input`.
    pub(crate) fn receive<M: Message>(
        &mut self,
        input: &mut &[u8],
        limits: &Limits,
    ) -> Result<Option<M>, ProtocolError> {
        match self.decoder.next(input)? {
            Some(body) => Ok(Some(decode_message(&body, limits)?)),
            None => Ok(None),
        }
    }

    /// Queues application data, for which the outbox has a bound.
    pub(crate) fn send<M: Encode<()>>(&mut self, message: &M, at_least: usize) -> Result<(), SendError> {
        if at_least > self.room() {
            return Err(SendError::Full);
        }
        let start = self.out.len();
        let length = encode_frame(message, &mut self.out);
        let refused = if length > self.frame_max {
            Some(CodecError::TooLong { what: "the message", length, max: self.frame_max }.into())
        } else if self.out.len() > self.out_max {
            Some(SendError::Full)
        } else {
            None
        };
        match refused {
            None => Ok(()),
            Some(error) => {
                self.out.truncate(start);
                Err(error)
            }
        }
    }

    /// Queues a message of the protocol itself: short, and sent at most once for each thing that happens, so that
    /// it needs no bound.
    pub(crate) fn control<M: Message>(&mut self, message: &M) {
        encode_frame(message, &mut self.out);
    }

    /// Queues an answer to a ping; many pings that wait for one write get one answer, so that a peer that pings
    /// and never reads cannot make this end hold memory.
    pub(crate) fn pong<M: Message>(&mut self, message: &M) {
        if !self.pong_waits {
            self.pong_waits = true;
            self.control(message);
        }
    }

    /// Queues a ping unless something waits already, which says as much.
    pub(crate) fn ping<M: Message>(&mut self, message: &M) {
        if self.out.is_empty() {
            self.control(message);
        }
    }

    /// Everything queued, in one piece, or nothing.
    pub(crate) fn take_out(&mut self) -> Option<Vec<u8>> {
        self.pong_waits = false;
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    /// Bytes waiting to be sent.
    pub(crate) fn backlog(&self) -> usize {
        self.out.len()
    }

    /// The longest body that surely fits now.
    pub(crate) fn room(&self) -> usize {
        self.out_max.saturating_sub(self.out.len()).saturating_sub(FRAME_HEADER).min(self.frame_max)
    }

    /// What the end of the stream means now.
    pub(crate) fn end(&self) -> ProtocolError {
        if self.decoder.is_mid_frame() { ProtocolError::Truncated } else { ProtocolError::Ended }
    }

    /// The memory held for a message that has come in part, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.decoder.held()
    }
}
