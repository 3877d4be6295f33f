//! A login secret of the HSM in shares, each sealed to its custodian's card.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use keys::hashes::random;
use keys::hpke::{HpkeError, Sealed, open, seal};
use keys::pkcs11::TokenError;
use keys::secret::Secret;
use keys::shares::{Commitment, Quorum, Share, ShareError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::card::Card;
use crate::root::Custodian;

/// Random bytes of a new secret: 192 bits, 32 characters of base64, which every token takes as a PIN.
const SECRET_BYTES: usize = 24;
/// Says what is sealed (RFC 9180, section 5.1), so that a share of one secret is none of another.
const INFO_PREFIX: &str = "vouch/ceremony/share/1/";

/// Whose secret of the HSM it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOf {
    /// The user, who signs.
    User,
    /// The security officer, who can give the user another PIN, and so must be as hard to be.
    SecurityOfficer,
}

/// One sealed share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    /// Its custodian's name.
    pub custodian: String,
    /// The sealed share in base64: encapsulated key, then ciphertext.
    sealed: String,
}

/// A secret that so many custodians together can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSecret {
    /// How many are needed.
    needed: usize,
    /// By which the joined secret is recognised before it is tried: hex.
    commitment: String,
    /// One for each custodian.
    shares: Vec<SealedShare>,
}

/// Why a secret cannot be sealed, or not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The quorum, or the shares.
    #[error(transparent)]
    Shares(#[from] ShareError),
    /// A share cannot be sealed or opened.
    #[error("the share of {custodian}: {source}")]
    Seal {
        /// Whose.
        custodian: String,
        /// Why.
        source: HpkeError,
    },
    /// A card refuses.
    #[error("the card of {custodian}: {source}")]
    Card {
        /// Whose.
        custodian: String,
        /// Why.
        source: TokenError,
    },
    /// The file was changed.
    #[error("the sealed shares in the ceremony's folder are damaged; take the folder from a copy")]
    Damaged,
}

impl LoginOf {
    fn info(self) -> String {
        let name = match self {
            LoginOf::User => "user",
            LoginOf::SecurityOfficer => "security-officer",
        };
        format!("{INFO_PREFIX}{name}")
    }
}

/// A new secret that nobody knows: 32 characters.
pub(super) fn new_secret() -> Secret {
    let bytes = Zeroizing::new(random::<SECRET_BYTES>());
    Secret::from(STANDARD_NO_PAD.encode(*bytes))
}

impl SealedSecret {
    /// Splits a secret over the custodians. Nobody need be there for that: sealing takes public keys only.
    ///
    /// # Errors
    /// [`LoginError`] when the numbers are no quorum.
    pub fn deal(
        of: LoginOf,
        secret: &Secret,
        needed: usize,
        custodians: &[Custodian],
    ) -> Result<SealedSecret, LoginError> {
        let shares = Quorum::new(needed, custodians.len())?.split(secret)?;
        let seal_one = |(custodian, share): (&Custodian, &Share)| {
            let sealed = seal(&custodian.agreement, of.info().as_bytes(), custodian.name.as_bytes(), share.expose());
            let failed = |source| LoginError::Seal { custodian: custodian.name.clone(), source };
            let sealed = STANDARD_NO_PAD.encode(sealed.map_err(failed)?.to_bytes());
            Ok(SealedShare { custodian: custodian.name.clone(), sealed })
        };
        let shares = custodians.iter().zip(&shares).map(seal_one).collect::<Result<_, LoginError>>()?;
        Ok(SealedSecret { needed, commitment: const_hex::encode(Commitment::of(secret).0), shares })
    }

    /// Whether both hold the same secret, perhaps for different custodians.
    pub(super) fn is_same_secret(&self, other: &SealedSecret) -> bool {
        self.commitment == other.commitment
    }

    /// The secret, which these cards together open.
    ///
    /// # Errors
    /// [`LoginError`] when they are too few, or not the custodians' cards.
    pub fn open(&self, of: LoginOf, cards: &[Card]) -> Result<Secret, LoginError> {
        let mut commitment = Commitment([0; 32]);
        const_hex::decode_to_slice(&self.commitment, &mut commitment.0).map_err(|_| LoginError::Damaged)?;
        let quorum = Quorum::new(self.needed, self.shares.len())?;
        let (mut shares, mut refused) = (Vec::new(), None);
        for card in cards {
            let name = &card.custodian().name;
            let Some(share) = self.shares.iter().find(|share| share.custodian == *name) else { continue };
            let sealed = STANDARD_NO_PAD.decode(&share.sealed).ok().and_then(|bytes| Sealed::from_bytes(&bytes));
            let sealed = sealed.ok_or(LoginError::Damaged)?;
            let agree = |point: &[u8]| card.agree(point);
            let opened = open(&sealed, card.agreement(), of.info().as_bytes(), name.as_bytes(), agree);
            let opened = opened.map_err(|source| LoginError::Card { custodian: name.clone(), source })?;
            // A share that was sealed to another card of this custodian keeps nobody out, if the others are enough.
            match opened {
                Ok(opened) => shares.push(Share::from_secret(&opened)?),
                Err(source) => drop(refused.get_or_insert(LoginError::Seal { custodian: name.clone(), source })),
            }
        }
        quorum.join(&shares, &commitment).map_err(|error| refused.unwrap_or(error.into()))
    }
}
