//! Two virtual cards in two readers: what a custodian's card does for our own PKCS#11 code, through OpenSC. Start it with `./run`.
#![allow(missing_docs)]

mod rig;

use std::path::Path;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use keys::pkcs11::{KeyId, Module, Pin, SoftHsm, Token, TokenError};
use keys::pki::{OperatorPki, ServerName};
use keys::purpose::KeyPurpose;
use keys::release_key;
use keys::secret::Secret;
use keys::signer::Signer;
use keys::time::Now;
use release::author::ceremony::acts::{CeremonyError, Circumstances, Founding, found, meet, sign_draft};
use release::author::ceremony::card::{Card, CardKeys};
use release::author::ceremony::record::Act;
use release::author::{Delegation, TargetsSpec};
use release::root::{OnlineKeys, RootContent};

use crate::rig::{Cards, PIN};

const OPENSC: &str = "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so";

/// The ids that OpenSC gives to the keys of a PIV card: 9C signs, 9D agrees (SP 800-73-4).
fn key(slot: u8) -> KeyId {
    KeyId::new(&[slot - 0x9A]).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// Both custodians found a ceremony over a SoftHSM, open it again and sign with it; each signs the targets of a release.
fn hold_a_ceremony(cards: &[Card]) {
    let dir = Path::new("/run/vouch");
    let hsm = SoftHsm::find(dir).expect("softhsm2 is installed");
    hsm.make().unwrap();
    let module = Module::load(hsm.library()).unwrap();
    let blank = module.tokens().unwrap().into_iter().find(|token| !token.initialised).unwrap();
    module.initialise(&blank, "hsm", &secret("first-so-pin"), &secret("first-user-pin")).unwrap();
    let now = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
    let pki = OperatorPki::create("Test", &[ServerName::try_from("iot.example").unwrap()], now).unwrap();
    let online = || Signer::generate(KeyPurpose::AppApproval).unwrap().public().clone();
    let root = RootContent {
        version: 1,
        expires_unix_s: 1_900_000_000,
        custodians: Vec::new(),
        root_needed: 2,
        release_needed: 2,
        online: OnlineKeys { snapshot: online(), timestamp: online(), director: online(), apps: online() },
        release_keys: Vec::new(),
        tls_roots: pki.serving.server_roots,
        log: None,
    };
    let founding = Founding {
        product: "till",
        root,
        certificate: None,
        kept: None,
        module: &module,
        token: &"hsm".into(),
        user: secret("first-user-pin"),
        security_officer: secret("first-so-pin"),
    };
    let circumstances = || Circumstances { unix_ms: now.unix_ms, note: None };
    let mut folder = found(&dir.join("ceremony"), founding, cards, circumstances(), &mut |_| {}).unwrap();
    assert!(matches!(meet(&mut folder, &cards[..1], &module, &mut |_| {}), Err(CeremonyError::TooFew { .. })));
    let meeting = meet(&mut folder, cards, &module, &mut |_| {}).unwrap();
    let signed = meeting.sign_manifest(b"a manifest").unwrap();
    let act = Act::Signed { version: "1.0.0".to_owned(), manifests: Vec::new(), approvals: Vec::new() };
    meeting.close(act, circumstances(), &mut |_| {}).unwrap();
    release_key::verify(folder.root.release_keys.iter().map(|slot| &slot.key), &signed).unwrap();

    let server = Delegation::Server { key: folder.root.online.apps.clone() };
    let spec = TargetsSpec { version: 1, expires: 1_900_000_000, manifests: Vec::new(), apps: vec![server] };
    let (mut targets, root) = (spec.draft().unwrap(), &folder.roots[0]);
    for (at, card) in cards.iter().enumerate() {
        assert_eq!(targets.progress(root, "targets").unwrap().signed.len(), at);
        sign_draft(&mut targets, card, &mut |_| {}).unwrap();
    }
    assert!(targets.progress(root, "targets").unwrap().is_complete());
}

/// One test, since there is one daemon for all cards of a machine.
#[test]
fn two_cards_sign_and_agree_and_no_pin_is_tried_twice() {
    let cards = Cards::insert();
    let module = Module::load(Path::new(OPENSC)).unwrap();
    let present = module.tokens().unwrap();
    println!("{present:#?}");
    assert_eq!(present.len(), 2);
    let tokens: Vec<Token> = present
        .iter()
        .map(|token| Token::open(&module, token.label.as_str(), Pin::Typed(secret(PIN))).unwrap())
        .collect();

    let mut publics = Vec::new();
    for token in &tokens {
        // 9C asks for the PIN at each signature: a login for this one use, with the PIN that was typed.
        let signing = token.public(&key(0x9C)).unwrap();
        for message in [&b"a release"[..], b"another"] {
            let signature = token.sign(&key(0x9C), &signing, message).unwrap();
            signing.verify(message, &signature).unwrap();
            signing.verify(b"something else", &signature).unwrap_err();
        }
        // OpenSC says of both that they were made on the card and stay there, so that they can be enrolled.
        token.refuse_unless_kept(&key(0x9C)).unwrap();
        token.refuse_unless_kept(&key(0x9D)).unwrap();
        // 9D agrees with a key that is elsewhere; both sides come to the same.
        let agreeing = token.public(&key(0x9D)).unwrap();
        let ours = PrivateKey::generate(&ECDH_P256).unwrap();
        let shared = token.agree(&key(0x9D), ours.compute_public_key().unwrap().as_ref()).unwrap();
        let theirs = UnparsedPublicKey::new(&ECDH_P256, rig::point(&agreeing));
        let expected = agree(&ours, theirs, (), |shared| Ok(Secret::new(shared.to_vec()))).unwrap();
        assert!(shared.ct_eq(expected.expose()));
        assert_eq!(token.public(&KeyId::new(&[9]).unwrap()), Err(TokenError::NoKey(KeyId::new(&[9]).unwrap())));
        publics.extend([signing, agreeing]);
    }
    for (at, public) in publics.iter().enumerate() {
        assert!(!publics[..at].contains(public), "the virtual cards were born with the same keys");
    }
    assert_eq!(publics, cards.publics, "OpenSC shows the keys that the cards made");

    // A signature of one card is none of the other.
    let signature = tokens[0].sign(&key(0x9C), &publics[0], b"a release").unwrap();
    publics[2].verify(b"a release", &signature).unwrap_err();
    assert!(matches!(tokens[1].sign(&key(0x9C), &publics[0], b"a release"), Err(TokenError::BadSignature(_))));
    let ids = || CardKeys { signing: key(0x9C), agreement: key(0x9D) };
    let custodians = tokens.into_iter().zip(["ada", "ben"]).map(|(token, name)| {
        Card::prepare(&token, &ids()).unwrap();
        Card::open(token, ids(), name).unwrap()
    });
    hold_a_ceremony(&custodians.collect::<Vec<_>>());

    // A wrong PIN costs one of the three tries, and no more: after two of them the right one opens.
    for _ in 0..2 {
        let wrong = Token::open(&module, present[0].label.as_str(), Pin::Typed(secret("654321")));
        assert_eq!(wrong.unwrap_err(), TokenError::WrongPin);
    }
    Token::open(&module, present[0].label.as_str(), Pin::Typed(secret(PIN))).unwrap();
}
