//! The app's view of the session between device and server: what the host says, and what the app wants.

use squirrel::Pin;

/// What `server.connect` gives its callback.
pub(crate) const SERVER_CONNECTED: i32 = 5;
/// No server was reached in time.
pub(crate) const NO_SERVER: i32 = 4;
/// There is no session.
pub(crate) const NOT_CONNECTED: i32 = 0;

/// `server.setsendtimeoutpolicy`: what a call that needs the server does without a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It asks for the session again by itself.
    #[default]
    Suspend,
    /// It fails; only `server.connect` asks again.
    Return,
}

/// A `server.connect` that has not been answered.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) callback: Pin,
    /// Milliseconds of the clock that never goes back.
    pub(crate) due_ms: u64,
}

/// The session as the app sees it.
#[derive(Debug)]
pub(crate) struct Link {
    /// The host says that a session is open.
    pub(crate) up: bool,
    /// The app has not disconnected.
    pub(crate) wanted: bool,
    pub(crate) policy: Policy,
    pub(crate) connecting: Option<Connecting>,
    pub(crate) on_unexpected: Option<Pin>,
    pub(crate) on_shutdown: Option<Pin>,
}

impl Link {
    pub(crate) fn new(up: bool) -> Self {
        Self { up, wanted: true, policy: Policy::default(), connecting: None, on_unexpected: None, on_shutdown: None }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.up && self.wanted
    }

    /// The answer to `server.connect`, once there is one.
    pub(crate) fn connected_by(&self, now_ms: u64) -> Option<i32> {
        let due_ms = self.connecting.as_ref()?.due_ms;
        if self.is_connected() { Some(SERVER_CONNECTED) } else { (due_ms <= now_ms).then_some(NO_SERVER) }
    }
}
