//! COSE_Sign1: one permitted form, one algorithm, and a purpose that cannot be exchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use keys::{
    cose::{CoseError, CosePurpose, assemble, to_be_signed, verify},
    limits::LIMITS,
    public::PublicKey,
    purpose::KeyPurpose,
    signer::Signer,
};
use proptest::prelude::*;

static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::generate(KeyPurpose::DeviceIdentity).unwrap());

fn signed(purpose: CosePurpose, payload: &[u8]) -> Vec<u8> {
    assemble(payload, KEY.sign(&to_be_signed(purpose, payload)).unwrap())
}

/// A COSE_Sign1 from parts, in whatever form an attacker likes; the signature covers the protected bytes given.
fn forged(head: &[u8], protected: &[u8], unprotected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.extend(string(protected));
    bytes.extend(unprotected);
    bytes.extend(payload);
    bytes.extend(string(signature));
    bytes
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut cbor = minicbor::Encoder::new(Vec::new());
    cbor.bytes(bytes).unwrap();
    cbor.into_writer()
}

const TAGGED: &[u8] = &[0xd2, 0x84];
const ES256: &[u8] = &[0xa1, 0x01, 0x26];
const NO_HEADERS: &[u8] = &[0xa0];

#[test]
fn the_bytes_to_sign_are_the_sig_structure_of_rfc_9052() {
    let expected =
        [&[0x84, 0x6a][..], b"Signature1", &[0x43], ES256, &[0x51], b"vouch/challenge/1", &[0x42], b"hi"].concat();
    assert_eq!(to_be_signed(CosePurpose::Challenge, b"hi"), expected);
    assert_eq!(assemble(b"hi", [9; 64]), forged(TAGGED, ES256, NO_HEADERS, &string(b"hi"), &[9; 64]));
}

#[test]
fn a_message_made_once_verifies_for_ever() {
    // A change of format cannot pass unnoticed: messages of devices in the field look like this one.
    let spki = const_hex::decode(VECTOR_SPKI).unwrap();
    let key = PublicKey::from_spki_der(&spki).unwrap();
    let cose = const_hex::decode(VECTOR_COSE).unwrap();
    assert_eq!(verify(CosePurpose::Challenge, &key, &cose).unwrap(), b"vector");
    assert_eq!(verify(CosePurpose::Enrolment, &key, &cose), Err(CoseError::BadSignature));
}

#[test]
fn the_payload_comes_back_and_the_purposes_differ() {
    for made in CosePurpose::ALL {
        let cose = signed(made, b"payload");
        for asked in CosePurpose::ALL {
            let result = verify(asked, KEY.public(), &cose);
            if asked == made {
                assert_eq!(result.unwrap(), b"payload");
            } else {
                assert_eq!(result, Err(CoseError::BadSignature), "{made:?} taken as {asked:?}");
            }
        }
    }
}

#[test]
fn another_key_and_an_altered_payload_or_signature_are_refused() {
    let cose = signed(CosePurpose::Challenge, b"payload");
    let other = Signer::generate(KeyPurpose::DeviceIdentity).unwrap();
    assert_eq!(verify(CosePurpose::Challenge, other.public(), &cose), Err(CoseError::BadSignature));
    for at in 0..cose.len() {
        let mut altered = cose.clone();
        altered[at] ^= 1;
        assert!(verify(CosePurpose::Challenge, KEY.public(), &altered).is_err(), "byte {at}");
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    let cose = signed(CosePurpose::Challenge, b"payload");
    for length in 0..cose.len() {
        assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &cose[..length]), Err(CoseError::Form), "{length}");
    }
    let trailing = [cose.as_slice(), &[0]].concat();
    assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &trailing), Err(CoseError::Form));
}

#[test]
fn every_other_form_of_the_same_message_is_refused() {
    let signature = KEY.sign(&to_be_signed(CosePurpose::Challenge, b"hi")).unwrap();
    let good = forged(TAGGED, ES256, NO_HEADERS, &string(b"hi"), &signature);
    assert!(verify(CosePurpose::Challenge, KEY.public(), &good).is_ok());
    let kid = [0xa1, 0x04, 0x41, b'k'];
    let cases = [
        ("no tag", forged(&[0x84], ES256, NO_HEADERS, &string(b"hi"), &signature)),
        ("tag of COSE_Mac0", forged(&[0xd1, 0x84], ES256, NO_HEADERS, &string(b"hi"), &signature)),
        ("tag twice", forged(&[0xd2, 0xd2, 0x84], ES256, NO_HEADERS, &string(b"hi"), &signature)),
        ("unprotected key id", forged(TAGGED, ES256, &kid, &string(b"hi"), &signature)),
        ("algorithm unprotected", forged(TAGGED, &[], ES256, &string(b"hi"), &signature)),
        ("algorithm in both", forged(TAGGED, ES256, ES256, &string(b"hi"), &signature)),
        ("no algorithm", forged(TAGGED, &[], NO_HEADERS, &string(b"hi"), &signature)),
        ("ES384", forged(TAGGED, &[0xa1, 0x01, 0x38, 0x22], NO_HEADERS, &string(b"hi"), &signature)),
        ("a long algorithm", forged(TAGGED, &[0xa1, 0x01, 0x38, 0x06], NO_HEADERS, &string(b"hi"), &signature)),
        (
            "protected key id",
            forged(TAGGED, &[0xa2, 0x01, 0x26, 0x04, 0x41, b'k'], NO_HEADERS, &string(b"hi"), &signature),
        ),
        ("detached payload", forged(TAGGED, ES256, NO_HEADERS, &[0xf6], &signature)),
        ("a long payload length", forged(TAGGED, ES256, NO_HEADERS, &[0x58, 2, b'h', b'i'], &signature)),
        ("payload in pieces", forged(TAGGED, ES256, NO_HEADERS, &[0x5f, 0x42, b'h', b'i', 0xff], &signature)),
        ("text payload", forged(TAGGED, ES256, NO_HEADERS, &[0x62, b'h', b'i'], &signature)),
        (
            "array without end",
            [forged(&[0xd2, 0x9f], ES256, NO_HEADERS, &string(b"hi"), &signature), vec![0xff]].concat(),
        ),
        ("short signature", forged(TAGGED, ES256, NO_HEADERS, &string(b"hi"), &signature[..63])),
        ("long signature", forged(TAGGED, ES256, NO_HEADERS, &string(b"hi"), &[&signature[..], &[0]].concat())),
    ];
    for (what, cose) in cases {
        assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &cose), Err(CoseError::Form), "{what}");
    }
}

#[test]
fn the_length_bound_holds_on_both_sides() {
    let overhead = signed(CosePurpose::Challenge, &[7; 1000]).len() - 1000;
    let longest = vec![7; LIMITS.cose - overhead];
    let cose = signed(CosePurpose::Challenge, &longest);
    assert_eq!(cose.len(), LIMITS.cose);
    assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &cose).unwrap(), longest);
    let cose = signed(CosePurpose::Challenge, &vec![7; LIMITS.cose - overhead + 1]);
    assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &cose), Err(CoseError::TooLong));
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    for opening in [0x81, 0x9f, 0xa1, 0xd2] {
        let deep = vec![opening; LIMITS.cose];
        assert_eq!(verify(CosePurpose::Challenge, KEY.public(), &deep), Err(CoseError::Form));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_verify_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(verify(CosePurpose::Challenge, KEY.public(), &bytes).is_err());
    }

    #[test]
    fn every_payload_round_trips(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
        let cose = signed(CosePurpose::Renewal, &payload);
        prop_assert_eq!(verify(CosePurpose::Renewal, KEY.public(), &cose).unwrap(), payload);
    }
}

/// Made once with [`signed`] and a key that was thrown away.
const VECTOR_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004d6c2ec5b88eca9d0c1d66990a47ed499dec614a8\
    ceba207f28ce2a07b975131ded3d8d9ac3b4097cc14b3533bfe90cb569935ae64e258b0cd7bc21293c0845fe";
const VECTOR_COSE: &str = "d28443a10126a046766563746f7258407308bdae2445b4e43e3a03fb3f244e1ba4c90dc96d869f6db5b482f2eb692682\
    ffe4276905d7a1a0733eaaba68608257d2da69f196c2b79bfa828aab17a18423";
