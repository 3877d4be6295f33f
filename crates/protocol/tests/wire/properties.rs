//! What holds for any bytes and any message: nothing panics, nothing has two encodings, cutting changes nothing.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::OnceLock;

use keys::profile::Profile;
use keys::public::{DeviceId, SpkiHash};
use proptest::prelude::*;
use vouch_protocol::Now;
use vouch_protocol::codec::{Message, decode_message, encode_frame};
use vouch_protocol::eat::{AttestationLevel, DemandedLayers, Eat};
use vouch_protocol::enrol::{EnrolToDevice, EnrolToServer, Enrolled, EnrolmentToken};
use vouch_protocol::frame::FrameDecoder;
use vouch_protocol::limits::{LIMITS, Limits};
use vouch_protocol::message::{AppRef, ToDevice, ToServer, Welcome};
use vouch_protocol::os::{OsRef, OsState, Trust};
use vouch_protocol::reason::{CloseReason, EnrolRefusal, OsTrouble, Refusal, RestartReason};
use vouch_protocol::report::{AppState, DiaryEntry, DiaryStage, LogLevel, LogLine, SeenCertificate};
use vouch_protocol::session::{DeviceEvent, ServerEvent};

use crate::pair::{START, Setup};

fn app_ref() -> impl Strategy<Value = AppRef> {
    (any::<[u8; 32]>(), 1..=LIMITS.app).prop_map(|(sha256, len)| AppRef { sha256, len })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn log_line() -> impl Strategy<Value = LogLine> {
    let level = prop::sample::select(vec![LogLevel::Log, LogLevel::Error, LogLevel::Status]);
    (any::<i64>(), level, ".{0,40}").prop_map(|(unix_ms, level, text)| LogLine { unix_ms, level, text })
}

fn diary_entry() -> impl Strategy<Value = DiaryEntry> {
    use DiaryStage::{Login, Name, Open, Proxy, Tcp, Tls};
    let stage = prop::sample::select(vec![Name, Tcp, Proxy, Tls, Login, Open]);
    let seen = (".{0,20}", ".{0,20}", any::<[u8; 32]>()).prop_map(|(subject, issuer, spki_sha256)| SeenCertificate {
        subject,
        issuer,
        spki_sha256,
    });
    let ports = any::<(Option<u16>, Option<u16>)>();
    let address = prop::option::of(".{0,20}".prop_map(String::from));
    (any::<(i64, u32)>(), stage, ".{0,40}", address, ports, prop::option::of(seen)).prop_map(
        |((unix_ms, took_ms), stage, outcome, address, (rule_port, port), certificate)| DiaryEntry {
            unix_ms,
            took_ms,
            stage,
            outcome,
            address,
            rule_port,
            port,
            certificate,
        },
    )
}

/// A report that begins below this has room for the few lines of these tests.
const NUMBER_MAX: u64 = LIMITS.report_number - 4;

fn os_state() -> impl Strategy<Value = OsState> {
    let trouble = prop::sample::select(vec![OsTrouble::Damaged, OsTrouble::NotConnected, OsTrouble::Other]);
    prop_oneof![
        any::<u32>().prop_map(|received| OsState::Downloading { received }),
        prop::sample::select(vec![OsState::Installed, OsState::Trying, OsState::Confirmed]),
        (trouble.clone(), ".{0,40}").prop_map(|(trouble, text)| OsState::fell_back(trouble, text)),
        (trouble, ".{0,40}").prop_map(|(trouble, text)| OsState::refused(trouble, text)),
    ]
}

fn trust() -> impl Strategy<Value = Trust> {
    let part = || prop::option::of(bytes().prop_map(Into::into));
    let roots = prop::collection::vec(bytes().prop_map(Into::into), 0..4);
    (roots, [part(), part(), part(), part(), part(), part()], prop::option::of("[a-z/]{0,40}")).prop_map(
        |(roots, [timestamp, snapshot, targets, delegated, assignment, log_proof], path)| Trust {
            roots,
            timestamp,
            snapshot,
            targets,
            delegated,
            path,
            assignment,
            log_proof,
        },
    )
}

fn to_server() -> impl Strategy<Value = ToServer> {
    let state = (any::<(Option<[u8; 32]>, u8, u32)>(), prop::option::of(".{0,40}".prop_map(String::from))).prop_map(
        |((sha256, wake_reason, free_memory), error)| {
            ToServer::AppState(AppState { sha256, wake_reason, free_memory, error })
        },
    );
    prop_oneof![
        any::<(u8, [u8; 32])>()
            .prop_map(|(version, identity)| ToServer::Hello { version, identity: SpkiHash(identity) }),
        bytes().prop_map(|cose| ToServer::Proof { cose }),
        (".{0,40}", bytes()).prop_map(|(name, value)| ToServer::App { name, value }),
        (".{0,40}", bytes()).prop_map(|(name, value)| ToServer::AppToHandle { name, value }),
        (any::<[u8; 8]>(), 0..NUMBER_MAX, prop::collection::vec(log_line(), 0..5))
            .prop_map(|(ring, first, lines)| ToServer::Logs { ring, first, lines }),
        (any::<[u8; 8]>(), 0..NUMBER_MAX, prop::collection::vec(diary_entry(), 0..5))
            .prop_map(|(ring, first, entries)| ToServer::Diary { ring, first, entries }),
        any::<([u8; 32], u32)>().prop_map(|(sha256, offset)| ToServer::WantApp { sha256, offset }),
        state,
        any::<([u8; 32], u32)>().prop_map(|(image, offset)| ToServer::WantOs { image, offset }),
        any::<[u8; 32]>().prop_map(|image| ToServer::WantOsKey { image }),
        any::<([u8; 32], u64)>().prop_map(|(subject, root_version)| ToServer::WantTrust { subject, root_version }),
        (any::<[u8; 32]>(), os_state()).prop_map(|(image, state)| ToServer::OsState { image, state }),
        Just(ToServer::Ping),
        Just(ToServer::Pong),
    ]
}

fn to_device() -> impl Strategy<Value = ToDevice> {
    let welcome = (any::<(i64, u32, [u8; 8])>(), prop::option::of(app_ref()), prop::option::of("[ -~]{0,60}"));
    let refusal = prop::sample::select(vec![Refusal::UnsupportedVersion, Refusal::Revoked, Refusal::Unavailable]);
    let close = prop::sample::select(vec![CloseReason::Replaced, CloseReason::Drain, CloseReason::Silence]);
    prop_oneof![
        any::<[u8; 32]>().prop_map(|nonce| ToDevice::Challenge { nonce }),
        welcome.prop_map(|((unix_ms, keepalive_s, id), app, agent_url)| {
            ToDevice::Welcome(Welcome { unix_ms, keepalive_s, device_id: DeviceId(id), app, agent_url })
        }),
        (refusal, any::<Option<u32>>())
            .prop_map(|(reason, retry_after_ms)| ToDevice::Refused { reason, retry_after_ms }),
        (".{0,40}", bytes()).prop_map(|(name, value)| ToDevice::App { name, value }),
        app_ref().prop_map(ToDevice::AppAvailable),
        Just(ToDevice::AppRemoved),
        (0..=LIMITS.report_number, any::<bool>()).prop_map(|(next, handled)| ToDevice::AppHandled { next, handled }),
        (any::<([u8; 32], u32)>(), prop::collection::vec(any::<u8>(), 1..300))
            .prop_map(|((sha256, offset), data)| ToDevice::AppChunk { sha256, offset, data }),
        prop::sample::select(vec![RestartReason::Asked, RestartReason::AgentRestarted, RestartReason::WhenReady])
            .prop_map(|reason| ToDevice::Restart { reason }),
        Just(ToDevice::Ping),
        Just(ToDevice::Pong),
        (close, any::<Option<u32>>())
            .prop_map(|(reason, come_back_after_ms)| ToDevice::Close { reason, come_back_after_ms }),
        (0..=LIMITS.report_number).prop_map(|next| ToDevice::LogsKept { next }),
        (0..=LIMITS.report_number).prop_map(|next| ToDevice::DiaryKept { next }),
        (any::<[u8; 32]>(), 1..=LIMITS.os_image, bytes())
            .prop_map(|(image, len, manifest)| ToDevice::OsAvailable(OsRef { image, len, manifest })),
        Just(ToDevice::OsRemoved),
        any::<u64>().prop_map(|version| ToDevice::RootAvailable { version }),
        (any::<([u8; 32], u32)>(), prop::collection::vec(any::<u8>(), 1..300))
            .prop_map(|((image, offset), data)| ToDevice::OsChunk { image, offset, data }),
        (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..=LIMITS.wrapped_key))
            .prop_map(|(image, wrapped)| ToDevice::OsKey { image, wrapped }),
        (any::<[u8; 32]>(), trust()).prop_map(|(subject, trust)| ToDevice::Trust { subject, trust }),
    ]
}

fn enrol_to_device() -> impl Strategy<Value = EnrolToDevice> {
    let chain = prop::collection::vec(bytes(), 1..=LIMITS.chain_certificates);
    prop_oneof![
        bytes().prop_map(EnrolToDevice::Roots),
        (any::<(i64, [u8; 8])>(), chain).prop_map(|((unix_ms, id), tls_chain)| {
            EnrolToDevice::Enrolled(Enrolled { unix_ms, device_id: DeviceId(id), tls_chain })
        }),
        prop::sample::select(vec![EnrolRefusal::BadSignature, EnrolRefusal::Busy, EnrolRefusal::Unavailable])
            .prop_map(|reason| EnrolToDevice::Refused { reason }),
    ]
}

fn eat() -> impl Strategy<Value = Eat> {
    let level =
        prop::sample::select(vec![AttestationLevel::Software, AttestationLevel::Tpm, AttestationLevel::SecureElement]);
    let measured = prop::option::of(any::<[u8; 32]>().prop_filter("zero means nothing", |boot| *boot != [0; 32]));
    let generation = any::<u64>().prop_map(NonZeroU64::new);
    let profile = prop::sample::select(Profile::ALL.to_vec());
    (any::<[[u8; 32]; 3]>(), "[ -~]{0,64}", "[ -~]{0,64}", level, profile, measured, generation).prop_map(
        |([nonce, identity, exporter], model, os_version, attestation, profile, boot, vault_generation)| Eat {
            nonce,
            identity: SpkiHash(identity),
            exporter,
            model,
            os_version,
            attestation,
            profile,
            boot,
            vault_generation,
            layers: boot.map(|_| DemandedLayers::L1AndL2),
            memory_locked: boot.map(|measured| measured[0] > 7),
        },
    )
}

/// Encoded and decoded, a message is itself; cut anywhere it is none; with one bit turned it is none or another
/// that has exactly those bytes.
fn round_trip<M: Message + PartialEq + std::fmt::Debug>(message: &M, at: usize, bit: u8) -> Result<(), TestCaseError> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame);
    let body = &frame[4..];
    let again = decode_message::<M>(body, &LIMITS);
    prop_assert_eq!(again.as_ref(), Ok(message));
    let at = at % body.len();
    prop_assert!(decode_message::<M>(&body[..at], &LIMITS).is_err());
    let mut turned = body.to_vec();
    turned[at] ^= 1 << bit;
    if let Ok(other) = decode_message::<M>(&turned, &LIMITS) {
        prop_assert_ne!(&other, message);
        let mut again = Vec::new();
        encode_frame(&other, &mut again);
        prop_assert_eq!(&again[4..], &turned);
    }
    Ok(())
}

/// Any bytes are a message with exactly those bytes, or none.
fn any_bytes<M: Message>(body: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = decode_message::<M>(body, &LIMITS) {
        let mut again = Vec::new();
        encode_frame(&message, &mut again);
        prop_assert_eq!(&again[4..], body);
    }
    Ok(())
}

/// Bytes that look like CBOR more often than random ones do.
fn cbor_like() -> impl Strategy<Value = Vec<u8>> {
    let item = prop_oneof![
        (0_u8..24).prop_map(|small| vec![small]),
        (0x80_u8..0x8c).prop_map(|array| vec![array]),
        (0xa0_u8..0xa9).prop_map(|map| vec![map]),
        prop::sample::select(vec![0xf6_u8, 0xff, 0x9f, 0xbf, 0x5f, 0x7f, 0xf4, 0xd2]).prop_map(|byte| vec![byte]),
        any::<u64>().prop_map(|long| [&[0x9b_u8][..], &long.to_be_bytes()].concat()),
        any::<u64>().prop_map(|long| [&[0x5b_u8][..], &long.to_be_bytes()].concat()),
        any::<[u8; 32]>().prop_map(|hash| [&[0x58, 0x20][..], &hash].concat()),
        "[a-z]{0,9}".prop_map(|text| [&[0x60 + u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(item, 0..12).prop_map(|items| items.concat())
}

/// What may be done to either end, in any order.
#[derive(Clone, Debug)]
enum Operation {
    ToServer(ToServer),
    ToDevice(ToDevice),
    RawToServer(Vec<u8>),
    RawToDevice(Vec<u8>),
    Pass(u32),
    Step,
    SendApp(Vec<u8>),
    WantApp(AppRef),
    AppAvailable(AppRef),
    WantOs([u8; 32], u32, u32),
    WantTrust([u8; 32]),
    OsChunk([u8; 32], u32, Vec<u8>),
    OsKey([u8; 32]),
    Chunk([u8; 32], u32, Vec<u8>),
    Close,
    Refuse,
    Eof,
    Signature,
    Unknown,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => to_server().prop_map(Operation::ToServer),
        2 => to_device().prop_map(Operation::ToDevice),
        1 => cbor_like().prop_map(Operation::RawToServer),
        1 => cbor_like().prop_map(Operation::RawToDevice),
        2 => (0..200_000_u32).prop_map(Operation::Pass),
        8 => Just(Operation::Step),
        3 => bytes().prop_map(Operation::SendApp),
        1 => app_ref().prop_map(Operation::WantApp),
        1 => app_ref().prop_map(Operation::AppAvailable),
        1 => any::<([u8; 32], u32, u32)>().prop_map(|(image, len, from)| Operation::WantOs(image, len, from)),
        1 => any::<[u8; 32]>().prop_map(Operation::WantTrust),
        1 => (any::<([u8; 32], u32)>(), bytes()).prop_map(|((image, at), data)| Operation::OsChunk(image, at, data)),
        1 => any::<[u8; 32]>().prop_map(Operation::OsKey),
        1 => (any::<([u8; 32], u32)>(), bytes()).prop_map(|((sha, at), data)| Operation::Chunk(sha, at, data)),
        1 => Just(Operation::Close),
        1 => Just(Operation::Refuse),
        1 => Just(Operation::Eof),
        1 => Just(Operation::Signature),
        1 => Just(Operation::Unknown),
    ]
}

/// Keys take long to make; the machines do not care that all cases share one.
fn setup() -> Setup {
    thread_local! {
        static IDENTITY: OnceLock<Rc<keys::signer::Signer>> = const { OnceLock::new() };
    }
    let identity = IDENTITY.with(|one| Rc::clone(one.get_or_init(crate::pair::identity_key)));
    let known = Some(crate::pair::known(&identity));
    Setup { signs: Rc::clone(&identity), identity, known, ..Setup::honest() }
}

proptest! {
    #[test]
    fn any_message_to_the_server_is_itself_again(message in to_server(), at: usize, bit in 0..8_u8) {
        round_trip(&message, at, bit)?;
    }

    #[test]
    fn any_message_to_the_device_is_itself_again(message in to_device(), at: usize, bit in 0..8_u8) {
        round_trip(&message, at, bit)?;
    }

    #[test]
    fn any_message_of_an_enrolment_is_itself_again(
        request in (bytes(), bytes()),
        answer in enrol_to_device(),
        at: usize,
        bit in 0..8_u8,
    ) {
        round_trip(&EnrolToServer::Request { identity_spki: request.0, cose: request.1 }, at, bit)?;
        round_trip(&answer, at, bit)?;
    }

    #[test]
    fn any_claims_are_themselves_again(claims in eat(), at: usize, bit in 0..8_u8) {
        let mut payload = claims.to_cbor();
        prop_assert_eq!(Eat::from_cbor(&payload, &LIMITS), Ok(claims));
        let at = at % payload.len();
        prop_assert!(Eat::from_cbor(&payload[..at], &LIMITS).is_err());
        payload[at] ^= 1 << bit;
        if let Ok(other) = Eat::from_cbor(&payload, &LIMITS) {
            prop_assert_eq!(other.to_cbor(), payload);
        }
    }

    #[test]
    fn any_bytes_are_one_message_or_none(random in bytes(), cbor in cbor_like()) {
        for body in [&random, &cbor] {
            any_bytes::<ToServer>(body)?;
            any_bytes::<ToDevice>(body)?;
            any_bytes::<EnrolToServer>(body)?;
            any_bytes::<EnrolToDevice>(body)?;
            if let Ok(claims) = Eat::from_cbor(body, &LIMITS) {
                prop_assert_eq!(&claims.to_cbor(), body);
            }
        }
    }

    #[test]
    fn any_text_is_a_token_or_none(text in "[A-Za-z0-9_.-]{0,110}") {
        if let Ok(token) = EnrolmentToken::parse(&text) {
            let exposed = token.danger_expose();
            prop_assert_eq!(exposed.expose(), text.as_bytes());
        }
    }

    #[test]
    fn frames_come_out_the_same_however_the_stream_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..10),
        cuts in prop::collection::vec(1..50_usize, 1..100),
    ) {
        let stream: Vec<u8> = bodies
            .iter()
            .flat_map(|body| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat())
            .collect();
        let mut decoder = FrameDecoder::new(200);
        let mut rest = &stream[..];
        let mut found = Vec::new();
        for cut in cuts.iter().cycle() {
            let (mut piece, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            while let Some(body) = decoder.next(&mut piece).unwrap() {
                found.push(body.into_owned());
            }
            prop_assert!(piece.is_empty(), "None means that the input is used up");
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, bodies);
        prop_assert!(!decoder.is_mid_frame());
        prop_assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn whatever_is_done_to_both_ends_nothing_panics_and_every_bound_holds(
        operations in prop::collection::vec(operation(), 0..60),
        piece in 1..2000_usize,
    ) {
        let limits = Limits { outbox: 2000, ..LIMITS };
        let mut pair = Setup { piece, limits, ..setup() }.connect();
        for operation in operations {
            let mut framed = Vec::new();
            match operation {
                Operation::ToServer(message) => {
                    encode_frame(&message, &mut framed);
                    pair.server.handle_bytes(&framed, pair.now);
                }
                Operation::ToDevice(message) => {
                    encode_frame(&message, &mut framed);
                    pair.device.handle_bytes(&framed, pair.now);
                }
                Operation::RawToServer(bytes) => pair.server.handle_bytes(&bytes, pair.now),
                Operation::RawToDevice(bytes) => pair.device.handle_bytes(&bytes, pair.now),
                Operation::Pass(ms) => pair.drive_for(u64::from(ms)),
                Operation::Step => pair.drive(),
                Operation::SendApp(value) => {
                    let _full_or_not_open = pair.server.send_app("n", &value);
                    let _full_or_not_open = pair.device.send_app("n", &value);
                }
                Operation::WantApp(app) => drop(pair.device.want_app(app, None, pair.now)),
                Operation::AppAvailable(app) => drop(pair.server.app_available(app)),
                Operation::Chunk(sha256, offset, data) => drop(pair.server.send_chunk(sha256, offset, &data)),
                Operation::WantOs(image, len, from) => {
                    let _not_open = pair.device.want_os(image, len, from, pair.now);
                },
                Operation::WantTrust(subject) => {
                    let _not_open = pair.device.want_trust(subject, 1, pair.now);
                },
                Operation::OsChunk(image, offset, data) => {
                    let _refused = pair.server.send_os_chunk(image, offset, &data);
                },
                Operation::OsKey(image) => {
                    let _refused = pair.server.os_key(image, vec![1; 97]);
                },
                Operation::Close => pair.server.close(CloseReason::Drain, Some(1)),
                Operation::Refuse => pair.server.refuse(Refusal::Busy, None),
                Operation::Eof => pair.device.handle_eof(),
                Operation::Signature => pair.device.signature([0; 64], pair.now),
                Operation::Unknown => pair.server.known(None, pair.now),
            }
            prop_assert!(pair.server.transmit_backlog() <= limits.outbox + 1000);
            prop_assert_eq!(pair.server.is_closed(), pair.server.poll_timeout().is_none());
            prop_assert_eq!(pair.device.is_closed(), pair.device.poll_timeout().is_none());
        }
        pair.drive();
        let ends = |event: &ServerEvent| matches!(event, ServerEvent::Broken(_) | ServerEvent::Refused(_));
        prop_assert!(pair.server_events.iter().filter(|event| ends(event)).count() <= 1);
        let ends = |event: &DeviceEvent| {
            matches!(event, DeviceEvent::Broken(_) | DeviceEvent::Refused { .. } | DeviceEvent::Closed { .. })
        };
        let ended = pair.device_events.iter().filter(|event| ends(event)).count();
        prop_assert_eq!(ended, usize::from(pair.device.is_closed()), "a device's session ends once, and says so");
        prop_assert!(pair.server.is_open() <= pair.proof_of_device.is_some(), "only a proof opens a session");
    }

    #[test]
    fn time_may_stand_anywhere(mono_ms: u64, unix_ms: i64) {
        let now = Now { mono_ms, unix_ms };
        let mut pair = setup().open();
        pair.server.handle_timeout(now);
        pair.device.handle_timeout(now);
        pair.server.pause();
        pair.server.resume(now);
        pair.server.handle_timeout(START);
        prop_assert!(pair.server.poll_timeout().is_some() || pair.server.is_closed());
    }
}
