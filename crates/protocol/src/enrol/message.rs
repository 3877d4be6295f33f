//! What each end may say in an enrolment.

use std::fmt;

use keys::public::DeviceId;
use minicbor::{Decode, Encode};

use crate::codec::{CodecError, Message, at_most};
use crate::limits::Limits;
use crate::message::device_id;
use crate::reason::EnrolRefusal;

/// What a device says.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum EnrolToServer {
    /// The one request.
    #[n(1)]
    Request {
        /// The identity key to enrol: SubjectPublicKeyInfo, DER.
        #[cbor(n(0), with = "minicbor::bytes")]
        identity_spki: Vec<u8>,
        /// The request, signed by that key: a COSE_Sign1 that holds the token's secret.
        #[cbor(n(1), with = "minicbor::bytes")]
        cose: Vec<u8>,
    },
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum EnrolToDevice {
    /// The first message: the server's roots, to be compared with the token.
    #[n(1)]
    Roots(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// The device is enrolled.
    #[n(2)]
    Enrolled(#[n(0)] Enrolled),
    /// The device is not enrolled, and the connection ends.
    #[n(3)]
    Refused {
        /// Why.
        #[n(0)]
        reason: EnrolRefusal,
    },
}

/// What a newly enrolled device gets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enrolled {
    /// The server's time: milliseconds since 1970.
    #[n(1)]
    pub unix_ms: i64,
    /// The device's id as the server has it.
    #[cbor(n(2), with = "device_id")]
    pub device_id: DeviceId,
    /// The certificate of its TLS key and what leads to the root, each in DER.
    #[cbor(n(3), with = "certificates")]
    pub tls_chain: Vec<Vec<u8>>,
}

impl Message for EnrolToServer {
    fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "enrol-request",
        }
    }

    /// The parts are bounded by the frame, and by the check of what they hold.
    fn check(&self, _limits: &Limits) -> Result<(), CodecError> {
        Ok(())
    }
}

impl Message for EnrolToDevice {
    fn name(&self) -> &'static str {
        match self {
            Self::Roots(_) => "roots",
            Self::Enrolled(_) => "enrolled",
            Self::Refused { .. } => "enrol-refused",
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        match self {
            Self::Roots(bundle) => at_most("the roots bundle", bundle.len(), limits.roots_bundle),
            Self::Enrolled(enrolled) if enrolled.tls_chain.is_empty() => {
                Err(CodecError::Meaningless("the certificate chain"))
            }
            Self::Enrolled(enrolled) => {
                at_most("the certificate chain", enrolled.tls_chain.len(), limits.chain_certificates)
            }
            Self::Refused { .. } => Ok(()),
        }
    }
}

/// Prints nothing of the request, which holds a secret.
impl fmt::Debug for EnrolToServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Certificates as a list of byte strings.
mod certificates {
    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(super) fn encode<Ctx, W: Write>(
        chain: &[Vec<u8>],
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(chain.len() as u64)?;
        chain.iter().try_for_each(|certificate| e.bytes(certificate)?.ok())
    }

    pub(super) fn decode<Ctx>(d: &mut Decoder<'_>, _: &mut Ctx) -> Result<Vec<Vec<u8>>, decode::Error> {
        let count = d.array()?.ok_or_else(|| decode::Error::message("indefinite length"))?;
        (0..count).map(|_| Ok(d.bytes()?.to_vec())).collect()
    }
}
