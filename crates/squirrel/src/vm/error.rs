//! An error that no script caught: message, then the call stack.

use std::fmt;

use crate::throw::Fatal;

/// An uncaught error or a used-up budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// What was thrown, as text.
    pub message: String,
    /// The budget, when that was the reason.
    pub fatal: Option<Fatal>,
    /// The calls that were open, innermost first.
    pub stack: Vec<StackEntry>,
}

/// One open call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackEntry {
    /// Name of the function; "unknown" when it has none.
    pub function: String,
    /// Name of the source.
    pub file: String,
    /// Line in it.
    pub line: u32,
}

/// The most entries of a call stack that are kept.
pub(crate) const STACK_ENTRIES_MAX: usize = 16;

impl std::error::Error for ScriptError {}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for e in &self.stack {
            write!(f, "\n  at {} ({}:{})", e.function, e.file, e.line)?;
        }
        Ok(())
    }
}
