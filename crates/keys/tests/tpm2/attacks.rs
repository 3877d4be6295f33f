//! Attacks on keys in a TPM, and what happens when the TPM is taken away.

use std::fs;

use keys::cose::CosePurpose;
use keys::keystore::{Keystore, KeystoreError};
use keys::profile::Profile;
use keys::signer::SignError;
use keys::tpm2::TpmError;
use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::constants::{CapabilityType, NvIndexType};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, PcrHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, Digest, DigestValues, MaxNvBuffer, NvPublicBuilder};

use crate::rig::SoftTpm;
use crate::store::mark;

fn extend(tpm: &SoftTpm, register: PcrHandle) {
    tpm.beside(|context| {
        context.set_sessions((Some(AuthSession::Password), None, None));
        let mut values = DigestValues::new();
        values.set(HashingAlgorithm::Sha256, Digest::try_from(vec![1; 32]).unwrap());
        context.pcr_extend(register, values).unwrap();
    });
}

#[test]
fn after_another_boot_the_storage_root_stays_sealed() {
    let mut tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), ";pcrs=0,7", Profile::Modern).unwrap();
    let counter = store.counter().unwrap();
    let before = mark(&store);
    extend(&tpm, PcrHandle::Pcr4);
    assert_eq!(mark(&store), before, "a register that is not named counts");
    extend(&tpm, PcrHandle::Pcr7);
    let sealed = store.storage_root().unwrap_err();
    assert!(matches!(&sealed, KeystoreError::Tpm(TpmError::BootStateChanged { pcrs }) if pcrs == "0,7"), "{sealed}");
    assert!(matches!(store.counter(), Err(KeystoreError::Tpm(TpmError::BootStateChanged { .. }))));
    // Booted again as it was.
    tpm.stop();
    tpm.start_again();
    assert_eq!(mark(&store), before);
    assert_eq!(store.counter().unwrap(), counter);
}

#[test]
fn without_registers_the_storage_root_is_bound_to_the_tpm_alone() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Modern).unwrap();
    extend(&tpm, PcrHandle::Pcr0);
    mark(&store);
    assert!(!store.spec().to_string().contains("pcrs"), "it claims to be bound to the boot");
}

#[test]
fn registers_taken_out_of_the_file_do_not_open_the_seal() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    tpm.create(&folder, ";pcrs=0", Profile::Modern).unwrap();
    extend(&tpm, PcrHandle::Pcr0);
    for pcrs in ["", ";pcrs=1", ";pcrs=0,1"] {
        fs::write(folder.join("keystore"), format!("{}\n", tpm.spec(pcrs))).unwrap();
        assert!(Keystore::open(&folder).unwrap().storage_root().is_err(), "{pcrs:?}");
    }
}

#[test]
fn a_counter_that_is_removed_and_made_again_is_not_set_back() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Modern).unwrap();
    let counter = store.counter().unwrap().unwrap();
    for step in 1..=3 {
        store.advance_counter(counter + step).unwrap();
    }
    tpm.beside(|context| {
        let made = replace_counter(context, NvIndexType::Counter);
        context.nv_increment(NvAuth::NvIndex(made), made).unwrap();
    });
    assert_eq!(store.counter().unwrap(), Some(counter + 4));
}

#[test]
fn memory_that_can_be_written_in_place_of_the_counter_is_not_believed() {
    let tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), "", Profile::Modern).unwrap();
    let counter = store.counter().unwrap().unwrap();
    store.advance_counter(counter + 1).unwrap();
    tpm.beside(|context| {
        let made = replace_counter(context, NvIndexType::Ordinary);
        let old = MaxNvBuffer::try_from(counter.to_be_bytes().to_vec()).unwrap();
        context.nv_write(NvAuth::NvIndex(made), made, old, 0).unwrap();
    });
    assert!(matches!(store.counter(), Err(KeystoreError::Tpm(TpmError::NotACounter { .. }))));
    assert!(matches!(store.advance_counter(counter + 2), Err(KeystoreError::Tpm(TpmError::NotACounter { .. }))));
}

/// Removes the one counter and makes an index of this type where it was.
fn replace_counter(context: &mut Context, kind: NvIndexType) -> NvIndexHandle {
    let (found, _) = context.get_capability(CapabilityType::Handles, 0x0150_0000, 10).unwrap();
    let CapabilityData::Handles(handles) = found else { panic!("no list of handles") };
    let [handle] = handles.into_inner()[..] else { panic!("not one counter") };
    let index = NvIndexTpmHandle::try_from(handle).unwrap();
    let object = NvIndexHandle::from(context.tr_from_tpm_public(index.into()).unwrap());
    context.set_sessions((Some(AuthSession::Password), None, None));
    context.nv_undefine_space(Provision::Owner, object).unwrap();
    let attributes = NvIndexAttributesBuilder::new()
        .with_nv_index_type(kind)
        .with_auth_write(true)
        .with_auth_read(true)
        .with_no_da(true)
        .build()
        .unwrap();
    let public = NvPublicBuilder::new()
        .with_nv_index(index)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(attributes)
        .with_data_area_size(8)
        .build()
        .unwrap();
    context.nv_define_space(Provision::Owner, None, public).unwrap()
}

#[test]
fn keys_copied_to_another_tpm_are_of_no_use() {
    let (first, second) = (SoftTpm::start(), SoftTpm::start());
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    first.create(&folder, "", Profile::Modern).unwrap();
    let stolen = second.spec("").to_string();
    fs::write(folder.join("keystore"), format!("{stolen}\n")).unwrap();
    let thief = Keystore::open(&folder).unwrap();
    let other = |error: &KeystoreError| matches!(error, KeystoreError::Tpm(TpmError::OtherTpm { .. }));
    assert!(other(&thief.storage_root().unwrap_err()));
    assert!(other(&thief.counter().unwrap_err()));
    let refused = thief.sign(CosePurpose::Challenge, b"payload").unwrap_err();
    assert!(refused.to_string().contains("not the one that these keys were born in"), "{refused}");
    // Nor when the thief also says that it is the right one.
    let dir = tempfile::tempdir().unwrap();
    second.create(&dir.path().join("own"), "", Profile::Modern).unwrap();
    fs::copy(dir.path().join("own/tpm"), folder.join("tpm")).unwrap();
    let thief = Keystore::open(&folder).unwrap();
    assert!(other(&thief.storage_root().unwrap_err()));
    thief.sign(CosePurpose::Challenge, b"payload").unwrap_err();
}

#[test]
fn a_tpm_that_is_taken_away_is_named_and_used_again_when_it_is_back() {
    let mut tpm = SoftTpm::start();
    let dir = tempfile::tempdir().unwrap();
    let store = tpm.create(&dir.path().join("keys"), ";pcrs=0", Profile::Modern).unwrap();
    let (before, counter) = (mark(&store), store.counter().unwrap().unwrap());
    store.advance_counter(counter + 1).unwrap();
    tpm.stop();
    let refused = store.sign(CosePurpose::Challenge, b"payload").unwrap_err();
    assert!(matches!(&refused, SignError::Store(why) if why.contains("does not answer")), "{refused}");
    assert!(matches!(store.storage_root(), Err(KeystoreError::Tpm(TpmError::Away { .. }))));
    assert!(matches!(store.advance_counter(counter + 2), Err(KeystoreError::Tpm(TpmError::Away { .. }))));
    tpm.start_again();
    store.sign(CosePurpose::Challenge, b"payload").unwrap();
    assert_eq!(mark(&store), before);
    assert_eq!(store.counter().unwrap(), Some(counter + 1));
}
