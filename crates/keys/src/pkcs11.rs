//! PKCS#11 tokens (HSMs, smartcards, SoftHSM): opened with one try of the PIN, keys found by one id, signatures checked.
//!
//! Start at [`Module::load`], then [`Token::open`]. What the tokens taught is built in: a key is looked up by its CKA_ID *and*
//! must be the only one with it, since a token with two answers with either; no signature leaves before it was held against the
//! public key; an attribute that a token will not show comes back as nothing instead of as an error, so that what matters is
//! asked with `get_attribute_info`; keys that want the PIN for each signature get it between C_SignInit and C_SignUpdate.
//! A PIN from a file is tried once and never again after it was refused, since a card that is asked too often locks itself.

#[cfg(feature = "pkcs11")]
mod module;
#[cfg(feature = "pkcs11")]
mod object;
#[cfg(feature = "pkcs11")]
mod session;
#[cfg(feature = "pkcs11")]
mod soft;
mod spec;
#[cfg(feature = "pkcs11")]
mod token;

#[cfg(feature = "pkcs11")]
pub use module::{Module, TokenInfo, is_stand_in};
#[cfg(feature = "pkcs11")]
pub use object::{KeyId, TokenKeyKind};
#[cfg(feature = "pkcs11")]
pub use soft::SoftHsm;
pub use spec::{TokenName, TokenSpec, TokenSpecError};
#[cfg(feature = "pkcs11")]
pub use token::{Pin, Token, TokenError};
