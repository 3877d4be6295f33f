//! What a proof says is kept and held against the next one: vaults that fall behind, keys that live where they must not, self-tests, clones.

use std::num::NonZeroU64;
use std::time::Duration;

use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::secret::Secret;
use keys::signer::Signer;
use protocol::eat::AttestationLevel;
use protocol::reason::{EnrolRefusal, Refusal};
use protocol::self_test::{SelfTest, SelfTestCheck, SelfTestOutcome};
use vouch_server::fleet::{AgentIdSecret, AlarmKind, Demand, Proved};
use vouch_server::limits::LIMITS;
use vouch_server::store::{Judged, LogFilter, Page, Store};

use crate::rig::device::{EnrolFailed, TestDevice};
use crate::rig::link::{Link, NotWelcome};
use crate::rig::{PATIENCE, Rig};

fn generation(number: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(number)
}

async fn refused(rig: &Rig, device: &TestDevice) -> Option<Refusal> {
    match Link::login(device, rig.addr()).await {
        Ok(_) => None,
        Err(NotWelcome::Refused(reason)) => Some(reason),
        Err(NotWelcome::Broken(why)) => panic!("{why}"),
    }
}

async fn alarms(rig: &Rig, device: &TestDevice) -> Vec<AlarmKind> {
    rig.store.alarms(Some(device.spki())).await.unwrap().into_iter().map(|alarm| alarm.kind).collect()
}

/// Waits until the device's log has a line with these words.
async fn logged(rig: &Rig, device: &TestDevice, words: &str) {
    let looking = async {
        loop {
            rig.bus.journal().flush().await;
            let lines =
                rig.store.logs(device.spki(), &LogFilter::default(), Page { number: 1, size: 100 }).await.unwrap();
            if lines.items.iter().any(|line| line.text.contains(words)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never logged: {words}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_fell_behind_is_refused_with_an_alarm_until_a_person_accepts_it() {
    let rig = Rig::start().await;
    let mut device = rig.device(Profile::Modern).await;
    for number in [5, 5, 9] {
        device.vault = generation(number);
        assert_eq!(refused(&rig, &device).await, None, "{number}");
    }
    assert!(alarms(&rig, &device).await.is_empty());
    // An older one, and none at all.
    for number in [8, 0] {
        device.vault = generation(number);
        assert_eq!(refused(&rig, &device).await, Some(Refusal::VaultFell), "{number}");
    }
    assert_eq!(alarms(&rig, &device).await, [AlarmKind::VaultFell]);
    let alarm = rig.store.alarms(None).await.unwrap().remove(0);
    assert!(alarm.detail.contains("generation 8, was 9") && alarm.detail.contains("accept-older-vault"), "{alarm:?}");
    logged(&rig, &device, "ALARM vault-fell").await;
    // Dismissing does not let it in.
    rig.store.dismiss_alarms(device.spki()).await.unwrap();
    device.vault = generation(8);
    assert_eq!(refused(&rig, &device).await, Some(Refusal::VaultFell));
    // A refused device goes on writing, its diary for one: that is no way back in, also not through a server that has died since.
    for number in [9, 10, 99] {
        device.vault = generation(number);
        assert_eq!(refused(&rig, &device).await, Some(Refusal::VaultFell), "{number}");
    }
    let other = Store::open(rig.dir.path(), AgentIdSecret::new(Secret::new(vec![7; 32])), &LIMITS).await.unwrap();
    let proved = other.proved(device.spki()).await.unwrap().unwrap();
    assert_eq!(proved.generation, generation(9));
    let newer = Proved { generation: generation(99), ..proved };
    assert_eq!(other.judge_proof(device.spki(), &newer).await.unwrap(), Judged::Fell(proved));
    device.vault = generation(8);
    rig.store.accept_older_vault(device.spki()).await.unwrap();
    assert_eq!(refused(&rig, &device).await, None);
    assert!(alarms(&rig, &device).await.is_empty());
    device.vault = generation(7);
    assert_eq!(refused(&rig, &device).await, Some(Refusal::VaultFell), "only what was accepted");
    let other = rig.device(Profile::Modern).await;
    assert!(rig.store.accept_older_vault(other.spki()).await.is_err(), "nothing to accept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_vault_does_not_end_the_session_of_the_newer_one() {
    let rig = Rig::start().await;
    let mut device = rig.device(Profile::Modern).await;
    device.vault = generation(9);
    let (_link, _) = Link::login(&device, rig.addr()).await.unwrap();
    device.vault = generation(8);
    assert_eq!(refused(&rig, &device).await, Some(Refusal::VaultFell));
    assert!(rig.bus.is_connected(&device.spki()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_was_welcomed_with_survives_the_death_of_the_server() {
    let rig = Rig::start().await;
    let mut device = rig.device(Profile::Modern).await;
    (device.vault, device.boot) = (generation(41), Some([0xb0; 32]));
    assert_eq!(refused(&rig, &device).await, None);
    // Nothing was flushed or closed: a killed server leaves the same to the next process.
    let secret = AgentIdSecret::new(Secret::new(vec![7; 32]));
    let other = Store::open(rig.dir.path(), secret, &LIMITS).await.unwrap();
    let proved = other.proved(device.spki()).await.unwrap().unwrap();
    assert_eq!((proved.generation, proved.boot, proved.memory_locked), (generation(41), Some([0xb0; 32]), Some(false)));
    assert_eq!(
        other.judge_proof(device.spki(), &proved).await.unwrap(),
        Judged::Known,
        "no write when nothing changed"
    );
    let newer = Proved { generation: generation(42), ..proved };
    assert_eq!(other.judge_proof(device.spki(), &newer).await.unwrap(), Judged::New);
    let older = Proved { generation: generation(41), ..proved };
    assert_eq!(other.judge_proof(device.spki(), &older).await.unwrap(), Judged::Fell(newer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_demand_where_keys_live_of_who_is_enrolled_and_of_who_logs_in() {
    let rig = Rig::start().await;
    let software = rig.device(Profile::Modern).await;
    assert_eq!(refused(&rig, &software).await, None);
    rig.store.demand_attestation(rig.group, Demand::Hardware).await.unwrap();
    assert_eq!(refused(&rig, &software).await, Some(Refusal::AttestationTooLow));
    assert_eq!(alarms(&rig, &software).await, [AlarmKind::Attestation]);

    let token = rig.token(1).await;
    let mut late = TestDevice::born(Profile::Modern, rig.pki.server_roots.clone());
    let failed = late.enrol(rig.addr(), &token).await;
    assert!(matches!(failed, Err(EnrolFailed::Refused(EnrolRefusal::AttestationTooLow))), "{failed:?}");
    late.attestation = AttestationLevel::Tpm;
    late.enrol(rig.addr(), &token).await.expect("the refusal used nothing of the token up");
    assert_eq!(refused(&rig, &late).await, None);
    rig.store.demand_attestation(rig.group, Demand::SecureElement).await.unwrap();
    assert_eq!(refused(&rig, &late).await, Some(Refusal::AttestationTooLow));
    rig.store.demand_attestation(rig.group, Demand::Any).await.unwrap();
    assert_eq!(refused(&rig, &software).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_enrolled_as_software_never_becomes_hardware() {
    let rig = Rig::start().await;
    let mut device = rig.device(Profile::Modern).await;
    device.attestation = AttestationLevel::Tpm;
    assert_eq!(refused(&rig, &device).await, Some(Refusal::AttestationTooLow));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_replace_each_other_again_and_again_raise_an_alarm() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut held = Vec::new();
    for number in 1..=7 {
        held.push(Link::login(&device, rig.addr()).await.unwrap());
        let suspected = alarms(&rig, &device).await.contains(&AlarmKind::SuspectedClone);
        assert_eq!(suspected, number > 6, "after {number} connections");
    }
}

fn result(outcome: SelfTestOutcome) -> SelfTest {
    let check = |id: &str, outcome| SelfTestCheck { id: id.into(), outcome, detail: String::new() };
    let checks = vec![check("listen", SelfTestOutcome::Refused), check("ptrace", outcome)];
    SelfTest { unix_ms: 1, os_version: "1.0".into(), boot: None, checks }
}

fn signed(key: &Signer, purpose: CosePurpose, result: &SelfTest) -> Vec<u8> {
    let payload = result.to_cbor();
    cose::assemble(&payload, key.sign(&cose::to_be_signed(purpose, &payload)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_self_test_is_kept_when_the_device_itself_signed_it() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    let other = rig.device(Profile::Modern).await;
    for wrong in [
        signed(&other.identity, CosePurpose::SelfTest, &result(SelfTestOutcome::Refused)),
        signed(&device.identity, CosePurpose::Challenge, &result(SelfTestOutcome::Refused)),
    ] {
        link.machine.self_test(wrong).unwrap();
    }
    link.flush().await;
    logged(&rig, &device, "Self-test not taken").await;
    assert_eq!(rig.store.self_test(device.spki()).await.unwrap(), None);

    let good = signed(&device.identity, CosePurpose::SelfTest, &result(SelfTestOutcome::NotAvailable));
    link.machine.self_test(good.clone()).unwrap();
    link.flush().await;
    logged(&rig, &device, "Self-test: 1 refused, 0 not refused, 1 not available").await;
    assert_eq!(rig.store.self_test(device.spki()).await.unwrap().unwrap().cose, good);
    assert!(alarms(&rig, &device).await.is_empty());

    let bad = signed(&device.identity, CosePurpose::SelfTest, &result(SelfTestOutcome::NotRefused));
    link.machine.self_test(bad).unwrap();
    link.flush().await;
    logged(&rig, &device, "ALARM self-test-failed").await;
    let alarm = rig.store.alarms(None).await.unwrap().remove(0);
    assert!(alarm.kind == AlarmKind::SelfTest && alarm.detail.ends_with("ptrace"), "{alarm:?}");
}
