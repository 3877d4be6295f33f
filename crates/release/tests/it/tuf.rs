//! The custodians' layer: who must have signed, what is fresh, and what is never taken back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::anchors::{AdmissionError, Anchors, AnchorsError, Layers, ReleaseKeySlot};
use release::author::{Draft, DraftError, TargetsSpec};
use release::floors::{BelowFloor, Floors, MetadataFloors};
use release::l1::{L1Error, verify_l1};
use release::limits::LIMITS;
use release::manifest::Manifest;
use release::tuf::{Cache, Files, Trusted, TufError, verify};
use release::version::OsVersion;

use crate::fixture::{Signed, danger_anchors, description, program, release_keys, signed, slot};
use crate::repository::{DAY, NOW, Site, card, custodian, signed_by, tls_roots};

fn image() -> Signed {
    signed(program(10), description())
}

fn of_version(version: OsVersion) -> Manifest {
    let mut description = description();
    description.version = version;
    signed(program(10), description).manifest
}

/// As a device whose cache is empty.
fn check(site: &Site, files: Files, floors: &MetadataFloors, now: u64) -> Result<Trusted, TufError> {
    verify(&site.roots[0], files, (), floors, now)
}

fn fresh(site: &Site, files: Files) -> Result<Trusted, TufError> {
    check(site, files, &MetadataFloors::NONE, NOW)
}

fn refused(result: Result<Trusted, TufError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_release_that_key_and_quorum_signed_is_admitted() {
    let mut site = Site::new();
    let image = image();
    site.approve(&[&image.manifest]);
    let trusted = fresh(&site, site.files()).unwrap();
    let anchors = site.anchors();
    let approval = trusted.approve(&image.manifest).unwrap();
    let manifest = verify_l1(&anchors, &Floors::NONE, &image.cose).unwrap();
    let admission = anchors.admit(manifest, Some(approval)).unwrap();
    assert_eq!(*admission.manifest(), image.manifest);
    assert_eq!(trusted.expires(), NOW + DAY);
    assert_eq!(Anchors::from_cbor(&anchors.to_cbor()), Ok(anchors));
}

#[test]
fn anchors_that_demand_the_quorum_never_take_less() {
    let mut site = Site::new();
    let (image, other) = (image(), image());
    let manifest = || verify_l1(&site.anchors(), &Floors::NONE, &image.cose).unwrap();
    assert_eq!(site.anchors().admit(manifest(), None), Err(AdmissionError::NoApproval));

    site.approve(&[&other.manifest]);
    let trusted = fresh(&site, site.files()).unwrap();
    assert!(matches!(trusted.approve(&image.manifest), Err(TufError::NotApproved { count: 1, .. })));
    let replayed = trusted.approve(&other.manifest).unwrap();
    let (approved, offered) = (other.manifest.hash(), image.manifest.hash());
    let manifest = || verify_l1(&site.anchors(), &Floors::NONE, &image.cose).unwrap();
    assert_eq!(
        site.anchors().admit(manifest(), Some(replayed)),
        Err(AdmissionError::OtherManifest { approved, offered })
    );

    // Metadata of a maker whom this device does not know, consistent in itself.
    let mut stranger = Site::new();
    stranger.approve(&[&image.manifest]);
    let theirs = fresh(&stranger, stranger.files()).unwrap();
    let approval = theirs.approve(&image.manifest).unwrap();
    assert_eq!(site.anchors().admit(manifest(), Some(approval)), Err(AdmissionError::OtherRoot));
    assert!(matches!(site.anchors().advance(&theirs), Err(AnchorsError::Root(_))));
    // An update cannot make a development device of it, nor the other way about.
    let ours = fresh(&site, site.files()).unwrap();
    assert!(matches!(site.anchors().advance(&ours).unwrap().layers(), Layers::Quorum { .. }));
    assert_eq!(danger_anchors().advance(&ours).unwrap(), danger_anchors());
}

#[test]
fn a_manifest_changed_after_its_approval_is_refused() {
    let mut site = Site::new();
    let image = image();
    site.approve(&[&image.manifest]);
    let trusted = fresh(&site, site.files()).unwrap();
    let mut changed = image.manifest.clone();
    changed.security_epoch += 1;
    assert!(matches!(trusted.approve(&changed), Err(TufError::NotApproved { .. })));
}

#[test]
fn one_card_fewer_than_the_quorum_is_refused() {
    let mut site = Site::new();
    site.approve(&[&image().manifest]);
    let error = refused(fresh(&site, site.files_by(&[1])));
    assert!(error.contains("1/2 valid signatures"), "{error}");
    assert!(fresh(&site, site.files_by(&[1, 2])).is_ok());
    assert!(fresh(&site, site.files_by(&[0, 1, 2])).is_ok());

    let foreign = [card(), card()];
    let signers: Vec<&Signer> = foreign.iter().collect();
    let targets = signed_by(site.targets.draft().unwrap(), &signers).to_json();
    assert!(refused(fresh(&site, site.files_with(&targets))).contains("0/2"));
}

#[test]
fn one_card_under_two_names_is_refused() {
    let mut site = Site::new();
    let again = |draft: Draft, other_form: bool| {
        // The same key under another name, as the library would count it twice.
        let mut file: serde_json::Value = serde_json::from_slice(&draft.to_json()).unwrap();
        let first = file["signed"]["roles"]["root"]["keyids"][0].as_str().unwrap().to_owned();
        let mut key = file["signed"]["keys"][&first].clone();
        if other_form {
            let pem = key["keyval"]["public"].as_str().unwrap().replace('\n', "\r\n");
            key["keyval"]["public"] = pem.into();
        }
        file["signed"]["keys"]["again"] = key;
        for role in ["root", "targets"] {
            file["signed"]["roles"][role]["keyids"].as_array_mut().unwrap().push("again".into());
        }
        file["signatures"] = serde_json::json!([]);
        Draft::from_json(file.to_string().as_bytes()).unwrap()
    };
    for other_form in [false, true] {
        let first =
            signed_by(again(Draft::of_root(&site.root).unwrap(), other_form), &[&site.cards[0], &site.cards[1]])
                .to_json();
        // As the factory's root.
        assert!(matches!(verify(&first, site.files(), (), &MetadataFloors::NONE, NOW), Err(TufError::SameKey { .. })));
        let layers = Layers::Quorum { root: first };
        let anchors = Anchors::new("p".into(), "m".into(), vec![slot(release_keys()[0])], layers);
        assert!(matches!(anchors, Err(AnchorsError::Root(_))));
    }
    // As a newer root, which a quorum was talked into, and from the cache.
    site.root.version = 2;
    let second =
        signed_by(again(Draft::of_root(&site.root).unwrap(), true), &[&site.cards[0], &site.cards[1]]).to_json();
    let mut files = site.files();
    files.insert("2.root.json", second.clone()).unwrap();
    assert!(matches!(fresh(&site, files), Err(TufError::SameKey { .. })));
    let cache = Kept::default();
    cache.store("root_history/2.root.json", &second);
    let result = verify(&site.roots[0], site.files(), cache, &MetadataFloors::NONE, NOW);
    assert!(matches!(result, Err(TufError::SameKey { .. })));
    // The author refuses to make one.
    site.root.custodians[1].signing = site.cards[0].public().clone();
    assert!(matches!(Draft::of_root(&site.root), Err(DraftError::Root(_))));
}

#[test]
fn frozen_metadata_is_refused_once_its_time_is_over() {
    let mut site = Site::new();
    let files = site.approve(&[&image().manifest]).files();
    assert!(check(&site, files.clone(), &MetadataFloors::NONE, NOW + DAY).is_ok());
    let error = refused(check(&site, files.clone(), &MetadataFloors::NONE, NOW + DAY + 1));
    assert!(error.contains("timestamp") && error.contains("expired"), "{error}");
    assert!(matches!(check(&site, files, &MetadataFloors::NONE, u64::MAX), Err(TufError::Time)));
}

#[test]
fn older_metadata_is_refused_also_when_the_cache_was_wiped() {
    let mut site = Site::new();
    let old = site.approve(&[&of_version(OsVersion::new(1, 0, 0))]).files();
    let old_targets = site.targets.clone();
    let new = site.approve(&[&of_version(OsVersion::new(1, 1, 0))]).files();
    let floors = fresh(&site, new.clone()).unwrap().floors();
    assert!(check(&site, new, &floors, NOW).is_ok(), "the same again");

    let below = |result: Result<Trusted, TufError>| match result {
        Err(TufError::BelowFloor(BelowFloor::Metadata { role, .. })) => role,
        other => panic!("{other:?}"),
    };
    assert_eq!(below(check(&site, old, &floors, NOW)), "targets");
    // Old targets under a new snapshot: the online keys alone cannot bring an old release back.
    let newest = (site.online.0 + 1, site.online.1 + 1);
    let stolen = Site { targets: old_targets, online: newest, ..site };
    assert_eq!(below(check(&stolen, stolen.files(), &floors, NOW)), "targets");
}

#[test]
fn an_older_snapshot_or_timestamp_is_below_the_floor() {
    let mut site = Site::new();
    let files = site.approve(&[&image().manifest]).files();
    site.online = (9, 9);
    let floors = fresh(&site, site.files()).unwrap().floors();
    assert!(matches!(
        check(&site, files, &floors, NOW),
        Err(TufError::BelowFloor(BelowFloor::Metadata { role: "timestamp", offered: 2, floor: 9 }))
    ));
    site.online = (8, 10);
    assert!(matches!(
        check(&site, site.files(), &floors, NOW),
        Err(TufError::BelowFloor(BelowFloor::Metadata { role: "snapshot", offered: 8, floor: 9 }))
    ));
}

#[test]
fn files_of_different_days_are_not_mixed() {
    let mut site = Site::new();
    let old = site.approve(&[&image().manifest]).files();
    let new = site.approve(&[&image().manifest]).files();
    let mix = |name: &str, from: &Files| {
        let mut files = new.clone();
        files.insert(name, from.get(name).unwrap().to_vec()).unwrap();
        refused(fresh(&site, files))
    };
    assert!(mix("snapshot.json", &old).contains("integrity"));
    assert!(mix("targets.json", &old).contains("integrity"));
}

#[test]
fn a_root_is_followed_step_by_step_and_brings_new_cards_and_release_keys() {
    let mut site = Site::new();
    site.approve(&[&image().manifest]);
    let anchors = site.anchors();
    // A card is replaced, and the release key with it.
    site.cards[1] = card();
    site.root.custodians[1] = custodian("dora", &site.cards[1]);
    site.root.version = 2;
    let [old, new] = release_keys();
    site.root.release_keys = vec![ReleaseKeySlot { revoked: true, ..slot(old) }, slot(new)];
    site.publish_root(&[0, 2]);
    let trusted = fresh(&site, site.files_by(&[1, 2])).unwrap();
    assert_eq!(trusted.root(), site.roots[1]);
    assert_eq!(trusted.content().unwrap().tls_roots, *tls_roots());

    let advanced = anchors.advance(&trusted).unwrap();
    let [by_old, by_new] = [old, new].map(|key| key.sign_manifest(&image().manifest.to_cbor()).unwrap());
    assert!(verify_l1(&anchors, &Floors::NONE, &by_old).is_ok());
    assert!(matches!(verify_l1(&advanced, &Floors::NONE, &by_old), Err(L1Error::Signature(_))));
    assert!(verify_l1(&advanced, &Floors::NONE, &by_new).is_ok());
    assert_eq!((advanced.product(), advanced.model()), (anchors.product(), anchors.model()));

    // Without the newer root the device notices that something is missing.
    let mut without = Files::new();
    for (name, file) in site.files_by(&[0, 2]).iter().filter(|(name, _)| *name != "2.root.json") {
        without.insert(name, file.to_vec()).unwrap();
    }
    assert!(matches!(
        check(&site, without, &trusted.floors(), NOW),
        Err(TufError::BelowFloor(BelowFloor::Metadata { role: "root", offered: 1, floor: 2 }))
    ));
}

#[test]
fn a_root_that_the_old_quorum_did_not_sign_is_refused() {
    let mut site = Site::new();
    site.root.version = 2;
    let thieves: Vec<Signer> = (0..3).map(|_| card()).collect();
    site.root.custodians = thieves.iter().enumerate().map(|(at, card)| custodian(&format!("t{at}"), card)).collect();
    let own = signed_by(Draft::of_root(&site.root).unwrap(), &[&thieves[0], &thieves[1]]);
    site.roots.push(own.to_json());
    assert!(refused(fresh(&site, site.files())).contains("0/2"));
    // One of the old quorum helps.
    *site.roots.last_mut().unwrap() = signed_by(own, &[&site.cards[0]]).to_json();
    assert!(refused(fresh(&site, site.files())).contains("1/2"));
}

#[test]
fn a_stolen_online_key_that_counted_to_the_end_is_replaced_by_the_custodians() {
    let mut site = Site::new();
    site.approve(&[&image().manifest]);
    site.online = (u64::MAX, u64::MAX);
    let floors = fresh(&site, site.files()).unwrap().floors();
    let online = |purpose| Signer::generate(purpose).unwrap();
    (site.snapshot, site.timestamp) = (online(KeyPurpose::ReleaseSnapshot), online(KeyPurpose::ReleaseTimestamp));
    site.root.online.snapshot = site.snapshot.public().clone();
    site.root.online.timestamp = site.timestamp.public().clone();
    site.root.version = 2;
    site.publish_root(&[0, 1]);
    site.online = (1, 1);
    let trusted = check(&site, site.files(), &floors, NOW).unwrap();
    let floors = Floors { metadata: trusted.floors(), ..Floors::NONE };
    assert_eq!(Floors::from_cbor(&floors.to_cbor()), Ok(floors));
    assert_eq!((floors.metadata.snapshot, floors.metadata.root), (1, 2));
}

#[test]
fn custodians_sign_on_different_days_and_only_the_same_bytes_come_together() {
    let mut site = Site::new();
    site.approve(&[&image().manifest]);
    let draft = site.targets.draft().unwrap();
    let monday = signed_by(draft.clone(), &[&site.cards[0]]);
    let tuesday =
        Draft::from_json(&signed_by(Draft::from_json(&draft.to_json()).unwrap(), &[&site.cards[2]]).to_json());
    let mut both = Draft::from_json(&monday.to_json()).unwrap();
    let progress = |draft: &Draft| draft.progress(&site.roots[0], "targets").unwrap();
    assert!(!progress(&both).is_complete());
    both.merge(tuesday.unwrap()).unwrap();
    assert!(progress(&both).is_complete());
    assert_eq!((progress(&both).signed.len(), progress(&both).missing.len(), progress(&both).threshold), (2, 1, 2));
    assert!(fresh(&site, site.files_with(&both.to_json())).is_ok());

    let other = TargetsSpec { version: 9, ..site.targets.clone() }.draft().unwrap();
    let other = signed_by(other, &[&site.cards[1]]);
    assert!(matches!(both.merge(other.clone()), Err(DraftError::OtherContent)));
    // A signature taken from elsewhere is not added, and one that came in a file does not count.
    let signature = keys::metadata::sign(&site.cards[1], other.to_be_signed()).unwrap();
    assert!(matches!(both.sign_der(site.cards[1].public(), &signature), Err(DraftError::BadSignature)));
    let mut file: serde_json::Value = serde_json::from_slice(&both.to_json()).unwrap();
    file["signatures"][0]["sig"] = "3000".into();
    assert!(!progress(&Draft::from_json(file.to_string().as_bytes()).unwrap()).is_complete());
}

#[test]
fn metadata_files_are_bounded() {
    let mut files = Files::new();
    for at in 0..128 {
        files.insert(&format!("{at}"), vec![]).unwrap();
    }
    assert!(files.insert("128", vec![]).is_err());
    assert!(files.insert("127", vec![0; 96 * 1024]).is_ok(), "in place of one that is there");
    assert!(files.insert("127", vec![0; 96 * 1024 + 1]).is_err());
    let mut site = Site::new();
    let mut files = site.approve(&[]).files();
    let padded = [files.get("timestamp.json").unwrap(), &[b' '; 16 * 1024]].concat();
    files.insert("timestamp.json", padded).unwrap();
    assert!(refused(fresh(&site, files)).contains("longer than 16384 bytes"));
    // Targets of the longest length are verified like any others.
    let sound = signed_by(site.targets.draft().unwrap(), &[&site.cards[0], &site.cards[1]]).to_json();
    let longest = [&sound[..], &vec![b' '; LIMITS.targets - sound.len()]].concat();
    assert!(fresh(&site, site.files_with(&longest)).is_ok());
}

/// A cache that outlives one verification.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Cache for Kept {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn store(&self, name: &str, file: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), file.to_vec());
    }
}

#[test]
fn a_cache_saves_files_and_cannot_lie() {
    let mut site = Site::new();
    let files = site.approve(&[&image().manifest]).files();
    let cache = Kept::default();
    let new = || verify(&site.roots[0], files.clone(), cache.clone(), &MetadataFloors::NONE, NOW);
    assert!(new().is_ok());
    assert!(cache.load("timestamp.json").is_some() && cache.load("targets.json").is_some());
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        cache.store(name, b"{}");
        assert!(new().is_ok(), "{name}");
    }
}
