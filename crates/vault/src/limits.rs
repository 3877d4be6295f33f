//! Every bound of this crate, in one place.

/// The bounds of what is stored, in bytes unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Plain bytes in each chunk but the last. Part of the format.
    pub chunk: usize,
    /// The longest configuration.
    pub configuration: usize,
    /// The longest roots bundle.
    pub roots: usize,
    /// The longest network configuration.
    pub network: usize,
    /// The longest proxy configuration with its credentials.
    pub proxy: usize,
    /// The longest user configuration of an app.
    pub user_configuration: usize,
    /// The longest app.
    pub app: usize,
    /// The longest record of floors.
    pub floors: usize,
    /// The longest diary.
    pub diary: usize,
    /// The longest signed result of a self-test.
    pub self_test: usize,
    /// The longest factory anchors.
    pub anchors: usize,
    /// All root metadata that a device has seen, together.
    pub release_roots: usize,
    /// The longest control record.
    pub control: usize,
    /// The longest index.
    pub index: usize,
    /// Records in one vault, those of newer runtimes included.
    pub records: usize,
}

/// The bounds in force.
pub const LIMITS: Limits = Limits {
    chunk: 64 * 1024,
    configuration: 16 * 1024,
    roots: 8 * 1024,
    network: 4 * 1024,
    proxy: 4 * 1024,
    user_configuration: 8 * 1024,
    app: 4 * 1024 * 1024,
    floors: 1024,
    diary: 128 * 1024,
    self_test: 8 * 1024,
    anchors: 112 * 1024,
    release_roots: 2 * 1024 * 1024,
    control: 32 * 1024,
    index: 4 * 1024,
    records: 32,
};
