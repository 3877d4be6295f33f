//! Enrolment tokens: what lets a new device in, once or a counted number of times, until it expires.

use thiserror::Error;

use super::devicegroup::GroupType;
use super::ids::{AccountId, GroupId, TokenId};
use super::text::Invalid;

/// The most uses of one token.
pub const USES_MAX: u32 = 100_000;
/// The longest life of a token, minutes: one year.
pub const MINUTES_MAX: u32 = 525_600;

/// A token as the server knows it: without the secret, of which it keeps the hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Its public half.
    pub id: TokenId,
    /// Who made it; owns the devices that it enrols into no group.
    pub owner: AccountId,
    /// Where its devices are assigned.
    pub group: Option<GroupId>,
    /// The type of that group.
    pub group_kind: Option<GroupType>,
    /// How many devices may still enrol with it.
    pub uses_left: u32,
    /// How many could at first.
    pub uses: u32,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it ends, Unix milliseconds; at this moment it is expired.
    pub expires_ms: i64,
}

/// Why a device was not enrolled. The device hears a reason, the log the rest.
#[derive(Debug, Error)]
pub enum RedeemRefused {
    /// No token has that id, or the secret is not its secret; nobody learns which.
    #[error("there is no such enrolment token")]
    Unknown,
    /// Its time is over.
    #[error("the enrolment token has expired")]
    Expired,
    /// All its uses are used.
    #[error("the enrolment token is used up")]
    UsedUp,
    /// The identity key is enrolled already, by another token, or revoked.
    #[error("this device is enrolled already")]
    AlreadyEnrolled,
    /// Another key has the same 64-bit device id.
    #[error("another device has the same device id")]
    DeviceIdTaken,
    /// Its keys do not live where the token's group demands it.
    #[error("the device's keys do not live where its group demands it")]
    AttestationTooLow,
    /// What the device says of itself breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Checks a new token's count and life.
///
/// # Errors
/// Says what is allowed.
pub fn check_new(uses: u32, minutes: u32) -> Result<(), Invalid> {
    if !(1..=USES_MAX).contains(&uses) {
        return Err(Invalid(format!("an enrolment token has 1 to {USES_MAX} uses")));
    }
    if !(1..=MINUTES_MAX).contains(&minutes) {
        return Err(Invalid(format!("an enrolment token lives 1 to {MINUTES_MAX} minutes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_and_minutes_have_bounds() {
        assert!(check_new(1, 1).is_ok());
        assert!(check_new(USES_MAX, MINUTES_MAX).is_ok());
        for (uses, minutes) in [(0, 1), (1, 0), (USES_MAX + 1, 1), (1, MINUTES_MAX + 1)] {
            assert!(check_new(uses, minutes).is_err(), "{uses} {minutes}");
        }
    }
}
