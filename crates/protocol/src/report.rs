//! What a device reports: log lines, the diary of its attempts to connect, the state of its app.

use minicbor::{Decode, Encode};

use crate::codec::{CodecError, at_most};
use crate::limits::{LIMITS, Limits};

/// Names one count of log lines and diary entries: drawn at random when the device starts to count from zero.
pub type RingId = [u8; 8];

/// Where a log line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum LogLevel {
    /// The app's `server.log`.
    #[n(1)]
    Log,
    /// The app's `server.error`, and errors that the app did not catch.
    #[n(2)]
    Error,
    /// The runtime itself: started, connected, restarted.
    #[n(3)]
    Status,
}

/// One log line, with the time at which it was written, not sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogLine {
    /// When: milliseconds since 1970 by the device's clock.
    #[n(0)]
    pub unix_ms: i64,
    /// Where from.
    #[n(1)]
    pub level: LogLevel,
    /// The line.
    #[n(2)]
    pub text: String,
}

impl LogLine {
    /// A line; a text beyond the bound is cut and ends in `...`.
    pub fn new(unix_ms: i64, level: LogLevel, text: impl Into<String>) -> Self {
        Self { unix_ms, level, text: cut(text.into(), LIMITS.log_text) }
    }

    /// No less than its encoding takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + 16
    }
}

/// How far an attempt to connect came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DiaryStage {
    /// It ended at the look-up of a name.
    #[n(1)]
    Name,
    /// It ended at the TCP connection.
    #[n(2)]
    Tcp,
    /// It ended at the HTTP proxy.
    #[n(3)]
    Proxy,
    /// It ended in the TLS handshake.
    #[n(4)]
    Tls,
    /// It ended between the TLS handshake and the welcome.
    #[n(5)]
    Login,
    /// It went well.
    #[n(6)]
    Open,
}

/// A server certificate as the device saw it, also when it refused it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SeenCertificate {
    /// Whose it says it is.
    #[n(1)]
    pub subject: String,
    /// Who it says made it.
    #[n(2)]
    pub issuer: String,
    /// SHA-256 over its SubjectPublicKeyInfo.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub spki_sha256: [u8; 32],
}

/// One attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DiaryEntry {
    /// When it began: milliseconds since 1970 by the device's clock.
    #[n(1)]
    pub unix_ms: i64,
    /// How long it took, in milliseconds.
    #[n(2)]
    pub took_ms: u32,
    /// How far it came.
    #[n(3)]
    pub stage: DiaryStage,
    /// The result, as a sentence for people.
    #[n(4)]
    pub outcome: String,
    /// The TCP end that was dialled, as `address:port`; absent when no address was found.
    #[n(5)]
    pub address: Option<String>,
    /// The port of the rule; absent when it came to no port.
    #[n(6)]
    pub rule_port: Option<u16>,
    /// The port really used for it; absent when it came to no port.
    #[n(7)]
    pub port: Option<u16>,
    /// The certificate seen; absent when none was.
    #[n(8)]
    pub certificate: Option<SeenCertificate>,
}

/// What the device says about its app.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AppState {
    /// SHA-256 of the app that runs; absent when none does.
    #[cbor(n(1), with = "optional_hash", has_nil)]
    pub sha256: Option<[u8; 32]>,
    /// Why it was started (the imp API's wake reason).
    #[n(2)]
    pub wake_reason: u8,
    /// The memory left to it, in bytes.
    #[n(3)]
    pub free_memory: u32,
    /// The error that ended it; absent when none did.
    #[n(4)]
    pub error: Option<String>,
}

/// What follows a report has a number that both ends can hold.
pub(crate) fn check_next(next: u64, limits: &Limits) -> Result<(), CodecError> {
    if next > limits.report_number { Err(CodecError::Meaningless("the number of a report")) } else { Ok(()) }
}

fn check_numbers(first: u64, count: usize, limits: &Limits) -> Result<(), CodecError> {
    check_next(first.saturating_add(count as u64), limits)
}

pub(crate) fn check_logs(first: u64, lines: &[LogLine], limits: &Limits) -> Result<(), CodecError> {
    check_numbers(first, lines.len(), limits)?;
    at_most("the list of log lines", lines.len(), limits.log_lines)?;
    lines.iter().try_for_each(|line| at_most("a log line", line.text.len(), limits.log_text))
}

pub(crate) fn check_diary(first: u64, entries: &[DiaryEntry], limits: &Limits) -> Result<(), CodecError> {
    check_numbers(first, entries.len(), limits)?;
    at_most("the diary", entries.len(), limits.diary_entries)?;
    for entry in entries {
        at_most("a diary outcome", entry.outcome.len(), limits.diary_text)?;
        at_most("a diary address", entry.address.as_ref().map_or(0, String::len), limits.diary_text)?;
        if let Some(seen) = &entry.certificate {
            at_most("a certificate's subject", seen.subject.len(), limits.diary_text)?;
            at_most("a certificate's issuer", seen.issuer.len(), limits.diary_text)?;
        }
    }
    Ok(())
}

impl DiaryEntry {
    /// No less than its encoding takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let seen = self.certificate.as_ref().map_or(0, |seen| seen.subject.len() + seen.issuer.len() + 48);
        self.outcome.len() + self.address.as_ref().map_or(0, String::len) + seen + 64
    }

    /// The same entry with each text cut to its bound.
    #[must_use]
    pub fn cut_to_bounds(self) -> Self {
        let max = LIMITS.diary_text;
        Self {
            outcome: cut(self.outcome, max),
            address: self.address.map(|text| cut(text, max)),
            certificate: self.certificate.map(|seen| SeenCertificate {
                subject: cut(seen.subject, max),
                issuer: cut(seen.issuer, max),
                ..seen
            }),
            ..self
        }
    }
}

impl AppState {
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        at_most("the app's error", self.error.as_ref().map_or(0, String::len), limits.error_text)
    }
}

/// How many items, from the first on, fit into `room` bytes and are no more than `most`.
pub(crate) fn fitting(sizes: impl Iterator<Item = usize>, room: usize, most: usize) -> usize {
    let mut left = room.saturating_sub(32);
    sizes
        .take(most)
        .take_while(|size| {
            let fits = *size <= left;
            left = left.saturating_sub(*size);
            fits
        })
        .count()
}

/// Cuts `text` to at most `max` bytes at a character's end and marks the cut.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    const MARK: &str = "...";
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(MARK.len())));
        text.push_str(MARK);
    }
    text
}

/// An optional hash as a byte string that is absent when there is none.
mod optional_hash {
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{self, Decoder};
    use minicbor::encode::{self, Encoder, Write};

    pub(super) fn encode<Ctx, W: Write>(
        hash: &Option<[u8; 32]>,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), encode::Error<W::Error>> {
        e.encode(hash.map(ByteArray::from)).map(|_| ())
    }

    pub(super) fn decode<Ctx>(d: &mut Decoder<'_>, _: &mut Ctx) -> Result<Option<[u8; 32]>, decode::Error> {
        Ok(d.decode::<Option<ByteArray<32>>>()?.map(Into::into))
    }

    pub(super) fn nil() -> Option<Option<[u8; 32]>> {
        Some(None)
    }

    pub(super) fn is_nil(hash: &Option<[u8; 32]>) -> bool {
        hash.is_none()
    }
}
