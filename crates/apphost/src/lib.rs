//! A running app, sans-IO and the same on both ends: start at [`App`], which takes [`Input`]s and time and gives [`Output`]s.
//!
//! - [`app`]: the event loop: one callback at a time, suspended and resumed, failing alone.
//! - [`input`], [`output`]: everything that goes in and comes out.
//! - [`side`]: which end the app runs on and what it is told about it.
//! - [`limits`]: the bounds of one app.
//! - [`restart`]: how long a host waits before it starts a failed app again.
//! - [`driver`]: how a host drives an app, in words.

pub mod app;
pub mod driver;
pub mod input;
pub mod limits;
pub mod output;
pub mod restart;
pub mod side;

pub use app::{App, Turn};
pub use input::{HttpRequest, Input, InputRefused, NotSent};
pub use keys::time::Now;
pub use limits::Limits;
pub use output::{HttpResponse, LogLevel, Output};
pub use restart::RestartDelay;
pub use side::{AgentInfo, DeviceInfo, Side, WakeReason};
