//! Long messages that borrow what they carry.

use minicbor::Encode;
use minicbor::encode::{self, Encoder, Write};

use super::{check_app, check_chunk};
use crate::codec::CodecError;
use crate::limits::Limits;

/// An app message that borrows, so that sending copies its value once, into the outbox.
pub(crate) struct AppMessage<'a> {
    pub(crate) number: u8,
    pub(crate) name: &'a str,
    pub(crate) value: &'a [u8],
}

impl AppMessage<'_> {
    pub(crate) const TO_SERVER: u8 = 3;
    pub(crate) const TO_DEVICE: u8 = 4;
    pub(crate) const TO_HANDLE: u8 = 14;

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        check_app(self.name, self.value, limits)
    }
}

impl<C> Encode<C> for AppMessage<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(3)?.u8(self.number)?.str(self.name)?.bytes(self.value)?.ok()
    }
}

/// A piece of an app or an OS image that borrows, so that sending copies it once, into the outbox.
pub(crate) struct ChunkMessage<'a> {
    pub(crate) number: u8,
    pub(crate) name: &'a [u8; 32],
    pub(crate) offset: u32,
    pub(crate) data: &'a [u8],
}

impl ChunkMessage<'_> {
    pub(crate) const APP: u8 = 7;
    pub(crate) const OS: u8 = 16;

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        check_chunk(self.data, limits)
    }
}

impl<C> Encode<C> for ChunkMessage<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.array(4)?.u8(self.number)?.bytes(self.name)?.u32(self.offset)?.bytes(self.data)?.ok()
    }
}
