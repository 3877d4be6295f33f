//! Public keys: one encoding each, so that equal keys have equal hashes and no other bytes are a key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use keys::{
    cose::{self, CosePurpose},
    public::{DeviceId, KeyAlgorithm, PublicKey, PublicKeyError, SpkiHash},
    purpose::KeyPurpose,
    signer::Signer,
};

fn p256() -> Signer {
    Signer::generate(KeyPurpose::DeviceIdentity).unwrap()
}

#[test]
fn the_device_id_is_the_beginning_of_the_spki_hash() {
    let public = p256().public().clone();
    let hash = public.spki_hash();
    assert_eq!(hash.as_bytes(), &keys::hashes::sha256(public.spki_der()));
    assert_eq!(public.device_id().to_string(), hash.to_string()[..16]);
    assert_eq!(public.device_id(), DeviceId::from(hash));
}

#[test]
fn ids_are_lower_case_hex_of_their_length_and_nothing_else() {
    let id: DeviceId = "0123456789abcdef".parse().unwrap();
    assert_eq!(id.to_string(), "0123456789abcdef");
    for wrong in
        ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0x23456789abcdef", "0123456789abcdeg"]
    {
        assert!(wrong.parse::<DeviceId>().is_err(), "{wrong}");
    }
    let hash = SpkiHash([0xa5; 32]);
    assert_eq!(hash.to_string().parse::<SpkiHash>().unwrap(), hash);
    assert!("a5".repeat(31).parse::<SpkiHash>().is_err());
    assert!("a5".repeat(33).parse::<SpkiHash>().is_err());
}

#[test]
fn every_other_encoding_of_a_p256_key_is_refused() {
    let der = p256().public().spki_der().to_vec();
    assert_eq!(der.len(), 91);
    assert_eq!(PublicKey::from_spki_der(&der).unwrap().spki_der(), der);
    for length in 0..der.len() {
        assert_eq!(PublicKey::from_spki_der(&der[..length]).unwrap_err(), PublicKeyError::Form);
    }
    assert_eq!(PublicKey::from_spki_der(&[der.as_slice(), &[0]].concat()).unwrap_err(), PublicKeyError::Form);
    for at in 0..27 {
        let mut altered = der.clone();
        altered[at] ^= 1;
        assert_eq!(PublicKey::from_spki_der(&altered).unwrap_err(), PublicKeyError::Form, "byte {at}");
    }
    // The same point, compressed.
    let mut compressed = const_hex::decode("3039301306072a8648ce3d020106082a8648ce3d030107032200").unwrap();
    compressed.push(2 + (der[90] & 1));
    compressed.extend(&der[27..59]);
    assert_eq!(PublicKey::from_spki_der(&compressed).unwrap_err(), PublicKeyError::Form);
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let mut der = p256().public().spki_der().to_vec();
    der[90] ^= 1;
    assert_eq!(PublicKey::from_spki_der(&der).unwrap_err(), PublicKeyError::NotValid);
    der[27..].fill(0);
    assert_eq!(PublicKey::from_spki_der(&der).unwrap_err(), PublicKeyError::NotValid);
}

#[test]
fn an_rsa_key_is_a_tls_key_but_never_an_identity() {
    let rsa = Signer::generate(KeyPurpose::DeviceTlsClassic).unwrap();
    let der = rsa.public().spki_der();
    let any = PublicKey::from_any_spki_der(der).unwrap();
    assert_eq!(any.algorithm(), KeyAlgorithm::Rsa2048);
    assert_eq!(PublicKey::from_spki_der(der).unwrap_err(), PublicKeyError::WrongAlgorithm);
}

#[test]
fn rsa_keys_of_other_sizes_exponents_or_encodings_are_refused() {
    let der = Signer::generate(KeyPurpose::DeviceTlsClassic).unwrap().public().spki_der().to_vec();
    assert_eq!(der.len(), 294);
    for length in 0..der.len() {
        assert_eq!(PublicKey::from_any_spki_der(&der[..length]).unwrap_err(), PublicKeyError::Form);
    }
    let mut exponent_3 = der.clone();
    exponent_3[289..].copy_from_slice(&[2, 3, 0, 0, 3]);
    assert_eq!(PublicKey::from_any_spki_der(&exponent_3).unwrap_err(), PublicKeyError::Form);
    let mut short_modulus = der.clone();
    short_modulus[33] &= 0x7f;
    assert_eq!(PublicKey::from_any_spki_der(&short_modulus).unwrap_err(), PublicKeyError::Form);
    let larger = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072).unwrap();
    let larger = rcgen::PublicKeyData::subject_public_key_info(&larger);
    assert_eq!(PublicKey::from_any_spki_der(&larger).unwrap_err(), PublicKeyError::Form);
}

#[test]
fn signatures_are_64_bytes_over_exactly_the_message_by_exactly_the_key() {
    let key = p256();
    let message = cose::to_be_signed(CosePurpose::SelfTest, b"message");
    let signature = key.sign(&message).unwrap();
    let verify = |message: &[u8], signature: &[u8]| key.public().verify(message, signature);
    assert!(verify(&message, &signature).is_ok());
    assert!(verify(b"another", &signature).is_err());
    assert!(verify(&message, &signature[..63]).is_err());
    assert!(verify(&message, &[&signature[..], &[0]].concat()).is_err());
    assert!(verify(&message, &[0; 64]).is_err());
    assert!(verify(&message, &[0xff; 64]).is_err());
    assert!(p256().public().verify(&message, &signature).is_err());
}
