//! Methods of arrays.

use super::{LibraryBuilder, int_arg, range, weakref, wrong_type};
use crate::heap::{Heap, LENGTH_MAX, block_of};
use crate::throw::{Fatal, Throw};
use crate::value::{Type, Value};
use crate::vm::frame::Then;
use crate::vm::sort::Sort;
use crate::vm::task::Task;
use crate::vm::{Flow, Vm};

pub(super) fn add(b: &mut LibraryBuilder) {
    let t = Type::Array;
    b.native(t, "len", 0..=0, |heap, args| Ok(Value::Int(heap.arrays.get(id(args)?).len() as i32)));
    for name in ["append", "push"] {
        b.native(t, name, 1..=1, |heap, args| heap.array_push(args[0], args[1]).map(|()| Value::Null));
    }
    b.native(t, "extend", 1..=1, extend);
    b.native(t, "pop", 0..=0, |heap, args| {
        let popped = heap.arrays.get_mut(id(args)?).pop();
        popped.map(|v| heap.read(v)).ok_or_else(|| Throw::message("pop() on a empty array"))
    });
    b.native(t, "top", 0..=0, |heap, args| {
        let last = heap.arrays.get(id(args)?).last().copied();
        last.map(|v| heap.read(v)).ok_or_else(|| Throw::message("top() on a empty array"))
    });
    b.native(t, "insert", 2..=2, insert);
    b.native(t, "remove", 1..=1, remove);
    b.native(t, "resize", 1..=2, resize);
    b.native(t, "reverse", 0..=0, |heap, args| {
        let items = heap.arrays.get_mut(id(args)?);
        items.reverse();
        let n = items.len();
        heap.work(n / 16);
        Ok(Value::Null)
    });
    b.native(t, "slice", 1..=2, slice);
    b.native(t, "find", 1..=1, find);
    b.native(t, "clear", 0..=0, |heap, args| {
        let items = std::mem::take(heap.arrays.get_mut(id(args)?));
        heap.release(block_of::<Value>(items.capacity()));
        Ok(Value::Null)
    });
    b.native(t, "weakref", 0..=0, weakref);
    b.special(t, "tostring", 0..=0, super::base::to_string);
    b.special(t, "map", 1..=1, |vm, base, _, then| map(vm, base, then, false));
    b.special(t, "apply", 1..=1, |vm, base, _, then| map(vm, base, then, true));
    b.special(t, "filter", 1..=1, filter);
    b.special(t, "reduce", 1..=1, reduce);
    b.special(t, "sort", 0..=1, sort);
    let root = b.root();
    b.native(root, "array", 1..=2, make);
}

fn id(args: &[Value]) -> Result<u32, Throw> {
    match args[0] {
        Value::Array(id) => Ok(id),
        other => Err(wrong_type(0, other, "array")),
    }
}

/// A length that may be allocated.
pub(super) fn length(args: &[Value], number: usize) -> Result<usize, Throw> {
    let n = usize::try_from(int_arg(args, number)?).map_err(|_| Throw::message("negative size"))?;
    if n > LENGTH_MAX { Err(Fatal::Memory.into()) } else { Ok(n) }
}

fn make(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let n = length(args, 1)?;
    heap.ensure(n * size_of::<Value>())?;
    heap.work(n / 16);
    heap.array(vec![args.get(2).copied().unwrap_or_default(); n])
}

fn extend(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let Value::Array(other) = args[1] else { return Err(wrong_type(1, args[1], "array")) };
    let n = heap.arrays.get(other).len();
    let id = id(args)?;
    heap.array_reserve(id, n)?;
    heap.work(n / 8);
    if other == id {
        heap.arrays.get_mut(id).extend_from_within(..);
    } else {
        let items = std::mem::take(heap.arrays.get_mut(other));
        heap.arrays.get_mut(id).extend_from_slice(&items);
        *heap.arrays.get_mut(other) = items;
    }
    Ok(Value::Null)
}

fn insert(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (id, at) = (id(args)?, int_arg(args, 1)?);
    heap.array_reserve(id, 1)?;
    let items = heap.arrays.get_mut(id);
    match usize::try_from(at) {
        Ok(at) if at <= items.len() => items.insert(at, args[2]),
        _ => return Err(Throw::message("index out of range")),
    }
    let moved = items.len() - at as usize;
    heap.work(moved / 64);
    Ok(Value::Null)
}

fn remove(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (id, at) = (id(args)?, int_arg(args, 1)?);
    let items = heap.arrays.get_mut(id);
    match usize::try_from(at) {
        Ok(at) if at < items.len() => {
            let moved = items.len() - at;
            let v = items.remove(at);
            heap.work(moved / 64);
            Ok(heap.read(v))
        }
        _ => Err(Throw::message("idx out of range")),
    }
}

fn resize(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let (id, n) = (id(args)?, length(args, 1)?);
    let fill = args.get(2).copied().unwrap_or_default();
    let more = n.saturating_sub(heap.arrays.get(id).len());
    heap.array_reserve(id, more)?;
    heap.work(more / 16);
    heap.arrays.get_mut(id).resize(n, fill);
    Ok(Value::Null)
}

fn slice(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let items = heap.arrays.get(id(args)?);
    let range = range(args, items.len())?;
    heap.ensure(range.len() * size_of::<Value>())?;
    let part = items[range].to_vec();
    heap.work(part.len() / 16);
    heap.array(part)
}

fn find(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let items = heap.arrays.get(id(args)?);
    let found = items.iter().position(|&v| heap.equal(heap.read(v), args[1]));
    let work = found.unwrap_or(items.len()) / 8;
    heap.work(work);
    Ok(found.map_or(Value::Null, |n| Value::Int(n as i32)))
}

fn map(vm: &mut Vm, base: usize, then: Then, apply: bool) -> Result<Flow, Throw> {
    let (array, callback) = (vm.stack[base], vm.stack[base + 1]);
    let n = vm.heap.arrays.get(id(&[array])?).len();
    let out = if apply {
        array
    } else {
        vm.heap.ensure(n * size_of::<Value>())?;
        vm.heap.work(n / 16);
        vm.heap.array(vec![Value::Null; n])?
    };
    vm.start_task(Task::Map { array, callback, out, at: 0, apply }, then)
}

fn filter(vm: &mut Vm, base: usize, _: usize, then: Then) -> Result<Flow, Throw> {
    let (array, callback) = (vm.stack[base], vm.stack[base + 1]);
    id(&[array])?;
    let out = vm.heap.array(Vec::new())?;
    vm.start_task(Task::Filter { array, callback, out, at: 0 }, then)
}

fn reduce(vm: &mut Vm, base: usize, _: usize, then: Then) -> Result<Flow, Throw> {
    let (array, callback) = (vm.stack[base], vm.stack[base + 1]);
    match vm.heap.arrays.get(id(&[array])?).first() {
        None => Ok(Flow::Value(Value::Null)),
        Some(&sum) => {
            let sum = vm.heap.read(sum);
            vm.start_task(Task::Reduce { array, callback, sum, at: 1 }, then)
        }
    }
}

fn sort(vm: &mut Vm, base: usize, n: usize, then: Then) -> Result<Flow, Throw> {
    let array = vm.stack[base];
    let callback = if n > 1 { vm.stack[base + 1] } else { Value::Null };
    let size = vm.heap.arrays.get(id(&[array])?).len();
    if size < 2 {
        return Ok(Flow::Value(Value::Null));
    }
    vm.start_task(Task::Sort(Sort::new(array, size, callback)), then)
}
