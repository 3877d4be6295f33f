//! Apps driven in virtual time by a host that is a few lines of test code.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod budgets;
mod codec;
mod crypto;
mod datalogger;
mod events;
mod hardware;
mod hello;
mod http;
mod json_corpus;
mod limits;
mod link;
mod pair;
mod proxy;
mod requests;
mod save;
mod thermostat;
mod user_configuration;
