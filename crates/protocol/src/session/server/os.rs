//! What a server says about OS updates in an open session.

use super::ServerSession;
use crate::error::SendError;
use crate::message::{ChunkMessage, ToDevice};
use crate::os::{OsRef, Trust};

impl ServerSession {
    /// Tells the device which OS image is to be installed. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn os_available(&mut self, os: OsRef) -> Result<(), SendError> {
        self.send(&ToDevice::OsAvailable(os))
    }

    /// Tells the device that no OS image is to be installed. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn os_removed(&mut self) -> Result<(), SendError> {
        self.send(&ToDevice::OsRemoved)
    }

    /// Answers [`ServerEvent::WantOs`](super::ServerEvent::WantOs) with the bytes from `offset` up to the next multiple of `Limits::chunk`, or
    /// the end of the image. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_os_chunk(&mut self, image: [u8; 32], offset: u32, data: &[u8]) -> Result<(), SendError> {
        self.open()?;
        let message = ChunkMessage { number: ChunkMessage::OS, name: &image, offset, data };
        message.check(self.limits)?;
        self.link.send(&message, data.len())
    }

    /// Answers [`ServerEvent::WantOsKey`](super::ServerEvent::WantOsKey). May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn os_key(&mut self, image: [u8; 32], wrapped: Vec<u8>) -> Result<(), SendError> {
        self.send(&ToDevice::OsKey { image, wrapped })
    }

    /// Answers [`ServerEvent::WantTrust`](super::ServerEvent::WantTrust). May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn trust(&mut self, subject: [u8; 32], trust: Trust) -> Result<(), SendError> {
        self.send(&ToDevice::Trust { subject, trust })
    }

    /// Tells the device the version of the newest root metadata. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn root_available(&mut self, version: u64) -> Result<(), SendError> {
        self.send(&ToDevice::RootAvailable { version })
    }
}
