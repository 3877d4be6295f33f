//! What a device says of its app, for it, and of itself, in an open session.

use super::{DeviceEvent, DeviceSession};
use crate::codec::Message;
use crate::error::SendError;
use crate::message::{AppMessage, ToServer};
use crate::report::AppState;

impl DeviceSession {
    /// Queues a message to the agent. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_app(&mut self, name: &str, value: &[u8]) -> Result<(), SendError> {
        self.open()?;
        let message = AppMessage { number: AppMessage::TO_SERVER, name, value };
        message.check(&self.limits)?;
        self.link.send(&message, name.len() + value.len())
    }

    /// Queues a message to the agent whose handling is acknowledged, and says its number: [`DeviceEvent::AppHandled`] tells what became of
    /// it, unless the session ends first. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then. It is full as well while [`Limits::unhandled`] messages wait for that word.
    pub fn send_app_to_handle(&mut self, name: &str, value: &[u8]) -> Result<u64, SendError> {
        self.open()?;
        let message = AppMessage { number: AppMessage::TO_HANDLE, name, value };
        message.check(&self.limits)?;
        if self.handling.is_full(&self.limits) {
            return Err(SendError::Full);
        }
        self.link.send(&message, name.len() + value.len())?;
        Ok(self.handling.count())
    }

    /// Queues the state of the app. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn app_state(&mut self, state: AppState) -> Result<(), SendError> {
        self.open()?;
        state.check(&self.limits)?;
        self.link.send(&ToServer::AppState(state), 0)
    }

    /// Queues the signed result of a self-test. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn self_test(&mut self, cose: Vec<u8>) -> Result<(), SendError> {
        self.open()?;
        let message = ToServer::SelfTest { cose };
        message.check(&self.limits)?;
        self.link.send(&message, 0)
    }

    pub(super) fn app_handled(&mut self, next: u64, handled: bool) {
        match self.handling.answer(next) {
            Ok(()) => self.events.push(DeviceEvent::AppHandled { next, handled }),
            Err(error) => self.broken(error),
        }
    }
}
