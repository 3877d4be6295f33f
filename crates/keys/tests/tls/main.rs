//! TLS handshakes in memory: the promises of both profiles, and the attacks by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod attacker;
mod enrolment;
mod handshakes;
mod openssl;
mod records;
mod resumption;
mod wire;
