//! Keys in a PKCS#11 token: the file that stands for one says where it is, and holds nothing secret.

use std::{path::Path, sync::Arc};

use super::{KeyError, KeyHolder, SignError, Signer, key_pair_algorithm};
use crate::{
    pkcs11::{KeyId, Module, Pin, Token, TokenError, TokenKeyKind, TokenSpec},
    private_file,
    public::PublicKey,
    purpose::{KeyPurpose, PurposeAlgorithm},
    secret::Secret,
};

/// A key in a token.
#[derive(Debug)]
struct TokenKey {
    spec: TokenSpec,
    token: Token,
    id: KeyId,
    public: PublicKey,
}

/// Has the token make a key of this purpose.
pub(super) fn create(spec: &TokenSpec, purpose: KeyPurpose) -> Result<Signer, KeyError> {
    key_pair_algorithm(purpose)?;
    let kind = match purpose.facts().algorithm {
        PurposeAlgorithm::EcdhP256 => TokenKeyKind::P256Agree,
        PurposeAlgorithm::EcdsaP256 => TokenKeyKind::P256Sign,
        _ => TokenKeyKind::Rsa2048Sign,
    };
    let id = KeyId::random();
    let token = open(spec)?;
    token.generate(kind, &id, purpose.as_str())?;
    signer(spec, token, id, purpose)
}

/// The key that a file stands for.
pub(super) fn load(path: &Path, purpose: KeyPurpose) -> Result<Signer, KeyError> {
    let (spec, id) = read(path, purpose)?;
    signer(&spec, open(&spec)?, id, purpose)
}

/// Removes the key that a file stands for from its token.
pub(crate) fn destroy(path: &Path, purpose: KeyPurpose) -> Result<(), KeyError> {
    let (spec, id) = read(path, purpose)?;
    Ok(open(&spec)?.destroy(&id)?)
}

fn read(path: &Path, purpose: KeyPurpose) -> Result<(TokenSpec, KeyId), KeyError> {
    let file = private_file::read(path)?;
    let text = std::str::from_utf8(file.expose()).ok().and_then(|text| text.strip_suffix('\n'));
    let parts =
        text.and_then(|text| text.split_once('\n')).and_then(|(spec, id)| spec.parse().ok().zip(id.parse().ok()));
    parts.ok_or(KeyError::DoesNotFit { purpose })
}

fn open(spec: &TokenSpec) -> Result<Token, TokenError> {
    Token::open(&Module::load(&spec.module)?, spec.token.clone(), Pin::File(spec.pin_file.clone()))
}

fn signer(spec: &TokenSpec, token: Token, id: KeyId, purpose: KeyPurpose) -> Result<Signer, KeyError> {
    let public = token.public(&id)?;
    let holder = TokenKey { spec: spec.clone(), token, id, public: public.clone() };
    Signer::held(purpose, public, Arc::new(holder))
}

impl KeyHolder for TokenKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.token.sign(&self.id, &self.public, message)?)
    }

    fn agree(&self, point: &[u8]) -> Result<Secret, SignError> {
        Ok(self.token.agree(&self.id, point)?)
    }

    fn reference(&self) -> Option<String> {
        Some(format!("{}\n{}\n", self.spec, self.id))
    }

    fn discard(&self) -> Result<(), SignError> {
        Ok(self.token.destroy(&self.id)?)
    }
}

impl From<TokenError> for SignError {
    fn from(error: TokenError) -> SignError {
        SignError::Store(error.to_string())
    }
}
