//! The promises of the wire, told with both ends in one thread and a clock that only the test moves.

mod enrolment;
mod golden;
mod login;
mod open_session;
mod pair;
