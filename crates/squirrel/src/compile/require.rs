//! `#require "Name:1.2.3"`: the libraries that a source asks for, from wherever the host keeps them.

use super::lexer::{Lexer, Token};
use super::{CompileError, SOURCE_MAX, Source, whole};

/// Libraries that one program may need, those of libraries included.
pub const LIBRARIES_MAX: usize = 64;
/// How deep libraries may require libraries.
const DEPTH_MAX: usize = 16;

/// A `#require` of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// The library's name, as it stands before the colon.
    pub name: String,
    /// The version after the colon; empty when there is none.
    pub version: String,
    /// Line, from 1.
    pub row: u32,
    /// Column in bytes, from 1.
    pub column: u32,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibrarySource {
    /// Name and version: what errors and stacks show as the file.
    pub name: String,
    /// Its text.
    pub text: Vec<u8>,
}

/// Every library that the sources need, each once and after those that it needs itself: compile them before the sources.
///
/// `find` gives the text of a library, or says why there is none.
///
/// # Errors
/// A library that `find` does not give, one in two versions, a circle, more than [`LIBRARIES_MAX`] or 4 MiB of them.
pub fn require(
    sources: &[Source<'_>],
    mut find: impl FnMut(&Required) -> Result<Vec<u8>, String>,
) -> Result<Vec<LibrarySource>, CompileError> {
    let mut search = Search { find: &mut find, found: Vec::new(), open: Vec::new(), bytes: 0 };
    for source in sources {
        search.source(source)?;
    }
    Ok(search.found.into_iter().map(|(_, library)| library).collect())
}

struct Search<'f> {
    find: &'f mut dyn FnMut(&Required) -> Result<Vec<u8>, String>,
    found: Vec<(Required, LibrarySource)>,
    /// Libraries whose own `#require`s are being resolved.
    open: Vec<Required>,
    bytes: usize,
}

impl Search<'_> {
    fn source(&mut self, source: &Source<'_>) -> Result<(), CompileError> {
        if source.text.len() > SOURCE_MAX {
            return Err(whole(source, format!("the source is longer than {SOURCE_MAX} bytes")));
        }
        let mut lexer = Lexer::new(source.text);
        // What the lexer refuses is reported when the source is compiled.
        while lexer.next().is_ok_and(|spot| spot.token != Token::End) {}
        let required = std::mem::take(&mut lexer.lines.required);
        for r in required {
            self.library(&r).map_err(|text| lexer.lines.error(source, r.row, r.column, text))??;
        }
        Ok(())
    }

    /// The outer error is about this `#require`, the inner one about something in the library.
    fn library(&mut self, r: &Required) -> Result<Result<(), CompileError>, String> {
        if r.name.is_empty() || r.version.is_empty() {
            return Err("#require needs a name and a version, as in #require \"Name:1.2.3\"".to_owned());
        }
        let versions = self.open.iter().chain(self.found.iter().map(|(r, _)| r));
        let other = versions.filter(|o| o.name == r.name).find(|o| o.version != r.version);
        if let Some(other) = other {
            return Err(format!("{} is required in the versions {} and {}", r.name, other.version, r.version));
        }
        if self.open.iter().any(|o| o.name == r.name) {
            let names: Vec<&str> = self.open.iter().map(|o| &o.name[..]).collect();
            return Err(format!("libraries require each other in a circle: {} > {}", names.join(" > "), r.name));
        }
        if self.found.iter().any(|(o, _)| o.name == r.name) {
            return Ok(Ok(()));
        }
        if self.open.len() >= DEPTH_MAX || self.found.len() + self.open.len() >= LIBRARIES_MAX {
            return Err(format!("more than {LIBRARIES_MAX} libraries, or nested deeper than {DEPTH_MAX}"));
        }
        let text = (self.find)(r)?;
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > SOURCE_MAX {
            return Err(format!("the libraries are longer than {SOURCE_MAX} bytes together"));
        }
        let name = format!("{}:{}", r.name, r.version);
        self.open.push(r.clone());
        let inner = self.source(&Source { name: &name, text: &text });
        self.open.pop();
        self.found.push((r.clone(), LibrarySource { name, text }));
        Ok(inner)
    }
}
