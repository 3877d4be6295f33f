//! The promises of the wire, told with both ends in one thread and a clock that only the test moves.

#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod handling;
#[cfg(test)]
mod login;
#[cfg(test)]
mod open_session;
mod os_update;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod self_test;
