//! What a device asks and says about OS updates in an open session.

use keys::time::Now;

use super::{DeviceEvent, DeviceSession};
use crate::error::SendError;
use crate::message::ToServer;
use crate::os::OsState;

impl DeviceSession {
    /// Fetches an OS image of `len` bytes from byte `from` on; one being fetched is given up for it. Each piece comes as
    /// [`DeviceEvent::OsChunk`], in order; the last one ends the fetching. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn want_os(&mut self, image: [u8; 32], len: u32, from: u32, now: Now) -> Result<(), SendError> {
        self.open()?;
        self.os.begin(image, len.min(self.limits.os_image), from, self.chunk_deadline(now));
        self.ask_for_os();
        Ok(())
    }

    /// Asks for the content key of an OS image, which comes as [`DeviceEvent::OsKey`]. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn want_os_key(&mut self, image: [u8; 32], now: Now) -> Result<(), SendError> {
        self.open()?;
        self.os.await_key(image, self.chunk_deadline(now));
        self.link.control(&ToServer::WantOsKey { image });
        Ok(())
    }

    /// Asks for what proves an OS image, or the app with this SHA-256, beyond the root metadata of this version, or for the
    /// [`ROOTS_ALONE`](crate::os::ROOTS_ALONE). It comes as
    /// [`DeviceEvent::Trust`]. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`].
    pub fn want_trust(&mut self, subject: [u8; 32], root_version: u64, now: Now) -> Result<(), SendError> {
        self.open()?;
        self.os.await_trust(subject, self.chunk_deadline(now));
        self.link.control(&ToServer::WantTrust { subject, root_version });
        Ok(())
    }

    /// Queues how far this device is with an OS image. May change `poll_transmit`.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn os_state(&mut self, image: [u8; 32], state: OsState) -> Result<(), SendError> {
        self.open()?;
        state.check(&self.limits)?;
        self.link.send(&ToServer::OsState { image, state }, 0)
    }

    /// The bytes of OS images that came in this session.
    pub fn os_bytes_received(&self) -> u64 {
        self.os.received()
    }

    pub(super) fn handle_os_chunk(&mut self, image: [u8; 32], offset: u32, data: Vec<u8>, now: Now) {
        match self.os.take(image, offset, &data, self.chunk_deadline(now), &self.limits) {
            Ok(true) => {
                self.ask_for_os();
                self.events.push(DeviceEvent::OsChunk { image, offset, data });
            }
            Ok(false) => {}
            Err(error) => self.broken(error.into()),
        }
    }

    fn ask_for_os(&mut self) {
        while let Some((image, offset)) = self.os.question(&self.limits) {
            self.link.control(&ToServer::WantOs { image, offset });
        }
    }
}
