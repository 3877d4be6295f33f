//! The bounds of one app.

/// Every bound of one running app. Hosts start from [`Limits::device`] or [`Limits::agent`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Work units of one slice; others get their turn after it.
    pub slice: u32,
    /// Work units of one event; more ends the app.
    pub event: u64,
    /// Bytes of the script's memory; more ends the app.
    pub memory_bytes: u32,
    /// Call frames.
    pub depth: u32,
    /// Bytes of one message, its name included.
    pub message_bytes: usize,
    /// Bytes of what `server.save` stores.
    pub save_bytes: usize,
    /// Levels of arrays and tables inside each other in a message, a save or JSON.
    pub nesting: usize,
    /// Inputs waiting for their turn.
    pub queue: usize,
    /// Timers at once.
    pub timers: usize,
    /// Outputs that the host has not taken yet; the script waits beyond.
    pub outputs: usize,
    /// Bytes of one log line; the rest is cut.
    pub log_line_bytes: usize,
    /// Requests to the agent's URL that are not answered yet.
    pub http_open: usize,
    /// Bytes of one answer to a request, headers included.
    pub http_response_bytes: usize,
}

impl Limits {
    const COMMON: Self = Self {
        slice: 20_000,
        event: 50_000_000,
        memory_bytes: 1024 * 1024,
        depth: 1_000,
        message_bytes: 256 * 1024,
        save_bytes: 64 * 1024,
        nesting: 32,
        queue: 64,
        timers: 256,
        outputs: 64,
        log_line_bytes: 4 * 1024,
        http_open: 64,
        http_response_bytes: 1024 * 1024,
    };

    /// For an app on a device.
    pub const fn device() -> Self {
        Self::COMMON
    }

    /// For an agent on the server.
    pub const fn agent() -> Self {
        Self { memory_bytes: 4 * 1024 * 1024, depth: 2_000, ..Self::COMMON }
    }
}
