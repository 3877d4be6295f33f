//! Knows when a whole ClientHello has arrived, without understanding it.

/// TLS record header: type, version, length (RFC 8446, 5.1).
const RECORD_HEADER: usize = 5;
/// Handshake header: type and 24-bit length (RFC 8446, 4).
const HANDSHAKE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const MAJOR_VERSION: u8 = 3;
/// Longest plaintext of one record (RFC 8446, 5.1).
const RECORD_MAX: usize = 1 << 14;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The beginning of a ClientHello; more is needed.
    Part,
    /// A whole ClientHello ends within the bytes.
    Whole,
    /// Not TLS, not a ClientHello, or longer than permitted: the connection is closed without an answer.
    Foreign,
}

/// Judges the first bytes of a connection. A ClientHello may be cut into several records, even within its own header; `limit` bounds
/// everything together.
pub(crate) fn arrived(bytes: &[u8], limit: usize) -> Arrived {
    let mut rest = bytes;
    // What the records so far carry: the handshake header, then a length to reach.
    let mut header = [0u8; HANDSHAKE_HEADER];
    let mut carried = 0usize;
    loop {
        if let Some((&kind, _)) = rest.split_first()
            && kind != CONTENT_HANDSHAKE
        {
            return Arrived::Foreign;
        }
        if rest.get(1).is_some_and(|&major| major != MAJOR_VERSION) {
            return Arrived::Foreign;
        }
        let Some((&[_, _, _, high, low], after)) = rest.split_first_chunk::<RECORD_HEADER>() else {
            return part(bytes, limit);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // An empty handshake record is forbidden, and would let a stranger send headers for ever.
        if length == 0 || length > RECORD_MAX {
            return Arrived::Foreign;
        }
        let fragment = after.get(..length).unwrap_or(after);
        for (slot, &byte) in header.iter_mut().skip(carried).zip(fragment) {
            *slot = byte;
        }
        carried += fragment.len();
        if carried > 0 && header[0] != HANDSHAKE_CLIENT_HELLO {
            return Arrived::Foreign;
        }
        if carried >= HANDSHAKE_HEADER {
            let [_, a, b, c] = header;
            let wanted = HANDSHAKE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
            if wanted > limit {
                return Arrived::Foreign;
            }
            if carried >= wanted {
                return Arrived::Whole;
            }
        }
        if fragment.len() < length {
            return part(bytes, limit);
        }
        rest = &after[length..];
    }
}

fn part(bytes: &[u8], limit: usize) -> Arrived {
    if bytes.len() >= limit { Arrived::Foreign } else { Arrived::Part }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8 * 1024;

    /// A ClientHello with `body` bytes of body, cut into records of `cut` bytes.
    fn hello(body: usize, cut: usize) -> Vec<u8> {
        let mut message = vec![HANDSHAKE_CLIENT_HELLO];
        message.extend_from_slice(&u32::try_from(body).unwrap().to_be_bytes()[1..]);
        message.resize(HANDSHAKE_HEADER + body, 0xaa);
        let mut bytes = Vec::new();
        for piece in message.chunks(cut) {
            bytes.extend_from_slice(&[CONTENT_HANDSHAKE, 3, 1]);
            bytes.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    #[test]
    fn is_whole_with_its_last_byte_and_not_before() {
        for cut in [1, 2, 3, 4, 5, 300, 16_384] {
            let bytes = hello(300, cut);
            for end in 0..bytes.len() {
                assert_eq!(arrived(&bytes[..end], LIMIT), Arrived::Part, "cut {cut}, {end} bytes");
            }
            assert_eq!(arrived(&bytes, LIMIT), Arrived::Whole, "cut {cut}");
        }
    }

    #[test]
    fn bytes_behind_the_hello_do_not_matter() {
        let mut bytes = hello(300, 16_384);
        bytes.extend_from_slice(b"anything");
        assert_eq!(arrived(&bytes, LIMIT), Arrived::Whole);
    }

    #[test]
    fn a_hello_as_long_as_the_limit_is_whole_and_one_byte_more_is_foreign() {
        let fits = LIMIT - HANDSHAKE_HEADER;
        assert_eq!(arrived(&hello(fits, 16_384), LIMIT), Arrived::Whole);
        assert_eq!(arrived(&hello(fits + 1, 16_384), LIMIT), Arrived::Foreign);
        // The length alone decides: nobody waits for the body.
        assert_eq!(arrived(&hello(fits + 1, 16_384)[..RECORD_HEADER + HANDSHAKE_HEADER], LIMIT), Arrived::Foreign);
    }

    #[test]
    fn a_hello_in_one_byte_records_is_bounded_with_its_headers() {
        let bytes = hello(LIMIT - HANDSHAKE_HEADER, 1);
        assert_eq!(arrived(&bytes[..LIMIT - 1], LIMIT), Arrived::Part);
        assert_eq!(arrived(&bytes[..LIMIT], LIMIT), Arrived::Foreign);
    }

    #[test]
    fn what_is_not_a_client_hello_is_foreign_at_its_first_wrong_byte() {
        assert_eq!(arrived(b"G", LIMIT), Arrived::Foreign);
        assert_eq!(arrived(b"\x15", LIMIT), Arrived::Foreign);
        assert_eq!(arrived(b"\x16\x02", LIMIT), Arrived::Foreign);
        assert_eq!(arrived(b"\x16\x03\x01\x00\x00", LIMIT), Arrived::Foreign);
        assert_eq!(arrived(b"\x16\x03\x01\x40\x01", LIMIT), Arrived::Foreign);
        assert_eq!(arrived(b"\x16\x03\x01\x00\x20\x02", LIMIT), Arrived::Foreign);
    }
}
