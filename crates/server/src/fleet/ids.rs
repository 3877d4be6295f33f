//! The names of things: one newtype per resource, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

pub use protocol::enrol::TokenId;
use thiserror::Error;
use uuid::Uuid;

/// A text that is no id of the wanted kind. To a client this is the same as an id that nobody has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no id of this kind")]
pub struct NoId;

macro_rules! uuid_id {
    ($(#[$doc:meta] $name:ident;)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NoId;

            fn from_str(text: &str) -> Result<Self, NoId> {
                let id = Uuid::try_parse(text).map_err(|_| NoId)?;
                // Only the one spelling that was given out, so that an id is one text everywhere.
                if id.hyphenated().to_string() == text { Ok(Self(id)) } else { Err(NoId) }
            }
        }
    )*};
}

uuid_id! {
    /// An account's id.
    AccountId;
    /// A product's id.
    ProductId;
    /// A device group's id.
    GroupId;
    /// A deployment's id.
    DeploymentId;
    /// An OS release's id.
    ReleaseId;
    /// A roll-out's id.
    RolloutId;
    /// A refresh token's id; the token itself is kept as a hash only.
    RefreshTokenId;
}

/// A log stream's id. Knowing it is enough to read the stream: 256 random bits, hex.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamId(String);

impl StreamId {
    /// The id with these random bits.
    pub fn from_bits(bits: [u8; 32]) -> Self {
        Self(const_hex::encode(bits))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamId(..)")
    }
}

impl FromStr for StreamId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex { Ok(Self(text.to_owned())) } else { Err(NoId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = ProductId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in
            [id.to_string().to_uppercase(), id.to_string().replace('-', ""), format!("{{{id}}}"), String::new()]
        {
            assert!(other.parse::<ProductId>().is_err() || other == id.to_string(), "{other}");
        }
    }

    #[test]
    fn a_stream_id_is_not_shown_by_debug() {
        let id = StreamId::from_bits([0xab; 32]);
        assert!(!format!("{id:?}").contains("abab"));
        assert_eq!(id.as_str().parse(), Ok(id));
        assert!("ab".repeat(31).parse::<StreamId>().is_err());
        assert!("ab".repeat(33).parse::<StreamId>().is_err());
    }
}
