//! Blobs: bytes with a place; making, indexing, size, copies. Reading and writing is in `blob_stream`.

use super::{LibraryBuilder, array, int_arg, wrong_type};
use crate::heap::object::{Blob, Payload};
use crate::heap::{Heap, block};
use crate::throw::Throw;
use crate::value::Value;

pub(super) fn add(b: &mut LibraryBuilder) {
    let root = b.root();
    b.native(root, "blob", 0..=1, make);
    b.native(root, "casti2f", 1..=1, |_, args| Ok(Value::Float(f32::from_bits(int_arg(args, 1)? as u32))));
    b.native(root, "castf2i", 1..=1, |_, args| Ok(Value::Int(super::float_arg(args, 1)?.to_bits() as i32)));
    b.native(root, "swap2", 1..=1, |_, args| Ok(Value::Int((int_arg(args, 1)? as u16).swap_bytes().into())));
    b.native(root, "swap4", 1..=1, |_, args| Ok(Value::Int(int_arg(args, 1)?.swap_bytes())));
    b.native(root, "swapfloat", 1..=1, |_, args| {
        Ok(Value::Float(f32::from_bits(super::float_arg(args, 1)?.to_bits().swap_bytes())))
    });
    let c = b.blob_class();
    b.native(c, "len", 0..=0, |heap, args| Ok(Value::Int(blob(heap, args, 0)?.bytes.len() as i32)));
    b.native(c, "resize", 1..=1, resize);
    b.native(c, "tostring", 0..=0, |heap, args| {
        let n = blob(heap, args, 0)?.bytes.len();
        heap.ensure(n)?;
        let bytes = blob(heap, args, 0)?.bytes.clone();
        heap.string_from(bytes)
    });
    b.native(c, "swap2", 0..=0, |heap, args| swap(heap, args, 2));
    b.native(c, "swap4", 0..=0, |heap, args| swap(heap, args, 4));
    b.native(c, "weakref", 0..=0, super::weakref);
}

/// The blob that an argument is.
pub(super) fn blob<'h>(heap: &'h mut Heap, args: &[Value], number: usize) -> Result<&'h mut Blob, Throw> {
    let value = args.get(number).copied().unwrap_or_default();
    let Value::Host(id) = value else { return Err(wrong_type(number, value, "blob")) };
    match &mut heap.hosts.get_mut(id).payload {
        Payload::Blob(blob) => Ok(blob),
        _ => Err(wrong_type(number, value, "blob")),
    }
}

fn make(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let n = if args.len() > 1 { array::length(args, 1)? } else { 0 };
    heap.ensure(n)?;
    heap.blob_from(vec![0; n])
}

/// Sets the length of a blob, charged.
pub(super) fn set_len(heap: &mut Heap, args: &[Value], n: usize) -> Result<(), Throw> {
    let bytes = &blob(heap, args, 0)?.bytes;
    let (len, capacity) = (bytes.len(), bytes.capacity());
    if n > capacity {
        // Room to grow by writing, as much as there is memory for.
        let wanted = n.max(len + len / 2).max(16);
        let room = if wanted - capacity > heap.memory_free() { n } else { wanted };
        heap.charge(block(room) - block(capacity))?;
        blob(heap, args, 0)?.bytes.reserve_exact(room - len);
        heap.work((n - len) / 64);
    }
    let blob = blob(heap, args, 0)?;
    blob.bytes.resize(n, 0);
    blob.at = blob.at.min(n);
    Ok(())
}

fn resize(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let n = array::length(args, 1)?;
    set_len(heap, args, n)?;
    Ok(Value::Null)
}

fn swap(heap: &mut Heap, args: &[Value], size: usize) -> Result<Value, Throw> {
    let blob = blob(heap, args, 0)?;
    blob.bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    let work = blob.bytes.len() / 32;
    heap.work(work);
    Ok(Value::Null)
}

/// `b[i] = v`; false when it is no blob or out of range.
pub(crate) fn set_byte(heap: &mut Heap, id: u32, key: Value, value: Value) -> Result<bool, Throw> {
    let Payload::Blob(blob) = &mut heap.hosts.get_mut(id).payload else { return Ok(false) };
    let (Value::Int(_) | Value::Float(_), Some(byte)) = (key, value.to_int()) else { return Ok(false) };
    let at = key.to_int().and_then(|i| usize::try_from(i).ok());
    match at.and_then(|at| blob.bytes.get_mut(at)) {
        Some(slot) => {
            *slot = byte as u8;
            Ok(true)
        }
        None => Err(Throw::message("index out of range")),
    }
}

/// `clone` of a blob.
pub(crate) fn copy(heap: &mut Heap, id: u32) -> Result<Value, Throw> {
    let Payload::Blob(blob) = &heap.hosts.get(id).payload else {
        return Err(Throw::message("cloning a meta"));
    };
    heap.ensure(blob.bytes.len())?;
    let bytes = blob.bytes.clone();
    heap.blob_from(bytes)
}
