//! The binary as a person runs it: processes on loopback or in network namespaces of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use device::boot::Source;

mod boot;
mod ceremony;
mod commands;
mod demo;
mod durability;
mod fault_proxy;
#[path = "../../../device/src/boot/fixture.rs"]
mod fixture;
mod fleet;
mod hostile_apps;
mod hostile_central;
mod key_back_ends;
mod lockdown;
mod network;
mod os_image;
mod over_the_air;
mod policies;
mod proofs;
mod releases;
mod restart;
mod rotation;
mod security_epoch;
mod squirrel;
mod support;
mod terminal;
#[path = "../../../../tests/tinyproxy.rs"]
mod tinyproxy;
mod verified_boot;
