//! What a device believes from the factory on.

use keys::cbor::CborError;
use keys::release_key::ReleaseKey;
use release::anchors::{Anchors, AnchorsError, Layers, ReleaseKeySlot};

use crate::fixture::danger_anchors;

/// Well-formed keys; nobody has their private halves.
fn slots(count: usize) -> Vec<ReleaseKeySlot> {
    let key = |at: usize| ReleaseKey::from_modulus(&[vec![0xc1; 510], vec![at as u8, 1]].concat()).unwrap();
    (0..count).map(|at| ReleaseKeySlot { key: key(at), revoked: at > 0 }).collect()
}

fn anchors(product: &str, model: &str, slots: Vec<ReleaseKeySlot>) -> Result<Anchors, AnchorsError> {
    Anchors::new(product.into(), model.into(), slots, Layers::DangerL1Only)
}

#[test]
fn they_come_back_from_their_one_encoding() {
    for count in 1..=3 {
        let anchors = anchors("Thermostat", "hall-1", slots(count)).unwrap();
        assert_eq!(Anchors::from_cbor(&anchors.to_cbor()), Ok(anchors));
    }
    let bytes = danger_anchors().to_cbor();
    for length in 0..bytes.len() {
        assert!(Anchors::from_cbor(&bytes[..length]).is_err(), "{length}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Anchors::from_cbor(&trailing), Err(AnchorsError::Form(CborError::Trailing(1))));
    assert_eq!(Anchors::from_cbor(&vec![0; release::limits::LIMITS.anchors + 1]), Err(AnchorsError::TooLong));
    let mut format = bytes.clone();
    format[1] = 2;
    assert_eq!(Anchors::from_cbor(&format), Err(AnchorsError::Format(2)));
}

#[test]
fn they_hold_one_to_three_different_keys_of_which_one_is_in_force() {
    assert_eq!(anchors("p", "m", slots(0)), Err(AnchorsError::ReleaseKeys));
    assert_eq!(anchors("p", "m", slots(4)), Err(AnchorsError::ReleaseKeys));
    let twice = [slots(1), slots(1)].concat();
    assert_eq!(anchors("p", "m", twice), Err(AnchorsError::ReleaseKeys));
    let mut revoked = slots(2);
    revoked[0].revoked = true;
    assert_eq!(anchors("p", "m", revoked), Err(AnchorsError::ReleaseKeys));
    assert_eq!(anchors("", "m", slots(1)), Err(AnchorsError::Name));
    assert_eq!(anchors("p", &"m".repeat(65), slots(1)), Err(AnchorsError::Name));
}
