//! An opened token: it makes keys, signs, agrees, and says who it is.

use std::path::PathBuf;

use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    types::AuthPin,
};

use super::{
    module::{Module, TokenInfo},
    object::{self, KeyId, TokenKeyKind},
    session::Sessions,
    spec::TokenName,
};
use crate::{
    hashes::sha256,
    private_file::{self, PrivateFileError},
    public::PublicKey,
    secret::Secret,
};

/// An opened token.
#[derive(Debug)]
pub struct Token(Sessions);

/// The PIN of a token's user.
#[derive(Clone, Debug)]
pub enum Pin {
    /// From a file of mode 0600, read at each login. Nobody is there to notice a wrong one, so after one wrong PIN, also by
    /// another process, the token is not tried again.
    File(PathBuf),
    /// A person has just typed it.
    Typed(Secret),
}

/// Why a token cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The vendor's library.
    #[error("{path}: not a PKCS#11 library that works here: {why}")]
    Library {
        /// Its path.
        path: PathBuf,
        /// What the loader or the library said.
        why: String,
    },
    /// The token is not there.
    #[error(
        "no token `{name}` is present ({path}); insert it, or check its label and serial number with `pkcs11-tool -L`"
    )]
    NoToken {
        /// Which.
        name: TokenName,
        /// The library.
        path: PathBuf,
    },
    /// It cannot be said which token is meant.
    #[error("several tokens are labelled `{label}` ({path}); say which by its serial number: ;serial= one of {}", .serials.join(", "))]
    SeveralTokens {
        /// The label.
        label: String,
        /// Their serial numbers.
        serials: Vec<String>,
        /// The library.
        path: PathBuf,
    },
    /// A new token would have the label of another.
    #[error("the token with the serial number {serial} is labelled `{label}` already; give each a label of its own")]
    LabelTaken {
        /// The label.
        label: String,
        /// Who has it.
        serial: String,
    },
    /// The label cannot be one.
    #[error("`{0}` cannot be a token's label: 1 to 32 bytes without spaces at its ends")]
    Label(String),
    /// The PIN file.
    #[error("the PIN: {0}")]
    PinFile(String),
    /// The PIN has a form that no token takes.
    #[error("the PIN must be text of at most 255 bytes in one line")]
    PinForm,
    /// The token refused the PIN. It was tried once.
    #[error(
        "the token refused the PIN; it was tried once and is not tried again, since tokens lock themselves. Correct it"
    )]
    WrongPin,
    /// A wrong PIN was tried before, by this process or, as the token says, by another.
    #[error(
        "a wrong PIN was tried on the token `{0}` before, so it is not tried again from a file. Correct the file, then log \
         in once by hand (pkcs11-tool --login --token-label ... -O), which sets the token's counter back, and start again"
    )]
    PinWasWrong(String),
    /// Too many wrong PINs.
    #[error("the token `{0}` has locked its user's PIN; its security officer can set a new one")]
    PinLocked(String),
    /// There is no key with this id.
    #[error("the token holds no key with the id {0}")]
    NoKey(KeyId),
    /// There are several keys with this id, and the token would use any of them.
    #[error("the token holds {count} keys with the id {id}; none is used. Give each an id of its own")]
    SeveralKeys {
        /// The id.
        id: KeyId,
        /// How many there are.
        count: usize,
    },
    /// A new key shall have this id, and another has it.
    #[error("the token holds a key with the id {0} already; it is not touched")]
    KeyExists(KeyId),
    /// The key is of another kind than needed.
    #[error("the key {0} on the token is not of the kind needed here")]
    OtherKind(KeyId),
    /// The token would give the private key out.
    #[error(
        "the token does not keep the key {0} to itself (sensitive, not extractable, made there); it was destroyed again"
    )]
    NotKept(KeyId),
    /// A key that was there before is not kept either.
    #[error(
        "the key {0} was not made in the token, or the token would give it out; it is not taken. Remove it, so that the token makes its own"
    )]
    FoundNotKept(KeyId),
    /// The token signed with another key, or was disturbed.
    #[error("what the token made is no signature of the key {0}; it is not used")]
    BadSignature(KeyId),
    /// The token was pulled out, or lost its power.
    #[error("the token is away: {0}. It is used again as soon as it is back")]
    Away(String),
    /// The token refused something else.
    #[error("the token refused: {0}")]
    Failed(String),
}

impl Token {
    /// Opens the token of this name and logs in, with one try of the PIN.
    ///
    /// # Errors
    /// [`TokenError`]; each says what to do next.
    pub fn open(module: &Module, name: impl Into<TokenName>, pin: Pin) -> Result<Token, TokenError> {
        let token = Token(Sessions::new(module.clone(), name.into(), pin));
        token.0.with(|_| Ok(()))?;
        Ok(token)
    }

    /// What it says about itself.
    ///
    /// # Errors
    /// [`TokenError::NoToken`] when it is away.
    pub fn info(&self) -> Result<TokenInfo, TokenError> {
        self.0.module().token(self.0.name())
    }

    /// Has the token make a key pair: sensitive, not extractable, for this one use.
    ///
    /// # Errors
    /// [`TokenError::KeyExists`], or what the token refuses.
    pub fn generate(&self, kind: TokenKeyKind, id: &KeyId, label: &str) -> Result<(), TokenError> {
        self.0.with(|session| object::generate(session, kind, id, label))
    }

    /// Refuses a key that was there before, unless the token says that it was made in it and never leaves it. OpenSC says so of each key of a
    /// PIV card, since such a card does not tell.
    ///
    /// # Errors
    /// [`TokenError::FoundNotKept`], [`TokenError::NoKey`] and its like.
    pub fn refuse_unless_kept(&self, id: &KeyId) -> Result<(), TokenError> {
        self.0.with(|session| object::refuse_unless_kept(session, id))
    }

    /// Removes a key pair for ever.
    ///
    /// # Errors
    /// [`TokenError::NoKey`] and its like.
    pub fn destroy(&self, id: &KeyId) -> Result<(), TokenError> {
        self.0.with(|session| object::destroy(session, id))
    }

    /// The public half of a P-256 or RSA-2048 key.
    ///
    /// # Errors
    /// [`TokenError`], also for a key of another kind.
    pub fn public(&self, id: &KeyId) -> Result<PublicKey, TokenError> {
        self.0.with(|session| object::public(session, id))
    }

    /// The modulus of an RSA key of any size whose public exponent is 65537.
    ///
    /// # Errors
    /// [`TokenError`], also for a key of another kind.
    pub fn rsa_modulus(&self, id: &KeyId) -> Result<Vec<u8>, TokenError> {
        self.0.with(|session| {
            let object = object::only(session, ObjectClass::PUBLIC_KEY, id)?;
            object::modulus(session, object, id)
        })
    }

    /// Signs a message with a P-256 key (r and s, 64 bytes, ECDSA with SHA-256) or an RSA-2048 key (PKCS#1 v1.5 with SHA-256),
    /// and holds the signature against `public` before it is given out.
    ///
    /// # Errors
    /// [`TokenError::BadSignature`], or what the token refuses.
    pub fn sign(&self, id: &KeyId, public: &PublicKey, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let signature = self.0.with(|session| {
            let key = object::only(session, ObjectClass::PRIVATE_KEY, id)?;
            match object::key_type(session, key)? {
                Some(KeyType::EC) if object::always_authenticates(session, key)? => {
                    self.sign_in_parts(session, &Mechanism::EcdsaSha256, key, message)
                }
                Some(KeyType::EC) => Ok(session.sign(&Mechanism::Ecdsa, key, &sha256(message))?),
                Some(KeyType::RSA) => self.sign_with(session, &Mechanism::Sha256RsaPkcs, key, message),
                _ => Err(TokenError::OtherKind(id.clone())),
            }
        })?;
        public.verify(message, &signature).map_err(|_| TokenError::BadSignature(id.clone()))?;
        Ok(signature)
    }

    /// Signs with an RSA key: PSS over a SHA-256 digest, MGF1 with SHA-256, 32 bytes of salt. Only the digest goes to the token.
    /// The caller holds the signature against the key's public half before it is given out.
    ///
    /// # Errors
    /// What the token refuses.
    pub fn sign_pss(&self, id: &KeyId, digest: &[u8; 32]) -> Result<Vec<u8>, TokenError> {
        let parameters =
            PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() };
        self.0.with(|session| {
            let key = object::only(session, ObjectClass::PRIVATE_KEY, id)?;
            self.sign_with(session, &Mechanism::RsaPkcsPss(parameters), key, digest)
        })
    }

    /// ECDH with a point (65 bytes, uncompressed): the 32-byte x coordinate of the product.
    ///
    /// # Errors
    /// What the token refuses.
    pub fn agree(&self, id: &KeyId, point: &[u8]) -> Result<Secret, TokenError> {
        self.0.with(|session| {
            let key = object::only(session, ObjectClass::PRIVATE_KEY, id)?;
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(false),
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
                Attribute::ValueLen(32.into()),
            ];
            let parameters = Ecdh1DeriveParams::new(EcKdf::null(), point);
            let derived = session.derive_key(&Mechanism::Ecdh1Derive(parameters), key, &template)?;
            let value = session.get_attributes(derived, &[AttributeType::Value]);
            session.destroy_object(derived)?;
            let value = value?.into_iter().find_map(|attribute| match attribute {
                Attribute::Value(bytes) => Some(Secret::new(bytes)),
                _ => None,
            });
            value.filter(|value| value.expose().len() == 32).ok_or_else(|| TokenError::OtherKind(id.clone()))
        })
    }

    /// Gives the user another PIN. A token that was opened with a typed PIN goes on; with a file, the file must follow.
    ///
    /// # Errors
    /// [`TokenError::WrongPin`] after one try with the old one.
    pub fn set_pin(&self, old: &Secret, new: &Secret) -> Result<(), TokenError> {
        let (old, new) = (auth_pin(old)?, auth_pin(new)?);
        self.0.with(|session| session.set_pin(&old, &new).map_err(|error| TokenError::from_login(error, self.0.name())))
    }

    fn sign_with(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        if object::always_authenticates(session, key)? {
            return self.sign_in_parts(session, mechanism, key, data);
        }
        Ok(session.sign(mechanism, key, data)?)
    }

    /// C_Sign in one call leaves no room for the PIN in between.
    fn sign_in_parts(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        data: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        session.sign_init(mechanism, key)?;
        self.0.authenticate(session)?;
        session.sign_update(data)?;
        Ok(session.sign_final()?)
    }
}

impl Pin {
    pub(super) fn is_unattended(&self) -> bool {
        matches!(self, Pin::File(_))
    }

    pub(super) fn read(&self) -> Result<Secret, TokenError> {
        match self {
            Pin::File(path) => {
                private_file::read(path).map_err(|error: PrivateFileError| TokenError::PinFile(error.to_string()))
            }
            Pin::Typed(pin) => Ok(pin.clone()),
        }
    }
}

/// A PIN as the library takes it; the line end of a file is not part of it.
pub(super) fn auth_pin(pin: &Secret) -> Result<AuthPin, TokenError> {
    let text = std::str::from_utf8(pin.expose()).map_err(|_| TokenError::PinForm)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() || text.len() > 255 || text.contains('\n') {
        return Err(TokenError::PinForm);
    }
    Ok(AuthPin::new(text.into()))
}

impl TokenError {
    /// Whether looking for the token again may help.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, TokenError::Away(_) | TokenError::NoToken { .. } | TokenError::NoKey(_))
    }

    pub(super) fn from_login(error: Error, name: &TokenName) -> TokenError {
        match error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
                TokenError::WrongPin
            }
            Error::Pkcs11(RvError::PinLocked, _) => TokenError::PinLocked(name.label.clone()),
            other => TokenError::from_library(other),
        }
    }

    pub(super) fn from_library(error: Error) -> TokenError {
        match &error {
            Error::Pkcs11(
                RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::GeneralError
                | RvError::FunctionFailed
                | RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::SlotIdInvalid
                | RvError::UserNotLoggedIn
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::CryptokiNotInitialized,
                _,
            ) => TokenError::Away(error.to_string()),
            _ => TokenError::Failed(error.to_string()),
        }
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> TokenError {
        TokenError::from_library(error)
    }
}
