//! The bounds of one app.

/// Every bound of one running app. Hosts start from [`Limits::device`] or [`Limits::agent`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Work units of one slice; others get their turn after it.
    pub slice: u32,
    /// Work units of one event; more ends the app.
    pub event: u64,
    /// Bytes of the script's memory; more ends the app.
    pub memory_bytes: usize,
    /// Call frames.
    pub depth: usize,
    /// Bytes of one message, its name included.
    pub message_bytes: usize,
    /// Bytes of what `server.save` stores.
    pub save_bytes: usize,
    /// Bytes of a device's user configuration.
    pub user_configuration_bytes: usize,
    /// Bytes of what a device app keeps in `nv` while it sleeps.
    pub nv_bytes: usize,
    /// Inputs waiting for their turn.
    pub queue: usize,
    /// Timers at once, and functions waiting for the app to be idle.
    pub timers: usize,
    /// Names of messages that an app listens to.
    pub handlers: usize,
    /// Bytes of the name of a message or a timer.
    pub name_bytes: usize,
    /// Outputs that the host has not taken yet; the script waits beyond.
    pub outputs: usize,
    /// Bytes of those outputs together.
    pub output_bytes: usize,
    /// Bytes of one log line; the rest is cut.
    pub log_line_bytes: usize,
    /// Requests to the agent's URL that are not answered yet.
    pub http_open: usize,
    /// Requests of the app's own that are not answered yet; more are answered with status 429.
    pub http_out_open: usize,
    /// Requests that a script made and has not sent; the oldest are forgotten.
    pub http_made: usize,
    /// Bytes of the body of a request of the app's own, of its answer, and of one answer to a request.
    pub http_body_bytes: usize,
    /// Bytes of the headers of one answer to a request, names and values together.
    pub http_header_bytes: usize,
}

/// Levels of arrays and tables inside each other in a message, a save or JSON.
pub const NESTING: usize = 32;

impl Limits {
    const COMMON: Self = Self {
        slice: 20_000,
        event: 50_000_000,
        memory_bytes: 1024 * 1024,
        depth: 1_000,
        message_bytes: 256 * 1024,
        save_bytes: 64 * 1024,
        user_configuration_bytes: 4 * 1024,
        nv_bytes: 4 * 1024,
        queue: 64,
        timers: 256,
        handlers: 256,
        name_bytes: 1024,
        outputs: 64,
        output_bytes: 1024 * 1024,
        log_line_bytes: 4 * 1024,
        http_open: 64,
        http_out_open: 16,
        http_made: 64,
        http_body_bytes: 1024 * 1024,
        http_header_bytes: 8 * 1024,
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
