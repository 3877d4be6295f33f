//! What is read out of a certificate, trusted or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{
    hashes::sha256,
    limits::LIMITS,
    public::{PublicKey, PublicKeyError, SpkiHash},
    time::Now,
};

/// What a certificate says about itself. Reading it proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, as text; control characters and the like are escaped.
    pub subject: String,
    /// The issuer, as text; control characters and the like are escaped.
    pub issuer: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_hash: SpkiHash,
    /// Start of validity, in seconds since 1970.
    pub not_before_unix_s: i64,
    /// End of validity (still valid in this second), in seconds since 1970.
    pub not_after_unix_s: i64,
}

/// Why a certificate cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than [`LIMITS`]`.certificate` bytes.
    #[error("the certificate is longer than {} bytes", LIMITS.certificate)]
    TooLong,
    /// Not DER of an X.509 certificate, or more than one.
    #[error("not an X.509 certificate in DER")]
    NotX509,
    /// Its key is none that is used here.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
}

impl CertificateFacts {
    /// Reads any certificate, also a foreign one that will be refused.
    pub fn read(der: &[u8]) -> Result<CertificateFacts, CertificateError> {
        Ok(CertificateFacts::of(&parse(der)?))
    }

    fn of(certificate: &X509Certificate<'_>) -> CertificateFacts {
        let validity = certificate.validity();
        CertificateFacts {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            spki_hash: SpkiHash(sha256(certificate.public_key().raw)),
            not_before_unix_s: validity.not_before.timestamp(),
            not_after_unix_s: validity.not_after.timestamp(),
        }
    }

    /// Whether the certificate's dates include this second, both ends included (RFC 5280 section 4.1.2.5).
    pub fn valid_at(&self, now: Now) -> bool {
        (self.not_before_unix_s..=self.not_after_unix_s).contains(&now.unix_s())
    }
}

/// The public key of a certificate; it must be of an algorithm that is used here.
pub(super) fn public_key(der: &[u8]) -> Result<PublicKey, CertificateError> {
    Ok(facts_and_key(der)?.1)
}

/// What a certificate says, and its public key, which must be of an algorithm that is used here.
pub(crate) fn facts_and_key(der: &[u8]) -> Result<(CertificateFacts, PublicKey), CertificateError> {
    let certificate = parse(der)?;
    let key = PublicKey::from_any_spki_der(certificate.public_key().raw)?;
    Ok((CertificateFacts::of(&certificate), key))
}

/// The DNS names and IP addresses that a server's certificate is for.
pub(super) fn server_names(der: &[u8]) -> Result<Vec<String>, CertificateError> {
    let certificate = parse(der)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::NotX509)?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)).to_string()),
        },
        _ => None,
    };
    Ok(names.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > LIMITS.certificate {
        return Err(CertificateError::TooLong);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::NotX509),
    }
}

/// Names come from strangers and end in logs and terminals.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
