//! Methods of integers, floats and bools.

use super::{LibraryBuilder, weakref};
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::{Type, Value};

pub(super) fn add(b: &mut LibraryBuilder) {
    for kind in [Type::Integer, Type::Float, Type::Bool] {
        b.native(kind, "tofloat", 0..=0, |_, args| Ok(Value::Float(args[0].to_float().unwrap_or_default())));
        b.native(kind, "tointeger", 0..=0, |_, args| Ok(Value::Int(args[0].to_int().unwrap_or_default())));
        b.native(kind, "tochar", 0..=0, to_char);
        b.native(kind, "weakref", 0..=0, weakref);
        b.special(kind, "tostring", 0..=0, super::base::to_string);
    }
}

fn to_char(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    heap.string(&[args[0].to_int().unwrap_or_default() as u8])
}
