//! Keys in files: what they do, and what they cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use keys::content_key::{self, ContentKeyInfo};
use keys::cose::{self, CosePurpose};
use keys::keystore::{AttestationLevel, Keystore, KeystoreError, KeystoreSpec, SPEC_FILE};
use keys::profile::Profile;
use keys::purpose::KeyPurpose;

fn mark(store: &Keystore) -> Vec<u8> {
    let key = store.storage_root().unwrap().purpose_key(KeyPurpose::VaultApp).unwrap();
    let mut mark = b"mark".to_vec();
    key.write_key(&[7; 16]).unwrap().seal(0, true, b"", &mut mark).unwrap();
    mark
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn keys_in_files_do_all_a_device_needs() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    let store = Keystore::create(&KeystoreSpec::DangerSoftware, &folder, Profile::Modern).unwrap();
    assert_eq!(store.level(), AttestationLevel::Software);
    let signed = cose::assemble(b"payload", store.sign(CosePurpose::Renewal, b"payload").unwrap());
    assert_eq!(cose::verify(CosePurpose::Renewal, store.identity(), &signed).unwrap(), b"payload");
    let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: store.identity().spki_hash() };
    let wrapped = content_key::wrap(&[9; 16], store.agreement(), &info).unwrap();
    assert_eq!(*store.open_content_key(&wrapped, [1; 32]).unwrap(), [9; 16]);
    store.tls_key(Profile::Modern).unwrap();
    assert!(matches!(store.tls_key(Profile::Classic), Err(KeystoreError::Missing(_))));
    store.measure(&[1; 32]).unwrap();
    Keystore::create(&KeystoreSpec::DangerSoftware, &folder, Profile::Modern).unwrap_err();
    assert_eq!(mark(&Keystore::open(&folder).unwrap()), mark(&store));
}

#[test]
fn a_software_device_has_no_counter_and_its_whole_folder_can_be_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    let store = Keystore::create(&KeystoreSpec::DangerSoftware, &folder, Profile::Modern).unwrap();
    assert_eq!(store.counter().unwrap(), None);
    assert!(matches!(store.advance_counter(1), Err(KeystoreError::NoCounter(_))));
    let copied = dir.path().join("copied");
    copy(&folder, &copied);
    let thief = Keystore::open(&copied).unwrap();
    assert_eq!((thief.identity(), mark(&thief)), (store.identity(), mark(&store)));
}

#[test]
fn a_folder_that_does_not_say_where_its_keys_are_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    Keystore::create(&KeystoreSpec::DangerSoftware, &folder, Profile::Modern).unwrap();
    let file = folder.join(SPEC_FILE);
    for text in ["", "danger-software", "danger-software\n\n", "software\n", "\n"] {
        fs::write(&file, text).unwrap();
        assert!(matches!(Keystore::open(&folder), Err(KeystoreError::Spec { .. })), "{text:?}");
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(Keystore::open(&folder), Err(KeystoreError::Missing(_))));
}
