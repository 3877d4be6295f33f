//! Who is let in, who is not, and why: each attack by name.

use std::rc::Rc;

use crate::pair::{EXPORTER, NONCE, Pair, START, Setup, identity_key, known};
use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::public::{PublicKey, SpkiHash};
use keys::signer::Signer;
use vouch_protocol::Now;
use vouch_protocol::codec::{Message, encode_frame};
use vouch_protocol::eat::{AttestationLevel, Eat};
use vouch_protocol::error::{ProtocolError, SendError};
use vouch_protocol::facts::PROTOCOL_VERSION;
use vouch_protocol::limits::LIMITS;
use vouch_protocol::message::{AppRef, ToDevice, ToServer, Welcome};
use vouch_protocol::reason::{CloseReason, Refusal, RestartReason};
use vouch_protocol::report::{AppState, LogLevel, LogLine};
use vouch_protocol::session::{DeviceEvent, Greeting, KnownDevice, ServerEvent, ServerSession, Standing};

fn frame<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(message, &mut out);
    out
}

fn later(ms: u64) -> Now {
    Now { mono_ms: START.mono_ms + ms, ..START }
}

/// The reason that both ends know after a failed login.
fn refusal(mut pair: Pair) -> Refusal {
    pair.drive();
    let ServerEvent::Refused(refused) = pair.server_event() else { panic!("not refused") };
    let DeviceEvent::Refused { reason, .. } = pair.device_event() else { panic!("the device was not told") };
    assert_eq!(reason, refused.reason);
    assert!(pair.server.is_closed() && pair.device.is_closed());
    assert!(pair.proof_of_device.is_none());
    reason
}

#[test]
fn a_device_with_its_keys_is_let_in_however_the_stream_is_cut() {
    for piece in [1, 2, 3, 5, 64, usize::MAX] {
        let app = AppRef { sha256: [9; 32], len: 77 };
        let greeting = Greeting { keepalive_s: 90, app: Some(app), agent_url: Some("https://a/agent/x".into()) };
        let mut pair = Setup { piece, greeting, ..Setup::honest() }.connect();
        pair.drive();
        let DeviceEvent::Welcomed(welcomed) = pair.device_event() else { panic!("not welcomed") };
        let expected = Welcome {
            unix_ms: START.unix_ms,
            keepalive_s: 90,
            device_id: pair.setup.identity.public().device_id(),
            app: Some(app),
            agent_url: Some("https://a/agent/x".into()),
        };
        assert_eq!(welcomed.welcome, expected);
        assert!(pair.device.is_open() && pair.server.is_open());
    }
}

#[test]
fn both_ends_keep_the_same_record_and_an_outsider_can_check_it() {
    let mut pair = Setup::honest().connect();
    pair.drive();
    let DeviceEvent::Welcomed(welcomed) = pair.device_event() else { panic!("not welcomed") };
    let device = pair.proof_of_device.take().unwrap().into_inner();
    assert_eq!(welcomed.record, device.record);
    let record = device.record;
    assert_eq!((record.nonce, record.exporter), (NONCE, EXPORTER));
    assert_eq!(record.external_aad, b"vouch/challenge/1");
    let key = PublicKey::from_spki_der(&record.identity_spki).unwrap();
    let payload = cose::verify(CosePurpose::Challenge, &key, &record.eat_cose).unwrap();
    let claims = Eat::from_cbor(&payload, &LIMITS).unwrap();
    assert_eq!((claims.nonce, claims.exporter, claims.identity), (NONCE, EXPORTER, key.spki_hash()));
    assert_eq!(claims, device.claims);
}

#[test]
fn an_unknown_device_is_refused() {
    assert_eq!(refusal(Setup { known: None, ..Setup::honest() }.connect()), Refusal::UnknownDevice);
}

#[test]
fn a_revoked_device_is_refused() {
    let setup = Setup::honest();
    let revoked = KnownDevice { standing: Standing::Revoked, ..known(&setup.identity) };
    assert_eq!(refusal(Setup { known: Some(revoked), ..setup }.connect()), Refusal::Revoked);
}

#[test]
fn the_tls_certificate_of_another_device_is_refused() {
    let setup = Setup { peer_tls_key: SpkiHash([0x72; 32]), ..Setup::honest() };
    assert_eq!(refusal(setup.connect()), Refusal::WrongCertificate);
}

#[test]
fn right_tls_keys_without_the_identity_key_are_refused() {
    let mut pair = Setup { signs: identity_key(), ..Setup::honest() }.connect();
    pair.drive();
    let ServerEvent::Refused(refused) = pair.server_event() else { panic!("not refused") };
    assert_eq!(refused.reason, Refusal::BadSignature);
    let record = refused.record.expect("the false proof is kept as evidence");
    assert_eq!((record.nonce, record.exporter), (NONCE, EXPORTER));
}

#[test]
fn a_relayed_proof_is_refused() {
    let setup = Setup { server_exporter: [0xe1; 32], ..Setup::honest() };
    assert_eq!(refusal(setup.connect()), Refusal::ExporterMismatch);
}

#[test]
fn a_recorded_proof_replayed_is_refused() {
    let mut first = Setup::honest().connect();
    first.drive();
    assert!(first.server.is_open());
    let recorded = &first.sent_up;
    for (nonce, server_exporter) in [([0x4f; 32], EXPORTER), ([0x4f; 32], [0xe1; 32])] {
        let setup = Setup { nonce, server_exporter, known: first.setup.known.clone(), ..Setup::honest() };
        let mut server = setup.server();
        assert_eq!(play(&mut server, recorded, setup.known), Refusal::NonceMismatch);
    }
}

/// Plays recorded frames to a server that looks devices up; the reason for which it refuses.
fn play(server: &mut ServerSession, recorded: &[u8], known: Option<KnownDevice>) -> Refusal {
    let mut rest = recorded;
    while rest.len() > 4 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let (frame, after) = rest.split_at(4 + length);
        rest = after;
        server.handle_bytes(frame, START);
        while let Some(event) = server.poll_event() {
            match event {
                ServerEvent::Identify { .. } => server.known(known.clone(), START),
                ServerEvent::Refused(refused) => return refused.reason,
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("the recording was accepted")
}

#[test]
fn a_proof_for_another_profile_is_refused() {
    let setup = Setup { device_profile: Profile::Classic, ..Setup::honest() };
    assert_eq!(refusal(setup.connect()), Refusal::WrongProfile);
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    for version in [0, PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1, 255] {
        let setup = Setup::honest();
        let mut server = setup.server();
        let hello = ToServer::Hello { version, identity: setup.identity.public().spki_hash() };
        server.handle_bytes(&frame(&hello), START);
        let Some(ServerEvent::Refused(refused)) = server.poll_event() else { panic!("not refused") };
        assert_eq!(refused.reason, Refusal::UnsupportedVersion);
    }
}

/// A server that has sent its challenge, and the honest claims.
fn challenged(setup: &Setup) -> (ServerSession, Eat) {
    let mut server = setup.server();
    let identity = setup.identity.public().spki_hash();
    server.handle_bytes(&frame(&ToServer::Hello { version: PROTOCOL_VERSION, identity }), START);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Identify { .. })));
    server.known(setup.known.clone(), START);
    assert_eq!(server.poll_transmit().unwrap(), frame(&ToDevice::Challenge { nonce: setup.nonce }));
    let claims = Eat {
        nonce: setup.nonce,
        identity,
        exporter: setup.server_exporter,
        model: "m".into(),
        os_version: "1".into(),
        attestation: AttestationLevel::Software,
        profile: setup.server_profile,
        boot: None,
        vault_generation: None,
        layers: None,
        memory_locked: None,
    };
    (server, claims)
}

fn answer(purpose: CosePurpose, key: &Signer, payload: &[u8]) -> Vec<u8> {
    let signature = key.sign(&cose::to_be_signed(purpose, payload)).unwrap();
    frame(&ToServer::Proof { cose: cose::assemble(payload, signature) })
}

/// What the server says to an answer.
fn verdict(setup: &Setup, forge: impl FnOnce(Eat) -> Vec<u8>) -> Option<Refusal> {
    let (mut server, claims) = challenged(setup);
    server.handle_bytes(&forge(claims), START);
    match server.poll_event() {
        Some(ServerEvent::Refused(refused)) => Some(refused.reason),
        Some(ServerEvent::Authenticated(_)) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn claims_about_another_device_are_refused_though_rightly_signed() {
    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    let honest = verdict(&setup, |claims| answer(CosePurpose::Challenge, &key, &claims.to_cbor()));
    assert_eq!(honest, None);
    let forged = verdict(&setup, |claims| {
        let claims = Eat { identity: SpkiHash([1; 32]), ..claims };
        answer(CosePurpose::Challenge, &key, &claims.to_cbor())
    });
    assert_eq!(forged, Some(Refusal::WrongIdentity));
}

#[test]
fn a_signature_for_another_purpose_is_none() {
    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    for purpose in [CosePurpose::Enrolment, CosePurpose::Renewal, CosePurpose::SelfTest] {
        let refused = verdict(&setup, |claims| answer(purpose, &key, &claims.to_cbor()));
        assert_eq!(refused, Some(Refusal::BadSignature), "{purpose:?}");
    }
}

#[test]
fn a_signed_text_that_is_no_claims_is_refused() {
    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    let refused = verdict(&setup, |claims| {
        let mut payload = claims.to_cbor();
        payload.push(0);
        answer(CosePurpose::Challenge, &key, &payload)
    });
    assert_eq!(refused, Some(Refusal::BadClaims));
    assert_eq!(verdict(&setup, |_| frame(&ToServer::Proof { cose: Vec::new() })), Some(Refusal::BadSignature));
}

#[test]
fn no_altered_byte_of_a_proof_is_accepted() {
    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    let (mut server, claims) = challenged(&setup);
    let honest = answer(CosePurpose::Challenge, &key, &claims.to_cbor());
    // From the COSE on: before it are the frame's length, the message's number and the length of the COSE.
    for at in 9..honest.len() {
        let refused = verdict(&setup, |_| {
            let mut altered = honest.clone();
            altered[at] ^= 1;
            altered
        });
        assert!(refused.is_some(), "byte {at}");
    }
    server.handle_bytes(&honest, START);
    assert!(matches!(server.poll_event(), Some(ServerEvent::Authenticated(_))));
}

#[test]
fn of_several_faults_the_first_in_the_order_is_named() {
    let other = SpkiHash([0x72; 32]);
    let setup = Setup::honest();
    let revoked = Some(KnownDevice { standing: Standing::Revoked, ..known(&setup.identity) });
    assert_eq!(
        refusal(Setup { known: None, peer_tls_key: other, ..Setup::honest() }.connect()),
        Refusal::UnknownDevice
    );
    assert_eq!(refusal(Setup { known: revoked, peer_tls_key: other, ..setup }.connect()), Refusal::Revoked);
    let wrong_key = Setup { peer_tls_key: other, signs: identity_key(), ..Setup::honest() };
    assert_eq!(refusal(wrong_key.connect()), Refusal::WrongCertificate);

    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    let thief = identity_key();
    let sign = |key: &Signer, claims: Eat| answer(CosePurpose::Challenge, key, &claims.to_cbor());
    let wrong = |claims: Eat| Eat {
        nonce: [0; 32],
        exporter: [0; 32],
        profile: Profile::Classic,
        identity: SpkiHash([0; 32]),
        ..claims
    };
    assert_eq!(verdict(&setup, |claims| sign(&thief, wrong(claims))), Some(Refusal::BadSignature));
    assert_eq!(verdict(&setup, |claims| sign(&key, wrong(claims))), Some(Refusal::NonceMismatch));
    let fresh = |claims: Eat| Eat { nonce: NONCE, ..wrong(claims) };
    assert_eq!(verdict(&setup, |claims| sign(&key, fresh(claims))), Some(Refusal::ExporterMismatch));
    let bound = |claims: Eat| Eat { exporter: EXPORTER, ..fresh(claims) };
    assert_eq!(verdict(&setup, |claims| sign(&key, bound(claims))), Some(Refusal::WrongProfile));
}

#[test]
fn records_of_another_device_do_not_help() {
    let setup = Setup { known: Some(known(&identity_key())), ..Setup::honest() };
    assert_eq!(refusal(setup.connect()), Refusal::UnknownDevice);
}

#[test]
fn a_proof_opens_the_session_it_was_made_for_and_no_other() {
    let mut first = Setup::honest().connect();
    first.drive();
    let token = first.proof_of_device.take().unwrap();
    let greeting = first.setup.greeting.clone();

    let setup = Setup { nonce: [0x50; 32], known: first.setup.known.clone(), ..Setup::honest() };
    let setup = Setup { identity: Rc::clone(&first.setup.identity), ..setup };
    let key = Rc::clone(&setup.identity);
    let (mut second, claims) = challenged(&setup);
    assert_eq!(second.welcome(&token, greeting.clone(), START), Err(SendError::NotOpen));
    second.handle_bytes(&answer(CosePurpose::Challenge, &key, &claims.to_cbor()), START);
    let Some(ServerEvent::Authenticated(own)) = second.poll_event() else { panic!("not authenticated") };
    assert_eq!(second.welcome(&token, greeting.clone(), START), Err(SendError::NotOpen));
    assert!(!second.is_open());
    second.welcome(&own, greeting.clone(), START).unwrap();
    assert!(second.is_open());
    assert_eq!(second.welcome(&own, greeting, START), Err(SendError::NotOpen));
}

fn every_other_message_to_server() -> Vec<ToServer> {
    vec![
        ToServer::App { name: "n".into(), value: vec![0xf6] },
        ToServer::Logs { ring: [1; 8], first: 0, lines: vec![LogLine::new(0, LogLevel::Log, "x")] },
        ToServer::Diary { ring: [1; 8], first: 0, entries: Vec::new() },
        ToServer::WantApp { sha256: [0; 32], offset: 0 },
        ToServer::AppState(AppState { sha256: None, wake_reason: 0, free_memory: 0, error: None }),
        ToServer::Ping,
        ToServer::Pong,
    ]
}

#[test]
fn before_welcome_the_server_takes_nothing_but_hello_and_proof() {
    let setup = Setup::honest();
    let hello = ToServer::Hello { version: PROTOCOL_VERSION, identity: setup.identity.public().spki_hash() };
    let proof = ToServer::Proof { cose: vec![0] };
    let mut first = every_other_message_to_server();
    first.push(proof.clone());
    for message in first {
        let mut server = setup.server();
        server.handle_bytes(&frame(&message), START);
        assert_unexpected(&mut server, &message, "waiting for hello");
    }
    let mut during_lookup = every_other_message_to_server();
    during_lookup.extend([hello.clone(), proof.clone()]);
    for message in during_lookup {
        let mut server = setup.server();
        server.handle_bytes(&[frame(&hello), frame(&message)].concat(), START);
        assert!(matches!(server.poll_event(), Some(ServerEvent::Identify { .. })));
        assert_unexpected(&mut server, &message, "the device was being looked up");
        server.known(setup.known.clone(), START);
        assert!(server.is_closed() && server.poll_transmit().is_none(), "a late look-up opens nothing");
    }
    let mut second = every_other_message_to_server();
    second.push(hello);
    for message in second {
        let (mut server, _) = challenged(&setup);
        server.handle_bytes(&frame(&message), START);
        assert_unexpected(&mut server, &message, "waiting for the proof");
    }
    let mut third = every_other_message_to_server();
    third.push(proof);
    for message in third {
        let (mut server, claims) = challenged(&setup);
        let sound = answer(CosePurpose::Challenge, &setup.identity, &claims.to_cbor());
        server.handle_bytes(&[sound, frame(&message)].concat(), START);
        let Some(ServerEvent::Authenticated(token)) = server.poll_event() else { panic!("not authenticated") };
        assert_unexpected(&mut server, &message, "the welcome was being prepared");
        let greeting = setup.greeting.clone();
        assert_eq!(server.welcome(&token, greeting, START), Err(SendError::NotOpen));
    }
}

fn assert_unexpected(server: &mut ServerSession, message: &ToServer, waiting: &'static str) {
    let expected = ProtocolError::Unexpected { message: message.name(), waiting };
    assert!(matches!(server.poll_event(), Some(ServerEvent::Broken(error)) if error == expected), "{message:?}");
    assert!(server.is_closed());
    assert!(server.poll_event().is_none());
    assert_eq!(server.poll_transmit(), None, "a stranger is told nothing");
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn before_welcome_the_device_takes_nothing_but_what_is_due() {
    let setup = Setup::honest();
    let welcome = ToDevice::Welcome(Welcome {
        unix_ms: 0,
        keepalive_s: 60,
        device_id: setup.identity.public().device_id(),
        app: None,
        agent_url: None,
    });
    let app = AppRef { sha256: [0; 32], len: 1 };
    let others = [
        ToDevice::App { name: "n".into(), value: vec![0xf6] },
        ToDevice::AppAvailable(app),
        ToDevice::AppRemoved,
        ToDevice::AppChunk { sha256: [0; 32], offset: 0, data: vec![1] },
        ToDevice::Restart { reason: RestartReason::Asked },
        ToDevice::Ping,
        ToDevice::Pong,
        ToDevice::Close { reason: CloseReason::Drain, come_back_after_ms: None },
    ];
    for message in others.iter().chain([&welcome]) {
        let mut device = setup.device();
        device.handle_bytes(&frame(message), START);
        let error = ProtocolError::Unexpected { message: message.name(), waiting: "waiting for the challenge" };
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Broken(broken)) if broken == error), "{message:?}");
    }
    let challenge = ToDevice::Challenge { nonce: NONCE };
    for message in others.iter().chain([&welcome, &challenge]) {
        let mut device = setup.device();
        device.handle_bytes(&[frame(&challenge), frame(message)].concat(), START);
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Sign(_))));
        let error = ProtocolError::Unexpected { message: message.name(), waiting: "waiting for the signature" };
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Broken(broken)) if broken == error), "{message:?}");
        let _hello = device.poll_transmit();
        device.signature([0; 64], START);
        assert_eq!(device.poll_transmit(), None, "a late signature is not sent");
    }
    for message in others.iter().chain([&challenge]) {
        let mut device = setup.device();
        device.handle_bytes(&frame(&challenge), START);
        device.signature([0; 64], START);
        device.handle_bytes(&frame(message), START);
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Sign(_))));
        let error = ProtocolError::Unexpected { message: message.name(), waiting: "waiting for the verdict" };
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Broken(broken)) if broken == error), "{message:?}");
    }
}

#[test]
fn the_device_takes_no_welcome_for_another_device_or_without_a_sane_keepalive() {
    let cases = [
        (0, None, ProtocolError::KeepaliveOutOfBounds(0)),
        (LIMITS.keepalive_max_s + 1, None, ProtocolError::KeepaliveOutOfBounds(LIMITS.keepalive_max_s + 1)),
        (60, Some(identity_key()), ProtocolError::WrongDevice),
    ];
    for (keepalive_s, other, expected) in cases {
        let setup = Setup::honest();
        let named = other.unwrap_or(Rc::clone(&setup.identity));
        let mut device = setup.device();
        device.handle_bytes(&frame(&ToDevice::Challenge { nonce: NONCE }), START);
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Sign(_))));
        device.signature([0; 64], START);
        let device_id = named.public().device_id();
        let welcome = Welcome { unix_ms: 0, keepalive_s, device_id, app: None, agent_url: None };
        device.handle_bytes(&frame(&ToDevice::Welcome(welcome)), START);
        let event = device.poll_event();
        assert!(matches!(event, Some(DeviceEvent::Broken(error)) if error == expected), "{event:?}");
        assert!(device.is_closed());
    }
}

#[test]
fn the_keepalive_is_kept_within_its_bounds_on_both_sides() {
    for (asked, given) in [(0, 1), (1, 1), (2, 2), (3600, 3600), (3601, 3600), (u32::MAX, 3600)] {
        let greeting = Greeting { keepalive_s: asked, app: None, agent_url: None };
        let mut pair = Setup { greeting, ..Setup::honest() }.connect();
        pair.drive();
        let DeviceEvent::Welcomed(welcomed) = pair.device_event() else { panic!("not welcomed") };
        assert_eq!(welcomed.welcome.keepalive_s, given);
    }
}

#[test]
fn each_wait_of_the_server_ends_at_its_deadline_and_not_before() {
    let setup = Setup::honest();
    let silent = setup.server();
    let mut looked_up = setup.server();
    let identity = setup.identity.public().spki_hash();
    looked_up.handle_bytes(&frame(&ToServer::Hello { version: PROTOCOL_VERSION, identity }), START);
    assert!(looked_up.poll_event().is_some());
    let (unanswered, _) = challenged(&setup);
    let (mut unwelcomed, claims) = challenged(&setup);
    unwelcomed.handle_bytes(&answer(CosePurpose::Challenge, &setup.identity, &claims.to_cbor()), START);
    assert!(unwelcomed.poll_event().is_some());
    let cases = [
        (silent, LIMITS.hello_ms, "waiting for hello"),
        (looked_up, LIMITS.lookup_ms, "the device was being looked up"),
        (unanswered, LIMITS.proof_ms, "waiting for the proof"),
        (unwelcomed, LIMITS.lookup_ms, "the welcome was being prepared"),
    ];
    for (mut server, ms, waiting) in cases {
        assert_eq!(server.poll_timeout(), Some(START.mono_ms + ms));
        server.handle_timeout(later(ms - 1));
        assert!(server.poll_event().is_none());
        server.handle_timeout(later(ms));
        let expected = ProtocolError::TimedOut { waiting };
        assert!(matches!(server.poll_event(), Some(ServerEvent::Broken(error)) if error == expected));
        assert_eq!(server.poll_timeout(), None);
    }
}

#[test]
fn each_wait_of_the_device_ends_at_its_deadline_and_not_before() {
    let setup = Setup::honest();
    let silent = setup.device();
    let mut signing = setup.device();
    signing.handle_bytes(&frame(&ToDevice::Challenge { nonce: NONCE }), START);
    assert!(signing.poll_event().is_some());
    let mut judged = setup.device();
    judged.handle_bytes(&frame(&ToDevice::Challenge { nonce: NONCE }), START);
    judged.signature([0; 64], START);
    assert!(judged.poll_event().is_some());
    let cases = [
        (silent, LIMITS.hello_ms, "waiting for the challenge"),
        (signing, LIMITS.proof_ms, "waiting for the signature"),
        (judged, LIMITS.proof_ms + LIMITS.lookup_ms, "waiting for the verdict"),
    ];
    for (mut device, ms, waiting) in cases {
        assert_eq!(device.poll_timeout(), Some(START.mono_ms + ms));
        device.handle_timeout(later(ms - 1));
        assert!(device.poll_event().is_none());
        device.handle_timeout(later(ms));
        let expected = ProtocolError::TimedOut { waiting };
        assert!(matches!(device.poll_event(), Some(DeviceEvent::Broken(error)) if error == expected));
    }
}

#[test]
fn a_busy_server_says_when_to_come_back_but_not_beyond_a_day() {
    for (asked, told) in [(None, None), (Some(5000), Some(5000)), (Some(u32::MAX), Some(LIMITS.come_back_max_ms))] {
        let mut pair = Setup::honest().connect();
        pair.server.refuse(Refusal::Busy, asked);
        pair.drive();
        let DeviceEvent::Refused { reason, retry_after_ms } = pair.device_event() else { panic!("not refused") };
        assert_eq!((reason, retry_after_ms), (Refusal::Busy, told));
    }
}

#[test]
fn labels_and_measurements_keep_their_bounds() {
    let setup = Setup::honest();
    let key = Rc::clone(&setup.signs);
    let most = "m".repeat(LIMITS.label);
    let more = "m".repeat(LIMITS.label + 1);
    let cases = [(&most, &most, 1, true), (&more, &most, 1, false), (&most, &more, 1, false), (&most, &most, 0, false)];
    for (model, version, measured, fine) in cases {
        let refused = verdict(&setup, |claims| {
            let claims =
                Eat { model: model.clone(), os_version: version.clone(), boot: Some([measured; 32]), ..claims };
            answer(CosePurpose::Challenge, &key, &claims.to_cbor())
        });
        assert_eq!(refused, (!fine).then_some(Refusal::BadClaims), "zero stands for nothing");
    }
}

#[test]
fn an_agents_url_beyond_its_bound_is_not_sent() {
    let setup = Setup::honest();
    for (length, fine) in [(LIMITS.agent_url, true), (LIMITS.agent_url + 1, false)] {
        let (mut server, claims) = challenged(&setup);
        server.handle_bytes(&answer(CosePurpose::Challenge, &setup.signs, &claims.to_cbor()), START);
        let Some(ServerEvent::Authenticated(token)) = server.poll_event() else { panic!("not authenticated") };
        let greeting = Greeting { agent_url: Some("u".repeat(length)), ..setup.greeting.clone() };
        assert_eq!(server.welcome(&token, greeting, START).is_ok(), fine);
        assert_eq!(server.is_open(), fine);
        server.welcome(&token, setup.greeting.clone(), START).ok();
        assert!(server.is_open(), "a greeting that is refused leaves the session as it was");
    }
}
