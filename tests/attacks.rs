//! Attacks by name, with the real device and the real server: each is refused, for the reason it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod attacks_certificates;
mod attacks_enrolment;
mod attacks_messages;
mod attacks_proof;
mod attacks_proxy;
mod attacks_table;
