//! Everything a host tells a running app.

use thiserror::Error;

use crate::url;

/// One thing that happened outside the app.
#[derive(Debug, PartialEq)]
pub enum Input {
    /// A message from the other end; `value` is the CBOR that its [`crate::Output::Send`] carried, not trusted.
    Message {
        /// What the sender called it.
        name: String,
        /// One encoded value.
        value: Vec<u8>,
        /// Whether [`crate::Output::Handled`] must tell what became of it.
        to_handle: bool,
    },
    /// A session between device and server is open.
    Connected,
    /// No session is open any more.
    Disconnected,
    /// A request to the agent's URL.
    Http(Box<HttpRequest>),
    /// Nobody waits for the answer to this request any more.
    HttpGone(u64),
    /// The answer to [`crate::Output::HttpRequest`]; always taken.
    HttpAnswer {
        /// Which request.
        id: u64,
        /// What came back.
        answer: Result<HttpAnswer, HttpFailure>,
    },
    /// The host tried to reach the server and could not; for a device app that waits for a session.
    Unreached(Unreached),
    /// The answer to [`crate::Output::Send`].
    Sent(Result<(), NotSent>),
    /// The answer to [`crate::Output::Flush`].
    Flushed(Result<(), NotSent>),
    /// The host wants to run something else in the app's place. An app that has asked for it (`server.onshutdown`) tidies up and then
    /// restarts; any other ends at once, with [`crate::Output::RestartRequested`]. The host bounds the wait.
    Shutdown(ShutdownReason),
    /// A pin or a UART of the board may have changed; for an app that [`crate::App::watches_board`].
    BoardMoved,
    /// The answer to [`crate::Output::Save`] and [`crate::Output::SaveUserConfiguration`]: `Ok` only once the bytes are durable, else why not.
    Saved(Result<(), String>),
}

/// Why an app is to make room; the numbers are those `server.onshutdown` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShutdownReason {
    /// A new app is there.
    NewApp = 1,
    /// A new OS image is there.
    NewOs = 2,
    /// Somebody asked for a restart.
    Other = 3,
}

/// Why a message did not go; the numbers are those `send` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NotSent {
    /// No session is open.
    NotConnected = 1,
    /// There was no room for it, or no word that it was handled, in time.
    TimedOut = 2,
    /// The session ended first.
    Disconnected = 3,
    /// It came to the other end, but no handler there took it and returned.
    NotHandled = 5,
}

/// Why the server was not reached; the numbers are those `server.connect` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unreached {
    /// There is no network.
    NoNetwork = 1,
    /// No address has the name of the server, or of the proxy.
    NotResolved = 3,
    /// Nobody answered as the server does.
    NoServer = 4,
}

/// What a server answered to a request of an agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 100 to 999.
    pub status: u16,
    /// Names in lower case; the last of equal names wins.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Bounded by the host.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// An answer that is a status and nothing else.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
}

/// Why a request of an agent's has no answer; scripts see the numbers as `statuscode`. They are libcurl's, as the imp's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum HttpFailure {
    /// Neither `http://` nor `https://`.
    UnsupportedProtocol = 1,
    /// No URL.
    MalformedUrl = 3,
    /// No address has this name.
    NotResolved = 6,
    /// Nobody answers at the address, or agents may not go there.
    NotReached = 7,
    /// Not answered in time.
    TimedOut = 28,
    /// TLS failed before certificates were looked at.
    TlsFailed = 35,
    /// The connection broke, or what came is no HTTP.
    Broken = 56,
    /// The server is not who it should be.
    NotTrusted = 60,
    /// The answer is longer than permitted.
    TooLong = 63,
}

/// A request to an agent's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Chosen by the host, returned in [`crate::HttpResponse`].
    pub id: u64,
    /// Upper case as received.
    pub method: String,
    /// What follows the agent id, with its leading slash; empty if nothing follows.
    pub path: String,
    /// Decoded query parameters; the last of equal names wins.
    pub query: Vec<(String, String)>,
    /// Names in lower case; the last of equal names wins.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Bounded by the host.
    pub body: Vec<u8>,
}

/// An input the app did not take.
#[derive(Debug, Error)]
pub enum InputRefused {
    /// The queue is full; offer it again once [`crate::App::has_room`].
    #[error("the app's queue is full")]
    Full(Input),
    /// The app is over; the host starts a new one.
    #[error("the app has ended")]
    Ended(Input),
}

impl HttpRequest {
    /// The decoded names and values of a URL's query (what follows `?`); bytes that are no UTF-8 are replaced.
    pub fn query_pairs(query: &str) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        url::pairs(query.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    }
}
