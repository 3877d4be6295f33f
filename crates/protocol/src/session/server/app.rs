//! What a server says about the app in an open session.

use super::ServerSession;
use crate::error::SendError;
use crate::message::{AppRef, ChunkMessage, ToDevice};

impl ServerSession {
    /// Tells the device which app is to run from now on. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn app_available(&mut self, app: AppRef) -> Result<(), SendError> {
        self.send(&ToDevice::AppAvailable(app))
    }

    /// Tells the device that no app is to run from now on. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn app_removed(&mut self) -> Result<(), SendError> {
        self.send(&ToDevice::AppRemoved)
    }

    /// Answers [`ServerEvent::WantApp`](super::ServerEvent::WantApp) with the bytes of the app from `offset` on, at most `Limits::chunk` of
    /// them. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_chunk(&mut self, sha256: [u8; 32], offset: u32, data: &[u8]) -> Result<(), SendError> {
        self.open()?;
        let message = ChunkMessage { number: ChunkMessage::APP, name: &sha256, offset, data };
        message.check(&self.limits)?;
        self.link.send(&message, data.len())?;
        self.app_bytes = self.app_bytes.saturating_add(data.len() as u64);
        Ok(())
    }
}
