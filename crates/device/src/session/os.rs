//! What a session has to do with an OS update: it carries it, and asks for what is missing.

use protocol::error::SendError;
use protocol::os::{OsRef, OsState, Trust};

use super::Session;
use crate::update::{Missing, Offered, Taken};

impl Session<'_> {
    /// An image that is to be installed is fetched, or it is said why not. A session that has ended has nobody to tell.
    pub(super) fn os_offered(&mut self, os: OsRef) {
        let (image, length) = (os.image, os.len);
        let _ = match self.device.os_offered(os) {
            Offered::Say(state) => self.machine.os_state(image, state),
            Offered::Fetch(from) => {
                let began = self.machine.os_state(image, OsState::Downloading { received: from });
                began.and_then(|()| self.machine.want_os(image, length, from, self.device.clock.now()))
            }
            Offered::Complete(missing) => self.ask_for(image, missing),
        };
    }

    pub(super) fn os_chunk(&mut self, image: [u8; 32], offset: u32, data: &[u8]) {
        let _ = match self.device.update.take(image, offset, data) {
            Taken::Nothing => Ok(()),
            Taken::Say(state) => self.machine.os_state(image, state),
            Taken::Complete(missing) => self.ask_for(image, missing),
        };
    }

    pub(super) fn os_proved(&mut self, image: [u8; 32], trust: Trust) {
        let _ = match self.device.update.proved(image, trust) {
            Ok(None) => Ok(()),
            Ok(Some(missing)) => self.ask_for(image, missing),
            Err(state) => self.machine.os_state(image, state),
        };
    }

    fn ask_for(&mut self, image: [u8; 32], missing: Missing) -> Result<(), SendError> {
        let now = self.device.clock.now();
        match missing {
            Missing::Trust(root_version) => self.machine.want_trust(image, root_version, now),
            Missing::Key => self.machine.want_os_key(image, now),
        }
    }
}
