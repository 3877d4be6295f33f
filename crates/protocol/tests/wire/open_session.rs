//! What follows the welcome: messages, bounds, keep-alive, apps, reports, the end.

use crate::pair::{Pair, START, Setup};
use keys::hashes::sha256;
use vouch_protocol::codec::{CodecError, Message, encode_frame};
use vouch_protocol::error::{ProtocolError, SendError};
use vouch_protocol::frame::FrameError;
use vouch_protocol::limits::{LIMITS, Limits};
use vouch_protocol::message::{AppRef, ToDevice, ToServer, Welcome};
use vouch_protocol::reason::{CloseReason, Refusal, RestartReason};
use vouch_protocol::report::{AppState, DiaryEntry, DiaryStage, LogLevel, LogLine, RingId, SeenCertificate};
use vouch_protocol::session::{DeviceEvent, PartialApp, ServerEvent, ServerSession};

const RING: RingId = [0x21; 8];
const KEEPALIVE_MS: u64 = 60_000;
const DEAD_MS: u64 = 2 * KEEPALIVE_MS + LIMITS.keepalive_grace_ms;

pub(crate) fn frame<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(message, &mut out);
    out
}

pub(crate) fn broken(event: Option<ServerEvent>) -> ProtocolError {
    match event {
        Some(ServerEvent::Broken(error)) => error,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn broken_device(event: Option<DeviceEvent>) -> ProtocolError {
    match event {
        Some(DeviceEvent::Broken(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn app_messages_arrive_both_ways_in_order() {
    for piece in [1, 7, usize::MAX] {
        let mut pair = Setup { piece, ..Setup::honest() }.open();
        for n in 0..20_u8 {
            pair.device.send_app("up", &[n]).unwrap();
            pair.server.send_app("down", &[n, n]).unwrap();
        }
        pair.drive();
        for n in 0..20_u8 {
            let up = pair.server_event();
            assert!(
                matches!(&up, ServerEvent::App { name, value, to_handle: false } if name == "up" && value == &[n]),
                "{up:?}"
            );
            let down = pair.device_event();
            assert!(
                matches!(&down, DeviceEvent::App { name, value } if name == "down" && value == &[n, n]),
                "{down:?}"
            );
        }
    }
}

#[test]
fn what_gathers_between_two_wakes_goes_out_in_one_piece() {
    let mut pair = Setup::honest().open();
    for n in 0..100_u8 {
        pair.server.send_app("n", &[n]).unwrap();
    }
    let backlog = pair.server.transmit_backlog();
    let bytes = pair.server.poll_transmit().unwrap();
    assert_eq!(bytes.len(), backlog);
    assert_eq!(pair.server.poll_transmit(), None);
    assert_eq!(pair.server.transmit_backlog(), 0);
}

#[test]
fn the_longest_app_message_passes_and_one_byte_more_does_not() {
    let longest = vec![7; LIMITS.app_value];
    let name = "n".repeat(LIMITS.app_name);
    let mut pair = Setup { piece: 16 * 1024, ..Setup::honest() }.open();
    pair.device.send_app(&name, &longest).unwrap();
    pair.server.send_app(&name, &longest).unwrap();
    pair.drive();
    assert!(matches!(pair.server_event(), ServerEvent::App { value, .. } if value == longest));
    assert!(matches!(pair.device_event(), DeviceEvent::App { value, .. } if value == longest));

    let longer = vec![7; LIMITS.app_value + 1];
    let too_long = CodecError::TooLong {
        what: "the value of an app message",
        length: LIMITS.app_value + 1,
        max: LIMITS.app_value,
    };
    assert_eq!(pair.device.send_app("n", &longer), Err(SendError::Invalid(too_long)));
    assert_eq!(pair.server.send_app("n", &longer), Err(SendError::Invalid(too_long)));
    let name_too_long =
        CodecError::TooLong { what: "the name of an app message", length: LIMITS.app_name + 1, max: LIMITS.app_name };
    assert_eq!(pair.device.send_app(&format!("{name}n"), &[]), Err(SendError::Invalid(name_too_long)));

    pair.server.handle_bytes(&frame(&ToServer::App { name: "n".into(), value: longer.clone() }), START);
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::Message(too_long));
    pair.device.handle_bytes(&frame(&ToDevice::App { name: "n".into(), value: longer }), START);
    assert_eq!(broken_device(pair.device.poll_event()), ProtocolError::Message(too_long));
}

#[test]
fn before_welcome_frames_are_short_and_afterwards_long_ones_are_allowed() {
    for (max, over) in [(LIMITS.frame_before_welcome, false), (LIMITS.frame_before_welcome + 1, true)] {
        let mut server = Setup::honest().server();
        server.handle_bytes(&u32::try_from(max).unwrap().to_be_bytes(), START);
        assert_eq!(server.is_closed(), over);
        assert_eq!(server.held_by_partial_message(), 0, "a length alone reserves nothing");
    }
    for (max, over) in [(LIMITS.frame, false), (LIMITS.frame + 1, true)] {
        let mut pair = Setup::honest().open();
        pair.server.handle_bytes(&u32::try_from(max).unwrap().to_be_bytes(), START);
        pair.device.handle_bytes(&u32::try_from(max).unwrap().to_be_bytes(), START);
        assert_eq!((pair.server.is_closed(), pair.device.is_closed()), (over, over));
        assert_eq!(pair.server.held_by_partial_message(), 0);
        if over {
            let expected = ProtocolError::Frame(FrameError::TooLong { length: max, max: LIMITS.frame });
            assert_eq!(broken(pair.server.poll_event()), expected);
        }
    }
}

#[test]
fn an_empty_frame_and_trailing_bytes_break_the_session() {
    let mut pair = Setup::honest().open();
    pair.server.handle_bytes(&[0, 0, 0, 0], START);
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::Frame(FrameError::Empty));

    let mut pair = Setup::honest().open();
    pair.server.handle_bytes(&[0, 0, 0, 3, 0x81, 0x08, 0xf6], START);
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::Message(CodecError::Trailing(1)));
    let last = pair.server.poll_transmit().unwrap();
    assert_eq!(last, frame(&ToDevice::Close { reason: CloseReason::ProtocolError, come_back_after_ms: None }));
}

#[test]
fn longer_encodings_of_a_message_are_not_read() {
    // A ping as [8], once as it must be and then with a longer number, a longer array head, an open array, and
    // a part too many.
    let ping: &[u8] = &[0x81, 0x08];
    let others: [&[u8]; 4] = [&[0x81, 0x18, 0x08], &[0x98, 0x01, 0x08], &[0x9f, 0x08, 0xff], &[0x82, 0x08, 0xf6]];
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let mut pair = Setup::honest().open();
    pair.server.handle_bytes(&framed(ping), START);
    assert!(!pair.server.is_closed());
    for body in others {
        let mut pair = Setup::honest().open();
        pair.server.handle_bytes(&framed(body), START);
        let error = broken(pair.server.poll_event());
        assert!(matches!(error, ProtocolError::Message(_)), "{body:?}: {error}");
    }
}

#[test]
fn a_stream_that_ends_within_a_message_is_told_from_one_that_ends_between_two() {
    let mut pair = Setup::honest().open();
    pair.server.handle_eof();
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::Ended);
    assert_eq!(pair.server.poll_transmit(), None);
    pair.server.handle_eof();
    assert!(pair.server.poll_event().is_none(), "a session ends once");

    let message = frame(&ToDevice::App { name: "n".into(), value: vec![1; 50] });
    for cut in 1..message.len() {
        let mut pair = Setup::honest().open();
        pair.device.handle_bytes(&message[..cut], START);
        pair.device.handle_eof();
        assert_eq!(broken_device(pair.device.poll_event()), ProtocolError::Truncated, "after {cut} bytes");
    }
}

#[test]
fn hello_proof_and_the_servers_login_messages_come_once() {
    let setup = Setup::honest();
    let identity = setup.identity.public().spki_hash();
    let device_id = setup.identity.public().device_id();
    for message in [ToServer::Hello { version: 1, identity }, ToServer::Proof { cose: vec![] }] {
        let mut pair = Setup::honest().open();
        pair.server.handle_bytes(&frame(&message), START);
        let waiting = "the session was open";
        let expected = ProtocolError::Unexpected { message: message.name(), waiting };
        assert_eq!(broken(pair.server.poll_event()), expected);
    }
    let welcome = Welcome { unix_ms: 0, keepalive_s: 60, device_id, app: None, agent_url: None };
    for message in [
        ToDevice::Challenge { nonce: [0; 32] },
        ToDevice::Welcome(welcome),
        ToDevice::Refused { reason: Refusal::Busy, retry_after_ms: None },
    ] {
        let mut pair = Setup::honest().open();
        pair.device.handle_bytes(&frame(&message), START);
        let waiting = "the session was open";
        let expected = ProtocolError::Unexpected { message: message.name(), waiting };
        assert_eq!(broken_device(pair.device.poll_event()), expected);
    }
}

#[test]
fn a_full_outbox_takes_nothing_more_until_it_is_emptied_and_loses_nothing() {
    let mut pair = Setup::honest().open();
    let value = vec![1; 10_000];
    let mut taken = 0_usize;
    while pair.server.room() >= value.len() + 16 {
        pair.server.send_app("n", &value).unwrap();
        taken += 1;
    }
    assert!(taken > 50);
    assert_eq!(pair.server.send_app("n", &value), Err(SendError::Full));
    assert!(pair.server.transmit_backlog() <= LIMITS.outbox);
    assert_eq!(pair.server.send_app("last", &[2; 16]), Ok(()), "what still fits is taken");
    pair.drive();
    assert_eq!(pair.device_events.len(), taken + 1);
    assert!(pair.server.send_app("n", &value).is_ok());
    assert_eq!(pair.server.room(), LIMITS.frame, "a message of any length finds room again");
}

#[test]
fn the_outbox_is_full_exactly_at_its_bound() {
    // Twenty bytes under a name of one letter: 4 bytes of frame and 5 of CBOR come on top.
    const MESSAGE: usize = 4 + 5 + 20;
    for (outbox, fits) in [(3 * MESSAGE, true), (3 * MESSAGE - 1, false)] {
        let limits = Limits { outbox, ..LIMITS };
        let mut pair = Setup { limits, ..Setup::honest() }.open();
        pair.device.send_app("n", &[0; 20]).unwrap();
        pair.device.send_app("n", &[0; 20]).unwrap();
        assert_eq!(pair.device.send_app("n", &[0; 20]).is_ok(), fits);
        let events = if fits { 3 } else { 2 };
        pair.drive();
        assert_eq!(pair.server_events.len(), events);
    }
}

#[test]
fn a_peer_that_pings_and_never_reads_costs_one_answer() {
    let mut pair = Setup::honest().open();
    for _ in 0..10_000 {
        pair.server.handle_bytes(&frame(&ToServer::Ping), START);
        pair.device.handle_bytes(&frame(&ToDevice::Ping), START);
    }
    assert_eq!(pair.server.poll_transmit().unwrap(), frame(&ToDevice::Pong));
    assert_eq!(pair.device.poll_transmit().unwrap(), frame(&ToServer::Pong));
    pair.server.handle_bytes(&frame(&ToServer::Ping), START);
    assert_eq!(pair.server.poll_transmit().unwrap(), frame(&ToDevice::Pong));
}

#[test]
fn nothing_is_sent_before_the_session_is_open_or_after_its_end() {
    let mut pair = Setup::honest().connect();
    assert_eq!(pair.device.send_app("n", &[]), Err(SendError::NotOpen));
    assert_eq!(pair.server.send_app("n", &[]), Err(SendError::NotOpen));
    assert_eq!((pair.device.room(), pair.server.room()), (0, 0));
    let app = AppRef { sha256: [0; 32], len: 1 };
    assert_eq!(pair.device.want_app(app, None, START), Err(SendError::NotOpen));
    assert_eq!(pair.device.send_logs(RING, 0, &[LogLine::new(0, LogLevel::Log, "x")]), Err(SendError::NotOpen));
    assert_eq!(pair.server.app_available(app), Err(SendError::NotOpen));
    assert_eq!(pair.server.restart(RestartReason::Asked), Err(SendError::NotOpen));
    assert_eq!(pair.server.send_chunk([0; 32], 0, &[1]), Err(SendError::NotOpen));
    pair.drive();
    pair.server.close(CloseReason::Drain, None);
    assert_eq!(pair.server.send_app("n", &[]), Err(SendError::NotOpen));
    pair.drive();
    assert_eq!(pair.device.send_app("n", &[]), Err(SendError::NotOpen));
}

#[test]
fn an_idle_session_lives_on_with_one_wake_for_each_keepalive_and_holds_no_memory() {
    let mut pair = Setup { piece: 3, ..Setup::honest() }.open();
    pair.wakes = 0;
    pair.drive_for(100 * KEEPALIVE_MS + 1000);
    assert!(pair.device.is_open() && pair.server.is_open());
    assert_eq!(pair.wakes, 100);
    assert_eq!(pair.server.held_by_partial_message(), 0);
    assert_eq!(pair.server.transmit_backlog(), 0);
}

#[test]
fn a_session_of_an_idle_device_is_small() {
    let bytes = size_of::<ServerSession>();
    assert!(bytes <= 256, "{bytes} bytes");
}

#[test]
fn a_server_gives_a_silent_device_up_after_two_keepalives_and_the_grace() {
    let mut pair = Setup::honest().open();
    pair.server_alone_for(DEAD_MS - 1);
    assert!(pair.server.is_open());
    pair.server_alone_for(1);
    assert!(matches!(pair.server_event(), ServerEvent::Broken(ProtocolError::Silence(DEAD_MS))));
    assert_eq!(pair.server.poll_timeout(), None);
}

#[test]
fn a_device_gives_a_silent_server_up_after_two_keepalives_and_the_grace() {
    let mut pair = Setup::honest().open();
    pair.device_alone_for(DEAD_MS - 1);
    assert!(pair.device.is_open());
    pair.device_alone_for(1);
    assert!(matches!(pair.device_event(), DeviceEvent::Broken(ProtocolError::Silence(DEAD_MS))));
}

#[test]
fn a_device_that_talks_all_the_time_to_a_server_that_has_nothing_to_say_stays() {
    let mut pair = Setup::honest().open();
    for _ in 0..100 {
        pair.device.send_app("n", &[1]).unwrap();
        pair.drive_for(KEEPALIVE_MS / 4);
    }
    assert!(pair.device.is_open() && pair.server.is_open());
}

#[test]
fn while_the_server_does_not_read_silence_is_not_held_against_the_device() {
    let mut pair = Setup::honest().open();
    pair.server.pause();
    pair.server_alone_for(10 * DEAD_MS);
    assert!(pair.server.is_open());
    assert!(pair.server.poll_transmit().is_some(), "it still asks");
    pair.server.resume(pair.now);
    pair.server_alone_for(DEAD_MS - 1);
    assert!(pair.server.is_open());
    pair.server_alone_for(1);
    assert!(pair.server.is_closed());
}

fn app_of(bytes: &[u8]) -> AppRef {
    AppRef { sha256: sha256(bytes), len: u32::try_from(bytes.len()).unwrap() }
}

fn some_app(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Answers questions for `app` until none comes; the offsets asked for.
fn serve_app(pair: &mut Pair, app: &[u8], most_questions: usize) -> Vec<u32> {
    let mut offsets = Vec::new();
    while offsets.len() < most_questions {
        pair.drive();
        let Some(ServerEvent::WantApp { sha256, offset }) = pair.server_events.pop_front() else { break };
        let from = offset as usize;
        let to = app.len().min(from + LIMITS.chunk);
        pair.server.send_chunk(sha256, offset, &app[from..to]).unwrap();
        offsets.push(offset);
    }
    pair.drive();
    offsets
}

#[test]
fn an_app_is_fetched_in_pieces_checked_and_counted_on_both_ends() {
    for len in [1, LIMITS.chunk - 1, LIMITS.chunk, LIMITS.chunk + 1, 3 * LIMITS.chunk + 5] {
        let bytes = some_app(len);
        let app = app_of(&bytes);
        let mut pair = Setup::honest().open();
        pair.server.app_available(app).unwrap();
        pair.drive();
        assert!(matches!(pair.device_event(), DeviceEvent::AppAvailable(named) if named == app));
        pair.device.want_app(app, None, pair.now).unwrap();
        let offsets = serve_app(&mut pair, &bytes, usize::MAX);
        assert_eq!(offsets.len(), len.div_ceil(LIMITS.chunk));
        assert!(
            matches!(pair.device_event(), DeviceEvent::AppComplete { app: got, bytes: b } if got == app && b == bytes)
        );
        assert_eq!(pair.device.app_bytes_received(), len as u64);
        assert_eq!(pair.server.app_bytes_sent(), len as u64);
    }
}

#[test]
fn a_broken_download_goes_on_in_the_next_session_where_it_ended() {
    let bytes = some_app(3 * LIMITS.chunk);
    let app = app_of(&bytes);
    let mut first = Setup::honest().open();
    first.device.want_app(app, None, START).unwrap();
    serve_app(&mut first, &bytes, 2);
    first.device.handle_eof();
    let kept = first.device.take_partial().unwrap();
    assert_eq!((kept.app, kept.bytes.len()), (app, 2 * LIMITS.chunk));

    let mut second = Setup::honest().open();
    second.device.want_app(app, Some(kept), START).unwrap();
    let offsets = serve_app(&mut second, &bytes, usize::MAX);
    assert_eq!(offsets, [u32::try_from(2 * LIMITS.chunk).unwrap()]);
    assert!(matches!(second.device_event(), DeviceEvent::AppComplete { bytes: got, .. } if got == bytes));
    assert_eq!(second.device.app_bytes_received(), LIMITS.chunk as u64);
}

#[test]
fn the_beginning_of_another_app_is_not_built_upon() {
    let bytes = some_app(100);
    let app = app_of(&bytes);
    let other = AppRef { sha256: [1; 32], len: 100 };
    let too_much = PartialApp { app, bytes: vec![0; 101] };
    for kept in [PartialApp { app: other, bytes: vec![0; 50] }, too_much] {
        let mut pair = Setup::honest().open();
        pair.device.want_app(app, Some(kept), START).unwrap();
        assert_eq!(serve_app(&mut pair, &bytes, usize::MAX), [0]);
        assert!(matches!(pair.device_event(), DeviceEvent::AppComplete { .. }));
    }
}

#[test]
fn a_damaged_app_is_thrown_away() {
    let bytes = some_app(LIMITS.chunk + 1);
    let app = app_of(&bytes);
    let mut damaged = bytes.clone();
    damaged[LIMITS.chunk] ^= 1;
    let mut pair = Setup::honest().open();
    pair.device.want_app(app, None, START).unwrap();
    serve_app(&mut pair, &damaged, usize::MAX);
    assert!(matches!(pair.device_event(), DeviceEvent::AppDamaged(named) if named == app));
    assert_eq!(pair.device.take_partial(), None);
    let kept = PartialApp { app, bytes: damaged };
    pair.device.want_app(app, Some(kept), START).unwrap();
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::AppDamaged(_)), "a whole app kept is checked as well");
}

#[test]
fn a_newer_app_ends_the_fetching_of_the_older_one() {
    let old = some_app(2 * LIMITS.chunk);
    let new = some_app(10);
    let mut pair = Setup::honest().open();
    pair.device.want_app(app_of(&old), None, START).unwrap();
    pair.drive();
    assert!(matches!(pair.server_event(), ServerEvent::WantApp { .. }));
    pair.server.app_available(app_of(&new)).unwrap();
    pair.server.send_chunk(app_of(&old).sha256, 0, &old[..LIMITS.chunk]).unwrap();
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::AppAvailable(named) if named == app_of(&new)));
    assert!(pair.device_events.is_empty() && pair.server_events.is_empty(), "the late piece changes nothing");
    assert_eq!(pair.device.app_bytes_received(), 0);
    pair.device.want_app(app_of(&new), None, START).unwrap();
    assert_eq!(serve_app(&mut pair, &new, usize::MAX), [0]);
    assert!(matches!(pair.device_event(), DeviceEvent::AppComplete { bytes, .. } if bytes == new));

    pair.device.want_app(app_of(&old), None, START).unwrap();
    pair.server.app_removed().unwrap();
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::AppRemoved));
    assert_eq!(pair.device.take_partial(), None);
}

#[test]
fn a_piece_beyond_the_end_or_the_bound_breaks_the_session() {
    let app = AppRef { sha256: [5; 32], len: 10 };
    let chunk = |data: Vec<u8>| frame(&ToDevice::AppChunk { sha256: [5; 32], offset: 0, data });
    let mut pair = Setup::honest().open();
    pair.device.want_app(app, None, START).unwrap();
    pair.device.handle_bytes(&chunk(vec![0; 11]), START);
    assert!(matches!(
        broken_device(pair.device.poll_event()),
        ProtocolError::Message(CodecError::TooLong { length: 11, max: 10, .. })
    ));
    for (len, fine) in [(0, false), (1, true), (LIMITS.chunk, true), (LIMITS.chunk + 1, false)] {
        let mut pair = Setup::honest().open();
        pair.device.handle_bytes(&chunk(vec![0; len]), START);
        assert_eq!(pair.device.is_open(), fine, "{len}");
        assert_eq!(pair.server.send_chunk([5; 32], 0, &vec![0; len]).is_ok(), fine);
    }
}

#[test]
fn an_app_of_no_length_or_beyond_the_bound_is_not_taken() {
    for (len, fine) in [(0, false), (1, true), (LIMITS.app, true), (LIMITS.app + 1, false), (u32::MAX, false)] {
        let app = AppRef { sha256: [5; 32], len };
        let mut pair = Setup::honest().open();
        pair.device.handle_bytes(&frame(&ToDevice::AppAvailable(app)), START);
        assert_eq!(pair.device.is_open(), fine, "{len}");
        assert_eq!(pair.server.app_available(app).is_ok(), fine);
    }
}

#[test]
fn a_server_that_does_not_answer_for_an_app_is_given_up() {
    let mut pair = Setup::honest().open();
    pair.device.want_app(AppRef { sha256: [5; 32], len: 10 }, None, START).unwrap();
    pair.drive_for(LIMITS.chunk_ms - 1);
    assert!(pair.device.is_open());
    pair.drive_for(1);
    let waiting = "waiting for an answer";
    assert_eq!(broken_device(pair.device_events.pop_front()), ProtocolError::TimedOut { waiting });
}

#[test]
fn log_lines_go_as_far_as_they_fit_and_keep_their_own_time() {
    let mut pair = Setup::honest().open();
    assert_eq!(pair.device.send_logs(RING, 0, &[]), Ok(0));
    let lines: Vec<_> = (0..100).map(|n| LogLine::new(n, LogLevel::Log, format!("line {n}"))).collect();
    assert_eq!(pair.device.send_logs(RING, 7, &lines), Ok(LIMITS.log_lines));
    assert_eq!(pair.device.send_logs(RING, 71, &lines[LIMITS.log_lines..]), Ok(100 - LIMITS.log_lines));
    pair.drive();
    let mut got = Vec::new();
    while let Some(ServerEvent::Logs { ring, first, lines }) = pair.server_events.pop_front() {
        assert_eq!((ring, first), (RING, 7 + got.len() as u64));
        got.extend(lines);
    }
    assert_eq!(got, lines);

    let long: Vec<_> = (0..64).map(|n| LogLine::new(n, LogLevel::Error, "x".repeat(LIMITS.log_text))).collect();
    let taken = pair.device.send_logs(RING, 0, &long).unwrap();
    assert!((30..=32).contains(&taken), "{taken} lines of 8 KiB in one message of 257 KiB");
    assert_eq!(pair.device.send_logs(RING, 0, &long).unwrap(), taken);
    assert_eq!(pair.device.send_logs(RING, 0, &long), Err(SendError::Full), "the outbox holds two of these");
    pair.drive();
    assert_eq!(pair.server_events.len(), 2);
}

#[test]
fn too_many_or_too_long_log_lines_break_the_session() {
    let line = |len: usize| LogLine { unix_ms: 0, level: LogLevel::Log, text: "x".repeat(len) };
    let cases = [
        (vec![line(1); LIMITS.log_lines], true),
        (vec![line(1); LIMITS.log_lines + 1], false),
        (vec![line(LIMITS.log_text)], true),
        (vec![line(LIMITS.log_text + 1)], false),
    ];
    for (lines, fine) in cases {
        let mut pair = Setup::honest().open();
        pair.server.handle_bytes(&frame(&ToServer::Logs { ring: RING, first: 0, lines }), START);
        assert_eq!(pair.server.is_open(), fine);
    }
    let cut = LogLine::new(0, LogLevel::Log, "ä".repeat(LIMITS.log_text));
    assert!(cut.text.len() <= LIMITS.log_text && cut.text.ends_with("ä..."));
}

#[test]
fn the_diary_arrives_with_the_certificate_that_was_seen() {
    let entry = |n: i64| DiaryEntry {
        unix_ms: n,
        took_ms: 5000,
        stage: DiaryStage::Tls,
        outcome: "x".repeat(10_000),
        address: Some("192.0.2.1:31314".into()),
        rule_port: Some(31314),
        port: Some(10314),
        certificate: Some(SeenCertificate { subject: "s".into(), issuer: "i".repeat(9999), spki_sha256: [3; 32] }),
    };
    let entries: Vec<_> = (0..40).map(|n| entry(n).cut_to_bounds()).collect();
    let mut pair = Setup::honest().open();
    assert_eq!(pair.device.send_diary(RING, 3, &entries), Ok(LIMITS.diary_entries));
    pair.drive();
    let ServerEvent::Diary { ring, first, entries: got } = pair.server_event() else { panic!() };
    assert_eq!((ring, first, &got[..]), (RING, 3, &entries[..LIMITS.diary_entries]));
    assert!(pair.device.send_diary(RING, 0, &[entry(0)]).is_err(), "a text beyond its bound is not sent");
    let beyond = ToServer::Diary { ring: RING, first: 0, entries: vec![entries[0].clone(); LIMITS.diary_entries + 1] };
    pair.server.handle_bytes(&frame(&beyond), START);
    assert!(pair.server.is_closed());
}

#[test]
fn the_server_says_what_it_keeps_and_nothing_once_the_session_is_over() {
    let mut pair = Setup::honest().open();
    pair.server.logs_kept(5);
    pair.server.diary_kept(6);
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::LogsKept(5)));
    assert!(matches!(pair.device_event(), DeviceEvent::DiaryKept(6)));
    pair.server.close(CloseReason::Drain, None);
    drop(pair.server.poll_transmit());
    pair.server.logs_kept(7);
    assert_eq!(pair.server.poll_transmit(), None);
    let mut stranger = Setup::honest().server();
    stranger.logs_kept(1);
    assert_eq!(stranger.poll_transmit(), None);
}

#[test]
fn the_numbers_of_reports_are_bounded_on_both_ends() {
    let most = LIMITS.report_number;
    let line = || vec![LogLine::new(0, LogLevel::Log, "x")];
    for (first, fine) in [(most - 1, true), (most, false), (u64::MAX, false)] {
        let mut pair = Setup::honest().open();
        assert_eq!(pair.device.send_logs(RING, first, &line()).is_ok(), fine);
        pair.server.handle_bytes(&frame(&ToServer::Logs { ring: RING, first, lines: line() }), START);
        assert_eq!(pair.server.is_open(), fine, "{first}");
    }
    for (next, fine) in [(most, true), (most + 1, false)] {
        for message in [ToDevice::LogsKept { next }, ToDevice::DiaryKept { next }] {
            let mut pair = Setup::honest().open();
            pair.device.handle_bytes(&frame(&message), START);
            assert_eq!(pair.device.is_open(), fine, "{next}");
        }
    }
}

#[test]
fn while_the_device_does_not_read_silence_is_not_held_against_the_server() {
    let mut pair = Setup::honest().open();
    pair.device.want_app(AppRef { sha256: [5; 32], len: 10 }, None, START).unwrap();
    pair.device.pause();
    pair.device_alone_for(10 * DEAD_MS);
    assert!(pair.device.is_open(), "neither silence nor the piece of an app that nobody reads");
    assert!(pair.device.poll_transmit().is_some(), "it still asks");
    pair.device.resume(pair.now);
    pair.device_alone_for(LIMITS.chunk_ms - 1);
    assert!(pair.device.is_open(), "the piece has its whole time again");
    pair.device_alone_for(1);
    assert!(pair.device.is_closed());

    let mut pair = Setup::honest().open();
    pair.device.pause();
    pair.device_alone_for(10 * DEAD_MS);
    pair.device.resume(pair.now);
    pair.device_alone_for(DEAD_MS - 1);
    assert!(pair.device.is_open());
    pair.device_alone_for(1);
    assert!(pair.device.is_closed());
}

#[test]
fn a_short_keepalive_has_a_short_grace() {
    let mut setup = Setup::honest();
    setup.greeting.keepalive_s = 2;
    let mut pair = setup.open();
    pair.drive_for(60_000);
    assert!(pair.device.is_open() && pair.server.is_open());
    pair.server_alone_for(5_000);
    assert!(pair.server.is_closed());
    pair.device_alone_for(5_000);
    assert!(pair.device.is_closed());
}

#[test]
fn the_state_of_the_app_arrives_and_its_error_is_bounded() {
    for (len, fine) in [(LIMITS.error_text, true), (LIMITS.error_text + 1, false)] {
        let error = Some("e".repeat(len));
        let state = AppState { sha256: Some([1; 32]), wake_reason: 9, free_memory: 70_000, error };
        let mut pair = Setup::honest().open();
        assert_eq!(pair.device.app_state(state.clone()).is_ok(), fine);
        pair.server.handle_bytes(&frame(&ToServer::AppState(state.clone())), START);
        assert_eq!(pair.server.is_open(), fine);
        if fine {
            assert!(matches!(pair.server.poll_event(), Some(ServerEvent::AppState(got)) if got == state));
        }
    }
}

#[test]
fn a_restart_and_a_new_app_reach_a_running_device() {
    let mut pair = Setup::honest().open();
    let app = AppRef { sha256: [8; 32], len: 3 };
    pair.server.restart(RestartReason::Asked).unwrap();
    pair.server.app_available(app).unwrap();
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::Restart(RestartReason::Asked)));
    assert!(matches!(pair.device_event(), DeviceEvent::AppAvailable(named) if named == app));
}

#[test]
fn a_closed_session_says_why_and_when_to_come_back_and_then_nothing() {
    for reason in [CloseReason::Replaced, CloseReason::Revoked, CloseReason::Drain] {
        let mut pair = Setup::honest().open();
        pair.server.send_app("before", &[]).unwrap();
        pair.server.close(reason, Some(90_000));
        pair.drive();
        assert!(matches!(pair.device_event(), DeviceEvent::App { .. }));
        let DeviceEvent::Closed { reason: told, come_back_after_ms } = pair.device_event() else { panic!() };
        assert_eq!((told, come_back_after_ms), (reason, Some(90_000)));
        pair.device.handle_bytes(&frame(&ToDevice::Ping), START);
        pair.server.handle_bytes(&frame(&ToServer::Ping), START);
        pair.drive_for(1_000_000);
        assert!(pair.device_events.is_empty() && pair.server_events.is_empty());
    }
}

#[test]
fn what_a_device_sent_before_it_heard_that_it_is_to_go_still_arrives() {
    let mut pair = Setup::honest().open();
    pair.device.send_app("late", &[1]).unwrap();
    pair.device.send_logs(RING, 0, &[LogLine::new(0, LogLevel::Log, "x")]).unwrap();
    pair.device.want_app(AppRef { sha256: [5; 32], len: 10 }, None, START).unwrap();
    pair.server.send_app("before", &[]).unwrap();
    pair.server.drain(90_000);
    assert_eq!(pair.server.send_app("after", &[]), Err(SendError::NotOpen));
    assert_eq!((pair.server.is_open(), pair.server.is_closed(), pair.server.poll_timeout()), (false, false, None));
    pair.drive();
    assert!(matches!(pair.server_event(), ServerEvent::App { name, .. } if name == "late"));
    assert!(matches!(pair.server_event(), ServerEvent::Logs { first: 0, .. }));
    assert!(pair.server_events.is_empty(), "an app is fetched in the next session");
    assert!(matches!(pair.device_event(), DeviceEvent::App { name, .. } if name == "before"));
    let told = pair.device_event();
    assert!(matches!(told, DeviceEvent::Closed { reason: CloseReason::Drain, come_back_after_ms: Some(90_000) }));
    pair.server.logs_kept(1);
    assert_eq!(pair.server.poll_transmit(), None);
    pair.server.handle_eof();
    assert_eq!(broken(pair.server.poll_event()), ProtocolError::Ended);
    assert!(pair.server.is_closed());
    pair.server.drain(1);
    assert_eq!(pair.server.poll_transmit(), None);
}

#[test]
fn a_device_that_breaks_the_protocol_is_told_so() {
    let mut pair = Setup::honest().open();
    pair.server.handle_bytes(&[0, 0, 0, 1, 0xff], START);
    pair.drive();
    assert_eq!(broken(pair.server_events.pop_front()), ProtocolError::Message(CodecError::Malformed));
    let closed = pair.device_event();
    assert!(matches!(closed, DeviceEvent::Closed { reason: CloseReason::ProtocolError, .. }), "{closed:?}");
}
