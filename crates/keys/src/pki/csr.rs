//! Certificate signing requests (PKCS#10, RFC 2986) that prove possession of a TLS key and ask for nothing else.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::PkiError;
use crate::{
    limits::LIMITS,
    public::{KeyAlgorithm, PublicKey, PublicKeyError},
    signer::Signer,
};

/// Object identifiers of the two signature algorithms, as DER contents.
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";

/// A request whose signature was checked: whoever made it holds the private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    public: PublicKey,
}

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than [`LIMITS`]`.csr` bytes.
    #[error("the certificate request is longer than {} bytes", LIMITS.csr)]
    TooLong,
    /// Not DER of a PKCS#10 request, or bytes after it.
    #[error("not a PKCS#10 certificate request in DER")]
    NotPkcs10,
    /// It asks for a name or for extensions; the server alone decides those.
    #[error("the certificate request asks for a subject or attributes; it may only carry a key")]
    AsksForMore,
    /// Its key is none that is used here.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// It was not made with the private half of its key.
    #[error("the signature of the certificate request does not verify")]
    BadSignature,
}

impl Csr {
    /// Makes a request for a TLS key, in DER.
    pub fn create(key: &Signer) -> Result<Vec<u8>, PkiError> {
        key.tls_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(key).map_err(|_| PkiError::Encode)?;
        Ok(request.der().to_vec())
    }

    /// Reads a request and checks its signature.
    pub fn parse_and_verify(der: &[u8]) -> Result<Csr, CsrError> {
        if der.len() > LIMITS.csr {
            return Err(CsrError::TooLong);
        }
        let Ok(([], request)) = X509CertificationRequest::from_der(der) else { return Err(CsrError::NotPkcs10) };
        let info = &request.certification_request_info;
        if info.subject.iter().next().is_some() || !info.attributes().is_empty() {
            return Err(CsrError::AsksForMore);
        }
        let public = PublicKey::from_any_spki_der(info.subject_pki.raw)?;
        let (oid, algorithm): (_, &'static dyn VerificationAlgorithm) = match public.algorithm() {
            KeyAlgorithm::P256 => (ECDSA_WITH_SHA256, &ECDSA_P256_SHA256_ASN1),
            KeyAlgorithm::Rsa2048 => (SHA256_WITH_RSA, &RSA_PKCS1_2048_8192_SHA256),
        };
        if request.signature_algorithm.algorithm.to_id_string() != oid {
            return Err(CsrError::BadSignature);
        }
        UnparsedPublicKey::new(algorithm, public.key_bytes())
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| CsrError::BadSignature)?;
        Ok(Csr { public })
    }

    /// The key to be certified.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}
