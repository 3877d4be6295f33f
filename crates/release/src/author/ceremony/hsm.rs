//! The HSM with the release key: RSA-4096, born there, never out of it, and opened with a secret that nobody knows.

use keys::pkcs11::{KeyId, Module, Pin, Token, TokenError, TokenInfo, TokenKeyKind, TokenName};
use keys::release_key::{self, ReleaseKey};
use keys::secret::Secret;
use serde::{Deserialize, Serialize};

/// The label of release keys on the HSM.
const LABEL: &str = "vouch release key";

/// What the ceremony writes down about its HSM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmFacts {
    /// The label of its token.
    pub label: String,
    /// Who made it.
    pub maker: String,
    /// Which model.
    pub model: String,
    /// Its firmware.
    pub firmware: String,
    /// Its serial number.
    pub serial: String,
    /// The number of its FIPS 140 certificate, as the operator states it; absent where it has none.
    pub certificate: Option<String>,
    /// Where it is kept, as the operator states it.
    pub kept: Option<String>,
}

/// An HSM that is logged in to.
#[derive(Debug)]
pub struct Hsm {
    module: Module,
    token: Token,
    name: TokenName,
}

/// Why the HSM does not sign.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The token.
    #[error("the HSM: {0}")]
    Token(#[from] TokenError),
    /// The key on it is no RSA-4096 key.
    #[error("the HSM holds no RSA-4096 release key under this id")]
    NoReleaseKey,
    /// The signature is not by the release key that the root names.
    #[error("the HSM signed with another key than the root names, or was disturbed; nothing was released")]
    OtherKey,
}

impl HsmFacts {
    /// What a token says about itself, with what its operator says.
    pub fn of(info: &TokenInfo, certificate: Option<String>, kept: Option<String>) -> HsmFacts {
        HsmFacts {
            label: info.label.clone(),
            maker: info.maker.clone(),
            model: info.model.clone(),
            firmware: info.firmware.clone(),
            serial: info.serial.clone(),
            certificate,
            kept,
        }
    }

    /// Which token of its library it is.
    pub fn name(&self) -> TokenName {
        TokenName { label: self.label.clone(), serial: Some(self.serial.clone()) }
    }

    /// Its validation in a word. A software token is a stand-in: its folder can be copied and its PIN tried elsewhere.
    pub fn validation(&self) -> &str {
        match &self.certificate {
            _ if self.is_stand_in() => "not validated: a stand-in in software",
            Some(certificate) => certificate,
            None => "not stated",
        }
    }

    /// Whether it is software that only acts as an HSM.
    pub fn is_stand_in(&self) -> bool {
        keys::pkcs11::is_stand_in(&self.maker)
    }
}

impl Hsm {
    /// Logs in to the token of this name.
    ///
    /// # Errors
    /// [`HsmError`] when it is away, or the secret is wrong; it is tried once.
    pub fn open(module: &Module, name: &TokenName, secret: &Secret) -> Result<Hsm, HsmError> {
        let token = Token::open(module, name.clone(), Pin::Typed(secret.clone()))?;
        Ok(Hsm { module: module.clone(), token, name: name.clone() })
    }

    /// What it says about itself.
    ///
    /// # Errors
    /// [`HsmError`] when it is away.
    pub fn info(&self) -> Result<TokenInfo, HsmError> {
        Ok(self.token.info()?)
    }

    /// Has it make a release key.
    ///
    /// # Errors
    /// [`HsmError`] when it refuses.
    pub fn make_release_key(&self) -> Result<(KeyId, ReleaseKey), HsmError> {
        let id = KeyId::random();
        self.token.generate(TokenKeyKind::Rsa4096Sign, &id, LABEL)?;
        Ok((id.clone(), self.release_key(&id)?))
    }

    /// The public half of a release key.
    ///
    /// # Errors
    /// [`HsmError`] when there is none, or more than one key under this id.
    pub fn release_key(&self, id: &KeyId) -> Result<ReleaseKey, HsmError> {
        ReleaseKey::from_modulus(&self.token.rsa_modulus(id)?).map_err(|_| HsmError::NoReleaseKey)
    }

    /// Signs a manifest: its COSE_Sign1, held against `key` before it is given out.
    ///
    /// # Errors
    /// [`HsmError::OtherKey`] when what came back is not this key's signature.
    pub fn sign_manifest(&self, id: &KeyId, key: &ReleaseKey, payload: &[u8]) -> Result<Vec<u8>, HsmError> {
        let digest = keys::hashes::sha256(&release_key::to_be_signed(payload));
        let signature = self.token.sign_pss(id, &digest)?;
        release_key::assemble(key, payload, &signature).map_err(|_| HsmError::OtherKey)
    }

    /// Gives the user another secret.
    ///
    /// # Errors
    /// [`HsmError`] when it refuses.
    pub fn change_user_secret(&self, old: &Secret, new: &Secret) -> Result<(), HsmError> {
        Ok(self.token.set_pin(old, new)?)
    }

    /// Ends the login, gives the security officer another secret in place of the one of `old` that it has, and logs in again.
    ///
    /// # Errors
    /// [`HsmError`] when it refuses.
    pub fn change_so_secret(self, old: &[Secret], new: &Secret, user: &Secret) -> Result<Hsm, HsmError> {
        let Hsm { module, token, name } = self;
        // Its sessions would keep the security officer out.
        drop(token);
        let mut done = Err(TokenError::WrongPin);
        for old in old {
            done = module.set_so_pin(&name, old, new);
            if done != Err(TokenError::WrongPin) {
                break;
            }
        }
        done?;
        Hsm::open(&module, &name, user)
    }
}
