//! The certificate a server showed, kept for the diary also when it was refused.

use std::sync::{Mutex, PoisonError};

use crate::pki::CertificateFacts;

/// The last certificate seen by the configuration this was handed to: it tells an IT department that a
/// TLS-inspecting firewall answered in the server's place.
#[derive(Debug, Default)]
pub struct SeenServer(Mutex<Option<CertificateFacts>>);

impl SeenServer {
    /// What was seen since the last call; nothing if no certificate came or it could not be read.
    pub fn take(&self) -> Option<CertificateFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn note(&self, end_entity: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = CertificateFacts::read(end_entity).ok();
    }
}
