//! An error in a source, with its place.

use std::fmt;

/// Why a source does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Name of the source.
    pub file: String,
    /// Line, from 1.
    pub row: u32,
    /// Column in bytes, from 1.
    pub column: u32,
    /// What is wrong.
    pub text: String,
    /// The line of the source.
    pub source_line: String,
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.row, self.column, self.text)
    }
}

impl CompileError {
    /// The error with its source line and a caret under the place.
    pub fn with_caret(&self) -> String {
        let lead: String = self
            .source_line
            .chars()
            .take((self.column as usize).saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{self}\n{}\n{lead}^", self.source_line)
    }
}
