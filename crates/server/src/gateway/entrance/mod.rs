//! What stands before TLS: nothing here costs more than a few kilobytes or a microsecond for a stranger.

pub(crate) mod client_hello;
pub(crate) mod door;
pub(crate) mod listener;
pub(crate) mod lobby;
