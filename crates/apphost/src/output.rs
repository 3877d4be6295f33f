//! Everything a running app asks of its host.

use std::fmt;

use crate::side::WakeReason;

/// One thing the host must do; see [`crate::driver`].
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// A line for the log.
    Log {
        /// Which call wrote it.
        level: LogLevel,
        /// One line of text, made valid UTF-8, bounded.
        text: String,
    },
    /// A message to the other end. The script waits for [`crate::Input::Sent`].
    Send {
        /// What the sender calls it.
        name: String,
        /// One encoded value.
        value: Vec<u8>,
        /// Whether it counts as sent only once a handler of the other end took it and returned.
        acknowledged: bool,
        /// The longest wait, milliseconds.
        timeout_ms: u64,
    },
    /// What became of the oldest message [to be handled](crate::Input::Message) that this was not told of: whether a handler took it and
    /// returned. Nothing is told of those that the app has not handled when it is over.
    Handled(bool),
    /// The device app wants a session: connect if there is none, without waiting for the end of a pause.
    Connect,
    /// The device app wants no session: close it once everything is sent, and open none before [`Output::Connect`].
    Disconnect,
    /// The script waits for [`crate::Input::Flushed`]: until everything is sent.
    Flush {
        /// Whether that counts only once the other end has it, and handled what was to be handled.
        acknowledged: bool,
        /// The longest wait, milliseconds.
        timeout_ms: u64,
    },
    /// Answer a request to the agent's URL.
    HttpResponse(HttpResponse),
    /// Make a request on behalf of an agent. [`crate::Input::HttpAnswer`] must follow within its time.
    HttpRequest(Box<OutgoingRequest>),
    /// Nobody waits for the answer to this request any more.
    HttpCancel(u64),
    /// Store these bytes durably. The script waits for [`crate::Input::Saved`].
    Save(Vec<u8>),
    /// Keep these bytes, at most 4096, as the device's user configuration; none of them means that there is none. They may be secret.
    /// The script waits for [`crate::Input::Saved`].
    SaveUserConfiguration(Vec<u8>),
    /// Reach the server through this proxy from the next connection on, or without one, also after a restart. The script waits for
    /// [`crate::Input::Saved`].
    SetProxy(Option<Proxy>),
    /// The app is over because of an error, which was logged line by line before this.
    Failed {
        /// The message alone, one line.
        error: String,
        /// What the app that comes after it is started with.
        wake: WakeReason,
    },
    /// The app is over because it asked for a restart.
    RestartRequested,
    /// The device app is over and starts again later.
    Sleep(Sleep),
}

/// An HTTP CONNECT proxy as a script names it; whether it can be one is the host's to check.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password; the password is never shown.
    pub credentials: Option<(String, String)>,
}

impl Proxy {
    pub(crate) fn weight(&self) -> usize {
        let login = self.credentials.as_ref().map_or(0, |(user, password)| user.len() + password.len());
        self.host.len() + login
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).field("user", &user).finish()
    }
}

/// How long a device app is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// When it starts again.
    pub until: Until,
    /// What it keeps meanwhile in `nv`, for [`crate::DeviceInfo::nv`]; gone with a power cut.
    pub nv: Option<Vec<u8>>,
}

/// When a device app starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many milliseconds, without a session, with [`crate::WakeReason::Timer`]; earlier with [`crate::WakeReason::Pin`] when
    /// one of the pins goes high that the app has configured for it.
    Time(u64),
    /// As soon as there is a session, with [`crate::WakeReason::Snooze`].
    Connected,
}

/// Which of the two log calls wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `server.log`
    Log,
    /// `server.error`, and the app's uncaught errors.
    Error,
}

/// A request of an agent's own. Nothing in it is trusted: where it may go is the host's to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// Chosen by the app, returned in [`crate::Input::HttpAnswer`].
    pub id: u64,
    /// A token of RFC 9110, mostly in upper case.
    pub method: String,
    /// As the script wrote it, bounded.
    pub url: String,
    /// Checked to be valid header names and values, bounded.
    pub headers: Vec<(String, String)>,
    /// Bounded.
    pub body: Vec<u8>,
    /// The longest wait for the whole answer, milliseconds.
    pub timeout_ms: u64,
}

impl OutgoingRequest {
    pub(crate) fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.url.len() + headers + self.body.len()
    }
}

/// What an agent answers to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The request's id.
    pub id: u64,
    /// 100 to 999.
    pub status: u16,
    /// As the app set them; checked to be valid header names and values.
    pub headers: Vec<(String, String)>,
    /// The bytes to send.
    pub body: Vec<u8>,
}
