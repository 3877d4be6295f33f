//! COSE_Sign1 (RFC 9052), where the purpose of a signature is part of what is signed.

use coset::{
    CborSerializable, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, ProtectedHeader, SignatureContext,
    TaggedCborSerializable, iana::Algorithm, sig_structure_data,
};

use crate::{limits::LIMITS, public::PublicKey};

/// What a COSE signature is for. It is the external_aad, so a signature for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CosePurpose {
    /// The answer to a session's challenge.
    Challenge,
    /// A request to be enrolled.
    Enrolment,
    /// A request for a new TLS certificate.
    Renewal,
    /// A device or server that tests its own keys.
    SelfTest,
}

impl CosePurpose {
    /// Every purpose.
    pub const ALL: [CosePurpose; 4] =
        [CosePurpose::Challenge, CosePurpose::Enrolment, CosePurpose::Renewal, CosePurpose::SelfTest];

    /// The external_aad (RFC 9052 section 4.3).
    pub fn external_aad(self) -> &'static [u8] {
        match self {
            CosePurpose::Challenge => b"vouch/challenge/1",
            CosePurpose::Enrolment => b"vouch/enrolment/1",
            CosePurpose::Renewal => b"vouch/renewal/1",
            CosePurpose::SelfTest => b"vouch/self-test/1",
        }
    }
}

/// Why a COSE_Sign1 is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// More than [`LIMITS`]`.cose` bytes.
    #[error("the COSE message is too long")]
    TooLong,
    /// Not exactly the one encoding this crate makes: tagged, the one algorithm alone in the headers, nothing after it.
    #[error("the COSE message has not the one permitted form (tag 18, the algorithm alone in the protected headers)")]
    Form,
    /// Signed by another key, for another purpose, or altered.
    #[error("the COSE signature does not verify for this key and purpose")]
    BadSignature,
}

/// The bytes to sign: the Sig_structure of RFC 9052 section 4.4.
pub fn to_be_signed(purpose: CosePurpose, payload: &[u8]) -> Vec<u8> {
    sig_structure(Algorithm::ES256, purpose.external_aad(), payload)
}

/// The COSE_Sign1, tagged (18), with the payload inside.
pub fn assemble(payload: &[u8], signature: [u8; 64]) -> Vec<u8> {
    sign1(Algorithm::ES256, payload, &signature)
}

/// Checks a COSE_Sign1 and gives its payload.
///
/// # Errors
/// [`CoseError`].
pub fn verify(purpose: CosePurpose, key: &PublicKey, cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    let (payload, signature) = parts::<64>(Algorithm::ES256, cose)?;
    key.verify(&to_be_signed(purpose, &payload), &signature).map_err(|_| CoseError::BadSignature)?;
    Ok(payload)
}

/// The Sig_structure of a message that names its algorithm in the protected header, and nothing else.
pub(crate) fn sig_structure(algorithm: Algorithm, external_aad: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = header(algorithm);
    let protected = ProtectedHeader { original_data: header.clone().to_vec().ok(), header };
    sig_structure_data(SignatureContext::CoseSign1, protected, None, external_aad, payload)
}

/// The tagged message of these parts.
pub(crate) fn sign1(algorithm: Algorithm, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let sign1 = CoseSign1Builder::new()
        .protected(header(algorithm))
        .payload(payload.to_vec())
        .signature(signature.to_vec())
        .build();
    // Encoding into memory has no way to fail; an empty message would be refused by every reader.
    sign1.to_tagged_vec().unwrap_or_default()
}

/// The payload and the signature, not yet to be believed.
///
/// The form is checked by making the message again from its payload and signature: whatever differs in a
/// single byte (other headers, longer encodings, trailing bytes) is refused before any signature is looked at.
pub(crate) fn parts<const SIGNATURE: usize>(
    algorithm: Algorithm,
    cose: &[u8],
) -> Result<(Vec<u8>, [u8; SIGNATURE]), CoseError> {
    if cose.len() > LIMITS.cose {
        return Err(CoseError::TooLong);
    }
    let message = CoseSign1::from_tagged_slice(cose).map_err(|_| CoseError::Form)?;
    let payload = message.payload.ok_or(CoseError::Form)?;
    let signature: [u8; SIGNATURE] = message.signature.try_into().map_err(|_| CoseError::Form)?;
    if sign1(algorithm, &payload, &signature) != cose {
        return Err(CoseError::Form);
    }
    Ok((payload, signature))
}

/// Whether the bytes begin as [`to_be_signed`] makes them, for some purpose, and hold one payload and no more.
pub(crate) fn is_to_be_signed(bytes: &[u8]) -> bool {
    CosePurpose::ALL.into_iter().any(|purpose| {
        let empty = to_be_signed(purpose, &[]);
        // The empty payload is one byte, the last; the payload of `bytes` begins in its place.
        empty
            .split_last()
            .and_then(|(_, head)| bytes.strip_prefix(head))
            .and_then(|tail| minicbor::Decoder::new(tail).bytes().ok())
            .is_some_and(|payload| to_be_signed(purpose, payload) == bytes)
    })
}

fn header(algorithm: Algorithm) -> Header {
    HeaderBuilder::new().algorithm(algorithm).build()
}
