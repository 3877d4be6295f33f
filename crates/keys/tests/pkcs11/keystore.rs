//! A device and an operator whose keys are in a token.

use std::fs;

use keys::content_key::{self, ContentKeyInfo};
use keys::cose::{self, CosePurpose};
use keys::hpke;
use keys::keystore::{AttestationLevel, Keystore, KeystoreError, KeystoreSpec};
use keys::pkcs11::{KeyId, TokenKeyKind};
use keys::pki::Csr;
use keys::profile::Profile;
use keys::purpose::KeyPurpose;

use crate::alone::soft_hsm;
use crate::rig::{LABEL, Rig, alone};

fn spec(hsm: &Rig) -> KeystoreSpec {
    soft_hsm(&hsm.dir).opened_token(LABEL, &hsm.pin_file()).parse().unwrap()
}

fn mark(store: &Keystore) -> Vec<u8> {
    let key = store.storage_root().unwrap().purpose_key(KeyPurpose::VaultApp).unwrap();
    let mut mark = b"mark".to_vec();
    key.write_key(&[7; 16]).unwrap().seal(0, true, b"", &mut mark).unwrap();
    mark
}

#[test]
fn keys_in_a_token_do_all_a_device_needs() {
    alone("keystore::keys_in_a_token_do_all_a_device_needs", |hsm| {
        for profile in [Profile::Modern, Profile::Classic] {
            let folder = hsm.dir.join(profile.to_string());
            let store = Keystore::create(&spec(hsm), &folder, profile).unwrap();
            assert_eq!(store.level(), AttestationLevel::SecureElement);
            let purpose = CosePurpose::Challenge;
            let signed = cose::assemble(b"payload", store.sign(purpose, b"payload").unwrap());
            assert_eq!(cose::verify(purpose, store.identity(), &signed).unwrap(), b"payload");
            let info = ContentKeyInfo { manifest_sha256: [1; 32], identity: store.identity().spki_hash() };
            let wrapped = content_key::wrap(&[9; 16], store.agreement(), &info).unwrap();
            assert_eq!(*store.open_content_key(&wrapped, [1; 32]).unwrap(), [9; 16]);
            let tls = store.tls_key(profile).unwrap();
            assert_eq!(Csr::parse_and_verify(&Csr::create(&tls).unwrap()).unwrap().public(), tls.public());
            assert_eq!(store.counter().unwrap(), None);
            assert!(matches!(store.advance_counter(1), Err(KeystoreError::NoCounter(_))));
            store.measure(&[1; 32]).unwrap();
            let again = Keystore::open(&folder).unwrap();
            assert_eq!((again.identity(), mark(&again)), (store.identity(), mark(&store)));
            for entry in fs::read_dir(&folder).unwrap() {
                let name = entry.unwrap().file_name();
                let name = name.to_str().unwrap();
                assert!(name == "keystore" || name.ends_with(".token"), "{name}");
            }
        }
    });
}

#[test]
fn a_key_in_a_file_laid_beside_the_tokens_is_not_used() {
    alone("keystore::a_key_in_a_file_laid_beside_the_tokens_is_not_used", |hsm| {
        let (folder, other) = (hsm.dir.join("keys"), hsm.dir.join("other"));
        let store = Keystore::create(&spec(hsm), &folder, Profile::Modern).unwrap();
        Keystore::create(&KeystoreSpec::DangerSoftware, &other, Profile::Modern).unwrap();
        for entry in fs::read_dir(&other).unwrap().map(|entry| entry.unwrap()) {
            let beside = folder.join(entry.file_name());
            if !beside.exists() {
                fs::copy(entry.path(), beside).unwrap();
            }
        }
        let again = Keystore::open(&folder).unwrap();
        assert_eq!(
            (again.identity(), again.agreement(), mark(&again)),
            (store.identity(), store.agreement(), mark(&store))
        );
    });
}

#[test]
fn each_device_on_a_token_has_a_storage_root_of_its_own_and_leaves_nothing_behind() {
    alone("keystore::each_device_on_a_token_has_a_storage_root_of_its_own_and_leaves_nothing_behind", |hsm| {
        let [one, two] = ["one", "two"].map(|name| {
            let store = Keystore::create(&spec(hsm), &hsm.dir.join(name), Profile::Modern).unwrap();
            mark(&store)
        });
        assert_ne!(one, two);
        Keystore::discard(&hsm.dir.join("one")).unwrap();
        assert!(matches!(Keystore::open(&hsm.dir.join("one")), Err(KeystoreError::Key { .. })));
        assert_eq!(mark(&Keystore::open(&hsm.dir.join("two")).unwrap()), two);
    });
}

#[test]
fn a_secret_sealed_to_a_card_opens_on_that_card() {
    alone("keystore::a_secret_sealed_to_a_card_opens_on_that_card", |hsm| {
        let token = hsm.with_file().unwrap();
        let [mine, other] = [(); 2].map(|()| {
            let id = KeyId::random();
            token.generate(TokenKeyKind::P256Agree, &id, "agrees").unwrap();
            id
        });
        let public = token.public(&mine).unwrap();
        let sealed = hpke::seal(&public, b"share", b"1", b"secret").unwrap();
        let open = |id: &KeyId| hpke::open(&sealed, &public, b"share", b"1", |point| token.agree(id, point)).unwrap();
        assert!(open(&mine).unwrap().ct_eq(b"secret"));
        assert_eq!(open(&other).err(), Some(hpke::HpkeError::NotForUs));
    });
}
