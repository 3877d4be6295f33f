//! What every certificate made here has in common, and this crate's keys as rcgen takes them.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};

use super::PkiError;
use crate::{
    hashes::random,
    public::{KeyAlgorithm, PublicKey},
    signer::Signer,
    time::Now,
};

/// Certificates begin this long before they are made, since clocks of devices and servers differ.
pub(super) const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// The last second that X.509 can write: 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// A random serial number, the common name, and the dates.
pub(super) fn params(common_name: &str, now: Now, lifetime: Duration) -> Result<CertificateParams, PkiError> {
    let now = u64::try_from(now.unix_s()).map_err(|_| PkiError::Dates)?;
    let from = now.checked_sub(BACKDATED.as_secs()).ok_or(PkiError::Dates)?;
    let until = now.checked_add(lifetime.as_secs()).filter(|until| *until <= LAST_SECOND).ok_or(PkiError::Dates)?;
    if lifetime.is_zero() {
        return Err(PkiError::Dates);
    }
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = epoch + Duration::from_secs(until);
    params.serial_number = Some(serial());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// 127 random bits: positive, and never zero (RFC 5280 section 4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes = random::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.key_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match PublicKey::algorithm(self) {
            KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.public().der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(self.public())
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_certificate(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
