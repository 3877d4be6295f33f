//! Golden vectors: one frame of each message, owned by the format, so that a change of the wire cannot pass unseen.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;

use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::public::{DeviceId, PublicKey, SpkiHash};
use vouch_protocol::codec::{Message, decode_message, encode_frame};
use vouch_protocol::eat::{AttestationLevel, DemandedLayers, Eat};
use vouch_protocol::enrol::{EnrolToDevice, EnrolToServer, Enrolled};
use vouch_protocol::limits::LIMITS;
use vouch_protocol::message::{AppRef, ToDevice, ToServer, Welcome};
use vouch_protocol::os::{OsRef, OsState, Trust};
use vouch_protocol::reason::{CloseReason, EnrolRefusal, OsTrouble, Refusal, RestartReason};
use vouch_protocol::report::{AppState, DiaryEntry, DiaryStage, LogLevel, LogLine, SeenCertificate};
use vouch_protocol::self_test::{SelfTest, SelfTestCheck, SelfTestOutcome};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/frames")
}

/// The bytes of a vector: hex digits; lines that begin with `#` are for people.
fn vector(name: &str) -> Vec<u8> {
    let text =
        fs::read_to_string(folder().join(format!("{name}.hex"))).unwrap_or_else(|error| panic!("{name}: {error}"));
    let hex: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    const_hex::decode(hex).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn app() -> AppRef {
    AppRef { sha256: [0xa9; 32], len: 1_000_000 }
}

const IMAGE: [u8; 32] = [0x05; 32];

/// All parts at once, which no answer has.
fn trust() -> Trust {
    let part = |text: &str| Some(text.as_bytes().to_vec().into());
    Trust {
        roots: vec![b"root 4".to_vec().into(), b"root 5".to_vec().into()],
        timestamp: part("timestamp"),
        snapshot: part("snapshot"),
        targets: part("targets"),
        delegated: part("delegated"),
        path: Some("apps/owner/app".to_owned()),
        assignment: part("assignment"),
        log_proof: part("proof"),
    }
}

fn to_server() -> Vec<(&'static str, ToServer)> {
    let diary = DiaryEntry {
        unix_ms: 1_750_000_000_000,
        took_ms: 5000,
        stage: DiaryStage::Tcp,
        outcome: "no answer within 5 s".into(),
        address: Some("192.0.2.1:31314".into()),
        rule_port: Some(31314),
        port: Some(10314),
        certificate: Some(SeenCertificate {
            subject: "CN=iot.example".into(),
            issuer: "CN=Firewall".into(),
            spki_sha256: [0x5e; 32],
        }),
    };
    let bare = DiaryEntry {
        stage: DiaryStage::Name,
        outcome: "no address".into(),
        address: None,
        rule_port: None,
        port: None,
        certificate: None,
        ..diary.clone()
    };
    let state = AppState { sha256: Some([0xa9; 32]), wake_reason: 9, free_memory: 70_000, error: Some("oops".into()) };
    let nothing = AppState { sha256: None, wake_reason: 0, free_memory: 0, error: None };
    vec![
        ("hello", ToServer::Hello { version: 1, identity: SpkiHash([0x1d; 32]) }),
        ("app-to-server", ToServer::App { name: "temp".into(), value: vec![0x18, 0x2a] }),
        (
            "logs",
            ToServer::Logs {
                ring: [0x21; 8],
                first: 1_000_000,
                lines: vec![
                    LogLine::new(1_750_000_000_000, LogLevel::Log, "hello"),
                    LogLine::new(-1, LogLevel::Error, "clock not set"),
                    LogLine::new(1_750_000_000_001, LogLevel::Status, ""),
                ],
            },
        ),
        ("diary", ToServer::Diary { ring: [0x21; 8], first: 0, entries: vec![diary, bare] }),
        ("want-app", ToServer::WantApp { sha256: [0xa9; 32], offset: 65_536 }),
        ("app-state", ToServer::AppState(state)),
        ("app-state-of-no-app", ToServer::AppState(nothing)),
        ("ping-to-server", ToServer::Ping),
        ("pong-to-server", ToServer::Pong),
        ("want-os", ToServer::WantOs { image: IMAGE, offset: 65_536 }),
        ("want-os-key", ToServer::WantOsKey { image: IMAGE }),
        ("want-trust", ToServer::WantTrust { subject: IMAGE, root_version: 3 }),
        ("os-state", ToServer::OsState { image: IMAGE, state: OsState::Confirmed }),
        ("os-state-downloading", ToServer::OsState { image: IMAGE, state: OsState::Downloading { received: 65_536 } }),
        (
            "os-state-fell-back",
            ToServer::OsState { image: IMAGE, state: OsState::fell_back(OsTrouble::NotConnected, "no session") },
        ),
        ("self-test", ToServer::SelfTest { cose: vec![0xd2, 0x84] }),
        ("app-to-handle", ToServer::AppToHandle { name: "temp".into(), value: vec![0x18, 0x2a] }),
    ]
}

fn to_device() -> Vec<(&'static str, ToDevice)> {
    let device_id = DeviceId([0xd1; 8]);
    let agent_url = Some("https://iot.example/agent/abcdefghijkl".into());
    let welcome = Welcome { unix_ms: 1_750_000_000_000, keepalive_s: 60, device_id, app: Some(app()), agent_url };
    let bare = Welcome { app: None, agent_url: None, ..welcome.clone() };
    vec![
        ("challenge", ToDevice::Challenge { nonce: [0x4e; 32] }),
        ("welcome", ToDevice::Welcome(welcome)),
        ("welcome-without-app", ToDevice::Welcome(bare)),
        ("refused", ToDevice::Refused { reason: Refusal::ExporterMismatch, retry_after_ms: None }),
        ("refused-for-a-while", ToDevice::Refused { reason: Refusal::Busy, retry_after_ms: Some(30_000) }),
        ("app-to-device", ToDevice::App { name: String::new(), value: Vec::new() }),
        ("app-available", ToDevice::AppAvailable(app())),
        ("app-removed", ToDevice::AppRemoved),
        ("app-chunk", ToDevice::AppChunk { sha256: [0xa9; 32], offset: 65_536, data: b"piece".to_vec() }),
        ("restart", ToDevice::Restart { reason: RestartReason::Asked }),
        ("ping-to-device", ToDevice::Ping),
        ("pong-to-device", ToDevice::Pong),
        ("close", ToDevice::Close { reason: CloseReason::Replaced, come_back_after_ms: None }),
        ("close-for-a-while", ToDevice::Close { reason: CloseReason::Drain, come_back_after_ms: Some(90_000) }),
        ("logs-kept", ToDevice::LogsKept { next: 1_000_003 }),
        ("diary-kept", ToDevice::DiaryKept { next: 2 }),
        ("os-available", ToDevice::OsAvailable(OsRef { image: IMAGE, len: 10_000_000, manifest: vec![0xd2, 0x84] })),
        ("os-removed", ToDevice::OsRemoved),
        ("root-available", ToDevice::RootAvailable { version: 7 }),
        ("os-chunk", ToDevice::OsChunk { image: IMAGE, offset: 65_536, data: b"piece".to_vec() }),
        ("os-key", ToDevice::OsKey { image: IMAGE, wrapped: vec![0x0e; 97] }),
        ("trust", ToDevice::Trust { subject: IMAGE, trust: trust() }),
        ("trust-of-nothing", ToDevice::Trust { subject: IMAGE, trust: Trust::default() }),
        ("app-handled", ToDevice::AppHandled { next: 1000, handled: true }),
        ("app-handled-by-nobody", ToDevice::AppHandled { next: 1001, handled: false }),
    ]
}

fn enrol_to_server() -> Vec<(&'static str, EnrolToServer)> {
    vec![("enrol-request", EnrolToServer::Request { identity_spki: vec![0x1d; 91], cose: vec![0xc0; 3] })]
}

fn enrol_to_device() -> Vec<(&'static str, EnrolToDevice)> {
    let tls_chain = vec![vec![0xce; 3], vec![0xca; 2]];
    vec![
        ("roots", EnrolToDevice::Roots(vec![0x83, 0x01, 0x40, 0x40])),
        (
            "enrolled",
            EnrolToDevice::Enrolled(Enrolled { unix_ms: 1_750_000_000_000, device_id: DeviceId([0xd1; 8]), tls_chain }),
        ),
        ("enrol-refused", EnrolToDevice::Refused { reason: EnrolRefusal::TokenExpired }),
    ]
}

fn check<M: Message + PartialEq + std::fmt::Debug>(messages: &[(&'static str, M)]) {
    for (name, message) in messages {
        let mut frame = Vec::new();
        let length = encode_frame(message, &mut frame);
        assert_eq!(const_hex::encode(&frame), const_hex::encode(vector(name)), "{name}");
        assert_eq!(frame.len(), length + 4);
        assert_eq!(decode_message::<M>(&frame[4..], &LIMITS).as_ref(), Ok(message), "{name}");
        assert!(name.starts_with(message.name()), "{name} is called {}", message.name());
    }
}

#[test]
fn each_message_has_the_bytes_of_its_vector() {
    check(&to_server());
    check(&to_device());
    check(&enrol_to_server());
    check(&enrol_to_device());
}

#[test]
fn each_vector_is_somebodys() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    known.extend(to_server().iter().map(|(name, _)| (*name).to_owned()));
    known.extend(to_device().iter().map(|(name, _)| (*name).to_owned()));
    known.extend(enrol_to_server().iter().map(|(name, _)| (*name).to_owned()));
    known.extend(enrol_to_device().iter().map(|(name, _)| (*name).to_owned()));
    known.extend(["proof", "eat-full", "identity-spki", "self-test-payload"].map(str::to_owned));
    let found: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, known);
}

#[test]
fn the_recorded_proof_verifies_and_holds_the_recorded_claims() {
    let key = PublicKey::from_spki_der(&vector("identity-spki")).unwrap();
    let Ok(ToServer::Proof { cose }) = decode_message(&vector("proof")[4..], &LIMITS) else { panic!("no proof") };
    let payload = cose::verify(CosePurpose::Challenge, &key, &cose).unwrap();
    let expected = Eat {
        nonce: [0x4e; 32],
        identity: key.spki_hash(),
        exporter: [0xe0; 32],
        model: "imp-lamp".into(),
        os_version: "1.2.3".into(),
        attestation: AttestationLevel::Software,
        profile: Profile::Modern,
        boot: None,
        vault_generation: None,
        layers: None,
        memory_locked: None,
    };
    assert_eq!(Eat::from_cbor(&payload, &LIMITS), Ok(expected));
}

#[test]
fn claims_with_all_sources_have_the_bytes_of_their_vector() {
    let claims = Eat {
        nonce: [0x4e; 32],
        identity: SpkiHash([0x1d; 32]),
        exporter: [0xe0; 32],
        model: "imp-lamp".into(),
        os_version: "1.2.3".into(),
        attestation: AttestationLevel::Tpm,
        profile: Profile::Classic,
        boot: Some([0xb0; 32]),
        vault_generation: NonZeroU64::new(42),
        layers: Some(DemandedLayers::DangerL1Only),
        memory_locked: Some(true),
    };
    assert_eq!(const_hex::encode(claims.to_cbor()), const_hex::encode(vector("eat-full")));
    assert_eq!(Eat::from_cbor(&vector("eat-full"), &LIMITS), Ok(claims));
}

#[test]
fn the_result_of_a_self_test_has_the_bytes_of_its_vector() {
    let check = |id: &str, outcome| SelfTestCheck { id: id.into(), outcome, detail: "EPERM".into() };
    let result = SelfTest {
        unix_ms: 1_750_000_000_000,
        os_version: "1.2.3".into(),
        boot: Some([0xb0; 32]),
        checks: vec![check("listen", SelfTestOutcome::Refused), check("io-uring", SelfTestOutcome::NotAvailable)],
    };
    assert_eq!(const_hex::encode(result.to_cbor()), const_hex::encode(vector("self-test-payload")));
}
