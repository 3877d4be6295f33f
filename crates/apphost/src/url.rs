//! Percent-encoding as `http.urlencode` and `http.urldecode` use it (RFC 3986, sections 2.1 to 2.3).

/// Appends `bytes` with everything but unreserved characters encoded.
pub(crate) fn encode_into(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// The bytes meant by `text`; `+` is a space, a `%` without two hex digits stays as it is.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, used) = match (first, tail) {
            (b'%', [high, low, ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            (b'+', _) => (b' ', 1),
            (other, _) => (other, 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

/// The decoded names and values of `a=1&b=2`, in order; a name without `=` has an empty value.
pub(crate) fn pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let name = halves.next().map(decode).unwrap_or_default();
        (name, halves.next().map(decode).unwrap_or_default())
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_are_encoded_and_come_back() {
        let mut out = Vec::new();
        let text = b"a b/c?d=e&f+\xff~";
        encode_into(&mut out, text);
        assert_eq!(out, b"a%20b%2Fc%3Fd%3De%26f%2B%FF~");
        assert_eq!(decode(&out), text);
    }

    #[test]
    fn a_lone_percent_stays() {
        for text in [&b"100%"[..], b"%4", b"%zz", b"%%"] {
            assert_eq!(decode(text), text);
        }
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        let found: Vec<_> = pairs(b"a=1&b=x=y&&c&=v").collect();
        let expected = [("a", "1"), ("b", "x=y"), ("c", ""), ("", "v")];
        assert_eq!(found, expected.map(|(name, value)| (name.into(), value.into())));
    }
}
