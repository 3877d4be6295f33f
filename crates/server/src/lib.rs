//! The server: gateway, agents, central's API, over one store and one bus.
//!
//! Start at [`Server`]; [`init()`] makes the folder it runs on.
//!
//! - [`fleet`]: what things are and the rules about them; no HTTP, no SQL, no sockets.
//! - [`store`]: what is kept; the only place that holds SQL.
//! - [`bus`]: who is there now, and the ways between the edges.
//! - [`gateway`], [`agents`], [`api`]: the edges. They do not know each other; they meet in `fleet` and on the bus.
//! - [`init`](mod@init), [`rotate`], [`config`], [`limits`], [`server`]: from an empty folder to a running process; [`status`]: what that says of itself.

pub mod agents;
pub mod api;
pub mod bus;
pub mod config;
pub mod fleet;
pub mod gateway;
pub mod init;
pub mod limits;
pub mod repository;
pub mod rotate;
pub mod server;
pub mod status;
pub mod store;

pub use config::{KEEPALIVE_S, ServerConfig};
pub use init::{FIRST_ACCOUNT, FIRST_PASSWORD_FILE, InitError, InitOptions, InitReport, init};
pub use limits::{LIMITS, Limits};
pub use rotate::{RotateError, RotateReport, rotate_roots};
pub use server::{Running, Server, StartError, TURNS_BEFORE_IO};
pub use status::Troubles;
