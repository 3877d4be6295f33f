//! Source to program: lexer, parser, code generator.

mod ast;
mod error;
mod generator;
mod lexer;
mod lines;
mod parser;
mod require;
mod scope;

use crate::program::{Program, line};
use parser::Names;
use scope::{Declared, Scalar};

pub use error::CompileError;
pub use require::{LIBRARIES_MAX, LibrarySource, Required, require};

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
    let mut program = Program { strings: Vec::new(), functions: Vec::new(), mains: Vec::new(), files: Vec::new() };
    for source in sources {
        if source.text.len() > SOURCE_MAX {
            return Err(whole(source, format!("the source is longer than {SOURCE_MAX} bytes")));
        }
        let (tree, lines) = parser::parse(source, &mut names)?;
        let file = names.intern(source.name.as_bytes());
        let before = program.functions.len();
        let main = generator::generate(&tree, file, &mut program)
            .map_err(|(place, text)| lines.error(source, lexer::row_of(place), lexer::column_of(place).max(1), text))?;
        for f in &mut program.functions[before..] {
            for (_, line) in &mut f.lines {
                *line = shown(*line, &lines, &mut program.files, &mut names);
            }
        }
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

/// A row as stacks show it, with the file that `#line` named.
fn shown(row: u32, lines: &lines::Lines, files: &mut Vec<u32>, names: &mut Names) -> u32 {
    let (row, file) = lines.shown(row);
    let number = match file.map(|f| names.intern(f)) {
        None => 0,
        Some(name) => match files.iter().position(|&f| f == name) {
            Some(at) => at + 1,
            None if files.len() < lines::FILES_MAX => {
                files.push(name);
                files.len()
            }
            None => 0,
        },
    };
    line::pack(number as u32, row)
}

fn whole(source: &Source<'_>, text: String) -> CompileError {
    CompileError { file: source.name.to_owned(), row: 1, column: 1, text, source_line: String::new() }
}
