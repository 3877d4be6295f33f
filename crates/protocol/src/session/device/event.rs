//! What happens in the device's end of a session.

use crate::error::ProtocolError;
use crate::message::{AppRef, Welcome};
use crate::os::{OsRef, Trust};
use crate::reason::{CloseReason, Refusal, RestartReason};
use crate::session::challenge::ChallengeRecord;
use crate::sign::SignRequest;

/// What happened; the driver acts on it.
#[derive(Debug)]
pub enum DeviceEvent {
    /// The challenge has come: sign this with the identity key and call [`signature`](super::DeviceSession::signature).
    Sign(SignRequest),
    /// The server accepts the device; the session is open.
    Welcomed(Box<Welcomed>),
    /// The server does not accept the device; the session is over.
    Refused {
        /// Why.
        reason: Refusal,
        /// When the server wants to be asked again, in milliseconds.
        retry_after_ms: Option<u32>,
    },
    /// A message of the agent.
    App {
        /// Its name.
        name: String,
        /// Its value, encoded by the app host.
        value: Vec<u8>,
    },
    /// What became of the messages sent with [`send_app_to_handle`](super::DeviceSession::send_app_to_handle) that have lower numbers than
    /// `next` and were not answered before.
    AppHandled {
        /// The number of the first that is not answered.
        next: u64,
        /// Whether a handler of the agent took each of them and returned; otherwise none did.
        handled: bool,
    },
    /// This app is to run from now on; fetch it with [`want_app`](super::DeviceSession::want_app) if it is not there.
    AppAvailable(AppRef),
    /// The app asked for is there and its SHA-256 is right.
    AppComplete {
        /// Which app.
        app: AppRef,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The app asked for came and its SHA-256 is wrong; its bytes are thrown away.
    AppDamaged(AppRef),
    /// No app is to run from now on.
    AppRemoved,
    /// The app is to start again.
    Restart(RestartReason),
    /// The server keeps the log lines whose numbers are lower than this; they need not be sent again.
    LogsKept(u64),
    /// The same for diary entries.
    DiaryKept(u64),
    /// This OS image is to be installed: check its manifest, then fetch it with [`want_os`](super::DeviceSession::want_os).
    OsAvailable(OsRef),
    /// No OS image is to be installed; what has come of one may be kept for later.
    OsRemoved,
    /// The next bytes of the OS image asked for. Nothing has checked them.
    OsChunk {
        /// Of which image.
        image: [u8; 32],
        /// From which byte on.
        offset: u32,
        /// The bytes.
        data: Vec<u8>,
    },
    /// The content key asked for, still wrapped.
    OsKey {
        /// Of which image.
        image: [u8; 32],
        /// The key, wrapped by HPKE to this device's key-agreement key.
        wrapped: Vec<u8>,
    },
    /// The server has root metadata up to this version; ask with [`want_trust`](super::DeviceSession::want_trust) for what is newer than one's
    /// own.
    RootAvailable(u64),
    /// The metadata asked for. Nothing has checked them.
    Trust {
        /// What was asked for.
        subject: [u8; 32],
        /// The metadata.
        trust: Box<Trust>,
    },
    /// The server ends the session; it is over.
    Closed {
        /// Why.
        reason: CloseReason,
        /// When the server wants the device back, in milliseconds.
        come_back_after_ms: Option<u32>,
    },
    /// The server broke the protocol, or is gone; the session is over.
    Broken(ProtocolError),
}

/// The welcome, and the challenge that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcomed {
    /// What the server says.
    pub welcome: Welcome,
    /// The challenge and this device's answer.
    pub record: ChallengeRecord,
}
