//! The ceremony with SoftHSM, once as the HSM and once for each card: a stand-in for the protocol, not for the protection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../keys/tests/pkcs11/alone.rs"]
mod alone;
mod attacks;
mod meeting;
mod rig;
