//! A release is in the log, or the device that demands it does not take it.

use keys::cbor;
use keys::note::NoteSigner;
use release::anchors::AdmissionError;
use release::author::Log;
use release::floors::{Floors, MetadataFloors};
use release::l1::verify_l1;
use release::log::{LogError, verify_logged};
use release::manifest::Manifest;
use release::tuf::{TufError, verify};

use crate::fixture::{description, program, signed};
use crate::repository::{NOW, Site};

fn manifests(count: usize) -> Vec<Manifest> {
    (0..count).map(|_| signed(program(10), description()).manifest).collect()
}

#[test]
fn each_release_of_a_log_is_proved_and_no_other() {
    let (signer, _) = NoteSigner::generate("log.example").unwrap();
    let key = signer.key().to_string();
    let releases = manifests(7);
    let mut log = Log::default();
    for (at, release) in releases.iter().enumerate() {
        assert_eq!(log.append(release).unwrap(), at as u64);
    }
    for (at, release) in releases.iter().enumerate() {
        let proof = cbor::encode(&log.prove(at as u64, 7, &signer).unwrap());
        assert!(verify_logged(&key, release, &proof).is_ok(), "{at}");
        let other = &releases[(at + 1) % 7];
        assert_eq!(verify_logged(&key, other, &proof), Err(LogError::NotIncluded), "{at}");
    }
    assert!(log.prove(7, 7, &signer).is_err());

    let proof = log.prove(3, 7, &signer).unwrap();
    let check = |proof: &release::log::LogProof| verify_logged(&key, &releases[3], &cbor::encode(proof)).map(|_| ());
    let mut moved = proof.clone();
    moved.index = 4;
    assert_eq!(check(&moved), Err(LogError::NotIncluded));
    let mut longer = proof.clone();
    longer.hashes.push([0; 32].into());
    assert_eq!(check(&longer), Err(LogError::NotIncluded));
    longer.hashes = vec![[0; 32].into(); 41];
    assert_eq!(check(&longer), Err(LogError::TooLong));
    let mut changed = proof.clone();
    changed.note = changed.note.replace("\n7\n", "\n8\n");
    assert!(matches!(check(&changed), Err(LogError::Checkpoint(_))));
    let trailing = [&cbor::encode(&proof)[..], &[0]].concat();
    assert!(matches!(verify_logged(&key, &releases[3], &trailing), Err(LogError::Form(_))));
    assert_eq!(verify_logged(&key, &releases[3], &vec![0; 16 * 1024 + 1]), Err(LogError::TooLong));
    let (stranger, _) = NoteSigner::generate("log.example").unwrap();
    let forged = cbor::encode(&log.prove(3, 7, &stranger).unwrap());
    assert!(matches!(verify_logged(&key, &releases[3], &forged), Err(LogError::Checkpoint(_))));
}

#[test]
fn a_root_that_names_a_log_demands_the_proof() {
    let (signer, _) = NoteSigner::generate("log.example").unwrap();
    let mut site = Site::new();
    site.root.log = Some(signer.key().to_string());
    site.roots.clear();
    site.publish_root(&[0, 1]);
    let image = signed(program(10), description());
    site.approve(&[&image.manifest]);
    let trusted = verify(&site.roots[0], site.files(), (), &MetadataFloors::NONE, NOW).unwrap();
    let approval = trusted.approve(&image.manifest).unwrap();
    let anchors = site.anchors();
    let manifest = || verify_l1(&anchors, &Floors::NONE, &image.cose).unwrap();
    assert_eq!(anchors.admit(manifest(), Some(approval)), Err(AdmissionError::NotLogged));

    let mut log = Log::default();
    let secret = manifests(1).remove(0);
    log.append(&secret).unwrap();
    let of_another = cbor::encode(&log.prove(0, 1, &signer).unwrap());
    assert!(matches!(trusted.prove_logged(approval, &image.manifest, &of_another), Err(TufError::Log(_))));
    log.append(&image.manifest).unwrap();
    let proof = cbor::encode(&log.prove(1, 2, &signer).unwrap());
    let approval = trusted.prove_logged(approval, &image.manifest, &proof).unwrap();
    assert!(anchors.admit(manifest(), Some(approval)).is_ok());
}
