//! One direction's keys and the number of its next record.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
};
use zeroize::Zeroizing;

use super::RecordError;

/// Type, version and length of a record.
pub(super) type Header = [u8; super::HEADER];

/// Bytes that sealing adds.
pub(super) const TAG: usize = 16;
/// Bytes of the nonce that TLS 1.2 sends with each record.
pub(super) const EXPLICIT_NONCE: usize = 8;
const NONCE: usize = 12;
const KEY: usize = 16;
const SECRET: usize = 32;
/// TLS 1.2, which is what records of TLS 1.3 say as well.
const VERSION: [u8; 2] = [3, 3];

/// A traffic secret of TLS 1.3.
pub(super) type Secret = Zeroizing<[u8; SECRET]>;

/// One direction. Its sequence number never comes to its end: keys are changed or the connection is closed long before.
pub(super) struct Half {
    key: Zeroizing<[u8; KEY]>,
    iv: [u8; NONCE],
    /// The number of the next record.
    pub(super) sequence: u64,
    /// What the next keys are derived from, in TLS 1.3.
    secret: Option<Secret>,
}

impl Half {
    /// The keys that rustls had; none unless they are those of AES-128-GCM.
    pub(super) fn new(key: &[u8], iv: &[u8], sequence: u64) -> Option<Self> {
        let key = Zeroizing::new(<[u8; KEY]>::try_from(key).ok()?);
        Some(Self { key, iv: iv.try_into().ok()?, sequence, secret: None })
    }

    /// The first keys of a secret.
    pub(super) fn of_secret(secret: Secret) -> Result<Self, RecordError> {
        let (mut key, mut iv) = (Zeroizing::new([0; KEY]), [0; NONCE]);
        expand(&secret, "key", &mut *key)?;
        expand(&secret, "iv", &mut iv)?;
        Ok(Self { key, iv, sequence: 0, secret: Some(secret) })
    }

    /// Keeps the secret that these keys come from, if they do.
    pub(super) fn with_secret(self, secret: &Secret) -> Option<Self> {
        let mut first = Self::of_secret(secret.clone()).ok()?;
        if !crate::hashes::ct_eq(&*first.key, &*self.key) || first.iv != self.iv {
            return None;
        }
        first.sequence = self.sequence;
        Some(first)
    }

    /// The next keys (RFC 8446, 7.2).
    pub(super) fn advance(&mut self) -> Result<(), RecordError> {
        let secret = self.secret.as_ref().ok_or(RecordError::UsedUp)?;
        let mut next = Zeroizing::new([0; SECRET]);
        expand(secret, "traffic upd", &mut *next)?;
        *self = Self::of_secret(next)?;
        Ok(())
    }

    /// The key, ready for use. Setting it up costs a fifth of a microsecond; keeping it so would cost half a kilobyte.
    pub(super) fn cipher(&self) -> Result<LessSafeKey, RecordError> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &*self.key).map_err(|_| RecordError::Refused)?))
    }

    /// Opens a record of TLS 1.3: content, type and padding.
    pub(super) fn open_13<'b>(&mut self, cipher: &LessSafeKey, header: Header, body: &'b mut [u8]) -> Option<&'b [u8]> {
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let opened = cipher.open_in_place(nonce, Aad::from(header), body).ok()?;
        self.sequence += 1;
        Some(opened)
    }

    /// Opens a record of TLS 1.2.
    pub(super) fn open_12<'b>(&mut self, cipher: &LessSafeKey, header: Header, body: &'b mut [u8]) -> Option<&'b [u8]> {
        let (explicit, sealed) = body.split_first_chunk_mut::<EXPLICIT_NONCE>()?;
        let mut nonce = self.iv;
        nonce[NONCE - EXPLICIT_NONCE..].copy_from_slice(explicit);
        let aad = self.aad_12(header[0], sealed.len().checked_sub(TAG)?);
        let opened = cipher.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).ok()?;
        self.sequence += 1;
        Some(opened)
    }

    /// Appends a record of TLS 1.3.
    pub(super) fn seal_13(
        &mut self,
        cipher: &LessSafeKey,
        kind: u8,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let header = header(super::DATA, plain.len() + 1 + TAG);
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(plain);
        out.push(kind);
        self.seal(cipher, Aad::from(header), start, out)
    }

    /// Appends a record of TLS 1.2.
    pub(super) fn seal_12(
        &mut self,
        cipher: &LessSafeKey,
        kind: u8,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        out.extend_from_slice(&header(kind, EXPLICIT_NONCE + plain.len() + TAG));
        out.extend_from_slice(&self.nonce()[NONCE - EXPLICIT_NONCE..]);
        let start = out.len();
        out.extend_from_slice(plain);
        let aad = self.aad_12(kind, plain.len());
        self.seal(cipher, Aad::from(aad), start, out)
    }

    /// Seals what was appended from `start` on.
    fn seal<A: AsRef<[u8]>>(
        &mut self,
        cipher: &LessSafeKey,
        aad: Aad<A>,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RecordError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce());
        let sealed = cipher.seal_in_place_separate_tag(nonce, aad, &mut out[start..]);
        out.extend_from_slice(sealed.map_err(|_| RecordError::Refused)?.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// The sequence number, mixed into the initialization vector: never the same twice for a key.
    fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[NONCE - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        nonce
    }

    fn aad_12(&self, kind: u8, length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..].copy_from_slice(&header(kind, length));
        aad
    }
}

/// Lengths of records fit into 16 bits, since a plaintext is at most 16 KiB.
fn header(kind: u8, length: usize) -> Header {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [kind, VERSION[0], VERSION[1], high, low]
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
fn expand(secret: &Secret, label: &str, out: &mut [u8]) -> Result<(), RecordError> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let [high, low] = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    let labelled = u8::try_from("tls13 ".len() + label.len()).unwrap_or(u8::MAX);
    let info: [&[u8]; 4] = [&[high, low, labelled], b"tls13 ", label.as_bytes(), &[0]];
    let prk = Prk::new_less_safe(HKDF_SHA256, &**secret);
    prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| RecordError::Refused)
}
