//! As much of MQTT 3.1.1 as the comparison needs: connect, subscribe, messages of quality 1 and their acknowledgements.
//!
//! It is written here since the load must not be what is measured: it fills one write with many messages and answers one read with one
//! write, as the devices of our own do, and neither is in the hands of who uses a client library.

use anyhow::{Result, bail, ensure};

/// Packet types with their flags (MQTT 3.1.1, 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
/// Bits of a PUBLISH: quality of service 1, and all of the quality.
const QUALITY_1: u8 = 0x02;
const QUALITY: u8 = 0x06;

/// A packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The connection is accepted.
    Connected,
    /// The subscription is accepted.
    Subscribed,
    /// A message was taken.
    Acknowledged,
    /// A message for a subscription, with its number if it is to be acknowledged.
    Message {
        /// Its number.
        number: Option<[u8; 2]>,
        /// Its payload.
        payload: &'a [u8],
    },
}

/// Appends a CONNECT with a clean session and a keep-alive of one minute.
pub fn connect(client: &str, out: &mut Vec<u8>) {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60];
    text(client, &mut body);
    packet(CONNECT, &body, out);
}

/// Appends a SUBSCRIBE of quality 1.
pub fn subscribe(topic: &str, out: &mut Vec<u8>) {
    let mut body = vec![0, 1];
    text(topic, &mut body);
    body.push(1);
    packet(SUBSCRIBE, &body, out);
}

/// Appends a PUBLISH of quality 1. Numbers begin with 1.
pub fn publish(topic: &str, number: u16, payload: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(4 + topic.len() + payload.len());
    text(topic, &mut body);
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(payload);
    packet(PUBLISH | QUALITY_1, &body, out);
}

/// Appends a PUBACK.
pub fn acknowledge(number: [u8; 2], out: &mut Vec<u8>) {
    packet(PUBACK, &number, out);
}

/// Takes the packet at the front, if it is whole.
///
/// # Errors
/// When it is none that is expected.
pub fn next<'a>(input: &mut &'a [u8]) -> Result<Option<Packet<'a>>> {
    let &[kind, ref rest @ ..] = *input else { return Ok(None) };
    let Some((length, rest)) = remaining_length(rest)? else { return Ok(None) };
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    *input = rest;
    Ok(Some(match (kind, body) {
        (CONNACK, [_, 0]) => Packet::Connected,
        (SUBACK, [_, _, 1]) => Packet::Subscribed,
        (PUBACK, [_, _]) => Packet::Acknowledged,
        (kind, [high, low, rest @ ..]) if kind & 0xf0 == PUBLISH => {
            let topic = usize::from(u16::from_be_bytes([*high, *low]));
            ensure!(rest.len() >= topic, "a topic that is too long");
            match (kind & QUALITY, &rest[topic..]) {
                (QUALITY_1, [high, low, payload @ ..]) => Packet::Message { number: Some([*high, *low]), payload },
                (0, payload) => Packet::Message { number: None, payload },
                _ => bail!("a message of another quality"),
            }
        }
        _ => bail!("packet type {kind:#x}, {body:?}"),
    }))
}

/// At most four bytes of seven bits each, the lowest first (2.2.3).
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, &bytes[at + 1..])));
        }
    }
    ensure!(bytes.len() < 4, "a length that does not end");
    Ok(None)
}

fn packet(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
