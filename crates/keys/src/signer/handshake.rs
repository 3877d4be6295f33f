//! Handshake signatures of a device's TLS key for another process, which may ask for nothing else.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

use super::{Pair, SignError, Signer};
use crate::purpose::KeyPurpose;

/// What a client signs in TLS 1.3 before the hash of the handshake so far (RFC 8446, section 4.4.3).
const CLIENT_CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
/// The spaces before it.
const SPACES: usize = 64;
/// Bytes of the hash of the one suite of `modern`.
const HASH_BYTES: usize = 32;
/// The first byte of the handshake so far, which a client signs in TLS 1.2: a ClientHello (RFC 5246, section 7.4.8).
const CLIENT_HELLO: u8 = 1;

impl Signer {
    /// Signs what a TLS client signs: with P-256 the 64 bytes r and s, with RSA PKCS#1 v1.5 with SHA-256. In TLS 1.3 that has
    /// one shape, and nothing else is signed; in TLS 1.2 it is the handshake itself.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_handshake(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let is_handshake = match self.purpose() {
            KeyPurpose::DeviceTlsModern => is_certificate_verify(message),
            KeyPurpose::DeviceTlsClassic => message.first() == Some(&CLIENT_HELLO),
            other => return Err(SignError::WrongPurpose(other)),
        };
        if !is_handshake {
            return Err(SignError::NotAHandshake);
        }
        match self {
            Signer::Held(key) => key.sign(message),
            Signer::Software(key) => match &key.pair {
                Pair::Ecdsa(_) => {
                    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.pkcs8.expose());
                    let signed = pair.ok().and_then(|pair| pair.sign(&SystemRandom::new(), message).ok());
                    Ok(signed.ok_or(SignError::Failed)?.as_ref().to_vec())
                }
                _ => self.sign_certificate(message),
            },
        }
    }
}

fn is_certificate_verify(message: &[u8]) -> bool {
    let hash = message.strip_prefix(&[b' '; SPACES]).and_then(|rest| rest.strip_prefix(CLIENT_CONTEXT));
    hash.is_some_and(|hash| hash.len() == HASH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate_verify() -> Vec<u8> {
        [&[b' '; SPACES][..], CLIENT_CONTEXT, &[7; HASH_BYTES]].concat()
    }

    #[test]
    fn a_device_key_signs_handshakes_of_its_profile_and_nothing_else() {
        let modern = Signer::generate(KeyPurpose::DeviceTlsModern).unwrap();
        let message = certificate_verify();
        let signature = modern.sign_handshake(&message).unwrap();
        modern.public().verify(&message, &signature).unwrap();
        let server = [&[b' '; SPACES][..], b"TLS 1.3, server CertificateVerify\0", &[7; HASH_BYTES]].concat();
        let longer = [&message[..], &[0]].concat();
        for other in [&b""[..], b"x", &message[1..], &message[..message.len() - 1], &longer, &server] {
            assert_eq!(modern.sign_handshake(other), Err(SignError::NotAHandshake));
        }
        let classic = Signer::generate(KeyPurpose::DeviceTlsClassic).unwrap();
        let message = [CLIENT_HELLO, 0, 0, 4, 3, 3, 1, 1];
        classic.public().verify(&message, &classic.sign_handshake(&message).unwrap()).unwrap();
        assert_eq!(classic.sign_handshake(&certificate_verify()), Err(SignError::NotAHandshake));
    }

    #[test]
    fn keys_of_other_purposes_sign_no_handshake_for_others() {
        for purpose in [KeyPurpose::DeviceIdentity, KeyPurpose::DeviceKeyAgreement, KeyPurpose::GatewayTlsModern] {
            let key = Signer::generate(purpose).unwrap();
            assert_eq!(key.sign_handshake(&certificate_verify()), Err(SignError::WrongPurpose(purpose)));
        }
    }
}
