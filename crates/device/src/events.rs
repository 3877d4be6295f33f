//! What the runtime tells whoever watches it: typed events on a bounded channel, recorded where they happen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::booted::{Booted, shown};
use crate::connect::attempt::Attempt;
use crate::limits::Limits;
use crate::sandbox::Protections;

/// One thing that happened. `Display` is the sentence for people, serde the line for machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DeviceEvent {
    /// The runtime read its folder and begins.
    Started(Started),
    /// The process is locked down for good.
    LockedDown(Protections),
    /// The process is not locked down, since that was asked for.
    Unprotected,
    /// One attempt to connect came to its result.
    Attempt(Box<Attempt>),
    /// A TLS handshake ended well; these are the facts as this end has them.
    Tls(TlsFacts),
    /// The server's challenge was answered.
    Challenge(ChallengeRecord),
    /// The server accepted the device.
    Welcomed(Welcomed),
    /// The server refused the device.
    Refused {
        /// The server's reason.
        reason: String,
        /// When the server lets it try again, in milliseconds; absent when it did not say.
        retry_after_ms: Option<u64>,
    },
    /// An open session ended.
    Disconnected {
        /// How it ended.
        why: String,
    },
    /// The runtime pauses before the next round of attempts.
    Waiting {
        /// How long, in milliseconds.
        ms: u64,
        /// Why so long.
        why: String,
    },
    /// Newer root metadata of the custodians is believed from now on.
    RootLearned {
        /// Its version.
        version: u64,
        /// SHA-256 of the bundle of TLS roots that it names.
        tls_roots_sha256: Sha256Hex,
    },
    /// The server names the app that this device shall run.
    AppNamed {
        /// SHA-256 of the app as the server says.
        sha256: Sha256Hex,
        /// Its length in bytes as the server says.
        len: u64,
    },
    /// An app was downloaded completely over the session and its hash was checked.
    AppDownloaded {
        /// SHA-256, computed here over the bytes received.
        sha256: Sha256Hex,
        /// How many bytes of it came in the session.
        bytes: u64,
    },
    /// A downloaded app cannot be run.
    AppUnusable {
        /// SHA-256 of the app.
        sha256: Sha256Hex,
        /// Why.
        why: String,
    },
    /// An app starts to run.
    AppStarted {
        /// SHA-256, computed here.
        sha256: Sha256Hex,
        /// Why it starts (the imp API's wake reason).
        wake_reason: u8,
    },
    /// The app wrote a log line.
    AppLog {
        /// When: milliseconds since 1970.
        unix_ms: i64,
        /// `log` or `error`.
        level: LogKind,
        /// The line.
        text: String,
    },
    /// The app ended with an error and will be started again.
    AppFailed {
        /// The error with its stack.
        error: String,
        /// The pause before the start, in milliseconds.
        restart_in_ms: u64,
    },
    /// The app sleeps: it is over and begins again later.
    AppSleeps {
        /// How long, in milliseconds; absent when it begins as soon as there is a session.
        ms: Option<u64>,
    },
    /// A pin of the board shows something else.
    Pin {
        /// Its name.
        pin: String,
        /// In the unit.
        value: f32,
        /// As the board's file has it; empty for 0 and 1.
        unit: String,
        /// The app drives it; otherwise somebody set it.
        driven: bool,
    },
    /// A pin cannot be set.
    PinNotSet {
        /// Its name.
        pin: String,
        /// Why.
        why: String,
    },
    /// No app runs any more.
    AppRemoved,
    /// The runtime ended because it was asked to.
    Stopped,
    /// The watcher was too slow for this many events.
    Missed {
        /// How many.
        count: u64,
    },
}

/// What the folder says about this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The device's id: 16 hex digits.
    pub device_id: String,
    /// SHA-256 over the identity key (SubjectPublicKeyInfo, DER).
    pub identity_spki_sha256: Sha256Hex,
    /// The device's model.
    pub model: String,
    /// `classic` or `modern`.
    pub profile: String,
    /// The server's name.
    pub server: String,
    /// The time that is never gone below: milliseconds since 1970.
    pub time_floor_unix_ms: i64,
    /// The OS image that was booted; nothing where the device runs without verified boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<BootReport>,
}

/// The OS image that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootReport {
    /// Its version.
    pub version: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Sha256Hex,
    /// Whose signatures this device demands.
    pub layers: String,
    /// The kernel does not keep it in memory.
    pub danger_unlocked_memory: bool,
    /// It has still to prove itself.
    pub trying: bool,
    /// The loader was told which devices it boots.
    pub pinned: bool,
    /// Why the device went back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_back: Option<String>,
}

impl From<&Booted> for BootReport {
    fn from(booted: &Booted) -> BootReport {
        BootReport {
            version: booted.version.to_string(),
            manifest_sha256: Sha256Hex(*booted.manifest_sha256),
            layers: shown(booted.layers).to_owned(),
            danger_unlocked_memory: booted.danger_unlocked_memory,
            trying: booted.trying,
            pinned: booted.pinned,
            fell_back: booted.fell_back.clone(),
        }
    }
}

impl fmt::Display for BootReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OS {}, {}", self.version, self.layers)?;
        if self.danger_unlocked_memory {
            f.write_str(", danger: its memory is not locked")?;
        }
        if self.pinned {
            f.write_str(", pinned")?;
        }
        if self.trying {
            f.write_str(", on trial")?;
        }
        self.fell_back.as_ref().map_or(Ok(()), |why| write!(f, ", back after: {why}"))
    }
}

/// What a TLS handshake agreed on, as this end has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFacts {
    /// The protocol version.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group.
    pub group: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// SHA-256 over the server's public key (SubjectPublicKeyInfo, DER).
    pub server_spki_sha256: Sha256Hex,
    /// SHA-256 over this device's TLS key; absent where none is shown (enrolment).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_spki_sha256: Option<Sha256Hex>,
}

/// Everything an outsider needs to check the answer to the challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeRecord {
    /// The identity key (SubjectPublicKeyInfo, DER).
    pub identity_spki: Base64,
    /// The external_aad under which it was signed.
    pub external_aad: Base64,
    /// The server's nonce as it arrived.
    pub nonce: Base64,
    /// The exporter value of this TLS connection, computed at this end.
    pub exporter: Base64,
    /// The Entity Attestation Token as sent: COSE_Sign1.
    pub eat: Base64,
}

/// What the server said when it accepted the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcomed {
    /// The device's id as the server has it.
    pub device_id: String,
    /// The server's time: milliseconds since 1970.
    pub unix_ms: i64,
    /// The keep-alive in seconds.
    pub keepalive_s: u32,
    /// The URL of the device's agent; empty when the server does not say.
    pub agent_url: String,
}

/// What kind of log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// `server.log`
    Log,
    /// `server.error`, and errors of the app itself.
    Error,
}

/// A SHA-256 value, written in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(pub [u8; 32]);

/// Bytes, written in standard base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Base64(pub Vec<u8>);

/// Where events go. It never waits: a watcher that is too slow loses events and is told how many.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    to: Option<mpsc::Sender<DeviceEvent>>,
    missed: Arc<AtomicU64>,
}

impl Observer {
    /// An observer and the end at which its events arrive.
    pub fn channel(limits: &Limits) -> (Observer, mpsc::Receiver<DeviceEvent>) {
        let (to, from) = mpsc::channel(limits.events.max(2));
        (Observer { to: Some(to), missed: Arc::default() }, from)
    }

    /// An observer for which nobody listens.
    pub fn nobody() -> Observer {
        Observer::default()
    }

    pub(crate) fn tell(&self, event: DeviceEvent) {
        let Some(to) = &self.to else { return };
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 && to.try_send(DeviceEvent::Missed { count: missed }).is_err() {
            self.missed.fetch_add(missed.saturating_add(1), Ordering::Relaxed);
            return;
        }
        if to.try_send(event).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for DeviceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceEvent::LockedDown(protections) => write!(f, "locked down: {protections}"),
            DeviceEvent::Unprotected => write!(f, "not locked down: this process can listen, and be traced"),
            DeviceEvent::Started(started) => {
                let Started { device_id, model, profile, server, .. } = started;
                write!(f, "device {device_id} ({model}, profile {profile}) starts; server {server}; ")?;
                match &started.booted {
                    Some(booted) => booted.fmt(f),
                    None => f.write_str("no verified boot"),
                }
            }
            DeviceEvent::Attempt(attempt) => attempt.fmt(f),
            DeviceEvent::Tls(facts) => facts.fmt(f),
            DeviceEvent::Challenge(_) => write!(f, "challenge answered with the identity key"),
            DeviceEvent::Welcomed(welcome) => {
                write!(f, "the server accepts device {}; keep-alive {} s", welcome.device_id, welcome.keepalive_s)
            }
            DeviceEvent::Refused { reason, .. } => write!(f, "the server refuses this device: {reason}"),
            DeviceEvent::Disconnected { why } => write!(f, "disconnected: {why}"),
            DeviceEvent::Waiting { ms, why } => write!(f, "next try in {} s: {why}", ms.div_ceil(1000)),
            DeviceEvent::RootLearned { version, .. } => write!(f, "root metadata of version {version} is in force"),
            DeviceEvent::AppNamed { sha256, len } => write!(f, "the server names app {sha256}, {len} bytes"),
            DeviceEvent::AppDownloaded { sha256, bytes } => {
                write!(f, "app {sha256} downloaded, {bytes} bytes, hash checked")
            }
            DeviceEvent::AppUnusable { sha256, why } => write!(f, "app {sha256} cannot be run: {why}"),
            DeviceEvent::AppStarted { sha256, .. } => write!(f, "app {sha256} starts"),
            DeviceEvent::AppLog { text, .. } => write!(f, "app: {text}"),
            DeviceEvent::AppFailed { error, restart_in_ms } => {
                write!(f, "the app failed, restart in {} s: {error}", restart_in_ms.div_ceil(1000))
            }
            DeviceEvent::AppSleeps { ms: Some(ms) } => write!(f, "the app sleeps for {} s", ms.div_ceil(1000)),
            DeviceEvent::AppSleeps { ms: None } => write!(f, "the app sleeps until there is a session"),
            DeviceEvent::Pin { pin, value, unit, driven } => {
                let who = if *driven { "driven to" } else { "set to" };
                write!(f, "board: {pin} is {who} {value:.2} {unit}")
            }
            DeviceEvent::PinNotSet { pin, why } => write!(f, "board: {pin} cannot be set: {why}"),
            DeviceEvent::AppRemoved => write!(f, "no app is assigned to this device any more"),
            DeviceEvent::Stopped => write!(f, "stopped"),
            DeviceEvent::Missed { count } => write!(f, "{count} events were not shown: too many at once"),
        }
    }
}

impl fmt::Display for TlsFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resumed = if self.resumed { ", resumed" } else { "" };
        write!(f, "{}, {}, {}{resumed}", self.version, self.suite, self.group)
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Sha256Hex> for String {
    fn from(hash: Sha256Hex) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = const_hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const_hex::decode_to_array(text).map(Sha256Hex)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl From<Base64> for String {
    fn from(bytes: Base64) -> String {
        BASE64_STANDARD.encode(bytes.0)
    }
}

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Base64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    #[test]
    fn a_slow_watcher_is_never_waited_for_and_learns_what_it_missed() {
        let (observer, mut events) = Observer::channel(&Limits { events: 2, ..LIMITS });
        for _ in 0..5 {
            observer.tell(DeviceEvent::AppRemoved);
        }
        assert_eq!(events.try_recv().unwrap(), DeviceEvent::AppRemoved);
        assert_eq!(events.try_recv().unwrap(), DeviceEvent::AppRemoved);
        observer.tell(DeviceEvent::Stopped);
        assert_eq!(events.try_recv().unwrap(), DeviceEvent::Missed { count: 3 });
        assert_eq!(events.try_recv().unwrap(), DeviceEvent::Stopped);
    }

    #[test]
    fn an_event_is_one_json_object_with_its_name() {
        let event = DeviceEvent::AppDownloaded { sha256: Sha256Hex([0xab; 32]), bytes: 7 };
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.starts_with("{\"event\":\"app_downloaded\",\"sha256\":\"abab"), "{text}");
        assert_eq!(serde_json::from_str::<DeviceEvent>(&text).unwrap(), event);
    }
}
