//! The device-facing edge: listeners, a door in front of TLS, the challenge, and sessions.
//!
//! Start at [`Gateway`]. The way of one connection:
//!
//! | stage | file | who is there |
//! |---|---|---|
//! | accept | `entrance/listener` | anybody |
//! | lobby | `entrance/lobby`, `entrance/client_hello` | anybody, for a few seconds, with at most a ClientHello in memory |
//! | door | `entrance/door` | who sent a whole ClientHello; a bounded number goes on at a time |
//! | TLS and challenge | `arrival`, `tls_socket`, `login` | strangers still, until the proof |
//! | session | `session`, `session_socket` | an authenticated device, in a small task of its own |
//! | enrolment | `enrolment` | a token holder, for one request |

mod arrival;
mod counters;
mod edge;
mod enrolment;
mod entrance;
mod events;
mod judgement;
mod limits;
mod login;
mod reading;
mod receipts;
mod report;
mod session;
mod session_socket;
mod tls_socket;

pub use counters::{GatewayCounters, Turned};
pub use edge::{Gateway, GatewayConfig, GatewayError};
pub use entrance::listener::{BindError, Listen};
pub use events::{ChallengeAnswer, GatewayEvent, GatewayEventKind, GatewayEvents, TlsFacts};
pub use limits::GatewayLimits;
