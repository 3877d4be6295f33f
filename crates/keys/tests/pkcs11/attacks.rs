//! Attacks on a token and on what it holds, and what happens when it is pulled out.

use std::fs;

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, ObjectClass},
    session::Session,
};
use keys::pkcs11::{KeyId, TokenError, TokenKeyKind};

use crate::rig::{PIN, Rig, add_token, alone, library, secret, write_pin};

/// A session beside the tested code, logged in by it.
fn session() -> Session {
    let library = library();
    let slot = library.get_slots_with_initialized_token().unwrap()[0];
    library.open_rw_session(slot).unwrap()
}

#[test]
fn a_second_key_with_the_same_id_is_noticed_and_neither_is_used() {
    alone("attacks::a_second_key_with_the_same_id_is_noticed_and_neither_is_used", |hsm| {
        let token = hsm.with_file().unwrap();
        let id = KeyId::new(&[5]).unwrap();
        token.generate(TokenKeyKind::P256Sign, &id, "mine").unwrap();
        let public = token.public(&id).unwrap();
        let named = [Attribute::Token(true), Attribute::Id(vec![5])];
        let parameters = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
        let (_, private) = session()
            .generate_key_pair(
                &Mechanism::EccKeyPairGen,
                &[&named[..], &[parameters]].concat(),
                &[&named[..], &[Attribute::Sign(true)]].concat(),
            )
            .unwrap();
        let several = TokenError::SeveralKeys { id: id.clone(), count: 2 };
        assert_eq!(token.public(&id).unwrap_err(), several);
        assert_eq!(token.sign(&id, &public, b"message").unwrap_err(), several);
        session().destroy_object(private).unwrap();
        token.sign(&id, &public, b"message").unwrap();
    });
}

#[test]
fn a_signature_of_another_key_never_leaves() {
    alone("attacks::a_signature_of_another_key_never_leaves", |hsm| {
        let token = hsm.with_file().unwrap();
        let [mine, other] = [(); 2].map(|()| {
            let id = KeyId::random();
            token.generate(TokenKeyKind::P256Sign, &id, "signs").unwrap();
            id
        });
        let public = token.public(&other).unwrap();
        assert_eq!(token.sign(&mine, &public, b"message").unwrap_err(), TokenError::BadSignature(mine));
    });
}

#[test]
fn a_forbidden_attribute_is_never_shown() {
    alone("attacks::a_forbidden_attribute_is_never_shown", |hsm| {
        let token = hsm.with_file().unwrap();
        for (kind, secret) in [
            (TokenKeyKind::P256Sign, AttributeType::Value),
            (TokenKeyKind::P256Agree, AttributeType::Value),
            (TokenKeyKind::Rsa2048Sign, AttributeType::PrivateExponent),
            (TokenKeyKind::Rsa4096Sign, AttributeType::PrivateExponent),
        ] {
            let id = KeyId::random();
            token.generate(kind, &id, "signs").unwrap();
            let session = session();
            let id = const_hex::decode(id.to_string()).unwrap();
            let key =
                session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(id)]).unwrap()[0];
            // The trap: this is no error, so a test for one would pass for a key that anybody can read.
            assert_eq!(session.get_attributes(key, &[secret]).unwrap(), []);
            let info = session.get_attribute_info(key, &[secret]).unwrap();
            assert!(matches!(info.as_slice(), [AttributeInfo::Sensitive]), "{info:?}");
            let always = [
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
            ];
            let asked = always.clone().map(|attribute| attribute.attribute_type());
            assert_eq!(session.get_attributes(key, &asked).unwrap(), always);
            session.update_attributes(key, &[Attribute::Extractable(true)]).unwrap_err();
            session.update_attributes(key, &[Attribute::Sensitive(false)]).unwrap_err();
        }
    });
}

#[test]
fn a_key_that_was_there_and_can_be_taken_out_is_refused() {
    alone("attacks::a_key_that_was_there_and_can_be_taken_out_is_refused", |hsm| {
        let token = hsm.with_file().unwrap();
        let good = KeyId::random();
        token.generate(TokenKeyKind::P256Sign, &good, "signs").unwrap();
        token.refuse_unless_kept(&good).unwrap();
        let parameters = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
        for (number, open) in [(1, Attribute::Extractable(true)), (2, Attribute::Sensitive(false))] {
            let named = [Attribute::Token(true), Attribute::Id(vec![number])];
            let (public, private) =
                ([&named[..], std::slice::from_ref(&parameters)].concat(), [&named[..], &[open]].concat());
            session().generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
            let id = KeyId::new(&[number]).unwrap();
            assert_eq!(token.refuse_unless_kept(&id), Err(TokenError::FoundNotKept(id.clone())));
        }
        let missing = KeyId::new(&[3]).unwrap();
        assert_eq!(token.refuse_unless_kept(&missing), Err(TokenError::NoKey(missing.clone())));
    });
}

/// Another test runs this one in a process of its own, where it must fail.
#[test]
fn opens_with_the_pin_file() {
    alone("attacks::opens_with_the_pin_file", |hsm| {
        hsm.with_file().unwrap();
    });
}

#[test]
fn a_wrong_pin_is_tried_once_whoever_starts_again() {
    alone("attacks::a_wrong_pin_is_tried_once_whoever_starts_again", |hsm| {
        write_pin(&hsm.pin_file(), "wrong-pin");
        assert_eq!(hsm.with_file().unwrap_err(), TokenError::WrongPin);
        assert!(is_counted(hsm));
        // The right PIN would be taken now. From a file it is not even tried: who knows what the file holds next.
        write_pin(&hsm.pin_file(), PIN);
        assert!(matches!(hsm.with_file(), Err(TokenError::PinWasWrong(_))));
        assert!(!hsm.in_another_process("attacks::opens_with_the_pin_file"));
        assert!(is_counted(hsm), "somebody logged in");
        // A person knows what they type.
        drop(hsm.typed(PIN).unwrap());
        assert!(!is_counted(hsm));
        hsm.with_file().unwrap();
        assert!(hsm.in_another_process("attacks::opens_with_the_pin_file"));
    });
}

/// Whether the token says that a wrong PIN was tried since the last right one.
fn is_counted(_: &Rig) -> bool {
    let library = library();
    let slot = library.get_slots_with_initialized_token().unwrap()[0];
    library.get_token_info(slot).unwrap().user_pin_count_low()
}

#[test]
fn a_token_that_is_pulled_out_is_named_and_used_again_when_it_is_back() {
    alone("attacks::a_token_that_is_pulled_out_is_named_and_used_again_when_it_is_back", |hsm| {
        let token = hsm.with_file().unwrap();
        let id = KeyId::random();
        token.generate(TokenKeyKind::P256Sign, &id, "signs").unwrap();
        let public = token.public(&id).unwrap();
        let there = fs::read_dir(hsm.dir.join("tokens")).unwrap().next().unwrap().unwrap().path();
        let away = hsm.dir.join("away");
        fs::rename(&there, &away).unwrap();
        for _ in 0..3 {
            let error = token.sign(&id, &public, b"message").unwrap_err();
            assert!(matches!(&error, TokenError::NoToken { name, .. } if name.label == crate::rig::LABEL), "{error}");
        }
        fs::rename(&away, &there).unwrap();
        token.sign(&id, &public, b"message").unwrap();
    });
}

#[test]
fn two_tokens_with_one_label_are_refused() {
    alone("attacks::two_tokens_with_one_label_are_refused", |hsm| {
        let blank = hsm.module.tokens().unwrap().into_iter().find(|token| !token.initialised).unwrap();
        let made = hsm.module.initialise(&blank, crate::rig::LABEL, &secret("so-12345678"), &secret(PIN));
        assert!(matches!(made, Err(TokenError::LabelTaken { .. })));
        add_token(&hsm.module, "other");
        hsm.with_file().unwrap();
    });
}
