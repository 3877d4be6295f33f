//! What a server says to and about the app of a device that is let in.

use crate::error::{ProtocolError, SendError};
use crate::message::{AppMessage, AppRef, ChunkMessage, ToDevice};
use crate::session::server::{ServerEvent, ServerSession};

impl ServerSession {
    /// Queues a message to the device app. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_app(&mut self, name: &str, value: &[u8]) -> Result<(), SendError> {
        self.open()?;
        let message = AppMessage { number: AppMessage::TO_DEVICE, name, value };
        message.check(self.limits)?;
        self.link.send(&message, name.len() + value.len())
    }

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

    /// Answers [`ServerEvent::WantApp`] with the bytes of the app from `offset` on, at most `Limits::chunk` of
    /// them. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_chunk(&mut self, sha256: [u8; 32], offset: u32, data: &[u8]) -> Result<(), SendError> {
        self.open()?;
        let message = ChunkMessage { number: ChunkMessage::APP, name: &sha256, offset, data };
        message.check(self.limits)?;
        self.link.send(&message, data.len())?;
        self.app_bytes = self.app_bytes.saturating_add(data.len() as u64);
        Ok(())
    }

    /// Says what became of all messages of the device app that are [to be handled](ServerEvent::App), are not answered yet and have lower
    /// numbers than `next`; they are numbered from 0 on in the order of their events. One call for a run of messages is cheaper than one for
    /// each. May change `poll_transmit`. Does nothing once the session is over, or for a number that is not due.
    pub fn app_handled(&mut self, next: u64, handled: bool) {
        if self.is_open() && self.handling.answer(next).is_ok() {
            self.link.control(&ToDevice::AppHandled { next, handled });
        }
    }

    /// The bytes of apps that were sent in this session.
    pub fn app_bytes_sent(&self) -> u64 {
        self.app_bytes
    }

    pub(super) fn app_to_handle(&mut self, name: String, value: Vec<u8>) {
        if self.handling.is_full(self.limits) {
            return self.broken(ProtocolError::TooManyToHandle(self.limits.unhandled));
        }
        self.handling.count();
        self.events.push(ServerEvent::App { name, value, to_handle: true });
    }
}
