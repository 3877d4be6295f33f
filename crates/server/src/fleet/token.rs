//! What a login gives: a short-lived access token and a refresh token to renew it.

use std::time::Duration;

use super::ids::AccountId;

/// How long an access token lives.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// How many refresh tokens one account keeps; the oldest makes room for the newest.
pub const REFRESH_TOKENS_MAX: u32 = 100;

/// Who a request comes from: made only from a token that the store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
}

#[cfg(test)]
mod tests {
    use keys::purpose::{KeyPurpose, Lifetime};

    use super::*;

    #[test]
    fn an_access_token_lives_as_long_as_the_key_inventory_says() {
        assert_eq!(KeyPurpose::AccessToken.facts().lifetime, Lifetime::Seconds(ACCESS_TOKEN_LIFE.as_secs()));
    }
}
