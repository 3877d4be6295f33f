//! One key on a token: found by its id alone, born there, and not to be had from it.

use std::{fmt, str::FromStr};

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};

use super::token::TokenError;
use crate::public::{KeyAlgorithm, PublicKey};

/// The object identifier of P-256 (RFC 5480) in DER: what CKA_EC_PARAMS holds.
const P256_PARAMS: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The public exponent 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// The CKA_ID of a key and of its public half, in hex: 1 to 32 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Vec<u8>);

/// A text that is no id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a key on a token is 1 to 32 bytes, as hex digits")]
pub struct BadKeyId;

/// What kind of key is born on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKeyKind {
    /// P-256, signs only.
    P256Sign,
    /// P-256, agrees only.
    P256Agree,
    /// RSA with 2048 bits, signs only.
    Rsa2048Sign,
    /// RSA with 4096 bits, signs only: a release key.
    Rsa4096Sign,
}

impl KeyId {
    /// An id of so many bytes.
    ///
    /// # Errors
    /// [`BadKeyId`] for none and for more than 32.
    pub fn new(bytes: &[u8]) -> Result<KeyId, BadKeyId> {
        if (1..=32).contains(&bytes.len()) { Ok(KeyId(bytes.to_vec())) } else { Err(BadKeyId) }
    }

    /// A random id, which no other key has.
    pub fn random() -> KeyId {
        KeyId(crate::hashes::random::<16>().to_vec())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<KeyId, BadKeyId> {
        KeyId::new(&const_hex::decode(text).map_err(|_| BadKeyId)?)
    }
}

impl TokenKeyKind {
    fn mechanism(self) -> Mechanism<'static> {
        match self {
            TokenKeyKind::P256Sign | TokenKeyKind::P256Agree => Mechanism::EccKeyPairGen,
            TokenKeyKind::Rsa2048Sign | TokenKeyKind::Rsa4096Sign => Mechanism::RsaPkcsKeyPairGen,
        }
    }

    fn agrees(self) -> bool {
        self == TokenKeyKind::P256Agree
    }

    /// The one use of the private half. The others are forbidden in so many words: tokens allow by themselves what is not
    /// mentioned.
    fn private_usage(self) -> [Attribute; 4] {
        let agrees = self.agrees();
        [Attribute::Sign(!agrees), Attribute::Derive(agrees), Attribute::Decrypt(false), Attribute::Unwrap(false)]
    }

    fn public_usage(self) -> [Attribute; 3] {
        [Attribute::Verify(!self.agrees()), Attribute::Encrypt(false), Attribute::Wrap(false)]
    }

    fn parameters(self) -> Vec<Attribute> {
        match self {
            TokenKeyKind::P256Sign | TokenKeyKind::P256Agree => vec![Attribute::EcParams(P256_PARAMS.to_vec())],
            TokenKeyKind::Rsa2048Sign => rsa(2048),
            TokenKeyKind::Rsa4096Sign => rsa(4096),
        }
    }
}

fn rsa(bits: u32) -> Vec<Attribute> {
    vec![Attribute::ModulusBits(u64::from(bits).into()), Attribute::PublicExponent(EXPONENT.to_vec())]
}

/// Has the token make a key pair. A key that the token would give out is destroyed again.
pub(super) fn generate(session: &Session, kind: TokenKeyKind, id: &KeyId, label: &str) -> Result<(), TokenError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        if !session.find_objects(&[Attribute::Class(class), Attribute::Id(id.0.clone())])?.is_empty() {
            return Err(TokenError::KeyExists(id.clone()));
        }
    }
    let named = [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(id.0.clone())];
    let mut public = named.to_vec();
    public.push(Attribute::Private(false));
    public.extend(kind.public_usage());
    public.extend(kind.parameters());
    let mut private = named.to_vec();
    private.extend([Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)]);
    private.extend(kind.private_usage());
    let (public, private) = session.generate_key_pair(&kind.mechanism(), &public, &private)?;
    let kept = stays_inside(session, private);
    if kept != Ok(true) {
        session.destroy_object(private)?;
        session.destroy_object(public)?;
        return kept.and(Err(TokenError::NotKept(id.clone())));
    }
    Ok(())
}

/// Refuses a key that was there before, unless it stays inside.
pub(super) fn refuse_unless_kept(session: &Session, id: &KeyId) -> Result<(), TokenError> {
    let private = only(session, ObjectClass::PRIVATE_KEY, id)?;
    if stays_inside(session, private)? { Ok(()) } else { Err(TokenError::FoundNotKept(id.clone())) }
}

/// Whether the token says that the key was born in it and never leaves it. Asking for the value itself would prove nothing: a
/// forbidden attribute comes back as an empty list.
fn stays_inside(session: &Session, private: ObjectHandle) -> Result<bool, TokenError> {
    let wanted = [
        (AttributeType::Sensitive, Attribute::Sensitive(true)),
        (AttributeType::Extractable, Attribute::Extractable(false)),
        (AttributeType::Local, Attribute::Local(true)),
    ];
    for (kind, value) in wanted {
        if !session.get_attributes(private, &[kind])?.contains(&value) {
            return Ok(false);
        }
    }
    let secrets = [AttributeType::Value, AttributeType::PrivateExponent];
    let shown = session.get_attribute_info(private, &secrets)?;
    Ok(!shown.iter().any(|info| matches!(info, AttributeInfo::Available(length) if *length > 0)))
}

/// The one object of this class with this id.
pub(super) fn only(session: &Session, class: ObjectClass, id: &KeyId) -> Result<ObjectHandle, TokenError> {
    let found = session.find_objects(&[Attribute::Class(class), Attribute::Id(id.0.clone())])?;
    match found.as_slice() {
        [object] => Ok(*object),
        [] => Err(TokenError::NoKey(id.clone())),
        several => Err(TokenError::SeveralKeys { id: id.clone(), count: several.len() }),
    }
}

/// Removes a key pair.
pub(super) fn destroy(session: &Session, id: &KeyId) -> Result<(), TokenError> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        session.destroy_object(only(session, class, id)?)?;
    }
    Ok(())
}

/// The public half of a P-256 or RSA-2048 key.
pub(super) fn public(session: &Session, id: &KeyId) -> Result<PublicKey, TokenError> {
    let object = only(session, ObjectClass::PUBLIC_KEY, id)?;
    let not_taken = |_| TokenError::OtherKind(id.clone());
    match key_type(session, object)? {
        Some(KeyType::EC) => {
            let point = point(session, object)?.ok_or_else(|| TokenError::OtherKind(id.clone()))?;
            PublicKey::from_key_bytes(KeyAlgorithm::P256, &point).map_err(not_taken)
        }
        Some(KeyType::RSA) => PublicKey::from_rsa_2048_modulus(&modulus(session, object, id)?).map_err(not_taken),
        _ => Err(TokenError::OtherKind(id.clone())),
    }
}

/// The modulus of an RSA key whose exponent is 65537, without leading zeros.
pub(super) fn modulus(session: &Session, object: ObjectHandle, id: &KeyId) -> Result<Vec<u8>, TokenError> {
    let (mut modulus, mut exponent) = (None, None);
    for attribute in session.get_attributes(object, &[AttributeType::Modulus, AttributeType::PublicExponent])? {
        match attribute {
            Attribute::Modulus(bytes) => modulus = Some(without_zeros(bytes)),
            Attribute::PublicExponent(bytes) => exponent = Some(without_zeros(bytes)),
            _ => {}
        }
    }
    modulus.filter(|_| exponent.as_deref() == Some(&EXPONENT)).ok_or_else(|| TokenError::OtherKind(id.clone()))
}

pub(super) fn key_type(session: &Session, object: ObjectHandle) -> Result<Option<KeyType>, TokenError> {
    let found = session.get_attributes(object, &[AttributeType::KeyType])?;
    Ok(found.into_iter().find_map(|attribute| match attribute {
        Attribute::KeyType(kind) => Some(kind),
        _ => None,
    }))
}

/// Whether the key wants the PIN again for each signature.
pub(super) fn always_authenticates(session: &Session, object: ObjectHandle) -> Result<bool, TokenError> {
    let found = session.get_attributes(object, &[AttributeType::AlwaysAuthenticate])?;
    Ok(found.contains(&Attribute::AlwaysAuthenticate(true)))
}

/// CKA_EC_POINT is the point in a DER OCTET STRING; some tokens give the point alone.
fn point(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    let found = session.get_attributes(object, &[AttributeType::EcPoint])?;
    Ok(found.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(bytes) => match bytes.strip_prefix(&[0x04, 0x41]) {
            Some(point) if point.len() == 65 => Some(point.to_vec()),
            _ => Some(bytes),
        },
        _ => None,
    }))
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}
