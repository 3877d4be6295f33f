//! Root metadata that comes without an image: which TLS roots it brings, and what is refused.

use keys::pki::RootsBundle;
use keys::release_key::DangerSoftwareReleaseKey;
use minicbor::bytes::ByteVec;
use protocol::os::Trust;
use release::anchors::ReleaseKeySlot;
use release::floors::{BelowFloor, Floors, MetadataFloors};

use super::super::fixture::release_key;
use super::super::maker::{Maker, other_tls_roots};
use super::super::*;
use super::quorum::{DEVICE, Device, is_older, version};

/// What the server must come from.
fn tls_roots(device: &Device) -> RootsBundle {
    device.open().newest_root().unwrap().0.tls_roots.clone()
}

/// Refused, and nothing has changed.
fn refused(device: &Device, newer: &[&[u8]]) -> RootRefused {
    let newer: Vec<_> = newer.iter().map(|root| root.to_vec().into()).collect();
    let before = (tls_roots(device), *device.open().floors());
    let refused = device.open().learn_roots(&newer).unwrap_err();
    assert_eq!((tls_roots(device), *device.open().floors()), before);
    refused
}

#[test]
fn a_newer_root_brings_its_tls_roots_without_an_image_and_changes_nothing_about_what_boots() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    assert_eq!(tls_roots(&device), maker.root.tls_roots);
    let next = DangerSoftwareReleaseKey::generate().unwrap();
    let slot = |key: &DangerSoftwareReleaseKey, revoked| ReleaseKeySlot { key: key.public().clone(), revoked };
    maker.root.release_keys = vec![slot(release_key(), true), slot(&next, false)];
    maker.publish_root();
    maker.root.tls_roots = other_tls_roots();
    maker.publish_root();
    device.open().learn_roots(&maker.roots_after(1)).unwrap();
    assert_eq!(tls_roots(&device), maker.root.tls_roots, "kept over the next start");
    assert_eq!(device.open().newest_root().unwrap().1, maker.newest_root());
    assert_eq!((device.boots().as_str(), device.open().anchors()), ("1.0.0", &maker.anchors()));

    // With the next image it counts as a whole, and the same roots come once more.
    let update = fixture::image_by(&next, "1.1.0", 0, &super::program(2));
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    device.install(&update, &trust, maker.now).unwrap();
    device.confirm();
    assert_eq!((device.boots().as_str(), device.open().anchors().root_version()), ("1.1.0", Some(3)));
    assert_eq!(tls_roots(&device), maker.root.tls_roots);
}

#[test]
fn roots_that_come_with_an_image_count_at_once_also_when_it_is_given_up() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    maker.root.tls_roots = other_tls_roots();
    maker.publish_root();
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    device.install(&update, &trust, maker.now).unwrap();
    assert_eq!(tls_roots(&device), maker.root.tls_roots);
    device.open().give_up("it does not work").unwrap();
    assert_eq!(tls_roots(&device), maker.root.tls_roots);

    let made = Device::of(&mut maker);
    assert_eq!(tls_roots(&made), maker.root.tls_roots, "from the factory on, though its anchors are older");
}

#[test]
fn attack_tls_roots_that_one_custodian_too_few_signed_are_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    maker.root.tls_roots = other_tls_roots();
    let by_one = maker.next_root_by(&[1]);
    let error = refused(&device, &[&by_one]).to_string();
    assert!(error.contains("1/2 valid signatures"), "{error}");
    device.open().learn_roots(&[maker.next_root_by(&[1, 2]).into()]).unwrap();
}

#[test]
fn attack_a_server_that_invents_tls_roots_is_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    // A root of custodians of its own, of the version that is due.
    let mut own = Maker::new();
    own.root.tls_roots = other_tls_roots();
    own.publish_root();
    let invented = own.newest_root().to_vec();
    let error = refused(&device, &[&invented]).to_string();
    assert!(error.contains("0/2 valid signatures"), "{error}");
    // Behind an honest one, and the honest one with other roots written into it.
    maker.publish_root();
    let honest = maker.newest_root().to_vec();
    own.publish_root();
    assert!(matches!(refused(&device, &[&honest, own.newest_root()]), RootRefused::Chain(_)));
    let mut changed: serde_json::Value = serde_json::from_slice(&honest).unwrap();
    let theirs: serde_json::Value = serde_json::from_slice(&invented).unwrap();
    changed["signed"]["x-vouch"]["tls_roots"] = theirs["signed"]["x-vouch"]["tls_roots"].clone();
    assert_ne!(changed, serde_json::from_slice::<serde_json::Value>(&honest).unwrap());
    assert!(matches!(refused(&device, &[changed.to_string().as_bytes()]), RootRefused::Chain(_)));
}

#[test]
fn attack_older_roots_and_roots_with_a_gap_are_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    for _ in 0..2 {
        maker.root.tls_roots = other_tls_roots();
        maker.publish_root();
    }
    let [second, third] = [0, 1].map(|at| maker.roots_after(1)[at].to_vec());
    assert!(matches!(refused(&device, &[]), RootRefused::NotNewer(1)));
    assert!(matches!(refused(&device, &[&third]), RootRefused::Chain(_)));
    device.open().learn_roots(&maker.roots_after(1)).unwrap();
    let roots: [&[u8]; 2] = [&second, &third];
    for older in [&roots[..0], &roots[..1], &roots[..]] {
        assert!(matches!(refused(&device, older), RootRefused::NotNewer(3)));
    }
}

#[test]
fn attack_metadata_under_a_root_that_was_replaced_is_refused_once_the_device_has_seen_the_newer_one() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let update = version("1.1.0", 2);
    let before = maker.approve(&[&update]).trust(DEVICE, &update);
    maker.publish_root();
    device.open().learn_roots(&maker.roots_after(1)).unwrap();
    assert!(is_older(device.install(&update, &before, maker.now)));
    let now = maker.trust(DEVICE, &update);
    device.install(&update, &now, maker.now).unwrap();
}

#[test]
fn attack_a_root_written_with_other_bytes_does_not_keep_images_from_the_device() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let factory = maker.anchors();
    maker.publish_root();
    // Spaces are signed by nobody.
    let spaced = [maker.newest_root(), b" \n"].concat();
    device.open().learn_roots(&[spaced.into()]).unwrap();
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    device.install(&update, &trust, maker.now).unwrap();
    device.confirm();
    assert_eq!(device.open().anchors().root_version(), Some(2));
    device.open().descends_from(&factory).unwrap();
}

#[test]
fn attack_a_root_below_the_floor_is_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    maker.publish_root();
    maker.publish_root();
    let mut boot = device.open();
    let mut metadata: MetadataFloors = boot.floors().metadata;
    metadata.root = 3;
    boot.raise(Floors { metadata, ..*boot.floors() }).unwrap();
    let second = maker.roots_after(1)[0].to_vec();
    assert!(matches!(refused(&device, &[&second]), RootRefused::BelowFloor(BelowFloor::Metadata { role: "root", .. })));
    device.open().learn_roots(&maker.roots_after(1)).unwrap();
}

#[test]
fn roots_that_came_with_a_refused_image_count_all_the_same() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    maker.publish_root();
    maker.root.tls_roots = other_tls_roots();
    maker.publish_root();
    let update = version("1.1.0", 2);
    let unassigned = Trust { assignment: None, ..maker.approve(&[&update]).trust(DEVICE, &update) };
    assert!(device.install(&update, &unassigned, maker.now).is_err());
    assert_eq!(tls_roots(&device), maker.root.tls_roots);
    assert!(matches!(refused(&device, &[&maker.roots_after(1)[0]]), RootRefused::NotNewer(3)));
}

#[test]
fn attack_boot_records_that_do_not_follow_from_the_pinned_factorys_anchors_are_found() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let factory = maker.anchors();
    device.open().descends_from(&factory).unwrap();
    // However many roots and images have come since, with another release key.
    let next = DangerSoftwareReleaseKey::generate().unwrap();
    let slot = |key: &DangerSoftwareReleaseKey, revoked| ReleaseKeySlot { key: key.public().clone(), revoked };
    maker.root.release_keys = vec![slot(release_key(), true), slot(&next, false)];
    maker.publish_root();
    let update = fixture::image_by(&next, "1.1.0", 0, &super::program(2));
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    device.install(&update, &trust, maker.now).unwrap();
    device.open().descends_from(&factory).unwrap();
    device.confirm();
    maker.publish_root();
    device.open().learn_roots(&maker.roots_after(1)).unwrap();
    assert_eq!(device.open().anchors().root_version(), Some(2));
    device.open().descends_from(&factory).unwrap();

    let why = |factory: &Anchors| match device.open().descends_from(factory).unwrap_err() {
        BootFolderError::NotTheFactorys(why) => why,
        other => panic!("{other}"),
    };
    assert!(why(&Maker::new().anchors()).contains("begin with another root"));
    assert!(why(&maker.anchors_for("test-2")).contains("another product or model"));
    assert!(why(&super::anchors()).contains("demand other signatures"));
    // Whoever makes the records, and has the storage root, cannot make the custodians' signatures.
    let forged = |change: &dyn Fn(&mut Vec<ByteVec>, &mut Anchors)| {
        let mut boot = device.open();
        let (mut files, mut anchors) = (maker.roots_after(0), boot.anchors.clone());
        change(&mut files, &mut anchors);
        let roots = keys::cbor::encode(&files);
        boot.records.write(&[put(Record::ReleaseRoots, &roots), put(Record::Anchors, &anchors.to_cbor())]).unwrap();
        why(&factory)
    };
    let mut own = Maker::new();
    own.publish_root();
    own.publish_root();
    let invented = forged(&|files, _| files.push(own.newest_root().to_vec().into()));
    assert!(invented.contains("not signed by enough"), "{invented}");
    let keys = |key: &DangerSoftwareReleaseKey, root: &[u8]| {
        let layers = Layers::Quorum { root: root.to_vec() };
        Anchors::new("test".into(), "test-1".into(), vec![slot(key, false)], layers).unwrap()
    };
    let stranger = DangerSoftwareReleaseKey::generate().unwrap();
    let key = forged(&|_, anchors| *anchors = keys(&stranger, maker.newest_root()));
    assert!(key.contains("release keys that none of their roots names"), "{key}");
    let root = forged(&|_, anchors| *anchors = keys(release_key(), own.newest_root()));
    assert!(root.contains("release keys that none of their roots names"), "{root}");
}
