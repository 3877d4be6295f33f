//! CBOR (RFC 8949) as messages between the two ends use it: definite lengths, text keys, no tags.

use minicbor::Decoder;
use minicbor::data::Type;
use squirrel::{Heap, Throw, Value, View};

use super::safe_text;

/// Appends the head of an item: its major type and its length or count.
pub(super) fn head(out: &mut Vec<u8>, major: u8, count: usize) {
    let major = major << 5;
    match count {
        0..24 => out.push(major | count as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, count as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(major | 26);
            out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// Appends a value that holds no others; a string that is no text becomes a byte string.
pub(super) fn scalar(out: &mut Vec<u8>, value: View<'_>) {
    match value {
        View::Bool(false) => out.push(0xf4),
        View::Bool(true) => out.push(0xf5),
        View::Int(number) if number >= 0 => head(out, 0, number.unsigned_abs() as usize),
        View::Int(number) => head(out, 1, number.unsigned_abs() as usize - 1),
        View::Float(number) => {
            out.push(0xfa);
            out.extend_from_slice(&number.to_bits().to_be_bytes());
        }
        View::Str(bytes) if safe_text(bytes).is_some() => text(out, 3, bytes),
        View::Str(bytes) | View::Blob(bytes) => text(out, 2, bytes),
        _ => out.push(0xf6),
    }
}

fn text(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(out, major, bytes.len());
    out.extend_from_slice(bytes);
}

/// The one value that `bytes` hold, made in `heap` and charged to its budget.
///
/// # Errors
/// A message for anything that [`super::encode`] does not write, trailing bytes included; `Fatal` when the budget does not hold it.
pub(crate) fn decode(heap: &mut Heap, bytes: &[u8], nesting: usize) -> Result<Value, Throw> {
    heap.work(bytes.len() / 8);
    let mut decoder = Decoder::new(bytes);
    let value = item(heap, &mut decoder, nesting)?;
    if decoder.position() != bytes.len() {
        return Err(malformed("bytes follow the value"));
    }
    Ok(value)
}

fn item(heap: &mut Heap, decoder: &mut Decoder<'_>, nesting: usize) -> Result<Value, Throw> {
    Ok(match decoder.datatype().map_err(broken)? {
        Type::Null => {
            decoder.null().map_err(broken)?;
            Value::Null
        }
        Type::Bool => Value::Bool(decoder.bool().map_err(broken)?),
        Type::U8 | Type::U16 | Type::U32 | Type::I8 | Type::I16 | Type::I32 | Type::U64 | Type::I64 | Type::Int => {
            Value::Int(decoder.i32().map_err(broken)?)
        }
        Type::F32 => Value::Float(decoder.f32().map_err(broken)?),
        Type::Bytes => heap.blob(decoder.bytes().map_err(broken)?)?,
        Type::String => heap.string(decoder.str().map_err(broken)?.as_bytes())?,
        Type::Array => array(heap, decoder, nesting)?,
        Type::Map => table(heap, decoder, nesting)?,
        other => return Err(malformed(&format!("{other} has no place in a message"))),
    })
}

fn array(heap: &mut Heap, decoder: &mut Decoder<'_>, nesting: usize) -> Result<Value, Throw> {
    let nesting = nesting.checked_sub(1).ok_or_else(too_deep)?;
    let count = decoder.array().map_err(broken)?;
    let count = plausible(count, decoder, 1)?;
    let array = heap.array(Vec::new())?;
    for _ in 0..count {
        let value = item(heap, decoder, nesting)?;
        heap.array_push(array, value)?;
    }
    Ok(array)
}

fn table(heap: &mut Heap, decoder: &mut Decoder<'_>, nesting: usize) -> Result<Value, Throw> {
    let nesting = nesting.checked_sub(1).ok_or_else(too_deep)?;
    let count = decoder.map().map_err(broken)?;
    let count = plausible(count, decoder, 2)?;
    let table = heap.table(0)?;
    for _ in 0..count {
        let key = heap.string(decoder.str().map_err(broken)?.as_bytes())?;
        if heap.table_get(table, key).is_some() {
            return Err(malformed("a key twice in one table"));
        }
        let value = item(heap, decoder, nesting)?;
        heap.table_insert(table, key, value)?;
    }
    Ok(table)
}

/// The count, if the bytes that are left can hold that many items of at least `least` bytes.
fn plausible(count: Option<u64>, decoder: &Decoder<'_>, least: usize) -> Result<usize, Throw> {
    let left = decoder.input().len().saturating_sub(decoder.position());
    count
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| count.checked_mul(least).is_some_and(|bytes| bytes <= left))
        .ok_or_else(|| malformed("a length that the bytes do not have"))
}

fn too_deep() -> Throw {
    malformed("nested too deep")
}

fn malformed(what: &str) -> Throw {
    Throw::message(format!("not a message: {what}"))
}

fn broken(error: minicbor::decode::Error) -> Throw {
    Throw::message(format!("not a message: {error}"))
}
