//! The device runtime: it dials out, proves itself, fetches its app over that channel and runs it. Start at [`provision()`] and [`run()`].
//!
//! A device never listens. Everything it knows about its connections it writes into a diary, so that people can see why
//! one failed; everything it does it tells as a [`events::DeviceEvent`].
//!
//! # Layout
//! - [`provision`](mod@provision): the device's keys are born and enrolled with the server that the token pins.
//! - [`run`](mod@run): rounds of attempts, sessions, and the pauses between.
//! - [`session`], `enrol`: the drivers of one session and of one enrolment; `writer` is their sending half.
//! - `device`: what a running device holds between its sessions.
//! - [`app`]: the app in a task of its own, with or without a session.
//! - [`connect`]: addresses, ports in order, TLS. [`dns`], [`proxy`], [`ports`] serve it.
//! - [`attempt`], [`diary`]: what one attempt came to, and the last of them.
//! - [`backoff`]: how long to pause.
//! - [`folder`], [`config`]: the device on disk.
//! - [`clock`]: the time, with a floor.
//! - [`logs`]: log lines on their way to the server.
//! - [`events`]: what the runtime tells whoever watches.
//! - [`limits`]: every bound.

pub mod app;
pub mod attempt;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod connect;
mod device;
pub mod diary;
pub mod dns;
mod enrol;
pub mod events;
pub mod folder;
pub mod limits;
pub mod logs;
pub mod ports;
pub mod provision;
pub mod proxy;
pub mod run;
pub mod session;
mod writer;

pub use crate::device::SOFTWARE_VERSION;
pub use provision::{ProvisionError, ProvisionOptions, Provisioned, provision};
pub use run::{RunError, RunOptions, run};
