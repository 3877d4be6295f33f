//! The device runtime: it dials out, proves itself, fetches its app over that channel and runs it. Start at [`provision()`] and [`run()`].
//!
//! A device never listens. Everything it knows about its connections it writes into a diary, so that people can see why
//! one failed; everything it does it tells as a [`events::DeviceEvent`].
//!
//! # Layout
//! - [`provision`](mod@provision): the device's keys are born and enrolled with the server that the token pins.
//! - [`run`](mod@run): rounds of attempts, sessions, and the pauses between.
//! - [`connect`]: addresses, ports in order, proxy, TLS; each attempt and the diary of them; how long to pause.
//! - [`session`]: the driver of one session.
//! - [`app`]: the app in a task of its own, with or without a session, and its log lines.
//! - [`board`]: the board that the app runs on, simulated where the program is built for that.
//! - [`device_keys`]: who holds the secret keys.
//! - [`booted`]: what the parent has booted.
//! - [`boot`]: the slots of OS images, and which one boots.
//! - `device`: what a running device holds between its sessions.
//! - [`folder`], [`config`]: the device on disk; [`store`]: what it keeps; [`storage`]: the one way in which that is written.
//! - [`network`]: static addresses, and the way back from a wrong one; [`parent`]: the process that puts them in force.
//! - [`sandbox`]: what the process gives up for good before it touches the network.
//! - [`self_test`]: it tries everything that it must not be able to do.
//! - [`host`]: what the system below is set to.
//! - `approval`: who must have approved an app.
//! - `update`: OS updates, fetched for the parent.
//! - [`clock`]: the time, with a floor.
//! - [`events`]: what the runtime tells whoever watches.
//! - [`limits`]: every bound.

pub mod app;
mod approval;
pub mod board;
#[cfg(feature = "parent")]
pub mod boot;
pub mod booted;
pub mod clock;
pub mod config;
pub mod connect;
mod device;
pub mod device_keys;
pub mod events;
pub mod folder;
#[cfg(feature = "parent")]
pub mod host;
pub mod limits;
pub mod network;
pub mod parent;
#[cfg(feature = "parent")]
pub mod provision;
pub mod run;
pub mod sandbox;
pub mod self_test;
pub mod session;
pub mod storage;
pub mod store;
mod update;

pub use crate::device::SOFTWARE_VERSION;
pub use connect::ports;
pub use protocol::self_test::{SelfTest, SelfTestCheck, SelfTestOutcome};
#[cfg(feature = "parent")]
pub use provision::{ProvisionError, ProvisionOptions, Provisioned, provision};
pub use run::{Opened, RunError, RunOptions, run};
