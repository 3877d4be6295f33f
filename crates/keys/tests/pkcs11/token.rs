//! What a token does for its owner: it makes keys, signs, agrees, and takes new PINs.

use cryptoki::{mechanism::Mechanism, object::Attribute};
use keys::hashes::sha256;
use keys::pkcs11::{KeyId, Pin, Token, TokenError, TokenKeyKind};
use keys::public::KeyAlgorithm;
use keys::release_key::ReleaseKey;

use crate::rig::{LABEL, PIN, SO_PIN, alone, library, secret, write_pin};

#[test]
fn a_token_says_who_it_is() {
    alone("token::a_token_says_who_it_is", |hsm| {
        let info = hsm.with_file().unwrap().info().unwrap();
        assert_eq!((info.label.as_str(), info.maker.as_str()), (LABEL, "SoftHSM project"));
        assert!(info.initialised && !info.serial.is_empty() && !info.model.is_empty() && info.firmware.contains('.'));
    });
}

#[test]
fn keys_are_born_on_the_token_and_sign_or_agree() {
    alone("token::keys_are_born_on_the_token_and_sign_or_agree", |hsm| {
        let token = hsm.with_file().unwrap();
        let point = |id| token.public(id).unwrap().spki_der()[26..].to_vec();
        let [one, two] = [(); 2].map(|()| {
            let id = KeyId::random();
            token.generate(TokenKeyKind::P256Agree, &id, "agrees").unwrap();
            id
        });
        for (kind, algorithm) in
            [(TokenKeyKind::P256Sign, KeyAlgorithm::P256), (TokenKeyKind::Rsa2048Sign, KeyAlgorithm::Rsa2048)]
        {
            let id = KeyId::random();
            token.generate(kind, &id, "signs").unwrap();
            let public = token.public(&id).unwrap();
            assert_eq!(public.algorithm(), algorithm);
            let signature = token.sign(&id, &public, b"message").unwrap();
            public.verify(b"message", &signature).unwrap();
            public.verify(b"other", &signature).unwrap_err();
            assert!(matches!(token.agree(&id, &point(&one)), Err(TokenError::Failed(_))), "it agrees");
            assert_eq!(token.generate(kind, &id, "again"), Err(TokenError::KeyExists(id)));
        }
        let shared = token.agree(&one, &point(&two)).unwrap();
        assert!(shared.ct_eq(token.agree(&two, &point(&one)).unwrap().expose()));
        let public = token.public(&one).unwrap();
        assert!(matches!(token.sign(&one, &public, b"x"), Err(TokenError::Failed(_))), "it signs");
        token.destroy(&one).unwrap();
        assert_eq!(token.public(&one).unwrap_err(), TokenError::NoKey(one));
    });
}

#[test]
fn a_release_key_signs_pss_over_a_digest() {
    alone("token::a_release_key_signs_pss_over_a_digest", |hsm| {
        let token = hsm.typed(PIN).unwrap();
        let id = KeyId::new(&[1]).unwrap();
        token.generate(TokenKeyKind::Rsa4096Sign, &id, "release").unwrap();
        let modulus = token.rsa_modulus(&id).unwrap();
        assert_eq!(modulus.len(), 512);
        assert_eq!(token.public(&id).unwrap_err(), TokenError::OtherKind(id.clone()));
        let signature = token.sign_pss(&id, &sha256(b"manifest")).unwrap();
        let key = ReleaseKey::from_modulus(&modulus).unwrap();
        key.verify(b"manifest", &signature).unwrap();
        key.verify(b"other", &signature).unwrap_err();
    });
}

#[test]
fn user_and_security_officer_change_their_pins() {
    alone("token::user_and_security_officer_change_their_pins", |hsm| {
        let token = hsm.typed(PIN).unwrap();
        assert_eq!(token.set_pin(&secret("not-it"), &secret("new-pin")), Err(TokenError::WrongPin));
        token.set_pin(&secret(PIN), &secret("new-pin")).unwrap();
        drop(token);
        hsm.typed("new-pin").unwrap();
        let so = |old: &str, new: &str| hsm.module.set_so_pin(&LABEL.into(), &secret(old), &secret(new));
        assert_eq!(so("not-it", "so-new-pin"), Err(TokenError::WrongPin));
        so(SO_PIN, "so-new-pin").unwrap();
        so("so-new-pin", SO_PIN).unwrap();
    });
}

#[test]
fn a_key_that_wants_the_pin_each_time_gets_it() {
    alone("token::a_key_that_wants_the_pin_each_time_gets_it", |hsm| {
        let token = hsm.with_file().unwrap();
        let id = KeyId::new(&[7]).unwrap();
        // What a PIV card does in its slot 9C.
        let library = library();
        let slot = library.get_slots_with_token().unwrap()[0];
        let session = library.open_rw_session(slot).unwrap();
        let public = [
            Attribute::Token(true),
            Attribute::Id(vec![7]),
            Attribute::ModulusBits(2048.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
            Attribute::Verify(true),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Id(vec![7]),
            Attribute::Sign(true),
            Attribute::AlwaysAuthenticate(true),
        ];
        let (_, key) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private).unwrap();
        session.sign(&Mechanism::Sha256RsaPkcs, key, b"message").unwrap_err();
        let public = token.public(&id).unwrap();
        let signature = token.sign(&id, &public, b"message").unwrap();
        public.verify(b"message", &signature).unwrap();
    });
}

#[test]
fn two_threads_sign_at_the_same_time() {
    alone("token::two_threads_sign_at_the_same_time", |hsm| {
        let token = hsm.with_file().unwrap();
        let id = KeyId::random();
        token.generate(TokenKeyKind::P256Sign, &id, "signs").unwrap();
        let public = token.public(&id).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        token.sign(&id, &public, b"message").unwrap();
                    }
                });
            }
        });
    });
}

#[test]
fn a_pin_file_that_others_read_or_that_holds_no_pin_is_refused() {
    alone("token::a_pin_file_that_others_read_or_that_holds_no_pin_is_refused", |hsm| {
        let file = hsm.pin_file();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        let error = hsm.with_file().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        for text in ["", "two\nlines"] {
            write_pin(&file, text);
            assert_eq!(hsm.with_file().unwrap_err(), TokenError::PinForm, "{text:?}");
        }
        write_pin(&file, PIN);
        hsm.with_file().unwrap();
    });
}

#[test]
fn a_library_or_token_that_is_not_there_is_named() {
    alone("token::a_library_or_token_that_is_not_there_is_named", |hsm| {
        let missing = keys::pkcs11::Module::load("/nowhere/lib.so".as_ref()).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/lib.so"), "{missing}");
        let text = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        assert!(matches!(keys::pkcs11::Module::load(text.as_ref()), Err(TokenError::Library { .. })));
        let none = Token::open(&hsm.module, "other", Pin::Typed(secret(PIN))).unwrap_err();
        assert!(matches!(none, TokenError::NoToken { name, .. } if name.label == "other"));
    });
}
