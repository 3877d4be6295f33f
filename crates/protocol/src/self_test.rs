//! What a device found when it tried everything that is forbidden to it, signed by its identity key.

use keys::cbor;
use keys::cose::{self, CosePurpose};
use keys::public::PublicKey;
use minicbor::{Decode, Encode};

use crate::codec::{CodecError, at_most};
use crate::limits::Limits;

/// The result of one self-test: the payload of a COSE_Sign1 with the purpose [`CosePurpose::SelfTest`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SelfTest {
    /// When it was made by the device's clock: milliseconds since 1970.
    #[n(1)]
    pub unix_ms: i64,
    /// The version of the runtime that was tested.
    #[n(2)]
    pub os_version: String,
    /// What a verified boot measured; absent where no boot is verified.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub boot: Option<[u8; 32]>,
    /// Each thing that was tried.
    #[n(4)]
    pub checks: Vec<SelfTestCheck>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SelfTestCheck {
    /// Its stable name, such as `listen`.
    #[n(0)]
    pub id: String,
    /// What came of it.
    #[n(1)]
    pub outcome: SelfTestOutcome,
    /// What happened, for people; may be empty.
    #[n(2)]
    pub detail: String,
}

/// What came of trying something forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SelfTestOutcome {
    /// It was refused, as it must be.
    #[n(1)]
    Refused,
    /// It was possible.
    #[n(2)]
    NotRefused,
    /// It could not be tried here.
    #[n(3)]
    NotAvailable,
}

/// A result that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// Another key signed it, or this key for another purpose.
    #[error("the self-test's result is not signed by the device's identity key")]
    BadSignature,
    /// What is signed is no result within the bounds.
    #[error("the self-test's result is not readable: {0}")]
    Unreadable(#[from] CodecError),
}

impl SelfTest {
    /// The payload to sign.
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a signed result.
    ///
    /// # Errors
    /// [`SelfTestError`] when this identity key did not sign exactly one result within the bounds.
    pub fn verify(identity: &PublicKey, cose: &[u8], limits: &Limits) -> Result<Self, SelfTestError> {
        let payload = cose::verify(CosePurpose::SelfTest, identity, cose).map_err(|_| SelfTestError::BadSignature)?;
        Ok(Self::from_cbor(&payload, limits)?)
    }

    /// Reads a payload, whose signature is for somebody else to check.
    ///
    /// # Errors
    /// [`CodecError`] when it is not exactly one result within the bounds.
    pub fn from_cbor(payload: &[u8], limits: &Limits) -> Result<Self, CodecError> {
        let result: Self = cbor::decode(payload)?;
        result.check(limits)?;
        Ok(result)
    }

    /// Whether everything that was tried was refused, and something was.
    pub fn is_passed(&self) -> bool {
        let refused = |check: &SelfTestCheck| check.outcome == SelfTestOutcome::Refused;
        self.checks.iter().any(refused) && !self.checks.iter().any(|check| check.outcome == SelfTestOutcome::NotRefused)
    }

    fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        at_most("the runtime's version", self.os_version.len(), limits.label)?;
        at_most("the list of checks", self.checks.len(), limits.self_test_checks)?;
        if self.boot == Some([0; 32]) {
            return Err(CodecError::Meaningless("the boot measurement"));
        }
        self.checks.iter().try_for_each(|check| {
            at_most("a check's name", check.id.len(), limits.self_test_name)?;
            at_most("a check's detail", check.detail.len(), limits.self_test_detail)
        })
    }
}

impl SelfTestOutcome {
    /// Its name for people and in central's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotRefused => "not refused",
            Self::NotAvailable => "not available",
        }
    }
}
