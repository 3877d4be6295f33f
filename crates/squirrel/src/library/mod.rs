//! What scripts find in the root table and in the methods of each type: the dialect's own, and the host's.

mod array;
mod base;
pub(crate) mod blob;
mod blob_stream;
pub(crate) mod builder;
mod class;
mod date;
pub(crate) mod format;
mod function;
mod math;
pub(crate) mod regexp;
#[cfg(feature = "regexp2")]
pub(crate) mod regexp2;
mod regexp_parser;
mod scalar;
mod string;
mod table;

use std::sync::Arc;

use crate::heap::Heap;
use crate::heap::object::HostObject;
use crate::heap::strings::SharedStrings;
use crate::heap::table::Table;
use crate::throw::Throw;
use crate::value::{Type, Value};
use crate::vm::SpecialFn;

pub use builder::{Constant, LibraryBuilder, Owner, Place};

/// A function of the library or the host that neither calls scripts nor waits.
///
/// It is given `this` and the arguments. Charge the heap before changing anything
/// ([`Heap::charge`]) and count loops ([`Heap::work`]): the call is repeated after a collection of
/// garbage when it fails with [`crate::Fatal::Memory`].
pub type NativeFn = fn(&mut Heap, &[Value]) -> Result<Value, Throw>;

/// A class of host objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassId(pub(crate) u32);

/// How a native runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    Plain(NativeFn),
    /// Needs the VM: calls scripts, looks at frames.
    Special(SpecialFn),
    /// Suspends the VM: the host's number of the function.
    Host(u32),
    /// As `Host`, its one argument turned into a string first, `_tostring` included.
    HostText(u32),
    /// `call` and `pcall` of a function.
    Call,
    /// `acall` and `pacall` of a function.
    Acall,
}

/// A function that is not written in the language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native {
    pub(crate) name: u32,
    pub(crate) least: u8,
    /// 255 means any number.
    pub(crate) most: u8,
    pub(crate) run: Run,
}

/// Functions by the number of their name: 0 is none, n is native n - 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods(Vec<u16>);

impl Methods {
    #[inline(always)]
    pub(crate) fn get(&self, name: u32) -> Option<u32> {
        let n = *self.0.get(name as usize)?;
        u32::from(n).checked_sub(1)
    }

    fn put(&mut self, name: u32, native: usize) {
        if self.0.len() <= name as usize {
            self.0.resize(name as usize + 1, 0);
        }
        self.0[name as usize] = (native + 1) as u16;
    }
}

/// A class of host objects: what `typeof` says, and its methods.
#[derive(Clone, Debug)]
pub(crate) struct HostClass {
    pub(crate) name: u32,
    pub(crate) methods: Methods,
}

/// Everything that programs find beside their own code. Built once by [`LibraryBuilder`], shared.
#[derive(Debug)]
pub struct Library {
    pub(crate) strings: Arc<SharedStrings>,
    pub(crate) natives: Vec<Native>,
    pub(crate) classes: Vec<HostClass>,
    pub(crate) methods: [Methods; Type::COUNT],
    pub(crate) tables: Vec<Table>,
    pub(crate) hosts: Vec<HostObject>,
    pub(crate) blob_class: u32,
    pub(crate) regexp_class: u32,
    #[cfg(feature = "regexp2")]
    pub(crate) regexp2_class: u32,
}

impl Library {
    /// The name that `typeof` gives for objects of a class.
    pub fn class_name(&self, class: ClassId) -> &[u8] {
        self.classes.get(class.0 as usize).map_or(&[], |c| self.strings.bytes(c.name))
    }
}

/// The dialect's own functions.
fn add_all(builder: &mut LibraryBuilder) {
    base::add(builder);
    scalar::add(builder);
    string::add(builder);
    table::add(builder);
    array::add(builder);
    function::add(builder);
    class::add(builder);
    math::add(builder);
    blob::add(builder);
    blob_stream::add(builder);
    regexp::add(builder);
    date::add(builder);
}

/// An argument of the wrong type; `this` is number 0.
fn wrong_type(number: usize, value: Value, expected: &str) -> Throw {
    Throw::Message(format!("parameter {number} has an invalid type '{}' ; expected: '{expected}'", value.type_name()))
}

fn int_arg(args: &[Value], number: usize) -> Result<i32, Throw> {
    match args.get(number).copied().unwrap_or_default() {
        value @ (Value::Int(_) | Value::Float(_)) => Ok(value.to_int().unwrap_or_default()),
        value => Err(wrong_type(number, value, "integer|float")),
    }
}

fn float_arg(args: &[Value], number: usize) -> Result<f32, Throw> {
    match args.get(number).copied().unwrap_or_default() {
        value @ (Value::Int(_) | Value::Float(_)) => Ok(value.to_float().unwrap_or_default()),
        value => Err(wrong_type(number, value, "integer|float")),
    }
}

fn str_arg<'h>(heap: &'h Heap, args: &[Value], number: usize) -> Result<&'h [u8], Throw> {
    match args.get(number).copied().unwrap_or_default() {
        Value::Str(s) => Ok(heap.str_bytes(s)),
        value => Err(wrong_type(number, value, "string")),
    }
}

/// Start and end of a slice of something `len` long: negative ones count from the end.
fn range(args: &[Value], len: usize) -> Result<std::ops::Range<usize>, Throw> {
    let len = len as i64;
    let from = |i: i32| if i < 0 { len + i64::from(i) } else { i.into() };
    let start = from(int_arg(args, 1)?);
    let end = if args.len() > 2 { from(int_arg(args, 2)?) } else { len };
    if end < start {
        return Err(Throw::message("wrong indexes"));
    }
    if start < 0 || end > len {
        return Err(Throw::message("slice out of range"));
    }
    Ok(start as usize..end as usize)
}

fn weakref(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    heap.weak(args[0])
}
