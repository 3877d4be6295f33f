//! What the tests of both ends share: real servers and real devices on loopback in one process, and what attackers hold.
//!
//! - [`site`]: a whole server in a folder of its own, on an address of its own.
//! - [`product`]: a device, provisioned there and run.
//! - [`attacker`]: stolen keys, false gateways, a relay between two TLS connections.
//! - [`tinyproxy`]: a real HTTP proxy.

// A rig that cannot be built fails its test, as an unwrap in the test itself does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod attacker;
pub mod product;
pub mod site;
pub mod tinyproxy;

use std::time::Duration;

/// Longest wait for something that must happen; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(30);
