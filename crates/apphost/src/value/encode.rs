//! One walk over a value for every format: what is dropped, what is refused and what it may cost are the same for all.

use squirrel::{Heap, Throw, Value, View};
use thiserror::Error;

use super::{cbor, json, safe_text};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Between the two ends, and `server.save(.., 2)`: all of the language's data.
    Cbor,
    /// JSON without spaces; no blobs, and strings that are no text are dropped.
    JsonCompact,
    /// JSON with a space after each mark, as `http.jsonencode` writes it.
    JsonSpaced,
}

/// What one encoding may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) nesting: usize,
}

/// A value as bytes.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// Entries and elements that the format cannot hold and that were left out.
    pub(crate) dropped: usize,
    /// Work done, for the VM's budget.
    pub(crate) work: usize,
}

/// Why a value has no encoding.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum EncodeError {
    /// It holds itself.
    #[error("a table or array that contains itself cannot be serialised")]
    Cycle,
    /// Its arrays and tables are too deep inside each other.
    #[error("tables and arrays are nested deeper than {0} levels")]
    TooDeep(usize),
    /// It is too long.
    #[error("the data is longer than {0} bytes when serialised")]
    TooLong(usize),
    /// It is a function, an instance or the like.
    #[error("a value of this type cannot be serialised")]
    Unserialisable,
}

impl From<EncodeError> for Throw {
    fn from(error: EncodeError) -> Self {
        Throw::message(error.to_string())
    }
}

/// Writes `value`.
///
/// # Errors
/// Beyond the bounds, cyclic, or at its top not data at all. What is not data inside arrays and tables is left out.
pub(crate) fn encode(heap: &Heap, value: Value, format: Format, bounds: Bounds) -> Result<Encoded, EncodeError> {
    let mut walk = Walk { heap, format, bounds, out: Vec::new(), path: Vec::new(), visited: 0, dropped: 0 };
    if !walk.is_data(value) {
        return Err(EncodeError::Unserialisable);
    }
    walk.value(value)?;
    let work = walk.visited + walk.out.len() / 64;
    Ok(Encoded { bytes: walk.out, dropped: walk.dropped, work })
}

struct Walk<'a> {
    heap: &'a Heap,
    format: Format,
    bounds: Bounds,
    out: Vec<u8>,
    /// The containers around the value being written.
    path: Vec<Value>,
    visited: usize,
    dropped: usize,
}

impl Walk<'_> {
    fn is_data(&self, value: Value) -> bool {
        match self.heap.view(value) {
            View::Null | View::Bool(_) | View::Int(_) | View::Float(_) | View::Array(_) | View::Table(_) => true,
            View::Str(bytes) => self.format == Format::Cbor || safe_text(bytes).is_some(),
            View::Blob(_) => self.format == Format::Cbor,
            View::Object(..) | View::Function | View::Instance | View::Other => false,
        }
    }

    /// Counts one more value looked at. Without this, tables that share big tables of functions would cost time but no bytes.
    fn visit(&mut self) -> Result<(), EncodeError> {
        self.visited += 1;
        if self.visited > self.bounds.bytes.saturating_mul(2) {
            Err(EncodeError::TooLong(self.bounds.bytes))
        } else {
            Ok(())
        }
    }

    fn check_length(&self) -> Result<(), EncodeError> {
        if self.out.len() > self.bounds.bytes { Err(EncodeError::TooLong(self.bounds.bytes)) } else { Ok(()) }
    }

    fn value(&mut self, value: Value) -> Result<(), EncodeError> {
        self.visit()?;
        match self.heap.view(value) {
            View::Array(items) => self.array(value, items)?,
            View::Table(_) => self.table(value)?,
            View::Str(bytes) | View::Blob(bytes) if bytes.len() > self.bounds.bytes => {
                return Err(EncodeError::TooLong(self.bounds.bytes));
            }
            scalar => match self.format {
                Format::Cbor => cbor::scalar(&mut self.out, scalar),
                Format::JsonCompact | Format::JsonSpaced => json::scalar(&mut self.out, scalar),
            },
        }
        self.check_length()
    }

    fn enter(&mut self, container: Value) -> Result<(), EncodeError> {
        if self.path.contains(&container) {
            return Err(EncodeError::Cycle);
        }
        if self.path.len() == self.bounds.nesting {
            return Err(EncodeError::TooDeep(self.bounds.nesting));
        }
        self.path.push(container);
        Ok(())
    }

    fn array(&mut self, array: Value, items: &[Value]) -> Result<(), EncodeError> {
        self.enter(array)?;
        let mut kept = Vec::new();
        for &item in items {
            self.visit()?;
            if self.is_data(item) {
                kept.push(item);
            } else {
                self.dropped += 1;
            }
        }
        self.open(b'[', 4, kept.len());
        for (index, item) in kept.iter().enumerate() {
            self.separate(index);
            self.value(*item)?;
        }
        self.close(b']', kept.len());
        self.path.pop();
        Ok(())
    }

    fn table(&mut self, table: Value) -> Result<(), EncodeError> {
        self.enter(table)?;
        let mut kept = Vec::new();
        for (key, item) in self.heap.entries(table) {
            self.visit()?;
            match self.heap.view(key) {
                View::Str(name) if safe_text(name).is_some() && self.is_data(item) => kept.push((name, item)),
                _ => self.dropped += 1,
            }
        }
        self.open(b'{', 5, kept.len());
        for (index, (name, item)) in kept.iter().enumerate() {
            self.separate(index);
            self.key(name)?;
            self.value(*item)?;
        }
        self.close(b'}', kept.len());
        self.path.pop();
        Ok(())
    }

    fn key(&mut self, name: &[u8]) -> Result<(), EncodeError> {
        if name.len() > self.bounds.bytes {
            return Err(EncodeError::TooLong(self.bounds.bytes));
        }
        let name = View::Str(name);
        match self.format {
            Format::Cbor => cbor::scalar(&mut self.out, name),
            Format::JsonCompact => {
                json::scalar(&mut self.out, name);
                self.out.push(b':');
            }
            Format::JsonSpaced => {
                json::scalar(&mut self.out, name);
                self.out.extend_from_slice(b": ");
            }
        }
        Ok(())
    }

    fn open(&mut self, mark: u8, major: u8, count: usize) {
        match self.format {
            Format::Cbor => cbor::head(&mut self.out, major, count),
            Format::JsonCompact => self.out.push(mark),
            Format::JsonSpaced => {
                self.out.push(mark);
                if count > 0 {
                    self.out.push(b' ');
                }
            }
        }
    }

    fn separate(&mut self, index: usize) {
        match self.format {
            Format::JsonCompact if index > 0 => self.out.push(b','),
            Format::JsonSpaced if index > 0 => self.out.extend_from_slice(b", "),
            _ => {}
        }
    }

    fn close(&mut self, mark: u8, count: usize) {
        match self.format {
            Format::Cbor => {}
            Format::JsonCompact => self.out.push(mark),
            Format::JsonSpaced => {
                if count > 0 {
                    self.out.push(b' ');
                }
                self.out.push(mark);
            }
        }
    }
}
