//! The app's view of the session between device and server: what the host says, and what the app wants.

use squirrel::Pin;

/// What `server.connect` gives its callback.
pub(crate) const SERVER_CONNECTED: i32 = 5;
/// No server was reached in time.
pub(crate) const NO_SERVER: i32 = 4;
/// There is no session.
pub(crate) const NOT_CONNECTED: i32 = 0;
/// How long a lost session is looked for before the app is told or put to sleep, milliseconds.
pub(crate) const GRACE_MS: u64 = 60_000;

/// What a call that needs the server does without a session, and what a lost session does to the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Until an app has chosen one: it goes on without a session, and is connected again.
    #[default]
    GoOn,
    /// `SUSPEND_ON_ERROR`: the app stands still until there is a session again, and is put to sleep when that takes too long.
    Suspend,
    /// `RETURN_ON_ERROR`: calls fail, a failed one disconnects, and only `server.connect` connects again.
    Return,
    /// `RETURN_ON_ERROR_NO_DISCONNECT`: as [`Self::Return`], but for a message that found no room.
    ReturnKeeping,
}

impl Policy {
    /// Whether errors are returned and the app connects by itself.
    pub(crate) fn returns(self) -> bool {
        matches!(self, Self::Return | Self::ReturnKeeping)
    }
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
    /// The host says that a session is open now.
    pub(crate) there: bool,
    /// A session is open as far as the app has been told.
    pub(crate) up: bool,
    /// The app has not disconnected.
    pub(crate) wanted: bool,
    pub(crate) policy: Policy,
    /// Whether a message counts as sent only once the server has it.
    pub(crate) acknowledged: bool,
    /// How long a message may take to be sent.
    pub(crate) send_ms: u64,
    pub(crate) connecting: Option<Connecting>,
    /// When the app is told that the session is lost, unless it is back by then.
    pub(crate) lost_ms: Option<u64>,
    /// Why the host last failed to connect, as a result of `server.connect`.
    pub(crate) failure: i32,
    pub(crate) on_unexpected: Option<Pin>,
    pub(crate) on_shutdown: Option<Pin>,
}

impl Link {
    /// `wanted` is false for an app that begins without a session until it needs one.
    pub(crate) fn new(up: bool, wanted: bool) -> Self {
        Self {
            there: up,
            up,
            wanted,
            policy: Policy::default(),
            acknowledged: false,
            send_ms: 30_000,
            connecting: None,
            lost_ms: None,
            failure: NO_SERVER,
            on_unexpected: None,
            on_shutdown: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.up && self.wanted
    }

    /// The answer to `server.connect`, once there is one.
    pub(crate) fn connected_by(&self, now_ms: u64) -> Option<i32> {
        let due_ms = self.connecting.as_ref()?.due_ms;
        if self.is_connected() { Some(SERVER_CONNECTED) } else { (due_ms <= now_ms).then_some(self.failure) }
    }

    /// When something of this is due next.
    pub(crate) fn next_due(&self, now_ms: u64) -> Option<u64> {
        let connecting = self.connecting.as_ref();
        let connecting = connecting.map(|waits| if self.is_connected() { now_ms } else { waits.due_ms });
        [connecting, self.lost_ms].into_iter().flatten().min()
    }
}
