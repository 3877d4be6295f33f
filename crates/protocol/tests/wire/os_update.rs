//! An OS image, its key and its metadata on their way to a device.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use crate::pair::{Pair, START, Setup};
use minicbor::bytes::ByteVec;
use vouch_protocol::codec::{CodecError, Message, encode_frame};
use vouch_protocol::error::{ProtocolError, SendError};
use vouch_protocol::limits::LIMITS;
use vouch_protocol::message::{ToDevice, ToServer};
use vouch_protocol::os::{OsRef, OsState, Trust};
use vouch_protocol::reason::OsTrouble;
use vouch_protocol::session::{DeviceEvent, ServerEvent};

const IMAGE: [u8; 32] = [5; 32];
const CHUNK: u32 = LIMITS.chunk as u32;

fn frame<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(message, &mut out);
    out
}

fn some_image(len: u32) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// The questions that wait at the server.
fn questions(pair: &mut Pair) -> Vec<u32> {
    pair.server_events
        .drain(..)
        .map(|event| match event {
            ServerEvent::WantOs { image, offset } if image == IMAGE => offset,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Answers one question as a server does.
fn answer(pair: &mut Pair, bytes: &[u8], offset: u32) {
    let end = ((offset / CHUNK + 1) * CHUNK).min(bytes.len() as u32);
    pair.server.send_os_chunk(IMAGE, offset, &bytes[offset as usize..end as usize]).unwrap();
    pair.drive();
}

/// What came, which must be in order and without a gap from `from` on.
fn arrived(pair: &mut Pair, from: u32) -> Vec<u8> {
    let mut got = Vec::new();
    for event in pair.device_events.drain(..) {
        let DeviceEvent::OsChunk { image: IMAGE, offset, data } = event else { panic!("{event:?}") };
        assert_eq!(offset as usize, from as usize + got.len());
        got.extend(data);
    }
    got
}

#[test]
fn an_image_comes_whole_from_any_byte_on_with_a_few_questions_under_way() {
    let bytes = some_image(6 * CHUNK + 17);
    let len = bytes.len() as u32;
    for from in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3, 6 * CHUNK, len - 1] {
        let mut pair = Setup::honest().open();
        pair.device.want_os(IMAGE, len, from, START).unwrap();
        pair.drive();
        let mut waiting = questions(&mut pair);
        assert_eq!(waiting[0], from);
        let mut most = 0;
        while !waiting.is_empty() {
            most = most.max(waiting.len());
            answer(&mut pair, &bytes, waiting.remove(0));
            waiting.extend(questions(&mut pair));
        }
        assert_eq!(arrived(&mut pair, from), bytes[from as usize..]);
        assert!(most <= LIMITS.os_window as usize, "{most} questions at once");
        assert_eq!(most, (len.div_ceil(CHUNK) - from / CHUNK).min(LIMITS.os_window) as usize);
        assert_eq!(pair.device.os_bytes_received(), u64::from(len - from));
        pair.drive_for(10 * LIMITS.chunk_ms);
        assert!(pair.device.is_open(), "nothing is awaited any more");
    }
}

#[test]
fn nothing_is_asked_for_when_all_is_there() {
    let mut pair = Setup::honest().open();
    for (len, from) in [(10, 10), (10, 11), (0, 0), (10, u32::MAX)] {
        pair.device.want_os(IMAGE, len, from, START).unwrap();
        pair.drive();
        assert!(pair.server_events.is_empty());
    }
}

#[test]
fn a_piece_that_is_too_long_or_too_short_breaks_the_session() {
    for (len, fine) in [(99, false), (100, true), (101, false)] {
        let mut pair = Setup::honest().open();
        pair.device.want_os(IMAGE, 100, 0, START).unwrap();
        pair.server.send_os_chunk(IMAGE, 0, &vec![1; len]).unwrap();
        pair.drive();
        assert_eq!(pair.device.is_open(), fine, "{len}");
    }
    for (len, fine) in [(0, false), (1, true), (LIMITS.chunk, true), (LIMITS.chunk + 1, false)] {
        let mut pair = Setup::honest().open();
        assert_eq!(pair.server.send_os_chunk(IMAGE, 0, &vec![1; len]).is_ok(), fine);
        pair.device.handle_bytes(&frame(&ToDevice::OsChunk { image: IMAGE, offset: 0, data: vec![1; len] }), START);
        assert_eq!(pair.device.is_open(), fine, "{len}");
    }
}

#[test]
fn pieces_of_another_image_or_from_another_place_are_not_taken() {
    let mut pair = Setup::honest().open();
    pair.device.want_os(IMAGE, 3 * CHUNK, 0, START).unwrap();
    pair.server.send_os_chunk([6; 32], 0, &vec![1; LIMITS.chunk]).unwrap();
    pair.server.send_os_chunk(IMAGE, CHUNK, &vec![1; LIMITS.chunk]).unwrap();
    pair.drive();
    assert!(pair.device_events.is_empty());
    assert_eq!(pair.device.os_bytes_received(), 0);
}

#[test]
fn an_image_that_is_withdrawn_or_replaced_is_fetched_no_more() {
    let other = OsRef { image: [6; 32], len: 10, manifest: vec![1] };
    for replaced in [false, true] {
        let mut pair = Setup::honest().open();
        pair.device.want_os(IMAGE, 3 * CHUNK, 0, START).unwrap();
        pair.device.want_os_key(IMAGE, START).unwrap();
        pair.drive();
        match replaced {
            true => pair.server.os_available(other.clone()).unwrap(),
            false => pair.server.os_removed().unwrap(),
        }
        pair.server.send_os_chunk(IMAGE, 0, &vec![1; LIMITS.chunk]).unwrap();
        pair.server.os_key(IMAGE, vec![1; 97]).unwrap();
        pair.drive();
        match pair.device_event() {
            DeviceEvent::OsAvailable(os) if replaced => assert_eq!(os, other),
            DeviceEvent::OsRemoved if !replaced => {}
            event => panic!("{event:?}"),
        }
        assert!(pair.device_events.is_empty(), "late mail");
        pair.drive_for(10 * LIMITS.chunk_ms);
        assert!(pair.device.is_open(), "nothing is awaited any more");
    }
}

#[test]
fn metadata_of_an_image_and_of_an_app_are_awaited_at_once() {
    let mut pair = Setup::honest().open();
    pair.device.want_trust(IMAGE, 3, START).unwrap();
    pair.device.want_trust([7; 32], 3, START).unwrap();
    pair.drive();
    for subject in [IMAGE, [7; 32]] {
        assert!(matches!(pair.server_event(), ServerEvent::WantTrust { subject: asked, .. } if asked == subject));
    }
    for subject in [[7; 32], IMAGE] {
        pair.server.trust(subject, Trust::default()).unwrap();
        pair.drive();
        assert!(matches!(pair.device_event(), DeviceEvent::Trust { subject: of, .. } if of == subject));
    }
}

#[test]
fn key_and_metadata_come_once_for_each_question_and_only_then() {
    let mut pair = Setup::honest().open();
    pair.server.os_key(IMAGE, vec![1; 97]).unwrap();
    pair.server.trust(IMAGE, Trust::default()).unwrap();
    pair.drive();
    assert!(pair.device_events.is_empty(), "nobody asked");
    pair.device.want_os_key(IMAGE, START).unwrap();
    pair.device.want_trust([7; 32], 3, START).unwrap();
    pair.drive();
    assert!(matches!(pair.server_event(), ServerEvent::WantOsKey { image: IMAGE }));
    assert!(matches!(pair.server_event(), ServerEvent::WantTrust { subject: [7, ..], root_version: 3 }));
    for _ in 0..2 {
        pair.server.os_key([6; 32], vec![2; 97]).unwrap();
        pair.server.os_key(IMAGE, vec![1; 97]).unwrap();
        pair.server.trust([7; 32], Trust { timestamp: Some(vec![1].into()), ..Trust::default() }).unwrap();
    }
    pair.drive();
    assert!(matches!(pair.device_event(), DeviceEvent::OsKey { image: IMAGE, wrapped } if wrapped == [1; 97]));
    assert!(matches!(pair.device_event(), DeviceEvent::Trust { trust, .. } if trust.timestamp == Some(vec![1].into())));
    assert!(pair.device_events.is_empty());
}

#[test]
fn a_server_that_does_not_answer_is_given_up_unless_the_device_does_not_read() {
    type Ask = fn(&mut Pair);
    let asks: [Ask; 3] = [
        |pair| pair.device.want_os(IMAGE, 10, 0, START).unwrap(),
        |pair| pair.device.want_os_key(IMAGE, START).unwrap(),
        |pair| pair.device.want_trust(IMAGE, 1, START).unwrap(),
    ];
    for ask in asks {
        let mut pair = Setup::honest().open();
        ask(&mut pair);
        pair.device.pause();
        pair.device_alone_for(LIMITS.chunk_ms);
        assert!(pair.device.is_open());
        pair.device.resume(pair.now);
        pair.drive_for(LIMITS.chunk_ms - 1);
        assert!(pair.device.is_open());
        pair.drive_for(1);
        let timed_out = ProtocolError::TimedOut { waiting: "waiting for an answer" };
        assert!(matches!(pair.device_event(), DeviceEvent::Broken(error) if error == timed_out));
    }
}

#[test]
fn each_part_of_an_update_has_its_bound() {
    let os = |len, manifest| OsRef { image: IMAGE, len, manifest: vec![0; manifest] };
    let roots = |count, size| Trust { roots: vec![ByteVec::from(vec![0; size]); count], ..Trust::default() };
    let cases = [
        (ToDevice::OsAvailable(os(0, 1)), false),
        (ToDevice::OsAvailable(os(LIMITS.os_image, LIMITS.os_manifest)), true),
        (ToDevice::OsAvailable(os(LIMITS.os_image + 1, 1)), false),
        (ToDevice::OsAvailable(os(1, LIMITS.os_manifest + 1)), false),
        (ToDevice::OsKey { image: IMAGE, wrapped: vec![0; LIMITS.wrapped_key] }, true),
        (ToDevice::OsKey { image: IMAGE, wrapped: vec![0; LIMITS.wrapped_key + 1] }, false),
        (ToDevice::Trust { subject: IMAGE, trust: roots(LIMITS.trust_roots, 10) }, true),
        (ToDevice::Trust { subject: IMAGE, trust: roots(LIMITS.trust_roots + 1, 10) }, false),
        (ToDevice::Trust { subject: IMAGE, trust: roots(1, LIMITS.trust) }, true),
        (ToDevice::Trust { subject: IMAGE, trust: roots(1, LIMITS.trust + 1) }, false),
    ];
    for (message, fine) in cases {
        let mut pair = Setup::honest().open();
        pair.device.handle_bytes(&frame(&message), START);
        assert_eq!(pair.device.is_open(), fine, "{message:?}");
        let sent = match message {
            ToDevice::OsAvailable(os) => pair.server.os_available(os),
            ToDevice::OsKey { image, wrapped } => pair.server.os_key(image, wrapped),
            ToDevice::Trust { subject, trust } => pair.server.trust(subject, trust),
            other => panic!("{other:?}"),
        };
        assert_eq!(sent.is_ok(), fine);
    }
    for (len, fine) in [(LIMITS.os_text, true), (LIMITS.os_text + 1, false)] {
        let state = OsState::Refused { trouble: OsTrouble::Other, text: "x".repeat(len) };
        let mut pair = Setup::honest().open();
        pair.server.handle_bytes(&frame(&ToServer::OsState { image: IMAGE, state: state.clone() }), START);
        assert_eq!(pair.server.is_open(), fine);
        let too_long = CodecError::TooLong { what: "the trouble with an OS image", length: len, max: LIMITS.os_text };
        let expected = if fine { Ok(()) } else { Err(SendError::Invalid(too_long)) };
        assert_eq!(pair.device.os_state(IMAGE, state), expected);
    }
}

#[test]
fn how_far_a_device_is_arrives_with_a_text_that_is_cut() {
    let mut pair = Setup::honest().open();
    let states = [
        OsState::Downloading { received: 7 },
        OsState::Installed,
        OsState::Trying,
        OsState::Confirmed,
        OsState::fell_back(OsTrouble::NotConnected, "no session within 300 s"),
        OsState::refused(OsTrouble::Stale, "x".repeat(LIMITS.os_text + 1)),
    ];
    for state in &states {
        pair.device.os_state(IMAGE, state.clone()).unwrap();
    }
    pair.drive();
    for expected in &states {
        assert!(matches!(pair.server_event(), ServerEvent::OsState { image: IMAGE, state } if state == *expected));
    }
    assert!(
        matches!(&states[5], OsState::Refused { text, .. } if text.ends_with("...") && text.len() == LIMITS.os_text)
    );
}

#[test]
fn a_device_that_is_told_to_go_gets_no_more_of_an_image_but_its_state_is_taken() {
    let mut pair = Setup::honest().open();
    pair.device.want_os(IMAGE, 10, 0, START).unwrap();
    pair.device.os_state(IMAGE, OsState::Installed).unwrap();
    pair.server.drain(1);
    let said = pair.device.poll_transmit().unwrap();
    pair.server.handle_bytes(&said, START);
    assert!(matches!(pair.server.poll_event(), Some(ServerEvent::OsState { state: OsState::Installed, .. })));
    assert!(pair.server.poll_event().is_none());
}
