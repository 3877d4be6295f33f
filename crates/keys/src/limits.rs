//! Every bound of this crate, in one place.

/// The bounds that what comes from outside must respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest COSE_Sign1 that is parsed, in bytes.
    pub cose: usize,
    /// Longest certificate signing request that is parsed, in bytes.
    pub csr: usize,
    /// Longest single certificate that is parsed, in bytes.
    pub certificate: usize,
    /// Longest certificate chain, in certificates.
    pub chain: usize,
    /// Longest roots bundle, in bytes.
    pub roots_bundle: usize,
    /// Longest key or certificate file that is read, in bytes.
    pub private_file: usize,
    /// Longest password, in bytes.
    pub password: usize,
    /// Longest bearer token that is hashed, in bytes.
    pub token: usize,
    /// Names a gateway certificate may carry.
    pub server_names: usize,
    /// Longest secret that is sealed to one key, in bytes.
    pub sealed_secret: usize,
    /// People a secret may be split over.
    pub quorum_people: usize,
    /// Longest secret that is split, in bytes.
    pub split_secret: usize,
    /// Sessions with one PKCS#11 token that wait for their next use.
    pub token_sessions: usize,
    /// TLS sessions a device keeps for resumption.
    pub client_sessions: usize,
}

/// The bounds in force.
pub const LIMITS: Limits = Limits {
    cose: 8 * 1024,
    csr: 2 * 1024,
    certificate: 4 * 1024,
    chain: 4,
    roots_bundle: 8 * 1024,
    private_file: 64 * 1024,
    password: 1024,
    token: 256,
    server_names: 32,
    sealed_secret: 256,
    quorum_people: 16,
    split_secret: 64,
    token_sessions: 8,
    client_sessions: 4,
};
