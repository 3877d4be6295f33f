//! The operator's public-key infrastructure: roots, certificates, requests, and the bundle devices pin.

mod authority;
mod certificate;
mod credential;
mod csr;
mod operator;
mod roots;
mod x509;

pub use authority::{Authority, AuthorityKind};
pub(crate) use certificate::facts_and_key;
pub use certificate::{CertificateError, CertificateFacts};
pub use credential::Credential;
pub use csr::{Csr, CsrError};
pub use operator::{NEXT_FOLDER, OperatorPki, ServingPki};
pub use roots::{RootsBundle, RootsError};

pub use rustls_pki_types::{IpAddr, ServerName};

use crate::{
    private_file::PrivateFileError,
    purpose::{KeyPurpose, Lifetime},
    signer::{KeyError, SignError},
};

/// One certificate, in DER.
pub type CertDer = rustls_pki_types::CertificateDer<'static>;

/// Why a certificate authority or its files could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that refused to sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A certificate that cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The roots bundle.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The key to be certified has another profile's algorithm.
    #[error("the key does not have the algorithm of the {0} profile")]
    WrongProfile(crate::profile::Profile),
    /// An authority of the other kind was asked.
    #[error("this root signs certificates of the other kind only")]
    WrongKind,
    /// A date or lifetime outside what certificates can hold, or outside the root's own.
    #[error("the certificate's dates are not within its root's, or its lifetime is zero")]
    Dates,
    /// No name, too many names, or a name that X.509 cannot hold.
    #[error("a gateway certificate takes 1 to {} DNS names or IP addresses", crate::limits::LIMITS.server_names)]
    Names,
    /// The certificate and the key are not a pair.
    #[error("the certificate of `{0}` belongs to another key; restore both files from the same backup")]
    NotAPair(KeyPurpose),
    /// The certificate could not be encoded.
    #[error("the certificate could not be made")]
    Encode,
}

/// How long a certificate for a key of this purpose is valid; zero for purposes without certificates.
pub fn lifetime(purpose: KeyPurpose) -> std::time::Duration {
    let days = match purpose.facts().lifetime {
        Lifetime::CertificateDays(days) => days,
        _ => 0,
    };
    std::time::Duration::from_secs(u64::from(days) * 24 * 3600)
}
