//! The algorithms that keys are bound to by their purpose.

/// The algorithm a purpose is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurposeAlgorithm {
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256,
    /// ECDH on P-256 (SP 800-56A); never signs.
    EcdhP256,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA with 2048 bits and SHA-256 (RFC 8017).
    Rsa2048,
    /// RSA with 4096 bits, PSS with SHA-256 and 32 bytes of salt (RFC 8017).
    Rsa4096Pss,
    /// HMAC-SHA256 (RFC 2104) with a 32-byte key.
    HmacSha256,
    /// A random bearer secret of 32 bytes, kept as its SHA-256 where it is checked.
    Bearer256,
    /// AES-256-CBC with HMAC-SHA256, the construction of RFC 5077 section 4.
    TicketAes256,
    /// Argon2id (RFC 9106).
    Argon2id,
    /// 128 random bits that only keys are derived from, by HKDF-SHA256 (RFC 5869).
    Hkdf128,
    /// AES-128-GCM (SP 800-38D), each write under a one-time key by HKDF-SHA256 (RFC 5869).
    Aes128Gcm,
    /// AES-128-GCM (SP 800-38D) in chunks of the STREAM construction, under a key for one image.
    Aes128GcmStream,
}

impl PurposeAlgorithm {
    /// The name as documents show it.
    pub fn as_str(self) -> &'static str {
        match self {
            PurposeAlgorithm::EcdsaP256 => "ECDSA P-256 with SHA-256",
            PurposeAlgorithm::EcdhP256 => "ECDH P-256",
            PurposeAlgorithm::Rsa2048 => "RSA-2048 with SHA-256",
            PurposeAlgorithm::Ed25519 => "Ed25519",
            PurposeAlgorithm::Rsa4096Pss => "RSA-4096, PSS with SHA-256",
            PurposeAlgorithm::HmacSha256 => "HMAC-SHA256, 256-bit key",
            PurposeAlgorithm::Bearer256 => "256 random bits, checked by SHA-256",
            PurposeAlgorithm::TicketAes256 => "AES-256-CBC with HMAC-SHA256 (RFC 5077)",
            PurposeAlgorithm::Argon2id => "Argon2id (RFC 9106)",
            PurposeAlgorithm::Hkdf128 => "128 random bits, input of HKDF-SHA256",
            PurposeAlgorithm::Aes128Gcm => "AES-128-GCM, a one-time key by HKDF-SHA256 for each write",
            PurposeAlgorithm::Aes128GcmStream => "AES-128-GCM in chunks (STREAM), a key for each image",
        }
    }
}
