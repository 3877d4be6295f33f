//! The cryptography each profile permits: one suite, its groups, and the signatures of its certificates.

use std::sync::{Arc, LazyLock};

use rustls::{
    SignatureScheme, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        aws_lc_rs::{cipher_suite, default_provider, kx_group},
    },
    version,
};
use webpki::aws_lc_rs::{ECDSA_P256_SHA256, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256_LEGACY_KEY};

use crate::profile::Profile;

static CLASSIC: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
        signature_verification_algorithms: CLASSIC_SIGNATURES,
        ..default_provider()
    })
});

static MODERN: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        signature_verification_algorithms: MODERN_SIGNATURES,
        ..default_provider()
    })
});

static CLASSIC_VERSIONS: [&SupportedProtocolVersion; 1] = [&version::TLS12];
static MODERN_VERSIONS: [&SupportedProtocolVersion; 1] = [&version::TLS13];

const CLASSIC_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[RSA_PKCS1_2048_8192_SHA256],
    mapping: &[
        (SignatureScheme::RSA_PSS_SHA256, &[RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[RSA_PKCS1_2048_8192_SHA256]),
    ],
};

const MODERN_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[ECDSA_P256_SHA256])],
};

/// The cryptography of a profile.
pub(super) fn provider(profile: Profile) -> Arc<CryptoProvider> {
    match profile {
        Profile::Classic => Arc::clone(&CLASSIC),
        Profile::Modern => Arc::clone(&MODERN),
    }
}

/// The cryptography for a person's own HTTPS client, such as one that talks to central through the operator's proxy. No device and no
/// gateway uses it.
pub fn https_provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// The one protocol version of a profile.
pub(super) fn versions(profile: Profile) -> &'static [&'static SupportedProtocolVersion] {
    match profile {
        Profile::Classic => &CLASSIC_VERSIONS,
        Profile::Modern => &MODERN_VERSIONS,
    }
}
