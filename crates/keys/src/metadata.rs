//! Signatures over release metadata (TUF), over what the director assigns, and over how a custodian approved: ECDSA P-256 with SHA-256.
//!
//! Metadata has them in DER, COSE and PKCS#11 as r and s side by side; both forms are made from each other here.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use coset::iana::Algorithm;
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use crate::{
    cose::{self, CoseError},
    public::{BadSignature, KeyAlgorithm, PublicKey},
    purpose::KeyPurpose,
    signer::{SignError, Signer},
};

/// Says what the director signs (RFC 9052, section 4.3).
const ASSIGNMENT_AAD: &[u8] = b"vouch/assignment/1";
/// Says what a custodian signs of how they approved.
const APPROVAL_AAD: &[u8] = b"vouch/approval/1";

/// Signs metadata with a key that is online on the server: the signature in DER.
///
/// # Errors
/// [`SignError::WrongPurpose`] for a key that is for something else.
pub fn sign(key: &Signer, to_be_signed: &[u8]) -> Result<Vec<u8>, SignError> {
    match key.purpose() {
        KeyPurpose::ReleaseSnapshot | KeyPurpose::ReleaseTimestamp | KeyPurpose::AppApproval => {
            key.sign_certificate(to_be_signed)
        }
        other => Err(SignError::WrongPurpose(other)),
    }
}

/// Checks a signature in DER.
///
/// # Errors
/// [`BadSignature`], for a key that is not P-256 as well.
pub fn verify(key: &PublicKey, message: &[u8], der: &[u8]) -> Result<(), BadSignature> {
    if key.algorithm() != KeyAlgorithm::P256 {
        return Err(BadSignature);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.key_bytes()).verify(message, der).map_err(|_| BadSignature)
}

/// Signs an assignment with the director's key: a COSE_Sign1 with ES256.
///
/// # Errors
/// [`SignError::WrongPurpose`] for a key that is not the director's.
pub fn sign_assignment(key: &Signer, payload: &[u8]) -> Result<Vec<u8>, SignError> {
    if key.purpose() != KeyPurpose::ReleaseDirector {
        return Err(SignError::WrongPurpose(key.purpose()));
    }
    let der = key.sign_certificate(&cose::sig_structure(Algorithm::ES256, ASSIGNMENT_AAD, payload))?;
    Ok(cose::sign1(Algorithm::ES256, payload, &side_by_side(&der).ok_or(SignError::Failed)?))
}

/// Checks an assignment and gives its payload.
///
/// # Errors
/// [`CoseError`].
pub fn verify_assignment(key: &PublicKey, cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    verify_for(ASSIGNMENT_AAD, key, cose)
}

/// The bytes that a custodian's card signs of how they approved: the Sig_structure of a COSE_Sign1 with ES256, which `cose::assemble` makes.
pub fn approval_to_be_signed(payload: &[u8]) -> Vec<u8> {
    cose::sig_structure(Algorithm::ES256, APPROVAL_AAD, payload)
}

/// Checks what a custodian said of how they approved, and gives its payload.
///
/// # Errors
/// [`CoseError`].
pub fn verify_approval(key: &PublicKey, cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    verify_for(APPROVAL_AAD, key, cose)
}

fn verify_for(external_aad: &[u8], key: &PublicKey, cose: &[u8]) -> Result<Vec<u8>, CoseError> {
    let (payload, signature) = cose::parts::<64>(Algorithm::ES256, cose)?;
    let message = cose::sig_structure(Algorithm::ES256, external_aad, &payload);
    key.verify(&message, &signature).map_err(|_| CoseError::BadSignature)?;
    Ok(payload)
}

/// The DER of a signature (RFC 3279, Ecdsa-Sig-Value) from r and s side by side, as a card gives them.
pub fn der(side_by_side: &[u8; 64]) -> Vec<u8> {
    let (r, s) = side_by_side.split_at(32);
    let integers = [integer(r), integer(s)].concat();
    // Two integers of at most 35 bytes: each length fits into one byte.
    [&[0x30, integers.len() as u8], &integers[..]].concat()
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let digits = bytes.get(start..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [&[0x02, (sign.len() + digits.len()) as u8], sign, digits].concat()
}

/// r and s side by side from DER, if it is the DER of a P-256 signature.
fn side_by_side(bytes: &[u8]) -> Option<[u8; 64]> {
    let mut both = [0; 64];
    let mut rest = bytes.get(2..)?;
    for half in both.chunks_mut(32) {
        let ([0x02, length], after) = rest.split_first_chunk()? else { return None };
        let (digits, after) = after.split_at_checked(usize::from(*length))?;
        let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
        half.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
        rest = after;
    }
    // Whatever differs in a byte from the one encoding is refused.
    (der(&both) == bytes).then_some(both)
}

/// The SubjectPublicKeyInfo in a PEM, so that two spellings of one key can be told to be one.
pub fn spki_of_pem(pem: &str) -> Option<Vec<u8>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok().map(|spki| spki.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_signature_are_made_from_each_other() {
        for (r, s) in [([0x80; 32], [0x7f; 32]), ([0; 32], [0xff; 32]), ([1; 32], [0; 32])] {
            let both: [u8; 64] = [r, s].concat().try_into().unwrap();
            assert_eq!(side_by_side(&der(&both)), Some(both));
        }
        let mut short = [0; 64];
        short[31] = 5;
        short[63] = 0x80;
        assert_eq!(der(&short), [0x30, 7, 2, 1, 5, 2, 2, 0, 0x80]);
        for bad in [&[0x30, 7, 2, 1, 5, 2, 2, 0, 0x80, 0][..], &[0x30, 6, 2, 1, 5, 2, 1, 0x80], &[0x30], &[]] {
            assert_eq!(side_by_side(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_keys_of_these_purposes_sign_and_each_its_own() {
        let timestamp = Signer::generate(KeyPurpose::ReleaseTimestamp).unwrap();
        let signature = sign(&timestamp, b"metadata").unwrap();
        assert_eq!(verify(timestamp.public(), b"metadata", &signature), Ok(()));
        assert_eq!(verify(timestamp.public(), b"other", &signature), Err(BadSignature));
        assert!(sign_assignment(&timestamp, b"assignment").is_err());
        let director = Signer::generate(KeyPurpose::ReleaseDirector).unwrap();
        let cose = sign_assignment(&director, b"assignment").unwrap();
        assert_eq!(verify_assignment(director.public(), &cose).unwrap(), b"assignment");
        assert_eq!(verify_assignment(timestamp.public(), &cose), Err(CoseError::BadSignature));
        for purpose in [KeyPurpose::ReleaseDirector, KeyPurpose::DeviceIdentity, KeyPurpose::GatewayTlsModern] {
            assert!(sign(&Signer::generate(purpose).unwrap(), b"metadata").is_err(), "{purpose}");
        }
    }
}
