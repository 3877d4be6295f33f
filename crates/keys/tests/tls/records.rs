//! An established connection without rustls at the server: the client's end is rustls in every test, so that both agree.

use std::io::{Read, Write};

use keys::{
    profile::Profile,
    tls::{RecordError, Records, TakeOverError},
};
use proptest::prelude::*;
use rustls::{AlertDescription, ClientConnection, Error};

use crate::wire::*;

/// The longest plaintext of a record.
const PLAIN_MAX: usize = 16 * 1024;

struct Pair {
    client: ClientConnection,
    server: Records,
}

fn pair(profile: Profile) -> Pair {
    let connected = connect(&OURS.client(profile), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let Connected { mut client, server, secrets, .. } = connected;
    client.set_buffer_limit(None);
    Pair { client, server: Records::take_over(server, &secrets, Vec::new()).unwrap() }
}

impl Pair {
    /// What the client has to send.
    fn sent(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn say(&mut self, plain: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(plain).unwrap();
        self.sent()
    }

    /// Hands the server bytes in pieces.
    fn open(&mut self, bytes: &[u8], piece: usize) -> Result<Vec<u8>, RecordError> {
        let mut heard = Vec::new();
        for piece in bytes.chunks(piece) {
            self.server.open(&mut piece.to_vec(), |plain| heard.extend_from_slice(plain))?;
        }
        Ok(heard)
    }

    /// What the client makes of the server's bytes.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).unwrap();
            let state = self.client.process_new_packets()?;
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut plain).unwrap();
            heard.extend_from_slice(&plain);
        }
        Ok(heard)
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.server.seal(plain, &mut out).unwrap();
        out
    }

    /// One message each way.
    fn still_speak(&mut self) {
        let bytes = self.say(b"up");
        assert_eq!(self.open(&bytes, bytes.len()).unwrap(), b"up");
        let bytes = self.seal(b"down");
        assert_eq!(self.hear(&bytes).unwrap(), b"down");
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn messages_of_every_length_go_both_ways() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        for length in [1, 2, PLAIN_MAX - 1, PLAIN_MAX, PLAIN_MAX + 1, 3 * PLAIN_MAX + 7, 300_000] {
            let plain = text(length);
            let bytes = pair.say(&plain);
            assert_eq!(pair.open(&bytes, bytes.len()).unwrap(), plain, "{profile}, {length} up");
            let bytes = pair.seal(&plain);
            assert_eq!(pair.hear(&bytes).unwrap(), plain, "{profile}, {length} down");
        }
    }
}

#[test]
fn records_that_come_in_pieces_are_put_together() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        for piece in [1, 4, 5, 6, 21, 22, 1_000, 16_405] {
            let plain = text(40_000);
            let bytes = pair.say(&plain);
            assert_eq!(pair.open(&bytes, piece).unwrap(), plain, "{profile}, {piece} bytes at a time");
            assert!(!pair.server.holds_a_part());
        }
        let bytes = pair.say(b"part");
        assert_eq!(pair.open(&bytes[..bytes.len() - 1], 64).unwrap(), b"");
        assert!(pair.server.holds_a_part());
    }
}

#[test]
fn many_small_writes_in_one_read_are_all_heard() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        for number in 0..2_000_u32 {
            plain.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&pair.say(&number.to_be_bytes()));
        }
        assert_eq!(pair.open(&bytes, bytes.len()).unwrap(), plain);
    }
}

#[test]
fn what_rustls_was_not_handed_is_not_lost() {
    let connected = connect(&OURS.client(Profile::Modern), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let Connected { client, server, secrets, .. } = connected;
    let mut early = Pair { client, server: pair(Profile::Modern).server };
    let bytes = early.say(b"early");
    early.server = Records::take_over(server, &secrets, bytes[..9].to_vec()).unwrap();
    assert_eq!(early.open(&bytes[9..], 64).unwrap(), b"early");
    early.still_speak();
}

#[test]
fn a_peer_that_updates_its_keys_is_followed_and_answered() {
    let mut pair = pair(Profile::Modern);
    for _ in 0..40 {
        // rustls asks for an update in return.
        pair.client.refresh_traffic_keys().unwrap();
        pair.still_speak();
        pair.still_speak();
    }
}

#[test]
fn an_update_between_messages_of_one_read_separates_them() {
    let mut pair = pair(Profile::Modern);
    let mut bytes = pair.say(b"before ");
    pair.client.refresh_traffic_keys().unwrap();
    bytes.extend_from_slice(&pair.say(b"after"));
    assert_eq!(pair.open(&bytes, bytes.len()).unwrap(), b"before after");
    pair.still_speak();
}

#[test]
fn several_updates_before_an_answer_get_one_answer() {
    let mut pair = pair(Profile::Modern);
    for _ in 0..3 {
        pair.client.refresh_traffic_keys().unwrap();
        let bytes = pair.sent();
        assert_eq!(pair.open(&bytes, bytes.len()).unwrap(), b"");
    }
    let (first, second) = (pair.seal(b"x"), pair.seal(b"x"));
    assert_eq!(first.len(), second.len() + 5 + 5 + 1 + 16, "one KeyUpdate goes before the first message");
    assert_eq!(pair.hear(&[first, second].concat()).unwrap(), b"xx");
}

#[test]
fn attack_a_peer_that_only_updates_its_keys_is_sent_away() {
    let mut pair = pair(Profile::Modern);
    for _ in 0..32 {
        pair.client.refresh_traffic_keys().unwrap();
        let bytes = pair.sent();
        assert_eq!(pair.open(&bytes, bytes.len()).unwrap(), b"");
    }
    pair.client.refresh_traffic_keys().unwrap();
    let bytes = pair.sent();
    let alert = AlertDescription::UnexpectedMessage;
    assert!(matches!(pair.open(&bytes, bytes.len()), Err(RecordError::Broken { alert: told, .. }) if told == alert));
}

#[test]
fn a_peer_that_updates_its_keys_before_it_is_let_in_is_not() {
    let connected = connect(&OURS.client(Profile::Modern), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let Connected { mut client, mut server, secrets, .. } = connected;
    client.refresh_traffic_keys().unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    server.read_tls(&mut bytes.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    assert_eq!(Records::take_over(server, &secrets, Vec::new()).unwrap_err(), TakeOverError::KeysChanged);
}

#[test]
fn a_connection_whose_secrets_were_not_noted_is_not_taken_over() {
    let connected = || connect(&OURS.client(Profile::Modern), &OURS.gateway()).unwrap_or_else(|e| panic!("{e:?}"));
    let taken = Records::take_over(connected().server, &connected().secrets, Vec::new());
    assert_eq!(taken.unwrap_err(), TakeOverError::KeysChanged);
}

#[test]
fn both_ends_say_goodbye() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        pair.client.send_close_notify();
        let bytes = pair.sent();
        assert_eq!(pair.open(&bytes, bytes.len()), Err(RecordError::Closed), "{profile}");
        let mut out = Vec::new();
        pair.server.alert(AlertDescription::CloseNotify, &mut out).unwrap();
        pair.client.read_tls(&mut out.as_slice()).unwrap();
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed(), "{profile}");
    }
}

#[test]
fn alerts_reach_the_other_end() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        let mut out = Vec::new();
        pair.server.alert(AlertDescription::UnexpectedMessage, &mut out).unwrap();
        assert_eq!(pair.hear(&out).unwrap_err(), Error::AlertReceived(AlertDescription::UnexpectedMessage));
        // A client that is sent rubbish says so.
        let mut pair = self::pair(profile);
        let mut bytes = pair.seal(b"rubbish");
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(pair.hear(&bytes).unwrap_err(), Error::DecryptError);
        let bytes = pair.sent();
        let told = RecordError::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(pair.open(&bytes, bytes.len()), Err(told), "{profile}");
    }
}

/// What must not open, whichever byte was changed, and what the peer is told.
fn refused(profile: Profile, change: impl FnOnce(&mut Vec<u8>)) -> AlertDescription {
    let mut pair = pair(profile);
    let mut bytes = pair.say(b"message");
    change(&mut bytes);
    match pair.open(&bytes, bytes.len()) {
        Err(RecordError::Broken { alert, .. }) => alert,
        other => panic!("{other:?}"),
    }
}

#[test]
fn attack_changed_records_do_not_open() {
    for profile in Profile::ALL {
        let length = pair(profile).say(b"message").len();
        for at in 5..length {
            assert_eq!(refused(profile, |bytes| bytes[at] ^= 0x80), AlertDescription::BadRecordMac, "{profile}, {at}");
        }
    }
}

#[test]
fn attack_records_that_are_repeated_left_out_or_reordered_do_not_open() {
    for profile in Profile::ALL {
        let mut pair = pair(profile);
        let first = pair.say(b"1");
        assert_eq!(pair.open(&first, 64).unwrap(), b"1");
        assert!(pair.open(&first, 64).is_err(), "{profile}: one is repeated");
        let mut pair = self::pair(profile);
        pair.say(b"1");
        let later = pair.say(b"2");
        assert!(pair.open(&later, 64).is_err(), "{profile}: one is left out");
    }
}

#[test]
fn attack_records_of_wrong_lengths_and_kinds_are_refused_by_their_header() {
    let header = |kind, length: u16| {
        move |bytes: &mut Vec<u8>| {
            let [high, low] = length.to_be_bytes();
            bytes.splice(..5, [kind, 3, 3, high, low]);
        }
    };
    for (profile, least, most) in [(Profile::Modern, 17, 16_384 + 256), (Profile::Classic, 24, 16_384 + 2_048)] {
        assert_eq!(refused(profile, header(23, most + 1)), AlertDescription::RecordOverflow);
        assert_eq!(refused(profile, header(23, least - 1)), AlertDescription::BadRecordMac);
        assert_eq!(refused(profile, header(23, 0)), AlertDescription::BadRecordMac);
        // Neither a change of ciphers nor a kind that does not exist.
        assert_eq!(refused(profile, header(20, 30)), AlertDescription::UnexpectedMessage);
        assert_eq!(refused(profile, header(24, 30)), AlertDescription::UnexpectedMessage);
        let mut pair = pair(profile);
        assert_eq!(pair.open(&[23, 3, 3, (most >> 8) as u8, most as u8], 5), Ok(Vec::new()), "{profile}: the longest");
    }
    // In TLS 1.3 alerts and handshake messages of an established connection are not told apart from outside.
    assert_eq!(refused(Profile::Modern, header(21, 30)), AlertDescription::UnexpectedMessage);
    assert_eq!(refused(Profile::Modern, header(22, 30)), AlertDescription::UnexpectedMessage);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_bytes_make_it_panic_or_speak(bytes in proptest::collection::vec(any::<u8>(), 0..600), piece in 1_usize..40) {
        for profile in Profile::ALL {
            if let Ok(heard) = pair(profile).open(&bytes, piece) {
                prop_assert!(heard.is_empty());
            }
        }
    }

    #[test]
    fn what_is_said_is_heard(plain in proptest::collection::vec(any::<u8>(), 1..40_000), piece in 1_usize..20_000) {
        for profile in Profile::ALL {
            let mut pair = pair(profile);
            let bytes = pair.say(&plain);
            prop_assert_eq!(&pair.open(&bytes, piece).unwrap(), &plain);
            let bytes = pair.seal(&plain);
            prop_assert_eq!(&pair.hear(&bytes).unwrap(), &plain);
        }
    }
}
