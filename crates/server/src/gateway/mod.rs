//! The device-facing edge: listeners, a door in front of TLS, the challenge, and sessions.
//!
//! Start at [`Gateway`]. The way of one connection:
//!
//! | stage | file | who is there |
//! |---|---|---|
//! | accept | `listener` | anybody |
//! | lobby | `lobby`, `client_hello` | anybody, for a few seconds, with at most a ClientHello in memory |
//! | door | `door` | who sent a whole ClientHello; a bounded number goes on at a time |
//! | TLS and challenge | `arrival`, `tls_socket`, `login` | strangers still, until the proof |
//! | session | `session` | an authenticated device, in a small task of its own |
//! | enrolment | `enrolment` | a token holder, for one request |

mod client_hello;
mod counters;
mod door;
mod events;
mod limits;
mod listener;
mod lobby;
mod tls_socket;

pub use counters::{GatewayCounters, Turned};
pub use events::{ChallengeRecord, GatewayEvent, GatewayEventKind, GatewayEvents, TlsFacts};
pub use limits::GatewayLimits;
pub use listener::{BindError, Listen};
