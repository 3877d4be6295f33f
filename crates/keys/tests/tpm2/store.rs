//! What a device does with keys in a TPM.

use std::fs;

use keys::content_key::{self, ContentKeyInfo};
use keys::cose::{self, CosePurpose};
use keys::hashes::sha256;
use keys::keystore::{AttestationLevel, Keystore, KeystoreError};
use keys::pki::Csr;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;
use keys::tpm2::{MEASURED_PCR, TpmError};
use tss_esapi::constants::CapabilityType;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{CapabilityData, PcrSelectionListBuilder, PcrSlot};

use crate::rig::SoftTpm;

/// A mark that shows whether two storage roots are the same.
pub(crate) fn mark(store: &Keystore) -> Vec<u8> {
    let key = store.storage_root().unwrap().purpose_key(KeyPurpose::VaultApp).unwrap();
    let mut mark = b"mark".to_vec();
    key.write_key(&[7; 16]).unwrap().seal(0, true, b"", &mut mark).unwrap();
    mark
}

#[test]
fn keys_are_born_in_the_tpm_and_do_all_a_device_needs() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    let store = tpm.create(&folder, ";pcrs=0,7", Profile::Modern).unwrap();
    assert_eq!(store.level(), AttestationLevel::Tpm);
    for purpose in CosePurpose::ALL {
        let signed = cose::assemble(b"payload", store.sign(purpose, b"payload").unwrap());
        assert_eq!(cose::verify(purpose, store.identity(), &signed).unwrap(), b"payload");
    }
    let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: store.identity().spki_hash() };
    let wrapped = content_key::wrap(&[9; 16], store.agreement(), &info).unwrap();
    assert_eq!(*store.open_content_key(&wrapped, [1; 32]).unwrap(), [9; 16]);
    assert!(store.open_content_key(&wrapped, [2; 32]).is_err());
    let tls = store.tls_key(Profile::Modern).unwrap();
    assert_eq!(Csr::parse_and_verify(&Csr::create(&tls).unwrap()).unwrap().public(), tls.public());
    assert!(matches!(store.tls_key(Profile::Classic), Err(KeystoreError::Missing(_))));
    store.measure(&[3; 32]).unwrap();
    let again = Keystore::open(&folder).unwrap();
    assert_eq!((again.identity(), again.agreement()), (store.identity(), store.agreement()));
    assert_eq!(mark(&again), mark(&store), "measuring what runs locked the storage");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    let expected = [
        "device-identity.tpm",
        "device-key-agreement.tpm",
        "device-tls-modern.tpm",
        "keystore",
        "storage-root.tpm",
        "tpm",
    ];
    assert_eq!(files, expected);
}

#[test]
fn a_classic_device_has_an_rsa_key_for_tls() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Classic).unwrap();
    let tls = store.tls_key(Profile::Classic).unwrap();
    assert_eq!(Csr::parse_and_verify(&Csr::create(&tls).unwrap()).unwrap().public(), tls.public());
    mark(&store);
}

#[test]
fn two_devices_share_a_tpm_and_nothing_else() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| tpm.create(&dir.path().join(name), "", Profile::Modern).unwrap());
    assert_ne!(one.identity(), two.identity());
    assert_ne!(mark(&one), mark(&two));
    let before = two.counter().unwrap().unwrap();
    one.advance_counter(one.counter().unwrap().unwrap() + 1).unwrap();
    assert_eq!(two.counter().unwrap(), Some(before));
}

#[test]
fn the_counter_is_stepped_by_one_or_not_at_all() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Modern).unwrap();
    let counter = store.counter().unwrap().unwrap();
    store.advance_counter(counter).unwrap();
    assert_eq!(store.counter().unwrap(), Some(counter));
    store.advance_counter(counter + 1).unwrap();
    store.advance_counter(counter + 1).unwrap();
    assert_eq!(store.counter().unwrap(), Some(counter + 1));
    for to in [counter, counter + 3, 0, u64::MAX] {
        let refused = store.advance_counter(to).unwrap_err();
        assert!(matches!(refused, KeystoreError::Tpm(TpmError::Counter { .. })), "{to}: {refused}");
    }
    assert_eq!(store.counter().unwrap(), Some(counter + 1));
}

#[test]
fn two_hundred_signatures_leave_no_handle_behind() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), ";pcrs=0", Profile::Modern).unwrap();
    for _ in 0..200 {
        store.sign(CosePurpose::Challenge, b"payload").unwrap();
    }
    store.storage_root().unwrap();
    // Transient objects, loaded sessions, saved sessions: the first handles of each kind (TPM 2.0 Part 2, table 28).
    for first in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
        let (found, _) = tpm.beside(|context| context.get_capability(CapabilityType::Handles, first, 10).unwrap());
        let CapabilityData::Handles(handles) = found else { panic!("no list of handles") };
        assert!(handles.is_empty(), "{first:x}: {handles:?}");
    }
}

#[test]
fn a_device_that_is_given_up_leaves_nothing_in_the_tpm() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    let store = tpm.create(&folder, "", Profile::Modern).unwrap();
    store.counter().unwrap();
    Keystore::discard(&folder).unwrap();
    store.counter().unwrap_err();
    Keystore::discard(&folder).unwrap_err();
}

#[test]
fn each_torn_or_changed_file_is_found() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    tpm.create(&folder, "", Profile::Modern).unwrap();
    let all_used = || {
        let store = Keystore::open(&folder)?;
        store.sign(CosePurpose::SelfTest, b"").map_err(KeystoreError::Sign)?;
        store.storage_root().map(drop)
    };
    all_used().unwrap();
    for name in ["keystore", "tpm", "device-identity.tpm", "storage-root.tpm"] {
        let path = folder.join(name);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(all_used().is_err(), "{name} cut to {length}");
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(all_used().is_err(), "{name} with a trailing byte");
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&path, flipped).unwrap();
        assert!(all_used().is_err(), "{name} with a flipped bit");
        fs::write(&path, bytes).unwrap();
    }
    all_used().unwrap();
}

#[test]
fn what_is_about_to_run_extends_its_register_and_no_other() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Modern).unwrap();
    let before = registers(&tpm);
    let mut expected = before.clone();
    for manifest in [[3; 32], [4; 32]] {
        store.measure(&manifest).unwrap();
        let register = &mut expected[usize::from(MEASURED_PCR)];
        // TPM 2.0, part 1, section 17.2: the new value is the digest of the old one followed by what is extended.
        *register = sha256(&[&register[..], &manifest].concat()).to_vec();
    }
    assert_ne!(expected, before);
    assert_eq!(registers(&tpm), expected);
}

/// The registers that only a reset of the machine clears, in their order.
fn registers(tpm: &SoftTpm) -> Vec<Vec<u8>> {
    let read = |slot: PcrSlot| {
        let selection =
            PcrSelectionListBuilder::new().with_selection(HashingAlgorithm::Sha256, &[slot]).build().unwrap();
        let (_, _, digests) = tpm.beside(|context| context.pcr_read(selection)).unwrap();
        digests.value()[0].value().to_vec()
    };
    (0..=15).map(|number| read(PcrSlot::try_from(1_u32 << number).unwrap())).collect()
}
