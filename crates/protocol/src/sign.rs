//! "Sign these bytes": private-key operations are I/O, so the machines ask for them and are handed the signature.

use std::fmt;

use keys::cose::{self, CosePurpose};
use keys::secret::Secret;

/// A signature that a machine needs. It is a purpose and a payload, never raw bytes, so that whoever holds the
/// key can build the signed structure itself and sees what it signs.
pub struct SignRequest {
    purpose: CosePurpose,
    payload: Secret,
}

impl SignRequest {
    pub(crate) fn new(purpose: CosePurpose, payload: Vec<u8>) -> Self {
        Self { purpose, payload: Secret::from(payload) }
    }

    /// What the signature is for; it becomes the COSE external_aad.
    pub fn purpose(&self) -> CosePurpose {
        self.purpose
    }

    /// The COSE payload.
    pub fn payload(&self) -> &[u8] {
        self.payload.expose()
    }

    /// The bytes to sign: the Sig_structure of RFC 9052, section 4.4.
    pub fn to_be_signed(&self) -> Vec<u8> {
        cose::to_be_signed(self.purpose, self.payload())
    }
}

/// Prints no payload: that of an enrolment holds the token's secret.
impl fmt::Debug for SignRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignRequest").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}
