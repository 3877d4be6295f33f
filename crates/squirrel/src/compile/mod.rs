//! Source to program: lexer, parser, code generator.

mod ast;
mod error;
mod generator;
mod lexer;
mod parser;
mod scope;

use crate::program::Program;
use parser::Names;
use scope::{Declared, Scalar};

pub use error::CompileError;

/// The longest source in bytes.
const SOURCE_MAX: usize = 4 * 1024 * 1024;

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
    let mut names = Names::default();
    for (name, value) in &options.constants {
        let name = names.intern(name.as_bytes());
        names.constants.insert(name, Declared::Scalar(Scalar::Int(*value)));
    }
    let mut program = Program { strings: Vec::new(), functions: Vec::new(), mains: Vec::new() };
    for source in sources {
        if source.text.len() > SOURCE_MAX {
            return Err(whole(source, format!("the source is longer than {SOURCE_MAX} bytes")));
        }
        let tree = parser::parse(source.name, source.text, &mut names)?;
        let file = names.intern(source.name.as_bytes());
        let main = generator::generate(&tree, file, &mut program).map_err(|(row, text)| {
            let line = source.text.split(|&b| b == b'\n').nth(row.saturating_sub(1) as usize).unwrap_or_default();
            let source_line = String::from_utf8_lossy(line).trim_end().to_owned();
            CompileError { row, source_line, ..whole(source, text) }
        })?;
        program.mains.push(main);
    }
    program.strings = names.strings;
    match program.check() {
        Ok(()) => Ok(program),
        Err(error) => match sources.last() {
            Some(source) => Err(whole(source, error.to_string())),
            None => Ok(program),
        },
    }
}

fn whole(source: &Source<'_>, text: String) -> CompileError {
    CompileError { file: source.name.to_owned(), row: 1, column: 1, text, source_line: String::new() }
}
