//! What a custodian says of how they approved a release, signed with the same card under a purpose of its own.

use keys::cbor::{self, CborError};
use keys::cose::{self, CoseError};
use keys::hashes::sha256;
use keys::metadata;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::limits::LIMITS;
use crate::root::{Custodian, RootContent};

/// The version of the encoding.
const FORMAT: u8 = 1;

/// How one custodian approved: `approval` in `docs/image.cddl`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Approval {
    #[n(0)]
    format: u8,
    /// Who.
    #[n(1)]
    pub custodian: String,
    /// Whether they compared all images with builds of their own.
    #[n(2)]
    pub compared: bool,
    /// When: milliseconds since 1970, by the clock of their machine; [`LIMITS`]`.approval_unix_ms` at most.
    #[n(3)]
    pub unix_ms: u64,
    /// SHA-256 of the bytes that they signed.
    #[n(4)]
    targets: ByteArray<32>,
}

/// Why bytes are not what a custodian said of these targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Signed by nobody whom the root names, or altered.
    #[error("no custodian of this root has signed it")]
    Signature,
    /// Another shape, trailing bytes, or not deterministic.
    #[error("not an approval of this format: {0}")]
    Form(#[from] CborError),
    /// A format that a newer program may know.
    #[error("the approval has format {0}; this program reads format {FORMAT} only")]
    Format(u8),
    /// It names somebody else than the one whose card signed it.
    #[error("it names {named}, but the card is that of {signer}")]
    OtherName {
        /// Whom it names.
        named: String,
        /// Whose card it was.
        signer: String,
    },
    /// A time that no calendar has, so that whoever shows it would fail.
    #[error("the time that {0} gives is outside the calendar; they must approve again, with a clock that is right")]
    Time(String),
    /// It is about another release.
    #[error("{0} said it of another release")]
    OtherTargets(String),
}

impl Approval {
    /// What this custodian says of targets, given the bytes that they sign of them.
    pub fn new(custodian: &str, compared: bool, unix_ms: u64, targets: &[u8]) -> Approval {
        let targets = ByteArray::from(sha256(targets));
        Approval { format: FORMAT, custodian: custodian.to_owned(), compared, unix_ms, targets }
    }

    /// What the card signs, with ECDSA P-256 and SHA-256.
    pub fn to_be_signed(&self) -> Vec<u8> {
        metadata::approval_to_be_signed(&cbor::encode(self))
    }

    /// The COSE_Sign1 with the card's signature, r and s side by side.
    pub fn assemble(&self, signature: [u8; 64]) -> Vec<u8> {
        cose::assemble(&cbor::encode(self), signature)
    }

    /// What a custodian of this root said of these targets, and who that is by their key.
    ///
    /// # Errors
    /// [`ApprovalError`].
    pub fn verify<'r>(
        root: &'r RootContent,
        targets: &[u8],
        cose: &[u8],
    ) -> Result<(Approval, &'r Custodian), ApprovalError> {
        let payload = |custodian: &'r Custodian| -> Result<_, CoseError> {
            Ok((metadata::verify_approval(&custodian.signing, cose)?, custodian))
        };
        let signed = root.custodians.iter().find_map(|custodian| payload(custodian).ok());
        let (payload, custodian) = signed.ok_or(ApprovalError::Signature)?;
        let said: Approval = cbor::decode(&payload)?;
        if said.format != FORMAT {
            return Err(ApprovalError::Format(said.format));
        }
        let signer = custodian.name.clone();
        if said.custodian != signer {
            return Err(ApprovalError::OtherName { named: said.custodian, signer });
        }
        if *said.targets != sha256(targets) {
            return Err(ApprovalError::OtherTargets(signer));
        }
        if said.unix_ms > LIMITS.approval_unix_ms {
            return Err(ApprovalError::Time(signer));
        }
        Ok((said, custodian))
    }
}
