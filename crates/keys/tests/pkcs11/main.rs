//! PKCS#11 tokens, with SoftHSM: a stand-in for the protocol, not for the protection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod alone;
mod attacks;
mod keystore;
mod rig;
mod token;
