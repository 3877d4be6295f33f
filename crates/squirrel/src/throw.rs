//! What a native function or an operation throws, and what ends an event for good.

use crate::value::Value;

/// Why a function did not return.
#[derive(Clone, Debug, PartialEq)]
pub enum Throw {
    /// A value that the script may catch.
    Value(Value),
    /// A message that the script may catch as a string.
    Message(String),
    /// The end of this VM's event: no script code runs after it.
    Fatal(Fatal),
}

/// A budget that was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The bytes of this VM are used up, after a collection of garbage.
    #[error("out of memory")]
    Memory,
    /// The event ran longer than its instruction budget.
    #[error("the script ran too long without returning")]
    Instructions,
    /// Calls are nested too deep.
    #[error("stack overflow")]
    Depth,
}

impl Throw {
    /// A catchable message.
    pub fn message(text: impl Into<String>) -> Throw {
        Throw::Message(text.into())
    }
}

impl From<Fatal> for Throw {
    fn from(fatal: Fatal) -> Throw {
        Throw::Fatal(fatal)
    }
}
