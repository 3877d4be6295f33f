//! What the store, the bus and central's API may use; the gateway's limits stand beside the gateway.

use std::time::Duration;

/// The defaults, which suit one machine.
pub const LIMITS: Limits = Limits {
    readers: 4,
    database_wait: Duration::from_secs(10),
    logins_kept: 1_024,
    image_cache_bytes: 64 * 1024 * 1024,
    os_cache_bytes: 8 * 1024 * 1024,
    agent_state_bytes: 64 * 1024,
    journal_queue: 4_096,
    journal_batch: 512,
    log_text_bytes: 16 * 1024,
    logs_kept: 1_000,
    diaries_kept: 20,
    diary_bytes: 32 * 1024,
    session_inbox: 64,
    agent_inbox: 64,
    agent_control_queue: 1_024,
    streams_per_account: 8,
    devices_per_stream: 5,
    stream_queue: 1_024,
    stream_idle: Duration::from_secs(60),
    keep_alive: Duration::from_secs(15),
    connections: 1_024,
    head_bytes: 64 * 1024,
    head_deadline: Duration::from_secs(10),
    write_deadline: Duration::from_secs(60),
    request_deadline: Duration::from_secs(30),
    requests: 256,
    auth_requests: 64,
    auth_body_bytes: 16 * 1024,
    body_bytes: 2 * 1024 * 1024,
    upload_bytes: 4 * 1024 * 1024 * 1024,
    upload_pause: Duration::from_secs(30),
    upload_deadline: Duration::from_secs(2 * 60 * 60),
    code_bytes: 1024 * 1024,
    page_size: 20,
    page_size_max: 500,
    logins_at_once: 2,
    logins_waiting: 32,
    login_tries: 10,
    login_tries_per_source: 60,
    login_window: Duration::from_secs(60),
    login_sources: 4_096,
    compilations: 2,
    approved_apps: 400,
    expiry_warning: Duration::from_secs(60 * 24 * 60 * 60),
    health_kept: Duration::from_secs(1),
    troubles_kept: 20,
    trouble_bytes: 512,
    shutdown: Duration::from_secs(5),
};

/// Every bound of the store, the bus and central's API.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Database connections that read at one time; exactly one writes.
    pub readers: u32,
    /// Longest wait for a database connection.
    pub database_wait: Duration,
    /// Devices whose records are kept in memory for their next login.
    pub logins_kept: usize,
    /// Bytes of app images kept in memory.
    pub image_cache_bytes: usize,
    /// Bytes of OS images kept in memory, whatever their number and length; devices that began together ask for the same pieces, and the
    /// system's page cache has the rest.
    pub os_cache_bytes: usize,
    /// Bytes of what one agent saves.
    pub agent_state_bytes: usize,
    /// Log lines and diary reports waiting to be written; their writers wait beyond.
    pub journal_queue: usize,
    /// The most of them in one transaction.
    pub journal_batch: usize,
    /// Bytes of one log line; the rest is cut.
    pub log_text_bytes: usize,
    /// Newest log lines kept for each device, at least.
    pub logs_kept: u32,
    /// Newest diary reports kept for each device.
    pub diaries_kept: u32,
    /// Bytes of one diary report; a longer one is not kept.
    pub diary_bytes: usize,
    /// Messages waiting for one device session.
    pub session_inbox: usize,
    /// Messages waiting for one agent.
    pub agent_inbox: usize,
    /// Orders waiting for the agents' supervisor.
    pub agent_control_queue: usize,
    /// Log streams of one account; the oldest makes room for the newest.
    pub streams_per_account: usize,
    /// Devices of one log stream; the one added first makes room for the newest.
    pub devices_per_stream: usize,
    /// Events waiting for a slow reader of a log stream; more are dropped and counted.
    pub stream_queue: usize,
    /// How long a log stream without a reader is kept.
    pub stream_idle: Duration,
    /// Longest silence on a log stream.
    pub keep_alive: Duration,
    /// HTTP connections at one time; more wait in the kernel.
    pub connections: usize,
    /// Bytes of a request's head, give or take one read from the socket; the least is 8 KiB.
    pub head_bytes: usize,
    /// Longest wait for a request's head, also between two requests.
    pub head_deadline: Duration,
    /// Longest wait for a client to take what is sent to it.
    pub write_deadline: Duration,
    /// Longest time for a request, its body included, until its answer begins.
    pub request_deadline: Duration,
    /// Requests worked on at one time; more are told to come back.
    pub requests: usize,
    /// The same for logins and renewals, which anybody can send: they take no place of who is logged in.
    pub auth_requests: usize,
    /// Bytes of the body of a login or a renewal.
    pub auth_body_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of an uploaded release; of these a few pieces are in memory at a time.
    pub upload_bytes: u64,
    /// Longest pause of a client that uploads one.
    pub upload_pause: Duration,
    /// Longest time for all of its pieces: there is one upload at a time.
    pub upload_deadline: Duration,
    /// Bytes of one source of a deployment.
    pub code_bytes: usize,
    /// Entries of a page when the client names no size.
    pub page_size: u32,
    /// The most entries of a page.
    pub page_size_max: u32,
    /// Passwords hashed at one time.
    pub logins_at_once: usize,
    /// Logins waiting for their turn to be hashed; more are told to come back.
    pub logins_waiting: usize,
    /// Failed logins of one user from one source within the window.
    pub login_tries: u32,
    /// Failed logins of all users from one source within the window.
    pub login_tries_per_source: u32,
    /// The time in which tries are counted.
    pub login_window: Duration,
    /// Sources and users remembered at one time.
    pub login_sources: usize,
    /// Deployments compiled at one time.
    pub compilations: usize,
    /// Different device apps that the server's own key approves at one time: what it signs of them travels to each device.
    pub approved_apps: usize,
    /// How long before a root or an approval of the custodians ends the server's status says so: 60 days, for they must meet.
    pub expiry_warning: Duration,
    /// How long an answer about the server's health is given again.
    pub health_kept: Duration,
    /// Newest errors that are remembered for the server's status, and as many warnings.
    pub troubles_kept: usize,
    /// Bytes of one of them; the rest is cut.
    pub trouble_bytes: usize,
    /// Longest wait for everything to end.
    pub shutdown: Duration,
}

const _: () = {
    let (release, wire) = (release::limits::LIMITS, protocol::limits::LIMITS);
    let both = release.timestamp + release.snapshot + release.targets;
    // The last KiB is for an assignment, or a path.
    assert!(both + release.log_proof + 1024 <= wire.trust, "all that proves an image fits into one answer");
    assert!(both + release.app_approval + 1024 <= wire.trust, "and all that proves an app");
    assert!(release.metadata <= wire.trust, "and so does each root, alone");
};
