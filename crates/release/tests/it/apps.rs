//! Who approves apps: the owner's quorum, else the server; and never an OS image.

use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::apps::{AppError, OwnerQuorum, app_target, owner_in, verify_app};
use release::author::{Delegation, Draft, DraftError, Quorum};
use release::floors::MetadataFloors;
use release::tuf::{Trusted, TufError, os_target, verify};
use serde_json::{Value, json};

use crate::fixture::{description, program, signed};
use crate::repository::{DAY, NOW, Site, card, publics, signed_by};

const APP: &[u8] = b"an app";

/// The metadata of a delegated role with these targets.
fn role(version: u64, targets: &[(String, &[u8])], signers: &[&Signer]) -> Vec<u8> {
    let entry = |(path, bytes): &(String, &[u8])| {
        let hash = const_hex::encode(keys::hashes::sha256(bytes));
        (path.clone(), json!({ "length": bytes.len(), "hashes": { "sha256": hash } }))
    };
    let signed = json!({
        "_type": "targets",
        "expires": "2030-01-01T00:00:00Z",
        "spec_version": "1.0.31",
        "targets": targets.iter().map(entry).collect::<serde_json::Map<String, Value>>(),
        "version": version,
    });
    let file = json!({ "signed": signed, "signatures": [] }).to_string();
    signed_by(Draft::from_json(file.as_bytes()).unwrap(), signers).to_json()
}

struct Owners {
    site: Site,
    server: Signer,
    owner: Vec<Signer>,
}

/// `careful` has a quorum of two, all others trust the server.
fn owners() -> Owners {
    let mut site = Site::new();
    let server = Signer::generate(KeyPurpose::AppApproval).unwrap();
    let owner: Vec<Signer> = (0..3).map(|_| card()).collect();
    let quorum = Quorum { keys: publics(&owner), threshold: 2 };
    site.targets.apps = vec![
        Delegation::Owner { owner: "careful".into(), quorum },
        Delegation::Server { key: server.public().clone() },
    ];
    Owners { site, server, owner }
}

fn trusted(site: &Site) -> Trusted {
    verify(&site.roots[0], site.files(), (), &MetadataFloors::NONE, NOW + DAY / 2).unwrap()
}

#[test]
fn an_owner_without_a_quorum_has_their_apps_approved_by_the_server() {
    let Owners { mut site, server, .. } = owners();
    let targets = [(app_target("easy", APP), APP)];
    site.delegated.insert("apps".into(), (1, role(1, &targets, &[&server])));
    let verified = verify_app(&mut trusted(&site), "easy", APP, OwnerQuorum::None);
    assert_eq!(verified.unwrap(), OwnerQuorum::None);
    let other = verify_app(&mut trusted(&site), "easy", b"another app", OwnerQuorum::None);
    assert!(matches!(other, Err(AppError::NotApproved)));
    let for_another_owner = verify_app(&mut trusted(&site), "lazy", APP, OwnerQuorum::None);
    assert!(matches!(for_another_owner, Err(AppError::NotApproved)));
}

#[test]
fn the_server_approves_nothing_for_an_owner_with_a_quorum() {
    let Owners { mut site, server, owner } = owners();
    let targets = [(app_target("careful", APP), APP)];
    site.delegated.insert("apps".into(), (1, role(1, &targets, &[&server])));
    // The owner has approved nothing: their role, which ends the search, is there and empty.
    site.delegated.insert("apps-careful".into(), (1, role(1, &[], &[&owner[0], &owner[1]])));
    let verified = verify_app(&mut trusted(&site), "careful", APP, OwnerQuorum::None);
    assert!(matches!(verified, Err(AppError::NotApproved)));
    // Nor does it when the owner's role is left out.
    site.delegated.remove("apps-careful");
    assert!(verify_app(&mut trusted(&site), "careful", APP, OwnerQuorum::None).is_err());

    site.delegated.insert("apps-careful".into(), (2, role(2, &targets, &[&owner[0]])));
    let one_of_two = verify_app(&mut trusted(&site), "careful", APP, OwnerQuorum::None);
    assert!(matches!(one_of_two, Err(AppError::Metadata(TufError::Refused(_)))));
    site.delegated.insert("apps-careful".into(), (2, role(2, &targets, &[&owner[0], &owner[2]])));
    let quorum = verify_app(&mut trusted(&site), "careful", APP, OwnerQuorum::None);
    assert_eq!(quorum.unwrap(), OwnerQuorum::Demanded);
}

#[test]
fn a_quorum_that_a_device_has_seen_cannot_be_taken_from_the_owner() {
    let Owners { mut site, server, .. } = owners();
    site.targets.apps.remove(0);
    let targets = [(app_target("careful", APP), APP)];
    site.delegated.insert("apps".into(), (1, role(1, &targets, &[&server])));
    let verified = verify_app(&mut trusted(&site), "careful", APP, OwnerQuorum::Demanded);
    assert!(matches!(verified, Err(AppError::QuorumGone)));
}

#[test]
fn keys_for_apps_never_approve_an_os_image() {
    let Owners { mut site, server, owner } = owners();
    let image = signed(program(10), description()).manifest;
    let payload = image.to_cbor();
    let targets = [(os_target(&image), &payload[..])];
    site.delegated.insert("apps".into(), (1, role(1, &targets, &[&server])));
    site.delegated.insert("apps-careful".into(), (1, role(1, &targets, &[&owner[0], &owner[1]])));
    let mut trusted = trusted(&site);
    assert!(matches!(trusted.approve(&image), Err(TufError::NotApproved { count: 0, .. })));
    assert_eq!(trusted.find(&os_target(&image)).unwrap(), None);
}

#[test]
fn a_path_says_whose_app_it_is_and_of_which_app() {
    let hash = keys::hashes::sha256(APP);
    let path = app_target("careful", APP);
    assert_eq!(owner_in(&path, &hash), Some("careful"));
    assert_eq!(owner_in(&path, &[0; 32]), None);
    let hex = const_hex::encode(hash);
    for wrong in
        [format!("os/1.0.0/{hex}"), format!("apps//{hex}"), format!("apps/a/b/{hex}"), format!("apps/a.b/{hex}")]
    {
        assert_eq!(owner_in(&wrong, &hash), None, "{wrong}");
    }
}

#[test]
fn a_quorum_is_neither_none_nor_more_than_its_keys() {
    let Owners { mut site, owner, .. } = owners();
    for (threshold, fits) in [(0, false), (1, true), (3, true), (4, false)] {
        let quorum = Quorum { keys: publics(&owner), threshold };
        site.targets.apps = vec![Delegation::Owner { owner: "careful".into(), quorum }];
        assert_eq!(site.targets.draft().is_ok(), fits, "{threshold}");
    }
    let quorum = Quorum { keys: vec![owner[0].public().clone(), owner[0].public().clone()], threshold: 2 };
    site.targets.apps = vec![Delegation::Owner { owner: "careful".into(), quorum }];
    assert!(matches!(site.targets.draft(), Err(DraftError::SameKey(_))), "one card twice");
}

#[test]
fn an_owner_id_cannot_reach_out_of_its_path() {
    let Owners { mut site, .. } = owners();
    for owner in ["", "a/b", "*", "..", "a.b", &"x".repeat(65)] {
        let quorum = Quorum { keys: publics(&site.cards), threshold: 2 };
        site.targets.apps = vec![Delegation::Owner { owner: owner.into(), quorum }];
        assert!(site.targets.draft().is_err(), "{owner}");
    }
    let mut trusted = trusted(&owners().site);
    assert!(matches!(verify_app(&mut trusted, "a/b", APP, OwnerQuorum::None), Err(AppError::OwnerId)));
}
