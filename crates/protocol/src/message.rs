//! What each end may say in a session; the numbers are those of `docs/wire.cddl`.

mod borrowed;

use minicbor::{Decode, Encode};

use keys::public::{DeviceId, SpkiHash};

use crate::codec::{CodecError, Message, at_most};
use crate::limits::Limits;
use crate::os::{OsRef, OsState, Trust};
use crate::reason::{CloseReason, Refusal, RestartReason};
use crate::report::{AppState, DiaryEntry, LogLine, RingId, check_diary, check_logs, check_next};

pub(crate) use self::borrowed::{AppMessage, ChunkMessage};

/// A VM application, named by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct AppRef {
    /// SHA-256 over its bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
    /// Its length in bytes.
    #[n(1)]
    pub len: u32,
}

/// What a device says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToServer {
    /// The first message: who wants to prove itself.
    #[n(1)]
    Hello {
        /// The version of the protocol that the device speaks.
        #[n(0)]
        version: u8,
        /// The hash of its identity key.
        #[cbor(n(1), with = "spki_hash")]
        identity: SpkiHash,
    },
    /// The answer to the challenge: an EAT as COSE_Sign1.
    #[n(2)]
    Proof {
        /// The COSE_Sign1.
        #[cbor(n(0), with = "minicbor::bytes")]
        cose: Vec<u8>,
    },
    /// A message of the device app to its agent.
    #[n(3)]
    App {
        /// Its name.
        #[n(0)]
        name: String,
        /// Its value, encoded by the app host.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// Log lines, oldest first, that the server has not said it keeps.
    #[n(4)]
    Logs {
        /// Which count the numbers belong to.
        #[cbor(n(0), with = "minicbor::bytes")]
        ring: RingId,
        /// The number of the first of these lines; the others follow without a gap.
        #[n(1)]
        first: u64,
        /// The lines.
        #[n(2)]
        lines: Vec<LogLine>,
    },
    /// Attempts to connect, oldest first, that the server has not said it keeps.
    #[n(5)]
    Diary {
        /// Which count the numbers belong to.
        #[cbor(n(0), with = "minicbor::bytes")]
        ring: RingId,
        /// The number of the first of these entries; the others follow without a gap.
        #[n(1)]
        first: u64,
        /// The entries.
        #[n(2)]
        entries: Vec<DiaryEntry>,
    },
    /// Asks for the bytes of an app from `offset` on; one answer comes.
    #[n(6)]
    WantApp {
        /// Which app.
        #[cbor(n(0), with = "minicbor::bytes")]
        sha256: [u8; 32],
        /// From which byte on.
        #[n(1)]
        offset: u32,
    },
    /// The state of the app that runs.
    #[n(7)]
    AppState(#[n(0)] AppState),
    /// Are you there?
    #[n(8)]
    Ping,
    /// I am here.
    #[n(9)]
    Pong,
    /// Asks for bytes of an encrypted OS image; one answer comes.
    #[n(10)]
    WantOs {
        /// Which image.
        #[cbor(n(0), with = "minicbor::bytes")]
        image: [u8; 32],
        /// From which byte on.
        #[n(1)]
        offset: u32,
    },
    /// Asks for the content key of an OS image.
    #[n(11)]
    WantOsKey {
        /// Which image.
        #[cbor(n(0), with = "minicbor::bytes")]
        image: [u8; 32],
    },
    /// Asks for what proves an OS image or an app, or for newer root metadata alone.
    #[n(12)]
    WantTrust {
        /// The OS image, or the SHA-256 of the app, or [`ROOTS_ALONE`](crate::os::ROOTS_ALONE).
        #[cbor(n(0), with = "minicbor::bytes")]
        subject: [u8; 32],
        /// The version of the newest root metadata that the device trusts.
        #[n(1)]
        root_version: u64,
    },
    /// How far the device is with an OS image.
    #[n(13)]
    OsState {
        /// Which image.
        #[cbor(n(0), with = "minicbor::bytes")]
        image: [u8; 32],
        /// How far.
        #[n(1)]
        state: OsState,
    },
    /// A message of the device app to its agent whose handling is to be acknowledged. Such messages are counted from 0 on in each session.
    #[n(14)]
    AppToHandle {
        /// Its name.
        #[n(0)]
        name: String,
        /// Its value, encoded by the app host.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// What the device found when it tried what is forbidden to it: a [`SelfTest`](crate::self_test::SelfTest) as COSE_Sign1.
    #[n(15)]
    SelfTest {
        /// The COSE_Sign1.
        #[cbor(n(0), with = "minicbor::bytes")]
        cose: Vec<u8>,
    },
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum ToDevice {
    /// Sign this and more, now, for this connection.
    #[n(1)]
    Challenge {
        /// Fresh random bytes.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// The proof holds; the session is open.
    #[n(2)]
    Welcome(#[n(0)] Welcome),
    /// The device is not let in, and the connection ends.
    #[n(3)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Refusal,
        /// When to try again, in milliseconds; absent when the device's own backoff decides.
        #[n(1)]
        retry_after_ms: Option<u32>,
    },
    /// A message of the agent to its device app.
    #[n(4)]
    App {
        /// Its name.
        #[n(0)]
        name: String,
        /// Its value, encoded by the app host.
        #[cbor(n(1), with = "minicbor::bytes")]
        value: Vec<u8>,
    },
    /// This app is to run from now on.
    #[n(5)]
    AppAvailable(#[n(0)] AppRef),
    /// No app is to run from now on.
    #[n(6)]
    AppRemoved,
    /// The bytes asked for, or the first of them.
    #[n(7)]
    AppChunk {
        /// Of which app.
        #[cbor(n(0), with = "minicbor::bytes")]
        sha256: [u8; 32],
        /// From which byte on.
        #[n(1)]
        offset: u32,
        /// The bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// Start the app again.
    #[n(8)]
    Restart {
        /// Why.
        #[n(0)]
        reason: RestartReason,
    },
    /// Are you there?
    #[n(9)]
    Ping,
    /// I am here.
    #[n(10)]
    Pong,
    /// The session ends here.
    #[n(11)]
    Close {
        /// Why.
        #[n(0)]
        reason: CloseReason,
        /// When to come back, in milliseconds; absent when the device's own backoff decides.
        #[n(1)]
        come_back_after_ms: Option<u32>,
    },
    /// The log lines with lower numbers are kept durably, or are lost for good: forget them.
    #[n(12)]
    LogsKept {
        /// The number of the first line that is not.
        #[n(0)]
        next: u64,
    },
    /// The same for diary entries.
    #[n(13)]
    DiaryKept {
        /// The number of the first entry that is not.
        #[n(0)]
        next: u64,
    },
    /// This OS image is to be installed.
    #[n(14)]
    OsAvailable(#[n(0)] OsRef),
    /// No OS image is to be installed; what has come of one may be kept.
    #[n(15)]
    OsRemoved,
    /// The bytes asked for: up to the next multiple of `Limits::chunk`, or the end.
    #[n(16)]
    OsChunk {
        /// Of which image.
        #[cbor(n(0), with = "minicbor::bytes")]
        image: [u8; 32],
        /// From which byte on.
        #[n(1)]
        offset: u32,
        /// The bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        data: Vec<u8>,
    },
    /// The content key of an OS image, for this device alone.
    #[n(17)]
    OsKey {
        /// Of which image.
        #[cbor(n(0), with = "minicbor::bytes")]
        image: [u8; 32],
        /// The key, wrapped by HPKE to the device's key-agreement key.
        #[cbor(n(1), with = "minicbor::bytes")]
        wrapped: Vec<u8>,
    },
    /// What proves an OS image or an app, or newer root metadata alone.
    #[n(18)]
    Trust {
        /// What was asked for.
        #[cbor(n(0), with = "minicbor::bytes")]
        subject: [u8; 32],
        /// The metadata.
        #[n(1)]
        trust: Trust,
    },
    /// What became of the [`ToServer::AppToHandle`] that were not answered before and have lower numbers than `next`.
    #[n(19)]
    AppHandled {
        /// The number of the first that this does not answer.
        #[n(0)]
        next: u64,
        /// Whether a handler of the agent took each of them and returned; otherwise none did.
        #[n(1)]
        handled: bool,
    },
    /// The newest root metadata that the server has.
    #[n(20)]
    RootAvailable {
        /// Its version.
        #[n(0)]
        version: u64,
    },
}

/// What a server tells a device that has proved itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The server's time: milliseconds since 1970.
    #[n(1)]
    pub unix_ms: i64,
    /// After how many seconds of silence either end asks whether the other is there.
    #[n(2)]
    pub keepalive_s: u32,
    /// The device's id as the server has it.
    #[cbor(n(3), with = "device_id")]
    pub device_id: DeviceId,
    /// The app that is to run; absent when none is.
    #[n(4)]
    pub app: Option<AppRef>,
    /// The URL of the device's agent; absent when it has none.
    #[n(5)]
    pub agent_url: Option<String>,
}

impl AppRef {
    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        if self.len == 0 {
            return Err(CodecError::Meaningless("the length of the app"));
        }
        at_most("the app", self.len as usize, limits.app as usize)
    }
}

impl Message for ToServer {
    fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Proof { .. } => "proof",
            Self::App { .. } => "app-to-server",
            Self::AppToHandle { .. } => "app-to-handle",
            Self::SelfTest { .. } => "self-test",
            Self::Logs { .. } => "logs",
            Self::Diary { .. } => "diary",
            Self::WantApp { .. } => "want-app",
            Self::AppState(_) => "app-state",
            Self::Ping => "ping-to-server",
            Self::Pong => "pong-to-server",
            Self::WantOs { .. } => "want-os",
            Self::WantOsKey { .. } => "want-os-key",
            Self::WantTrust { .. } => "want-trust",
            Self::OsState { .. } => "os-state",
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        match self {
            Self::App { name, value } | Self::AppToHandle { name, value } => check_app(name, value, limits),
            Self::SelfTest { cose } => at_most("the result of a self-test", cose.len(), limits.self_test),
            Self::Logs { first, lines, .. } => check_logs(*first, lines, limits),
            Self::Diary { first, entries, .. } => check_diary(*first, entries, limits),
            Self::AppState(state) => state.check(limits),
            Self::OsState { state, .. } => state.check(limits),
            Self::Hello { .. }
            | Self::Proof { .. }
            | Self::WantApp { .. }
            | Self::WantOs { .. }
            | Self::WantOsKey { .. }
            | Self::WantTrust { .. }
            | Self::Ping
            | Self::Pong => Ok(()),
        }
    }
}

impl Message for ToDevice {
    fn name(&self) -> &'static str {
        match self {
            Self::Challenge { .. } => "challenge",
            Self::Welcome(_) => "welcome",
            Self::Refused { .. } => "refused",
            Self::App { .. } => "app-to-device",
            Self::AppAvailable(_) => "app-available",
            Self::AppRemoved => "app-removed",
            Self::AppChunk { .. } => "app-chunk",
            Self::Restart { .. } => "restart",
            Self::Ping => "ping-to-device",
            Self::Pong => "pong-to-device",
            Self::Close { .. } => "close",
            Self::LogsKept { .. } => "logs-kept",
            Self::DiaryKept { .. } => "diary-kept",
            Self::OsAvailable(_) => "os-available",
            Self::OsRemoved => "os-removed",
            Self::OsChunk { .. } => "os-chunk",
            Self::OsKey { .. } => "os-key",
            Self::Trust { .. } => "trust",
            Self::AppHandled { .. } => "app-handled",
            Self::RootAvailable { .. } => "root-available",
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        match self {
            Self::Welcome(welcome) => welcome.check(limits),
            Self::App { name, value } => check_app(name, value, limits),
            Self::AppAvailable(app) => app.check(limits),
            Self::AppChunk { data, .. } | Self::OsChunk { data, .. } => check_chunk(data, limits),
            Self::OsAvailable(os) => os.check(limits),
            Self::OsKey { wrapped, .. } => at_most("a wrapped content key", wrapped.len(), limits.wrapped_key),
            Self::Trust { trust, .. } => trust.check(limits),
            Self::LogsKept { next } | Self::DiaryKept { next } | Self::AppHandled { next, .. } => {
                check_next(*next, limits)
            }
            Self::Challenge { .. }
            | Self::Refused { .. }
            | Self::AppRemoved
            | Self::OsRemoved
            | Self::RootAvailable { .. }
            | Self::Restart { .. }
            | Self::Ping
            | Self::Pong
            | Self::Close { .. } => Ok(()),
        }
    }
}

impl Welcome {
    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        self.app.map_or(Ok(()), |app| app.check(limits))?;
        at_most("the agent's URL", self.agent_url.as_ref().map_or(0, String::len), limits.agent_url)
    }
}

fn check_app(name: &str, value: &[u8], limits: &Limits) -> Result<(), CodecError> {
    at_most("the name of an app message", name.len(), limits.app_name)?;
    at_most("the value of an app message", value.len(), limits.app_value)
}

fn check_chunk(data: &[u8], limits: &Limits) -> Result<(), CodecError> {
    if data.is_empty() {
        return Err(CodecError::Meaningless("an empty piece of an app or OS image"));
    }
    at_most("a piece of an app or OS image", data.len(), limits.chunk)
}

/// A key's hash as a byte string.
pub(crate) mod spki_hash {
    use keys::public::SpkiHash;
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(crate) fn encode<Ctx, W: Write>(
        hash: &SpkiHash,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(hash.as_bytes()).map(|_| ())
    }

    pub(crate) fn decode<Ctx>(d: &mut Decoder<'_>, _: &mut Ctx) -> Result<SpkiHash, decode::Error> {
        Ok(SpkiHash(d.decode::<ByteArray<32>>()?.into()))
    }
}

/// A device id as a byte string.
pub(crate) mod device_id {
    use keys::public::DeviceId;
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(crate) fn encode<Ctx, W: Write>(
        id: &DeviceId,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&id.0).map(|_| ())
    }

    pub(crate) fn decode<Ctx>(d: &mut Decoder<'_>, _: &mut Ctx) -> Result<DeviceId, decode::Error> {
        Ok(DeviceId(d.decode::<ByteArray<8>>()?.into()))
    }
}
