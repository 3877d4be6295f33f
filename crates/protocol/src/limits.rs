//! Every bound of the wire in one struct: sizes, counts and waits, each tested on both sides.

/// The bounds both ends keep. Sizes are bytes, waits are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame body before `Welcome`: nobody has proved anything yet.
    pub frame_before_welcome: usize,
    /// The longest frame body after `Welcome`: the longest app message and its envelope.
    pub frame: usize,
    /// The longest frame body of an enrolment.
    pub enrol_frame: usize,
    /// The longest roots bundle that a device without roots accepts.
    pub roots_bundle: usize,
    /// The longest value of an app message.
    pub app_value: usize,
    /// The longest name of an app message.
    pub app_name: usize,
    /// The most app messages of a session that wait for the word that they were handled.
    pub unhandled: u64,
    /// What may wait to be sent before senders are told that there is no room.
    pub outbox: usize,
    /// The longest VM application.
    pub app: u32,
    /// The longest piece of an application or OS image in one message.
    pub chunk: usize,
    /// The longest encrypted OS image.
    pub os_image: u32,
    /// How many pieces of an OS image a device asks for before the first of them has come.
    pub os_window: u32,
    /// The longest signed OS manifest.
    pub os_manifest: usize,
    /// The longest wrapped content key.
    pub wrapped_key: usize,
    /// The longest text about a trouble with an OS image.
    pub os_text: usize,
    /// The most metadata in one answer, all parts together.
    pub trust: usize,
    /// The most root metadata in one answer.
    pub trust_roots: usize,
    /// The most log lines in one message.
    pub log_lines: usize,
    /// The longest text of a log line.
    pub log_text: usize,
    /// The highest number that may follow a report: no device counts so far.
    pub report_number: u64,
    /// The most diary entries in one message.
    pub diary_entries: usize,
    /// The longest text in a diary entry.
    pub diary_text: usize,
    /// The longest model name or version.
    pub label: usize,
    /// The longest text of an app's error.
    pub error_text: usize,
    /// The longest signed result of a self-test.
    pub self_test: usize,
    /// The most checks in one.
    pub self_test_checks: usize,
    /// The longest name of a check.
    pub self_test_name: usize,
    /// The longest text of a check.
    pub self_test_detail: usize,
    /// The longest URL of an agent.
    pub agent_url: usize,
    /// The most certificates in the chain that an enrolment hands out.
    pub chain_certificates: usize,
    /// How long the server waits for `Hello`, and the device for the challenge.
    pub hello_ms: u64,
    /// How long the server's own look-up of the device may take, and its welcome after the proof.
    pub lookup_ms: u64,
    /// How long the server waits for the proof, and the device for its own signature and for the verdict.
    pub proof_ms: u64,
    /// How long the device waits for something that it asked for: a piece, a key, metadata.
    pub chunk_ms: u64,
    /// How long each side waits for the next message of an enrolment.
    pub enrol_ms: u64,
    /// The shortest keep-alive a server may ask for, in seconds.
    pub keepalive_min_s: u32,
    /// The keep-alive a server asks for when its operator says nothing, in seconds.
    pub keepalive_default_s: u32,
    /// The longest keep-alive a server may ask for, in seconds.
    pub keepalive_max_s: u32,
    /// The most that is allowed on top of two keep-alives of silence before a session is given up; half a keep-alive
    /// when that is less.
    pub keepalive_grace_ms: u64,
    /// The longest pause a server can impose on a device; a longer one is shortened to this.
    pub come_back_max_ms: u32,
}

/// The bounds in use.
pub const LIMITS: Limits = Limits {
    frame_before_welcome: 8 * 1024,
    frame: 256 * 1024 + 1024,
    enrol_frame: 16 * 1024,
    roots_bundle: 8 * 1024,
    app_value: 256 * 1024,
    app_name: 512,
    unhandled: 1024,
    outbox: 2 * (256 * 1024 + 1024),
    app: 4 * 1024 * 1024,
    chunk: 64 * 1024,
    os_image: 256 * 1024 * 1024,
    os_window: 4,
    os_manifest: 8 * 1024,
    wrapped_key: 128,
    os_text: 512,
    trust: 240 * 1024,
    trust_roots: 16,
    log_lines: 64,
    log_text: 8 * 1024,
    report_number: (1 << 48) - 1,
    diary_entries: 32,
    diary_text: 512,
    label: 64,
    error_text: 4 * 1024,
    self_test: 8 * 1024,
    self_test_checks: 48,
    self_test_name: 32,
    self_test_detail: 96,
    agent_url: 512,
    chain_certificates: 4,
    hello_ms: 10_000,
    lookup_ms: 10_000,
    proof_ms: 15_000,
    chunk_ms: 60_000,
    enrol_ms: 30_000,
    keepalive_min_s: 1,
    keepalive_default_s: 60,
    keepalive_max_s: 3600,
    keepalive_grace_ms: 10_000,
    come_back_max_ms: 24 * 60 * 60 * 1000,
};

impl Default for Limits {
    fn default() -> Self {
        LIMITS
    }
}

const _: () = assert!(LIMITS.app_value + LIMITS.app_name + 16 <= LIMITS.frame);
const _: () = assert!(LIMITS.chunk + 64 <= LIMITS.frame);
const _: () = assert!(LIMITS.frame + 4 <= LIMITS.outbox);
const _: () = assert!(LIMITS.roots_bundle + 16 <= LIMITS.enrol_frame);
const _: () = assert!(LIMITS.trust + 1024 <= LIMITS.frame);
const _: () = assert!(LIMITS.os_manifest + 1024 <= LIMITS.frame);
