//! What happens in the server's end of a session.

use keys::public::SpkiHash;

use crate::error::ProtocolError;
use crate::os::OsState;
use crate::report::{AppState, DiaryEntry, LogLine, RingId};
use crate::session::challenge::{Authenticated, Device, RefusedDevice};

/// What happened; the driver acts on it.
#[derive(Debug)]
pub enum ServerEvent {
    /// Somebody claims to be this device: look it up and call [`known`](super::ServerSession::known). Nothing is proved yet.
    Identify {
        /// The hash of the identity key that it names.
        identity: SpkiHash,
    },
    /// The device proved itself: call [`welcome`](super::ServerSession::welcome) with this.
    Authenticated(Box<Authenticated<Device>>),
    /// The device was refused; the session is over.
    Refused(Box<RefusedDevice>),
    /// A message of the device app.
    App {
        /// Its name.
        name: String,
        /// Its value, encoded by the app host.
        value: Vec<u8>,
        /// Whether [`app_handled`](super::ServerSession::app_handled) must say what became of it.
        to_handle: bool,
    },
    /// Log lines, oldest first: once they are kept, say so with [`logs_kept`](super::ServerSession::logs_kept).
    Logs {
        /// Which count the numbers belong to.
        ring: RingId,
        /// The number of the first line.
        first: u64,
        /// The lines.
        lines: Vec<LogLine>,
    },
    /// Attempts to connect, oldest first: once they are kept, say so with [`diary_kept`](super::ServerSession::diary_kept).
    Diary {
        /// Which count the numbers belong to.
        ring: RingId,
        /// The number of the first entry.
        first: u64,
        /// The entries.
        entries: Vec<DiaryEntry>,
    },
    /// The device asks for bytes of an app: answer with [`send_chunk`](super::ServerSession::send_chunk), or, when there is no such
    /// app any more, with [`app_available`](super::ServerSession::app_available) or [`app_removed`](super::ServerSession::app_removed).
    WantApp {
        /// Which app.
        sha256: [u8; 32],
        /// From which byte on.
        offset: u32,
    },
    /// The state of the device's app.
    AppState(AppState),
    /// The device asks for bytes of an OS image: answer with [`send_os_chunk`](super::ServerSession::send_os_chunk), or, when it is to install
    /// that one no more, with [`os_available`](super::ServerSession::os_available) or [`os_removed`](super::ServerSession::os_removed).
    WantOs {
        /// Which image.
        image: [u8; 32],
        /// From which byte on.
        offset: u32,
    },
    /// The device asks for the content key of an OS image: answer with [`os_key`](super::ServerSession::os_key), or as to `WantOs`.
    WantOsKey {
        /// Which image.
        image: [u8; 32],
    },
    /// The device asks for what proves an OS image or an app, or for newer root metadata alone: answer with [`trust`](super::ServerSession::trust).
    WantTrust {
        /// The OS image, the SHA-256 of the app, or [`ROOTS_ALONE`](crate::os::ROOTS_ALONE).
        subject: [u8; 32],
        /// The version of the newest root metadata that the device trusts.
        root_version: u64,
    },
    /// How far the device is with an OS image.
    OsState {
        /// Which image.
        image: [u8; 32],
        /// How far.
        state: OsState,
    },
    /// The signed result of a self-test: [verify](crate::self_test::SelfTest::verify) it with the device's identity key.
    SelfTest {
        /// The COSE_Sign1.
        cose: Vec<u8>,
    },
    /// The device broke the protocol, or is gone; the session is over.
    Broken(ProtocolError),
}
