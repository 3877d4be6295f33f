//! Devices that demand the custodians' approval: what they take from the factory and as an update, and what they refuse.

use keys::public::SpkiHash;
use keys::release_key::DangerSoftwareReleaseKey;
use keys::signer::Signer;
use protocol::os::Trust;
use release::anchors::{AdmissionError, Layers, ReleaseKeySlot};
use release::assignment::AssignmentError;
use release::floors::BelowFloor;
use release::tuf::TufError;

use super::super::fixture::{Image, image, image_by, release_key};
use super::super::maker::{self, DAY, Maker};
use super::super::*;
use super::{copy, program};
use crate::limits::LIMITS;
use crate::storage::FolderDisk;

pub(super) const DEVICE: SpkiHash = SpkiHash([7; 32]);

pub(super) struct Device {
    dir: tempfile::TempDir,
    root: StorageRoot,
}

/// An image with what proves it, as a device gets it at this time.
fn source<'a>(image: &'a Image, trust: &'a Trust, now: u64) -> Source<'a, &'a [u8]> {
    Source { proof: Some(Proof { trust, identity: DEVICE, now }), ..image.source() }
}

pub(super) fn version(version: &str, number: u8) -> Image {
    image(version, 0, &program(number))
}

impl Device {
    /// A device that was made with an approved image of version 1.0.0.
    pub(super) fn of(maker: &mut Maker) -> Device {
        let first = version("1.0.0", 1);
        let trust = maker.approve(&[&first]).trust(DEVICE, &first);
        let device = Device { dir: tempfile::tempdir().unwrap(), root: StorageRoot::generate() };
        device.create(&maker.anchors(), source(&first, &trust, maker.now)).unwrap();
        device
    }

    fn create(&self, anchors: &Anchors, source: Source<'_, &[u8]>) -> Result<(), InstallError> {
        BootFolder::create(FolderDisk::new(self.dir.path()), &self.root, anchors, source, &LIMITS)
    }

    pub(super) fn open(&self) -> BootFolder<FolderDisk> {
        BootFolder::open(FolderDisk::new(self.dir.path()), &self.root, &LIMITS).unwrap()
    }

    pub(super) fn install(&self, image: &Image, trust: &Trust, now: u64) -> Result<ManifestHash, InstallError> {
        self.open().install(&Floors::NONE, source(image, trust, now))
    }

    /// The version that a start loads.
    pub(super) fn boots(&self) -> String {
        self.open().load(&Floors::NONE, false).unwrap().manifest.version.to_string()
    }

    pub(super) fn confirm(&self) {
        let mut boot = self.open();
        boot.load(&Floors::NONE, false).unwrap();
        boot.confirm().unwrap();
    }
}

/// Refused as an update, and by the factory too; the device goes on as it was.
fn refused(maker: &Maker, device: &Device, image: &Image, trust: &Trust) -> InstallError {
    let elsewhere = Device { dir: tempfile::tempdir().unwrap(), root: StorageRoot::generate() };
    let made = elsewhere.create(&maker.anchors(), source(image, trust, maker.now));
    let refused = device.install(image, trust, maker.now).unwrap_err();
    assert_eq!(made.unwrap_err().to_string(), refused.to_string());
    assert!(BootFolder::open(FolderDisk::new(elsewhere.dir.path()), &elsewhere.root, &LIMITS).is_err());
    assert_eq!((device.boots().as_str(), device.open().is_trying()), ("1.0.0", false));
    assert!(matches!(device.open().anchors().layers(), Layers::Quorum { .. }));
    refused
}

#[test]
fn an_approved_image_comes_from_the_factory_and_as_an_update() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    assert_eq!(device.boots(), "1.0.0");
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    device.install(&update, &trust, maker.now).unwrap();
    assert_eq!((device.boots().as_str(), device.open().is_trying()), ("1.1.0", true));
    device.confirm();
    assert_eq!((device.boots().as_str(), device.open().is_trying()), ("1.1.0", false));
    assert_eq!(device.open().anchors(), &maker.anchors());
}

#[test]
fn attack_an_image_with_the_release_keys_signature_alone_is_refused_where_custodians_are_demanded() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let update = version("1.1.0", 2);
    let bare = || Source { proof: None, ..source(&update, &EMPTY, maker.now) };
    static EMPTY: Trust = Trust {
        roots: Vec::new(),
        timestamp: None,
        snapshot: None,
        targets: None,
        delegated: None,
        path: None,
        assignment: None,
        log_proof: None,
    };
    let none = |result| matches!(result, Err(InstallError::Admission(AdmissionError::NoApproval)));
    assert!(none(device.open().install(&Floors::NONE, bare()).map(|_| ())));
    let elsewhere = Device { dir: tempfile::tempdir().unwrap(), root: StorageRoot::generate() };
    assert!(none(elsewhere.create(&maker.anchors(), bare())));
    // With a server that says nothing, the same.
    assert!(matches!(refused(&maker, &device, &update, &EMPTY), InstallError::Metadata(_)));
}

#[test]
fn attack_an_image_that_one_custodian_too_few_approved_is_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust_by_one(DEVICE, &update);
    let error = refused(&maker, &device, &update, &trust).to_string();
    assert!(error.contains("1/2 valid signatures"), "{error}");
}

#[test]
fn attack_a_server_that_invents_an_image_is_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let invented = image_by(&DangerSoftwareReleaseKey::generate().unwrap(), "9.0.0", 0, &program(9));
    let honest = maker.trust(DEVICE, &invented);
    assert!(matches!(refused(&maker, &device, &invented, &honest), InstallError::Manifest(L1Error::Signature(_))));
    // Approvals by its own keys count for nothing, whoever signed the manifest.
    let own = Signer::generate(KeyPurpose::AppApproval).unwrap();
    let update = version("9.0.0", 9);
    maker.approve(&[&update]);
    let trust = maker.trust_by(&[&own, &maker.snapshot], DEVICE, &update);
    let error = refused(&maker, &device, &update, &trust).to_string();
    assert!(error.contains("0/2 valid signatures"), "{error}");
}

#[test]
fn attack_an_approval_is_not_taken_for_another_manifest() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let (approved, other) = (version("1.1.0", 2), version("1.1.0", 3));
    let trust = maker.approve(&[&approved]).trust(DEVICE, &other);
    assert!(matches!(refused(&maker, &device, &other, &trust), InstallError::Metadata(TufError::NotApproved { .. })));
}

#[test]
fn attack_an_image_that_is_not_assigned_to_this_device_now_is_refused() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let (update, other) = (version("1.1.0", 2), version("1.1.0", 3));
    let trust = maker.approve(&[&update, &other]).trust(DEVICE, &update);
    let with = |assignment: Option<Vec<u8>>| Trust { assignment: assignment.map(Into::into), ..trust.clone() };
    let foreign = maker.assignment(SpkiHash([8; 32]), &update, maker.now + DAY);
    let another = maker.assignment(DEVICE, &other, maker.now + DAY);
    let expired = maker.assignment(DEVICE, &update, maker.now);
    let forged = Maker::new().assignment(DEVICE, &update, maker.now + DAY);
    assert!(matches!(refused(&maker, &device, &update, &with(None)), InstallError::NotAssigned));
    let judged = |assignment| match refused(&maker, &device, &update, &with(Some(assignment))) {
        InstallError::Assignment(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(judged(foreign), AssignmentError::OtherDevice);
    assert_eq!(judged(another), AssignmentError::OtherImage);
    assert_eq!(judged(expired), AssignmentError::Expired);
    assert!(matches!(judged(forged), AssignmentError::Signature(_)));
}

#[test]
fn attack_an_approved_image_for_another_model_is_refused() {
    let mut maker = Maker::new();
    let image = version("1.0.0", 1);
    let trust = maker.approve(&[&image]).trust(DEVICE, &image);
    let device = Device { dir: tempfile::tempdir().unwrap(), root: StorageRoot::generate() };
    let made = device.create(&maker.anchors_for("test-2"), source(&image, &trust, maker.now));
    assert!(matches!(made, Err(InstallError::Manifest(L1Error::Model { .. }))));
}

#[test]
fn attack_a_release_that_is_in_no_log_is_refused_where_the_root_names_one() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    maker.root.log = Some("log.example+00000000+AA==".to_owned());
    maker.publish_root();
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    let without = refused(&maker, &device, &update, &trust);
    assert!(matches!(without, InstallError::Admission(AdmissionError::NotLogged)), "{without}");
    let forged = Trust { log_proof: Some(vec![0].into()), ..trust };
    assert!(matches!(refused(&maker, &device, &update, &forged), InstallError::Metadata(TufError::Log(_))));
}

#[test]
fn attack_frozen_metadata_is_refused_once_its_time_is_over() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let update = version("1.1.0", 2);
    let trust = maker.approve(&[&update]).trust(DEVICE, &update);
    let refused = device.install(&update, &trust, maker.now + DAY + 1).unwrap_err();
    assert!(matches!(&refused, InstallError::Metadata(error) if error.is_expired()), "{refused}");
    device.install(&update, &trust, maker.now).unwrap();
}

pub(super) fn is_older(result: Result<ManifestHash, InstallError>) -> bool {
    matches!(result, Err(InstallError::Metadata(TufError::BelowFloor(BelowFloor::Metadata { .. }))))
}

#[test]
fn attack_older_metadata_is_refused_though_nothing_but_the_floors_is_kept_of_newer_ones() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let before = tempfile::tempdir().unwrap();
    copy(device.dir.path(), before.path());
    let (old, new) = (version("1.1.0", 2), version("1.2.0", 3));
    let old_trust = maker.approve(&[&old]).trust(DEVICE, &old);
    let new_trust = maker.approve(&[&new]).trust(DEVICE, &new);
    // What the custodians took back stays taken back, also when the image that was offered with it was refused.
    assert!(device.install(&old, &new_trust, maker.now).is_err());
    assert!(is_older(device.install(&old, &old_trust, maker.now)));
    // The whole boot folder set back: a start takes in the floors that the vault still has.
    let vault = *device.open().floors();
    copy(before.path(), device.dir.path());
    assert!(*device.open().floors() != vault);
    device.open().load(&vault, false).unwrap();
    assert!(is_older(device.install(&old, &old_trust, maker.now)));
    device.install(&new, &new_trust, maker.now).unwrap();
}

#[test]
fn a_newer_root_counts_from_the_confirmation_of_its_image_on_and_the_old_image_boots_until_then() {
    let mut maker = Maker::new();
    let device = Device::of(&mut maker);
    let next = DangerSoftwareReleaseKey::generate().unwrap();
    let slot = |key: &DangerSoftwareReleaseKey, revoked| ReleaseKeySlot { key: key.public().clone(), revoked };
    maker.root.release_keys = vec![slot(release_key(), true), slot(&next, false)];
    maker.publish_root();
    let by_old = version("1.1.0", 2);
    let by_new = image_by(&next, "1.1.0", 0, &program(3));
    maker.approve(&[&by_old, &by_new]);
    let revoked = device.install(&by_old, &maker.trust(DEVICE, &by_old), maker.now);
    assert!(matches!(revoked, Err(InstallError::Manifest(L1Error::Signature(_)))), "{revoked:?}");

    let trust = maker.trust(DEVICE, &by_new);
    device.install(&by_new, &trust, maker.now).unwrap();
    assert_eq!(device.boots(), "1.1.0", "the new root's key counts for its image");
    device.open().give_up("it does not work").unwrap();
    assert_eq!(device.boots(), "1.0.0", "and not yet against the one that it would replace");
    assert_eq!(device.open().given_up().map(|(hash, _)| hash), Some(maker::manifest_of(&by_new).hash()));
    assert_eq!(device.open().anchors(), &maker.anchors());
    let without = Trust { roots: Vec::new(), ..trust.clone() };
    assert!(device.install(&by_old, &without, maker.now).is_err(), "the old root does not come back");

    device.install(&by_new, &trust, maker.now).unwrap();
    device.confirm();
    let advanced = device.open().anchors().clone();
    assert_eq!((advanced.root_version(), advanced.model(), advanced.product()), (Some(2), "test-1", "test"));
    assert!(advanced.release_keys()[0].revoked && matches!(advanced.layers(), Layers::Quorum { .. }));
    // From now on the server need not send that root again; when it does, no harm is done.
    let later = image_by(&next, "1.2.0", 0, &program(4));
    let trust = maker.approve(&[&later]).trust(DEVICE, &later);
    device.install(&later, &trust, maker.now).unwrap();
    device.confirm();
    let last = image_by(&next, "1.3.0", 0, &program(5));
    let trust = Trust { roots: Vec::new(), ..maker.approve(&[&last]).trust(DEVICE, &last) };
    device.install(&last, &trust, maker.now).unwrap();
    assert_eq!(device.boots(), "1.3.0");
}
