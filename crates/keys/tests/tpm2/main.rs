//! Keys in a TPM 2.0, with swtpm: what they do, and the attacks by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod attacks;
mod rig;
mod store;
