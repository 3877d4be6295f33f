//! The wire between device and server: frames, messages, challenge and both session state machines, sans-IO.
//!
//! Nothing here opens a socket, reads a clock or starts a task: bytes and the time ([`Now`]) are handed in, and
//! everything that must happen comes out of a poll. Start at [`session::DeviceSession`] or
//! [`session::ServerSession`]; the bytes themselves are described in `docs/wire.cddl`.
//!
//! # Layout
//! - [`facts`]: the ports in their order and the version of the protocol.
//! - [`limits`]: every bound of this crate, in one struct.
//! - [`frame`]: a length and that many bytes, nothing held while no frame is pending.
//! - [`codec`]: frames to messages and back; only the one deterministic encoding of a message is accepted.
//! - [`message`]: what each end may say in a session.
//! - [`os`]: OS updates as they travel.
//! - [`reason`]: the stable numbers behind refusals, closings, restarts and troubles.
//! - [`report`]: log lines, the connect diary and the state of the app, as the device sends them.
//! - [`self_test`]: what a device found when it tried what is forbidden to it, signed.
//! - [`eat`]: the claims that a device signs to answer the challenge.
//! - [`sign`]: "sign these bytes", as the machines ask for it.
//! - [`session`]: both ends of a session, and the proof that only the checker makes.
//! - [`enrol`]: both ends of an enrolment, and the token.
//! - [`error`]: how the other end can break the protocol.

pub mod codec;
pub mod eat;
pub mod enrol;
pub mod error;
mod events;
pub mod facts;
pub mod frame;
pub mod limits;
mod link;
pub mod message;
pub mod os;
pub mod reason;
pub mod report;
pub mod self_test;
pub mod session;
pub mod sign;

pub use keys::time::Now;
