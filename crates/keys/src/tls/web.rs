//! TLS towards servers of the public web: certificates of the authorities that browsers trust.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::TlsError;
use super::provider::https_provider;

/// A configuration for clients of public HTTPS servers. Neither devices nor the gateway use it.
///
/// # Errors
/// The library refused its own defaults.
pub fn web_client() -> Result<Arc<ClientConfig>, TlsError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let builder = ClientConfig::builder_with_provider(https_provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Whether a failed handshake failed because of the server's certificate.
pub fn is_untrusted(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[test]
    fn a_certificate_error_is_told_from_others() {
        let io = |error: rustls::Error| io::Error::other(error);
        assert!(is_untrusted(&io(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))));
        assert!(!is_untrusted(&io(rustls::Error::DecryptError)));
        assert!(!is_untrusted(&io::Error::other("reset")));
    }

    #[test]
    fn there_are_roots_to_trust() {
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
        assert!(web_client().is_ok());
    }
}
