//! The release key's signature, and what else a manifest needs to be taken.

use keys::cose::CoseError;
use keys::release_key::{self, DangerSoftwareReleaseKey};
use release::anchors::{Anchors, Layers};
use release::floors::{BelowFloor, Floors};
use release::l1::{L1Error, verify_l1};
use release::manifest::{Description, ManifestError};
use release::version::OsVersion;

use crate::fixture::{danger_anchors, description, program, release_keys, signed, slot};

fn manifest(change: impl FnOnce(&mut Description)) -> Vec<u8> {
    let mut description = description();
    change(&mut description);
    signed(program(10), description).cose
}

fn refusal(cose: &[u8], floors: &Floors) -> L1Error {
    verify_l1(&danger_anchors(), floors, cose).unwrap_err()
}

#[test]
fn a_manifest_of_the_maker_is_taken_and_says_what_was_signed() {
    let image = signed(program(10), description());
    let verified = verify_l1(&danger_anchors(), &Floors::NONE, &image.cose).unwrap();
    assert_eq!(*verified, image.manifest);
    assert_eq!(verified.description().models, ["hall-1", "hall-2"]);
}

#[test]
fn a_foreign_key_and_a_revoked_one_sign_nothing() {
    let payload = signed(program(10), description()).manifest.to_cbor();
    let [maker, foreign] = release_keys();
    let by_foreign = foreign.sign_manifest(&payload).unwrap();
    let signature = L1Error::Signature(CoseError::BadSignature);
    assert_eq!(refusal(&by_foreign, &Floors::NONE), signature);

    let both = |revoke: usize| {
        let mut slots = vec![slot(maker), slot(foreign)];
        slots[revoke].revoked = true;
        Anchors::new("Thermostat".into(), "hall-1".into(), slots, Layers::DangerL1Only).unwrap()
    };
    assert!(verify_l1(&both(0), &Floors::NONE, &by_foreign).is_ok(), "one of two keys, in force");
    assert_eq!(verify_l1(&both(1), &Floors::NONE, &by_foreign), Err(signature));
}

#[test]
fn an_altered_or_longer_message_is_refused() {
    let cose = manifest(|_| {});
    for byte in 0..cose.len() {
        let mut flipped = cose.clone();
        flipped[byte] ^= 1;
        let error = refusal(&flipped, &Floors::NONE);
        assert!(matches!(error, L1Error::Signature(_)), "byte {byte}: {error}");
    }
    for length in 0..cose.len() {
        assert!(matches!(refusal(&cose[..length], &Floors::NONE), L1Error::Signature(CoseError::Form)), "{length}");
    }
    assert_eq!(refusal(&[&cose[..], &[0]].concat(), &Floors::NONE), L1Error::Signature(CoseError::Form));
}

#[test]
fn a_signed_payload_that_is_no_manifest_is_refused() {
    let payload = signed(program(10), description()).manifest.to_cbor();
    let refused = |payload: &[u8]| match refusal(&release_keys()[0].sign_manifest(payload).unwrap(), &Floors::NONE) {
        L1Error::Manifest(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(refused(&[&payload[..], &[0]].concat()), ManifestError::Form(_)));
    assert!(matches!(refused(b""), ManifestError::Form(_)));
}

#[test]
fn an_image_for_another_product_or_model_is_refused() {
    let error = refusal(&manifest(|of| of.product = "Kettle".into()), &Floors::NONE);
    assert!(matches!(error, L1Error::Product { ref image, .. } if image == "Kettle"), "{error}");
    let error = refusal(&manifest(|of| of.models = vec!["hall-2".into(), "hall-10".into()]), &Floors::NONE);
    assert!(matches!(error, L1Error::Model { ref device, .. } if device == "hall-1"), "{error}");
}

#[test]
fn an_older_version_or_a_lower_epoch_is_refused_whoever_signed_it() {
    let confirmed = signed(program(10), description()).manifest;
    let floors = Floors::NONE.raise(&confirmed);
    assert_eq!(Floors::from_cbor(&floors.to_cbor()), Ok(floors));
    let taken = |cose: &[u8]| verify_l1(&danger_anchors(), &floors, cose).map(|_| ());
    assert_eq!(taken(&manifest(|_| {})), Ok(()), "the confirmed image itself starts again");
    assert_eq!(taken(&manifest(|of| of.version = OsVersion::new(1, 4, 1))), Ok(()));
    let (offered, floor) = (OsVersion::new(1, 3, 9), OsVersion::new(1, 4, 0));
    let error = L1Error::BelowFloor(BelowFloor::Version { offered, floor });
    assert_eq!(taken(&manifest(|of| of.version = offered)), Err(error));
    let error = L1Error::BelowFloor(BelowFloor::SecurityEpoch { offered: 2, floor: 3 });
    let newer_with_a_lower_epoch = manifest(|of| (of.version, of.security_epoch) = (OsVersion::new(2, 0, 0), 2));
    assert_eq!(taken(&newer_with_a_lower_epoch), Err(error));
    // Floors never fall.
    let mut older = confirmed.clone();
    (older.version, older.security_epoch) = (OsVersion::new(1, 0, 0), 0);
    assert_eq!(floors.raise(&older), floors);
}

#[test]
fn a_signature_that_an_hsm_made_is_checked_before_a_message_exists() {
    let payload = signed(program(10), description()).manifest.to_cbor();
    let [maker, foreign] = release_keys();
    let to_be_signed = release_key::to_be_signed(&payload);
    let by = |key: &DangerSoftwareReleaseKey, message: &[u8]| key.sign(message).unwrap();
    assert!(release_key::assemble(maker.public(), &payload, &by(maker, &to_be_signed)).is_ok());
    for bad in [by(foreign, &to_be_signed), by(maker, &payload), vec![0; 512], vec![]] {
        assert_eq!(release_key::assemble(maker.public(), &payload, &bad), Err(CoseError::BadSignature));
    }
}
