//! The records of an established connection without rustls: what stays for a connection that says nothing is its keys.
//!
//! rustls makes the handshake, checks the certificates and gives the channel binding. A connection of its keeps some six kilobytes after that,
//! its read buffer the most of it. Its unbuffered and kernel connections keep less, but have no exporter (RFC 9266), without which no proof is
//! bound to its connection. So the keys are taken out when the peer has proved itself, and the record protection of RFC 8446 (5.2, 5.3, 7.2)
//! and RFC 5246 (6.2.3.3, with RFC 5288) is composed here from the AEAD and the HKDF of the cryptographic library.

mod half;
mod secrets;

use std::{fmt, mem};

use aws_lc_rs::aead::LessSafeKey;
use rustls::{AlertDescription, ServerConnection};

use self::half::{EXPLICIT_NONCE, Half, Header, TAG};
pub use self::secrets::{TakeOverError, TrafficSecrets};

/// Bytes before each record.
const HEADER: usize = 5;
/// Longest plaintext of a record.
const PLAIN_MAX: usize = 16 * 1024;
/// What a record of TLS 1.3 may be longer than its longest plaintext (RFC 8446, 5.2), and one of TLS 1.2 (RFC 5246, 6.2.3).
const EXPANSION_13: usize = 256;
const EXPANSION_12: usize = 2_048;
/// Records under one key, as rustls sets it for AES-GCM (draft-irtf-cfrg-aead-limits).
const RECORDS_PER_KEY: u64 = 1 << 24;
/// Records without application data that may follow one another: empty ones, key updates, warnings.
const FRUITLESS: u8 = 32;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// A KeyUpdate that asks for none in return (RFC 8446, 4.6.3), and one that does.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const KEY_UPDATE_REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

/// Both directions of an established connection, at the server.
pub struct Records {
    version: Version,
    rx: Half,
    tx: Half,
    /// The beginning of a record whose rest has not come.
    part: Vec<u8>,
    fruitless: u8,
    /// The peer changed its keys and asked this end to do so as well, which it does before it sends more.
    update_asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Tls12,
    Tls13,
}

/// Why a connection cannot be read or written any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The peer said that it sends nothing more.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer ended it with an alert.
    #[error("received the alert {0:?}")]
    AlertReceived(AlertDescription),
    /// The peer does not keep to TLS; it is told so with this alert.
    #[error("{what}")]
    Broken {
        /// What it is to be told.
        alert: AlertDescription,
        /// What it did.
        what: &'static str,
    },
    /// Too much was sent under one key, and TLS 1.2 has no other.
    #[error("the connection's keys are used up")]
    UsedUp,
    /// The cryptographic library refused; nothing from outside can cause it.
    #[error("the cryptographic library refused")]
    Refused,
}

impl RecordError {
    fn broken(alert: AlertDescription, what: &'static str) -> Self {
        Self::Broken { alert, what }
    }
}

impl Records {
    /// Takes an established connection over from rustls. `noted` are its secrets, and `part` are bytes that came and were not handed to
    /// rustls since they are no whole record. Whatever rustls had to send or to give must have gone before.
    ///
    /// # Errors
    /// [`TakeOverError`]; the connection is then of no use any more.
    pub fn take_over(
        connection: ServerConnection,
        noted: &TrafficSecrets,
        part: Vec<u8>,
    ) -> Result<Records, TakeOverError> {
        let (version, rx, tx) = secrets::take(connection, noted)?;
        Ok(Records { version, rx, tx, part, fruitless: 0, update_asked: false })
    }

    /// Whether a record has come in part.
    pub fn holds_a_part(&self) -> bool {
        !self.part.is_empty()
    }

    /// Opens what came, in place, and hands each piece of application data on.
    ///
    /// # Errors
    /// [`RecordError`]; nothing more can be read then. What came before the cause was handed on.
    pub fn open(&mut self, mut input: &mut [u8], mut plain: impl FnMut(&[u8])) -> Result<(), RecordError> {
        let mut cipher = self.rx.cipher()?;
        while !input.is_empty() {
            let front = if self.part.is_empty() { &*input } else { &self.part };
            let whole = self.length(front)?;
            if self.part.is_empty() && input.len() >= whole.max(HEADER + 1) {
                let (record, rest) = mem::take(&mut input).split_at_mut(whole);
                input = rest;
                self.record(record, &mut cipher, &mut plain)?;
                continue;
            }
            let missing = whole.saturating_sub(self.part.len()).min(input.len());
            let (more, rest) = mem::take(&mut input).split_at_mut(missing);
            input = rest;
            self.part.extend_from_slice(more);
            if self.part.len() > HEADER && self.part.len() == self.length(&self.part)? {
                let mut record = mem::take(&mut self.part);
                self.record(&mut record, &mut cipher, &mut plain)?;
            }
        }
        Ok(())
    }

    /// Seals application data into as many records as it needs.
    ///
    /// # Errors
    /// [`RecordError::UsedUp`] after 2^24 records of TLS 1.2.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let mut cipher = self.tx.cipher()?;
        let records = plain.len().div_ceil(PLAIN_MAX);
        out.reserve(plain.len() + records * (HEADER + EXPLICIT_NONCE + TAG));
        for piece in plain.chunks(PLAIN_MAX) {
            if self.update_asked || self.tx.sequence >= RECORDS_PER_KEY {
                self.update(&mut cipher, out)?;
            }
            self.write(DATA, piece, &cipher, out)?;
        }
        Ok(())
    }

    /// Seals an alert: a warning when it is `close_notify`, fatal otherwise. Nothing may follow it.
    ///
    /// # Errors
    /// Never for a reason from outside.
    pub fn alert(&mut self, alert: AlertDescription, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let level = if alert == AlertDescription::CloseNotify { 1 } else { 2 };
        let cipher = self.tx.cipher()?;
        self.write(ALERT, &[level, alert.into()], &cipher, out)
    }

    /// Changes the keys of this end, having said so under the old ones.
    fn update(&mut self, cipher: &mut LessSafeKey, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.version == Version::Tls12 {
            return Err(RecordError::UsedUp);
        }
        self.write(HANDSHAKE, &KEY_UPDATE, cipher, out)?;
        self.tx.advance()?;
        *cipher = self.tx.cipher()?;
        self.update_asked = false;
        Ok(())
    }

    fn write(&mut self, kind: u8, plain: &[u8], cipher: &LessSafeKey, out: &mut Vec<u8>) -> Result<(), RecordError> {
        match self.version {
            Version::Tls12 => self.tx.seal_12(cipher, kind, plain, out),
            Version::Tls13 => self.tx.seal_13(cipher, kind, plain, out),
        }
    }

    /// The whole length of the record at the front, or that of a header while there is no more.
    fn length(&self, front: &[u8]) -> Result<usize, RecordError> {
        let Some(header) = front.first_chunk::<HEADER>() else { return Ok(HEADER) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (least, most) = match self.version {
            Version::Tls12 => (EXPLICIT_NONCE + TAG, PLAIN_MAX + EXPANSION_12),
            Version::Tls13 => (1 + TAG, PLAIN_MAX + EXPANSION_13),
        };
        if length > most {
            return Err(RecordError::broken(
                AlertDescription::RecordOverflow,
                "the peer sent a record that is too long",
            ));
        }
        match (header[0], self.version) {
            (DATA, _) | (ALERT | HANDSHAKE, Version::Tls12) if length >= least => Ok(HEADER + length),
            (DATA, _) | (ALERT | HANDSHAKE, Version::Tls12) => {
                Err(RecordError::broken(AlertDescription::BadRecordMac, "the peer sent a record that is too short"))
            }
            _ => Err(RecordError::broken(AlertDescription::UnexpectedMessage, "the peer sent an unprotected record")),
        }
    }

    fn record(
        &mut self,
        record: &mut [u8],
        cipher: &mut LessSafeKey,
        plain: &mut impl FnMut(&[u8]),
    ) -> Result<(), RecordError> {
        let forged =
            || RecordError::broken(AlertDescription::BadRecordMac, "the peer sent a record that does not open");
        let Some((header, body)) = record.split_first_chunk_mut::<HEADER>() else { return Err(forged()) };
        let header: Header = *header;
        let (kind, content) = match self.version {
            Version::Tls12 => (header[0], self.rx.open_12(cipher, header, body).ok_or_else(forged)?),
            Version::Tls13 => {
                let inner = self.rx.open_13(cipher, header, body).ok_or_else(forged)?;
                // The content's type is its last byte that is not padding.
                let Some(end) = inner.iter().rposition(|byte| *byte != 0) else {
                    return Err(RecordError::broken(
                        AlertDescription::UnexpectedMessage,
                        "the peer sent a record of padding",
                    ));
                };
                (inner[end], &inner[..end])
            }
        };
        if content.len() > PLAIN_MAX {
            return Err(RecordError::broken(
                AlertDescription::RecordOverflow,
                "the peer sent a record that is too long",
            ));
        }
        match kind {
            DATA if !content.is_empty() => {
                self.fruitless = 0;
                plain(content);
                return Ok(());
            }
            DATA => {}
            ALERT => alert_received(content, self.version)?,
            HANDSHAKE if self.version == Version::Tls13 && content == KEY_UPDATE => self.peer_updated(cipher)?,
            HANDSHAKE if self.version == Version::Tls13 && content == KEY_UPDATE_REQUESTED => {
                self.peer_updated(cipher)?;
                self.update_asked = true;
            }
            _ => {
                let what = "the peer sent a message that has no place in an established connection";
                return Err(RecordError::broken(AlertDescription::UnexpectedMessage, what));
            }
        }
        self.fruitless += 1;
        if self.fruitless > FRUITLESS {
            let what = "the peer sends records and says nothing";
            return Err(RecordError::broken(AlertDescription::UnexpectedMessage, what));
        }
        Ok(())
    }

    fn peer_updated(&mut self, cipher: &mut LessSafeKey) -> Result<(), RecordError> {
        self.rx.advance()?;
        *cipher = self.rx.cipher()?;
        Ok(())
    }
}

/// Warnings go by, in TLS 1.3 only the one that it has beside `close_notify`.
fn alert_received(content: &[u8], version: Version) -> Result<(), RecordError> {
    let &[level, description] = content else {
        return Err(RecordError::broken(AlertDescription::DecodeError, "the peer sent an alert that is none"));
    };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Err(RecordError::Closed),
        AlertDescription::UserCanceled => Ok(()),
        _ if level == 1 && version == Version::Tls12 => Ok(()),
        description => Err(RecordError::AlertReceived(description)),
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// Two ends whose next record is the last one under its key.
    fn ends(version: Version) -> [Records; 2] {
        let half = |byte| {
            let mut half = match version {
                Version::Tls12 => Half::new(&[byte; 16], &[byte; 12], 0).unwrap(),
                Version::Tls13 => Half::of_secret(Zeroizing::new([byte; 32])).unwrap(),
            };
            half.sequence = RECORDS_PER_KEY - 1;
            half
        };
        let end = |rx, tx| Records {
            version,
            rx: half(rx),
            tx: half(tx),
            part: Vec::new(),
            fruitless: 0,
            update_asked: false,
        };
        [end(1, 2), end(2, 1)]
    }

    #[test]
    fn a_key_that_is_used_up_is_changed_in_tls_1_3() {
        let [mut one, mut other] = ends(Version::Tls13);
        let (mut last, mut next) = (Vec::new(), Vec::new());
        one.seal(b"last", &mut last).unwrap();
        one.seal(b"next", &mut next).unwrap();
        assert_eq!(next.len(), last.len() + HEADER + KEY_UPDATE.len() + 1 + TAG);
        let mut heard = Vec::new();
        other.open(&mut [last, next].concat(), |plain| heard.extend_from_slice(plain)).unwrap();
        assert_eq!(heard, b"lastnext");
        assert_eq!((one.tx.sequence, other.rx.sequence), (1, 1));
    }

    #[test]
    fn a_key_that_is_used_up_ends_the_connection_in_tls_1_2() {
        let [mut one, mut other] = ends(Version::Tls12);
        let mut out = Vec::new();
        one.seal(b"last", &mut out).unwrap();
        assert_eq!(one.seal(b"next", &mut Vec::new()), Err(RecordError::UsedUp));
        let mut heard = Vec::new();
        other.open(&mut out, |plain| heard.extend_from_slice(plain)).unwrap();
        assert_eq!(heard, b"last");
        // Its last word is still said.
        one.alert(AlertDescription::CloseNotify, &mut Vec::new()).unwrap();
    }

    #[test]
    fn nothing_of_the_keys_is_printed() {
        let [one, _] = ends(Version::Tls13);
        assert_eq!(format!("{one:?}"), "Records { version: Tls13, .. }");
    }
}
