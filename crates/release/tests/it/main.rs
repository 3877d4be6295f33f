//! Releases as a device, and whoever attacks it, meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod anchors;
mod apps;
mod bundle;
mod fixture;
mod image;
mod l1;
mod log;
mod manifest;
mod repository;
mod tuf;
