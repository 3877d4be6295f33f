//! The device runtime against real sockets: name servers, proxies, a server made of the other end's own parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use vouch_device::boot::Source;

mod board;
mod connect;
mod dns;
#[path = "../../src/boot/fixture.rs"]
mod fixture;
mod folder;
mod power_cut;
mod proxy;
mod server;
mod session;
mod stored;
#[path = "../../../../tests/tinyproxy.rs"]
mod tinyproxy;
