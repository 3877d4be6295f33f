//! What a login gives: a short-lived access token and a refresh token to renew it.

use std::time::Duration;

use super::ids::{AccountId, RefreshTokenId};

/// How long an access token lives.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// How long a refresh token serves; then the password is needed again.
pub const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(90 * 24 * 3_600);
/// How many refresh tokens one account keeps; the oldest makes room for the newest.
pub const REFRESH_TOKENS_MAX: u32 = 100;

/// Who a request comes from: made only from a token that the store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
}

/// A refresh token as its owner sees it; the token itself is kept as a hash only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// Its id.
    pub id: RefreshTokenId,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it ends, Unix milliseconds.
    pub expires_ms: i64,
}

#[cfg(test)]
mod tests {
    use keys::purpose::{KeyPurpose, Lifetime};

    use super::*;

    #[test]
    fn tokens_live_as_long_as_the_key_inventory_says() {
        assert_eq!(KeyPurpose::AccessToken.facts().lifetime, Lifetime::Seconds(ACCESS_TOKEN_LIFE.as_secs()));
        assert_eq!(KeyPurpose::RefreshToken.facts().lifetime, Lifetime::Seconds(REFRESH_TOKEN_LIFE.as_secs()));
    }
}
