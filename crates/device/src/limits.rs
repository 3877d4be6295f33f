//! Every bound of the device runtime in one place: sizes, counts and waits.

use std::time::Duration;

/// The bounds in use. Tests and constrained boards may pass smaller ones; [`LIMITS`] is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long one DNS server may take to answer one question.
    pub dns_wait: Duration,
    /// How many name servers are asked at most.
    pub dns_servers: usize,
    /// How many aliases (CNAME) are followed from the name that was asked for.
    pub dns_aliases: usize,
    /// How many packets that do not answer our question are thrown away before a name server is given up.
    pub dns_strays: usize,
    /// How many addresses of one name are tried.
    pub addresses: usize,
    /// How long TCP may take to connect.
    pub tcp_wait: Duration,
    /// The same for a port that gave no answer in the round before.
    pub tcp_wait_after_silence: Duration,
    /// How long the proxy may take for its answer to CONNECT.
    pub proxy_wait: Duration,
    /// The longest answer head taken from a proxy, in bytes.
    pub proxy_head: usize,
    /// The most header lines taken from a proxy.
    pub proxy_headers: usize,
    /// How long the TLS handshake may take. After an outage that includes the wait at the server's door, behind all others.
    pub tls_wait: Duration,
    /// How long a frame may wait to be taken by the network before the session counts as broken.
    pub write_wait: Duration,
    /// How long the last words on a connection may take.
    pub close_wait: Duration,
    /// The shortest upper bound of a pause between two rounds.
    pub backoff_first: Duration,
    /// The longest pause between two rounds.
    pub backoff_most: Duration,
    /// The longest pause between two rounds of a device that the server has revoked.
    pub backoff_revoked: Duration,
    /// The longest pause that a server may ask for.
    pub backoff_directed: Duration,
    /// How long a session must have lasted before the back-off starts again from the beginning.
    pub steady_session: Duration,
    /// How many attempts the diary keeps, in the vault and for the server.
    pub diary_entries: usize,
    /// How many bytes of the diary are stored.
    pub diary_bytes: usize,
    /// How many log lines are kept while there is no session.
    pub log_lines: usize,
    /// How many bytes of log text are kept while there is no session.
    pub log_bytes: usize,
    /// How long an app that was asked to make room for another may take.
    pub shutdown_wait: Duration,
    /// How long after a session or a failed round an app that asks for a session waits for the next round.
    pub asked_pause: Duration,
    /// How long the runtime stays away at most because the app wants no session; then it looks for updates.
    pub offline_most: Duration,
    /// How long a session lasts that is only there to look for updates.
    pub visit: Duration,
    /// How many bytes the file of a simulated board may have.
    pub board_file: u64,
    /// How often a simulated board is looked at for what changed.
    pub board_look: Duration,
    /// How long a new network configuration may take to reach the server before it is undone.
    pub network_trial: Duration,
    /// How many starts of the device a new network configuration may have for that.
    pub network_starts: u8,
    /// How long the parent process may take for an answer.
    pub parent_wait: Duration,
    /// How long the parent process may take to judge and install an OS image.
    pub install_wait: Duration,
    /// The longest question to the parent process, in bytes.
    pub parent_message: usize,
    /// The longest answer of it: root metadata may be in it.
    pub parent_answer: usize,
    /// New root metadata that one update brings at most.
    pub trust_roots: usize,
    /// The longest file of metadata that is handed to the parent process, in bytes.
    pub trust_file: usize,
    /// How many starts a new OS image may have to reach the server.
    pub image_starts: u8,
    /// How long a new OS image may take to reach the server.
    pub image_trial: Duration,
    /// After how many chunks of a slot the progress of an installation is made durable.
    pub slot_progress: u32,
    /// How long the parent process waits before it starts a child again that failed.
    pub child_pause: Duration,
    /// How long a child may take to end when it is asked to.
    pub child_stop: Duration,
    /// How many entries go to the app, or come from it, before the other side has to wait.
    pub app_queue: usize,
    /// How many events wait for the observer; more are counted and dropped, never waited for.
    pub events: usize,
}

/// The bounds of a device in the field.
pub const LIMITS: Limits = Limits {
    dns_wait: Duration::from_secs(2),
    dns_servers: 3,
    dns_aliases: 8,
    dns_strays: 16,
    addresses: 8,
    tcp_wait: Duration::from_secs(5),
    tcp_wait_after_silence: Duration::from_secs(2),
    proxy_wait: Duration::from_secs(10),
    proxy_head: 8 * 1024,
    proxy_headers: 64,
    tls_wait: Duration::from_secs(30),
    write_wait: Duration::from_secs(30),
    close_wait: Duration::from_secs(2),
    backoff_first: Duration::from_secs(2),
    backoff_most: Duration::from_secs(300),
    backoff_revoked: Duration::from_secs(6 * 3600),
    backoff_directed: Duration::from_secs(24 * 3600),
    steady_session: Duration::from_secs(60),
    diary_entries: 64,
    diary_bytes: 64 * 1024,
    log_lines: 1000,
    log_bytes: 256 * 1024,
    shutdown_wait: Duration::from_secs(24 * 3600),
    asked_pause: Duration::from_secs(2),
    offline_most: Duration::from_secs(24 * 3600),
    visit: Duration::from_secs(30),
    board_file: 64 * 1024,
    board_look: Duration::from_millis(250),
    network_trial: Duration::from_secs(600),
    network_starts: 3,
    parent_wait: Duration::from_secs(10),
    install_wait: Duration::from_secs(600),
    parent_message: 32 * 1024,
    parent_answer: 128 * 1024,
    trust_roots: 32,
    trust_file: 4 * 1024 * 1024,
    image_starts: 3,
    image_trial: Duration::from_secs(600),
    slot_progress: 16,
    child_pause: Duration::from_secs(2),
    child_stop: Duration::from_secs(10),
    app_queue: 64,
    events: 1024,
};

impl Default for Limits {
    fn default() -> Self {
        LIMITS
    }
}

/// What one answer of the server may hold beside roots: everything that proves an image, each part as long as it may be.
const TRUST_PARTS: usize = {
    let release = release::limits::LIMITS;
    // The assignment is far shorter than a KiB.
    release.timestamp + release.snapshot + release.targets + release.log_proof + 1024
};
const _: () = assert!(release::limits::LIMITS.metadata + LIMITS.parent_message <= LIMITS.parent_answer);
const _: () = assert!(TRUST_PARTS <= protocol::limits::LIMITS.trust);
/// What proves an app, without roots.
const APP_TRUST_PARTS: usize = {
    let release = release::limits::LIMITS;
    release.timestamp + release.snapshot + release.targets + release.app_approval + release.file_name
};
const _: () = assert!(APP_TRUST_PARTS <= protocol::limits::LIMITS.trust);
const _: () = assert!(release::limits::LIMITS.metadata <= protocol::limits::LIMITS.trust);
const _: () = assert!(LIMITS.trust_roots == release::limits::LIMITS.root_rotations as usize);
const _: () = assert!(LIMITS.trust_roots * release::limits::LIMITS.metadata + TRUST_PARTS + 1024 <= LIMITS.trust_file);
