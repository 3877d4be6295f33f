//! Reading a value from the host's side.

use super::Heap;
use super::object::Payload;
use crate::library::ClassId;
use crate::value::Value;

/// A value as the host reads it.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// integer
    Int(i32),
    /// float
    Float(f32),
    /// byte string
    Str(&'a [u8]),
    /// array, its elements as stored
    Array(&'a [Value]),
    /// table; iterate with [`Heap::entries`]
    Table(usize),
    /// blob
    Blob(&'a [u8]),
    /// object of a host class
    Object(ClassId, u64),
    /// script or native function
    Function,
    /// instance of a script class
    Instance,
    /// class, generator, weak reference, regexp
    Other,
}

/// The slots of a table, in node order.
pub type TableEntries<'a> = Box<dyn Iterator<Item = (Value, Value)> + 'a>;

impl Heap {
    /// What a value holds. A weak reference reads as its target.
    pub fn view(&self, value: Value) -> View<'_> {
        match self.read(value) {
            Value::Null => View::Null,
            Value::Bool(b) => View::Bool(b),
            Value::Int(i) => View::Int(i),
            Value::Float(f) => View::Float(f),
            Value::Str(s) => View::Str(self.strings.bytes(s)),
            Value::Array(a) => View::Array(self.arrays.get(a)),
            Value::Table(t) => View::Table(self.tables.get(t).len()),
            Value::Host(h) => match &self.hosts.get(h).payload {
                Payload::Blob(b) => View::Blob(&b.bytes),
                Payload::Handle(n) => View::Object(ClassId(self.hosts.get(h).class), *n),
                _ => View::Other,
            },
            Value::Closure(_) | Value::Native(_) => View::Function,
            Value::Instance(_) => View::Instance,
            Value::Class(_) | Value::Generator(_) | Value::Weak(_) | Value::Cell(_) => View::Other,
        }
    }

    /// The slots of a table in node order; empty for anything else.
    pub fn entries(&self, value: Value) -> TableEntries<'_> {
        match self.read(value) {
            Value::Table(t) => Box::new(self.tables.get(t).iter().map(|(k, v)| (k, self.read(v)))),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The bytes of a string or a blob.
    pub fn bytes_of(&self, value: Value) -> Option<&[u8]> {
        match self.view(value) {
            View::Str(b) | View::Blob(b) => Some(b),
            _ => None,
        }
    }
}
