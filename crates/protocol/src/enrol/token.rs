//! The enrolment token: `id.secret.hash`, where the hash pins the roots of the one server it is for.

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use keys::hashes::sha256;
use keys::secret::Secret;

/// The length of a secret in bytes.
pub const SECRET_LEN: usize = 32;

const ID_LEN: usize = 9;
const ID_TEXT_LEN: usize = 12;
const TEXT_LEN: usize = 43;

/// The name of a token: 9 random bytes, written as 12 characters of base64url. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; ID_LEN]);

/// Why a text is no token or token id. It quotes nothing of the text, which may be half a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts with dots between.
    #[error("an enrolment token has three parts with dots between; this has not (was it cut when copied?)")]
    Parts,
    /// One part is too long, too short, or no base64url.
    #[error("the {0} of the enrolment token is damaged; copy the token again")]
    Damaged(&'static str),
}

/// A token as the device has it. The secret is wiped when this is dropped, and never printed.
#[derive(Clone)]
pub struct EnrolmentToken {
    id: TokenId,
    secret: Secret,
    roots_sha256: [u8; 32],
}

impl TokenId {
    /// An id of these (random) bytes.
    pub fn new(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }
}

impl EnrolmentToken {
    /// A token of a fresh random secret, for the server whose roots bundle has this hash.
    pub fn new(id: TokenId, secret: [u8; SECRET_LEN], roots_sha256: [u8; 32]) -> Self {
        Self { id, secret: Secret::new(secret.to_vec()), roots_sha256 }
    }

    /// Reads `id.secret.hash`; white space around it (a file's last line end) is ignored.
    ///
    /// # Errors
    /// [`TokenError`], which quotes nothing.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim_ascii().split('.');
        let (Some(id), Some(secret), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Parts);
        };
        let secret = Secret::new(BASE64_URL_SAFE_NO_PAD.decode(secret).map_err(|_| TokenError::Damaged("secret"))?);
        if secret.expose().len() != SECRET_LEN {
            return Err(TokenError::Damaged("secret"));
        }
        let hash = BASE64_URL_SAFE_NO_PAD.decode(hash).map_err(|_| TokenError::Damaged("hash of the roots"))?;
        let roots_sha256 = hash.try_into().map_err(|_| TokenError::Damaged("hash of the roots"))?;
        Ok(Self { id: id.parse()?, secret, roots_sha256 })
    }

    /// The token's name.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// SHA-256 of the only roots bundle to be trusted.
    pub fn roots_sha256(&self) -> &[u8; 32] {
        &self.roots_sha256
    }

    /// SHA-256 of the secret: all that a server keeps of it. The secret is 32 random bytes, so that no slow hash
    /// is needed.
    pub fn secret_sha256(&self) -> [u8; 32] {
        sha256(self.secret.expose())
    }

    /// The whole token as text, for the one time that it is shown to the person who carries it.
    pub fn danger_expose(&self) -> Secret {
        let mut text = String::with_capacity(ID_TEXT_LEN + 2 * TEXT_LEN + 2);
        BASE64_URL_SAFE_NO_PAD.encode_string(self.id.0, &mut text);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(self.secret.expose(), &mut text);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(self.roots_sha256, &mut text);
        Secret::from(text)
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged("id"))?;
        bytes.try_into().map(Self).map_err(|_| TokenError::Damaged("id"))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TokenId {
    pub(crate) fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }
}
