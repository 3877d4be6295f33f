//! The gateway over real connections, with a real store and bus: what devices may do, and attacks by name.

// What the tests share fails its test as an unwrap in the test itself does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod crowd;
mod enrolment;
mod login;
mod proofs;
mod records;
mod reports;
mod rig;
mod slow;
mod updates;
