//! The signed result of a self-test: arrives, is bounded, and counts only with the device's own signature for this purpose.

use crate::pair::{Setup, identity_key};
use keys::cose::{self, CosePurpose};
use keys::signer::Signer;
use vouch_protocol::codec::CodecError;
use vouch_protocol::error::SendError;
use vouch_protocol::limits::LIMITS;
use vouch_protocol::self_test::{SelfTest, SelfTestCheck, SelfTestError, SelfTestOutcome};
use vouch_protocol::session::ServerEvent;

fn result(checks: usize, detail: usize) -> SelfTest {
    let check = || SelfTestCheck {
        id: "n".repeat(LIMITS.self_test_name),
        outcome: SelfTestOutcome::Refused,
        detail: "x".repeat(detail),
    };
    SelfTest { unix_ms: 1, os_version: "1.2.3".into(), boot: None, checks: (0..checks).map(|_| check()).collect() }
}

fn signed(key: &Signer, purpose: CosePurpose, payload: &[u8]) -> Vec<u8> {
    cose::assemble(payload, key.sign(&cose::to_be_signed(purpose, payload)).unwrap())
}

#[test]
fn a_result_arrives_and_counts_with_the_identity_key_of_its_device() {
    let key = identity_key();
    let sent = result(3, 5);
    let cose = signed(&key, CosePurpose::SelfTest, &sent.to_cbor());
    let mut pair = Setup::honest().open();
    pair.device.self_test(cose).unwrap();
    pair.drive();
    let ServerEvent::SelfTest { cose } = pair.server_event() else { panic!("another event") };
    assert_eq!(SelfTest::verify(key.public(), &cose, &LIMITS), Ok(sent));
    let other = identity_key();
    assert_eq!(SelfTest::verify(other.public(), &cose, &LIMITS), Err(SelfTestError::BadSignature));
}

#[test]
fn an_answer_to_a_challenge_is_no_result_of_a_self_test() {
    let key = identity_key();
    let cose = signed(&key, CosePurpose::Challenge, &result(1, 1).to_cbor());
    assert_eq!(SelfTest::verify(key.public(), &cose, &LIMITS), Err(SelfTestError::BadSignature));
}

#[test]
fn a_result_has_bounds() {
    let key = identity_key();
    let verify = |result: &SelfTest| {
        SelfTest::verify(key.public(), &signed(&key, CosePurpose::SelfTest, &result.to_cbor()), &LIMITS)
    };
    let largest = result(LIMITS.self_test_checks, LIMITS.self_test_detail);
    assert!(signed(&key, CosePurpose::SelfTest, &largest.to_cbor()).len() <= LIMITS.self_test);
    assert_eq!(verify(&largest), Ok(largest));
    for wrong in [
        result(LIMITS.self_test_checks + 1, 0),
        result(1, LIMITS.self_test_detail + 1),
        SelfTest { boot: Some([0; 32]), ..result(1, 1) },
        SelfTest { os_version: "v".repeat(LIMITS.label + 1), ..result(1, 1) },
    ] {
        assert!(matches!(verify(&wrong), Err(SelfTestError::Unreadable(_))), "{wrong:?}");
    }
    let trailing = [result(1, 1).to_cbor(), vec![0]].concat();
    assert!(SelfTest::verify(key.public(), &signed(&key, CosePurpose::SelfTest, &trailing), &LIMITS).is_err());
    let mut pair = Setup::honest().open();
    let too_long = pair.device.self_test(vec![0; LIMITS.self_test + 1]);
    assert!(matches!(too_long, Err(SendError::Invalid(CodecError::TooLong { .. }))), "{too_long:?}");
    assert_eq!(pair.device.self_test(vec![0; LIMITS.self_test]), Ok(()));
}

#[test]
fn a_self_test_is_passed_when_something_was_refused_and_nothing_possible() {
    assert!(result(1, 0).is_passed());
    assert!(!result(0, 0).is_passed());
    for (outcome, passed) in [(SelfTestOutcome::NotRefused, false), (SelfTestOutcome::NotAvailable, true)] {
        let mut mixed = result(2, 0);
        mixed.checks[0].outcome = outcome;
        assert_eq!(mixed.is_passed(), passed, "{outcome:?}");
    }
}
