//! Every bound of this crate, in one place.

/// The bounds of releases, in bytes unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest OS manifest.
    pub manifest: usize,
    /// The longest name of a product or a model.
    pub name: usize,
    /// Models that one image is for.
    pub models: usize,
    /// Deltas that one manifest describes.
    pub deltas: usize,
    /// The longest description of a delta.
    pub delta: usize,
    /// The longest OS image, decrypted.
    pub image: u64,
    /// log2 of the smallest and of the largest chunk.
    pub chunk_log2: (u8, u8),
    /// Release keys that a device knows.
    pub release_keys: usize,
    /// The longest anchors.
    pub anchors: usize,
    /// The longest head of a bundle.
    pub bundle_head: u64,
    /// Images in one bundle.
    pub bundle_images: usize,
    /// Root metadata files in one bundle.
    pub bundle_roots: usize,
    /// The longest signed word of a custodian on how they approved.
    pub approval: usize,
    /// The latest time of such a word, milliseconds since 1970: the beginning of the year 9999, the last that calendars have.
    pub approval_unix_ms: u64,
    /// The longest sealed content key.
    pub sealed_key: usize,
    /// The longest proof that a release is in the transparency log.
    pub log_proof: usize,
    /// The longest entry of that log.
    pub log_entry: usize,
    /// The longest signed checkpoint of it.
    pub checkpoint: usize,
    /// The longest root metadata.
    pub metadata: usize,
    /// The longest name of a custodian.
    pub custodian_name: usize,
    /// The longest verifier key of a transparency log.
    pub log_key: usize,
    /// The longest timestamp metadata.
    pub timestamp: usize,
    /// The longest snapshot metadata.
    pub snapshot: usize,
    /// The longest targets metadata, of the custodians and of each delegation.
    pub targets: usize,
    /// The longest approval of an owner's apps: it travels to each of their devices.
    pub app_approval: usize,
    /// Newer roots that are followed in one go.
    pub root_rotations: u32,
    /// Roles that are asked for one target.
    pub delegations: u32,
    /// Metadata files that come together.
    pub files: usize,
    /// The longest name of a metadata file.
    pub file_name: usize,
}

/// The bounds in force.
pub const LIMITS: Limits = Limits {
    manifest: 4 * 1024,
    name: 64,
    models: 16,
    deltas: 8,
    delta: 256,
    image: 256 * 1024 * 1024,
    chunk_log2: (12, 20),
    release_keys: 3,
    anchors: 112 * 1024,
    bundle_head: 4 * 1024 * 1024,
    bundle_images: 64,
    bundle_roots: 64,
    approval: 256,
    approval_unix_ms: 253_370_764_800_000,
    sealed_key: 256,
    log_proof: 16 * 1024,
    log_entry: 1024,
    checkpoint: 8 * 1024,
    metadata: 96 * 1024,
    custodian_name: 64,
    log_key: 384,
    timestamp: 16 * 1024,
    snapshot: 16 * 1024,
    targets: 96 * 1024,
    app_approval: 96 * 1024,
    root_rotations: 32,
    delegations: 32,
    files: 128,
    file_name: 256,
};
