//! Methods of tables.

use super::{LibraryBuilder, weakref, wrong_type};
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::{Type, Value};

pub(super) fn add(b: &mut LibraryBuilder) {
    let t = Type::Table;
    b.native(t, "len", 0..=0, |heap, args| Ok(Value::Int(heap.tables.get(id(args)?).len() as i32)));
    b.native(t, "rawget", 1..=1, raw_get);
    b.native(t, "rawset", 2..=2, |heap, args| heap.table_insert(args[0], args[1], args[2]).map(|()| Value::Null));
    b.native(t, "rawdelete", 1..=1, |heap, args| {
        let removed = heap.table_remove(id(args)?, args[1]);
        Ok(removed.map_or(Value::Null, |v| heap.read(v)))
    });
    b.native(t, "rawin", 1..=1, |heap, args| {
        Ok(Value::Bool(heap.tables.get(id(args)?).get(args[1], &heap.strings).is_some()))
    });
    b.native(t, "clear", 0..=0, clear);
    b.native(t, "setdelegate", 1..=1, set_delegate);
    b.native(t, "getdelegate", 0..=0, |heap, args| {
        Ok(heap.tables.get(id(args)?).delegate.map_or(Value::Null, Value::Table))
    });
    b.native(t, "weakref", 0..=0, weakref);
    b.special(t, "tostring", 0..=0, super::base::to_string);
}

fn id(args: &[Value]) -> Result<u32, Throw> {
    match args[0] {
        Value::Table(id) => Ok(id),
        other => Err(wrong_type(0, other, "table")),
    }
}

fn raw_get(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let found = heap.tables.get(id(args)?).get(args[1], &heap.strings);
    found.map(|v| heap.read(v)).ok_or_else(|| Throw::message("the index doesn't exist"))
}

fn clear(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let table = heap.tables.get_mut(id(args)?);
    let before = table.bytes();
    table.clear();
    let after = table.bytes();
    heap.release(before - after);
    heap.work(before / 64);
    Ok(Value::Null)
}

fn set_delegate(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let table = id(args)?;
    let delegate = match args[1] {
        Value::Null => None,
        Value::Table(d) => Some(d),
        other => return Err(wrong_type(1, other, "table|null")),
    };
    let mut next = delegate;
    while let Some(d) = next {
        if d == table {
            return Err(Throw::message("delagate cycle"));
        }
        heap.work(1);
        next = heap.tables.get(d).delegate;
    }
    heap.tables.get_mut(table).delegate = delegate;
    Ok(args[0])
}
