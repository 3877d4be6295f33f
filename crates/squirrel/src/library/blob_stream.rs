//! Reading and writing of blobs at their place.

use super::blob::{blob, set_len};
use super::{LibraryBuilder, array, float_arg, int_arg, str_arg};
use crate::heap::Heap;
use crate::throw::{Fatal, Throw};
use crate::value::Value;

pub(super) fn add(b: &mut LibraryBuilder) {
    let c = b.blob_class();
    b.native(c, "tell", 0..=0, |heap, args| Ok(Value::Int(blob(heap, args, 0)?.at as i32)));
    b.native(c, "seek", 1..=2, seek);
    b.native(c, "eos", 0..=0, |heap, args| {
        let blob = blob(heap, args, 0)?;
        Ok(if blob.at >= blob.bytes.len() { Value::Int(1) } else { Value::Null })
    });
    b.native(c, "flush", 0..=0, |_, _| Ok(Value::Int(0)));
    b.native(c, "readn", 1..=1, read_number);
    b.native(c, "writen", 2..=2, write_number);
    b.native(c, "readblob", 1..=1, |heap, args| {
        let bytes = read_bytes(heap, args)?;
        heap.blob_from(bytes)
    });
    b.native(c, "readstring", 1..=1, |heap, args| {
        let bytes = read_bytes(heap, args)?;
        heap.string_from(bytes)
    });
    b.native(c, "writeblob", 1..=1, |heap, args| {
        let n = blob(heap, args, 1)?.bytes.len();
        write_copy(heap, args, n, |heap| Ok(blob(heap, args, 1)?.bytes.clone()))
    });
    b.native(c, "writestring", 1..=1, |heap, args| {
        let n = str_arg(heap, args, 1)?.len();
        write_copy(heap, args, n, |heap| Ok(str_arg(heap, args, 1)?.to_vec()))
    });
}

/// Writes `n` bytes of another object, or of the blob itself; their copy is charged while it is there.
fn write_copy(
    heap: &mut Heap,
    args: &[Value],
    n: usize,
    copy: impl Fn(&mut Heap) -> Result<Vec<u8>, Throw>,
) -> Result<Value, Throw> {
    heap.charge(n)?;
    let written = copy(heap).and_then(|bytes| write(heap, args, &bytes));
    heap.release(n);
    written
}

fn seek(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let offset = i64::from(int_arg(args, 1)?);
    let from = if args.len() > 2 { int_arg(args, 2)? } else { i32::from(b'b') };
    let blob = blob(heap, args, 0)?;
    let start = match u8::try_from(from) {
        Ok(b'b') => 0,
        Ok(b'c') => blob.at as i64,
        Ok(b'e') => blob.bytes.len() as i64,
        _ => return Err(Throw::message("invalid origin")),
    };
    match usize::try_from(start + offset) {
        Ok(at) if at <= blob.bytes.len() => {
            blob.at = at;
            Ok(Value::Int(0))
        }
        _ => Ok(Value::Int(-1)),
    }
}

fn take<const N: usize>(heap: &mut Heap, args: &[Value]) -> Result<[u8; N], Throw> {
    let blob = blob(heap, args, 0)?;
    let bytes = blob.bytes.get(blob.at..).and_then(|b| b.first_chunk::<N>()).copied();
    let bytes = bytes.ok_or_else(|| Throw::message("io error"))?;
    blob.at += N;
    Ok(bytes)
}

fn read_number(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    Ok(match u8::try_from(int_arg(args, 1)?) {
        Ok(b'i' | b'l') => Value::Int(i32::from_le_bytes(take(heap, args)?)),
        Ok(b's') => Value::Int(i16::from_le_bytes(take(heap, args)?).into()),
        Ok(b'w') => Value::Int(u16::from_le_bytes(take(heap, args)?).into()),
        Ok(b'c') => Value::Int(i8::from_le_bytes(take(heap, args)?).into()),
        Ok(b'b') => Value::Int(take::<1>(heap, args)?[0].into()),
        Ok(b'f') => Value::Float(f32::from_le_bytes(take(heap, args)?)),
        Ok(b'd') => Value::Float(f64::from_le_bytes(take(heap, args)?) as f32),
        _ => return Err(Throw::message("invalid format")),
    })
}

/// A value of the wrong type writes zeros.
fn write_number(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let number = matches!(args[1], Value::Int(_) | Value::Float(_));
    let (i, f) = if number { (int_arg(args, 1)?, float_arg(args, 1)?) } else { (0, 0.0) };
    match u8::try_from(int_arg(args, 2)?) {
        Ok(b'i' | b'l') => write(heap, args, &i.to_le_bytes())?,
        Ok(b's' | b'w') => write(heap, args, &(i as u16).to_le_bytes())?,
        Ok(b'c' | b'b') => write(heap, args, &[i as u8])?,
        Ok(b'f') => write(heap, args, &f.to_le_bytes())?,
        Ok(b'd') => write(heap, args, &f64::from(f).to_le_bytes())?,
        _ => return Err(Throw::message("invalid format")),
    };
    Ok(Value::Null)
}

fn read_bytes(heap: &mut Heap, args: &[Value]) -> Result<Vec<u8>, Throw> {
    let n = array::length(args, 1)?;
    let free = heap.memory_free();
    let blob = blob(heap, args, 0)?;
    let left = blob.bytes.len().saturating_sub(blob.at);
    if left == 0 && n > 0 {
        return Err(Throw::message("no data left to read"));
    }
    let n = n.min(left);
    if n > free {
        return Err(Fatal::Memory.into());
    }
    let bytes = blob.bytes[blob.at..blob.at + n].to_vec();
    blob.at += n;
    heap.work(n / 64);
    Ok(bytes)
}

fn write(heap: &mut Heap, args: &[Value], bytes: &[u8]) -> Result<Value, Throw> {
    let target = blob(heap, args, 0)?;
    let (at, end) = (target.at, target.at + bytes.len());
    if end > target.bytes.len() {
        set_len(heap, args, end)?;
    }
    let target = blob(heap, args, 0)?;
    target.bytes[at..end].copy_from_slice(bytes);
    target.at = end;
    heap.work(bytes.len() / 64);
    Ok(Value::Int(bytes.len() as i32))
}
