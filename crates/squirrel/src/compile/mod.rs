//! Source to program.

mod error;

use crate::program::Program;

pub use error::CompileError;

/// One source text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, as errors and stacks show it.
    pub name: &'a str,
    /// The text: bytes, as the language has it.
    pub text: &'a [u8],
}

/// What a compilation may know beside the source.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Integer constants that every source knows, as `const` makes them.
    pub constants: Vec<(String, i32)>,
}

/// Compiles sources, each to a main function; they run in this order and share their `const`s.
///
/// # Errors
/// The first error, with its place.
pub fn compile(sources: &[Source<'_>], options: &CompileOptions) -> Result<Program, CompileError> {
    let _ = (sources, options);
    Err(CompileError { file: String::new(), row: 1, column: 1, text: String::new(), source_line: String::new() })
}
