//! Natives that call scripts, as state machines.

/// A native that is waiting for a script's result.
#[derive(Debug)]
pub(crate) enum Task {}
