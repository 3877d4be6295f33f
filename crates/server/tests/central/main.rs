//! Central's API over HTTP: a real listener on loopback, a real database in a folder of its own.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod apps;
mod auth;
mod deletion;
mod deployments;
mod devices;
mod enrolment;
mod golden;
mod history;
mod libraries;
mod limits;
mod logs;
mod products;
mod proofs;
mod release_log;
mod releases;
mod rig;
mod rollouts;
mod status;
