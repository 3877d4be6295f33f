//! The vault against power cuts between its steps, storage that fails, and whoever changes, mixes or sets back its files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod attacks;
mod bounds;
mod memory;
mod power;
