//! What a root must say, and what it may not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keys::pki::{OperatorPki, RootsBundle, ServerName, ServingPki};
use keys::public::PublicKey;
use keys::purpose::KeyPurpose;
use keys::release_key::DangerSoftwareReleaseKey;
use keys::signer::Signer;
use keys::time::Now;
use release::anchors::ReleaseKeySlot;
use release::limits::LIMITS;
use release::root::{Custodian, EXTENSION, OnlineKeys, RootChain, RootContent, key_id};
use serde_json::{Value, json};
use std::sync::OnceLock;

fn tls_roots() -> &'static RootsBundle {
    static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let now = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
        let names = [ServerName::try_from("iot.example").unwrap()];
        OperatorPki::create("Test", &names, now).unwrap().save(dir.path()).unwrap();
        ServingPki::load(dir.path()).unwrap().server_roots
    })
}

fn release_key() -> &'static ReleaseKeySlot {
    static KEY: OnceLock<ReleaseKeySlot> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = DangerSoftwareReleaseKey::generate().unwrap();
        ReleaseKeySlot { key: key.public().clone(), revoked: false }
    })
}

fn p256() -> PublicKey {
    Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone()
}

fn content() -> RootContent {
    let custodian = |name: &str| Custodian { name: name.to_owned(), signing: p256(), agreement: p256() };
    RootContent {
        version: 1,
        expires_unix_s: 1_900_000_000,
        custodians: ["ada", "ben", "cleo"].map(custodian).into(),
        root_needed: 3,
        release_needed: 2,
        online: OnlineKeys { snapshot: p256(), timestamp: p256(), director: p256(), apps: p256() },
        release_keys: vec![release_key().clone()],
        tls_roots: tls_roots().clone(),
        log: Some("log.example+1234abcd+key".to_owned()),
    }
}

fn refused(content: &RootContent) -> String {
    content.to_signed().unwrap_err().to_string()
}

#[test]
fn a_root_comes_back_as_it_was_written() {
    let content = content();
    let signed = content.to_signed().unwrap();
    assert_eq!(RootContent::from_signed(&signed).unwrap(), content);
    let ada = key_id(&content.custodians[0].signing).unwrap();
    assert_eq!(content.custodian(&ada).unwrap().name, "ada");
    assert_eq!(signed["roles"]["targets"]["threshold"], 2);
    let without_log = RootContent { log: None, ..content };
    assert_eq!(RootContent::from_signed(&without_log.to_signed().unwrap()).unwrap(), without_log);
}

#[test]
fn one_card_under_two_names_is_refused_by_writer_and_reader() {
    let mut twice = content();
    twice.custodians[2].signing = twice.custodians[0].signing.clone();
    assert!(refused(&twice).contains("are the same key"), "{}", refused(&twice));
    let mut shared = content();
    shared.custodians[1].agreement = shared.custodians[1].signing.clone();
    assert!(refused(&shared).contains("are the same key"));
    let mut online = content();
    online.online.timestamp = online.custodians[0].signing.clone();
    assert!(refused(&online).contains("are the same key"));

    // A forger writes the same public key under an id of his own choosing.
    let good = content();
    let mut signed = good.to_signed().unwrap();
    let ids: Vec<String> = good.custodians.iter().map(|custodian| key_id(&custodian.signing).unwrap()).collect();
    signed["keys"][&ids[2]]["keyval"] = signed["keys"][&ids[0]]["keyval"].clone();
    assert!(RootContent::from_signed(&signed).is_err());
}

#[test]
fn quorums_outside_their_bounds_are_refused() {
    for (release_needed, root_needed) in [(1, 3), (2, 4), (3, 2), (0, 0)] {
        let bad = RootContent { release_needed, root_needed, ..content() };
        assert!(bad.check().is_err(), "{release_needed} and {root_needed} of 3");
    }
    for (release_needed, root_needed) in [(2, 2), (2, 3), (3, 3)] {
        RootContent { release_needed, root_needed, ..content() }.check().unwrap();
    }
}

#[test]
fn release_keys_have_bounds() {
    let mut none = content();
    none.release_keys[0].revoked = true;
    assert!(refused(&none).contains("not revoked"));
    let mut twice = content();
    twice.release_keys.push(release_key().clone());
    assert!(refused(&twice).contains("listed twice"));
    none.release_keys.clear();
    assert!(refused(&none).contains("release keys"));
}

#[test]
fn names_are_short_and_plain() {
    for bad in [String::new(), "a\nb".to_owned(), "a".repeat(LIMITS.custodian_name + 1), "ben".to_owned()] {
        let mut content = content();
        content.custodians[0].name = bad.clone();
        assert!(content.check().is_err(), "{bad:?}");
    }
    let mut longest = content();
    longest.custodians[0].name = "a".repeat(LIMITS.custodian_name);
    longest.check().unwrap();
}

#[test]
fn a_reader_takes_nothing_that_a_writer_does_not_write() {
    let good = content().to_signed().unwrap();
    let changes: [fn(&mut Value); 7] = [
        |signed| signed["x"] = json!(1),
        |signed| signed[EXTENSION]["more"] = json!(true),
        |signed| signed["roles"]["timestamp"]["threshold"] = json!(2),
        |signed| signed["consistent_snapshot"] = json!(true),
        |signed| signed["expires"] = json!("2030-03-17T17:46:40.5Z"),
        |signed| signed[EXTENSION]["tls_roots"] = json!(STANDARD.encode(b"x")),
        |signed| signed["version"] = json!(0),
    ];
    RootContent::from_signed(&good).unwrap();
    for (at, change) in changes.iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(RootContent::from_signed(&changed).is_err(), "change {at}");
    }
}

#[test]
fn a_chain_needs_a_first_root_and_is_bounded() {
    assert!(RootChain::follow(std::iter::empty()).is_err());
    let unsigned = json!({ "signatures": [], "signed": content().to_signed().unwrap() }).to_string();
    assert!(RootChain::follow([unsigned.as_bytes()].into_iter()).is_err(), "nobody signed it");
    let long = vec![b' '; LIMITS.metadata + 1];
    assert!(RootChain::follow([&long[..]].into_iter()).unwrap_err().to_string().contains("bytes"));
}
