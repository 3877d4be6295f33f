//! A running app, sans-IO and the same on both ends: start at [`App`], which takes [`Input`]s and time and gives [`Output`]s.
//!
//! - [`code`]: a program made ready for one end, shared by all apps that run it.
//! - [`app`]: the event loop: one callback at a time, suspended and resumed, failing alone.
//! - [`board`]: the hardware of a device app, behind a small trait; `hardware`: what an app uses of it.
//! - [`input`], [`output`]: everything that goes in and comes out.
//! - [`side`]: which end the app runs on and what it is told about it.
//! - [`limits`]: the bounds of one app.
//! - [`restart`]: how long a host waits before it starts a failed app again.
//! - [`driver`]: how a host drives an app, in words.
//! - `event`: which event begins next; `timers`: the app's timers, in order; `link`: the session as the app sees it; `session`: waiting for it and
//!   losing it; `credit`: the
//!   requests an agent may still make.
//! - `api`: what scripts find on each end; `value`: values as CBOR and JSON; `url`: percent-encoding.

mod api;
pub mod app;
pub mod board;
pub mod code;
mod credit;
pub mod driver;
mod event;
mod hardware;
pub mod input;
pub mod limits;
mod link;
pub mod output;
pub mod restart;
mod session;
pub mod side;
mod timers;
mod url;
mod value;

pub use app::{App, StartError, Turn};
pub use board::{Bench, Board};
pub use code::Code;
pub use input::{HttpAnswer, HttpFailure, HttpRequest, Input, InputRefused, NotSent, ShutdownReason, Unreached};
pub use keys::time::Now;
pub use limits::Limits;
pub use output::{HttpResponse, LogLevel, OutgoingRequest, Output, Proxy, Sleep, Until};
pub use restart::RestartDelay;
pub use side::{AgentInfo, DeviceInfo, End, Side, WakeReason};
