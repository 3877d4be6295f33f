//! One custodian's smartcard: a key that signs and a key to which shares are sealed, both P-256 and born on the card.

use keys::pkcs11::{KeyId, Token, TokenError, TokenInfo, TokenKeyKind};
use keys::public::PublicKey;
use keys::secret::Secret;

use crate::root::Custodian;

/// The ids that new keys get on a card that has none.
const SIGNING_ID: &[u8] = b"vouch-signing";
const AGREEMENT_ID: &[u8] = b"vouch-agreement";
const SIGNING_LABEL: &str = "vouch custodian: signs";
const AGREEMENT_LABEL: &str = "vouch custodian: opens shares";

/// Which keys of a card are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardKeys {
    /// The key that signs; on a PIV card slot 9C, which OpenSC calls 02.
    pub signing: KeyId,
    /// The key to which shares are sealed; on a PIV card slot 9D, which OpenSC calls 03.
    pub agreement: KeyId,
}

/// A card that was opened with its PIN.
#[derive(Debug)]
pub struct Card {
    token: Token,
    keys: CardKeys,
    custodian: Custodian,
}

impl CardKeys {
    /// The ids of keys that [`Card::prepare`] made.
    ///
    /// # Errors
    /// [`TokenError`], which these ids do not cause.
    pub fn ours() -> Result<CardKeys, TokenError> {
        let id = |bytes| KeyId::new(bytes).map_err(|error| TokenError::Failed(error.to_string()));
        Ok(CardKeys { signing: id(SIGNING_ID)?, agreement: id(AGREEMENT_ID)? })
    }
}

impl Card {
    /// Has a card make the two keys, where they are missing; those that are there must have been made on it, and never leave it.
    ///
    /// # Errors
    /// [`TokenError`] when it refuses, or says of a key that it was not.
    pub fn prepare(token: &Token, keys: &CardKeys) -> Result<(), TokenError> {
        let wanted = [
            (TokenKeyKind::P256Sign, &keys.signing, SIGNING_LABEL),
            (TokenKeyKind::P256Agree, &keys.agreement, AGREEMENT_LABEL),
        ];
        for (kind, id, label) in wanted {
            match token.public(id) {
                Err(TokenError::NoKey(_)) => token.generate(kind, id, label)?,
                found => {
                    found?;
                    token.refuse_unless_kept(id)?;
                }
            }
        }
        Ok(())
    }

    /// The card of the custodian with this name.
    ///
    /// # Errors
    /// [`TokenError`] when a key is missing or of another kind.
    pub fn open(token: Token, keys: CardKeys, name: &str) -> Result<Card, TokenError> {
        let (signing, agreement) = (token.public(&keys.signing)?, token.public(&keys.agreement)?);
        let custodian = Custodian { name: name.to_owned(), signing, agreement };
        Ok(Card { token, keys, custodian })
    }

    /// Whose card it is, with its public keys.
    pub fn custodian(&self) -> &Custodian {
        &self.custodian
    }

    /// What the card says about itself.
    ///
    /// # Errors
    /// [`TokenError`] when it is away.
    pub fn info(&self) -> Result<TokenInfo, TokenError> {
        self.token.info()
    }

    /// Signs: r and s of ECDSA with SHA-256, held against the public key before it is given out.
    ///
    /// # Errors
    /// [`TokenError`] when the card refuses.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.token.sign(&self.keys.signing, &self.custodian.signing, message)
    }

    /// ECDH with a point, on the card.
    pub(super) fn agree(&self, point: &[u8]) -> Result<Secret, TokenError> {
        self.token.agree(&self.keys.agreement, point)
    }

    /// The public half of the key to which shares are sealed.
    pub(super) fn agreement(&self) -> &PublicKey {
        &self.custodian.agreement
    }
}
