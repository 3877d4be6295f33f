//! Apps driven in virtual time by a host that is a few lines of test code.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod budgets;
mod codec;
mod events;
mod hello;
mod http;
mod limits;
mod pair;
mod save;
