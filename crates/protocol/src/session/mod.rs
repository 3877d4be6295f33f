//! Both ends of a session: hello, challenge, proof, welcome, and what follows.
//!
//! Each end is driven by the same verbs. In: `handle_bytes`, `handle_eof`, `handle_timeout` and the calls that
//! answer an event or send something. Out, to be polled after any of these until they give nothing:
//! `poll_event`, `poll_transmit`, and then `poll_timeout` for when to call `handle_timeout`.
//!
//! - [`challenge`]: the proof's record, its check, and [`Authenticated`], which only that check makes.
//! - [`device`] and [`server`]: the two ends.

pub mod challenge;
pub mod device;
mod download;
mod handling;
mod keepalive;
mod os_download;
pub mod server;

pub use challenge::{Authenticated, ChallengeRecord, Device, KnownDevice, RefusedDevice, Standing};
pub use device::{DeviceEvent, DeviceSession, DeviceSessionConfig, Welcomed};
pub use download::PartialApp;
pub use server::{Greeting, ServerEvent, ServerSession, ServerSessionConfig};
