//! The functions of `http` that only turn data into text and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use squirrel::{Heap, Throw, Value, View};

use crate::limits::NESTING;
use crate::url;
use crate::value::{Bounds, Format, decode_json, encode};

pub(super) fn argument(values: &[Value], index: usize) -> Value {
    // The first value is `this`.
    values.get(index + 1).copied().unwrap_or_default()
}

pub(super) fn bytes(heap: &Heap, function: &str, value: Value) -> Result<Vec<u8>, Throw> {
    let bytes = heap.bytes_of(value).map(<[u8]>::to_vec);
    bytes.ok_or_else(|| Throw::message(format!("{function}: a string or a blob was expected")))
}

/// `http.jsonencode(value[, { compact = true }])`
pub(super) fn json_encode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let options = argument(values, 1);
    let compact = heap.entries(options).any(|(key, flag)| heap.bytes_of(key) == Some(b"compact") && flag.is_true());
    let format = if compact { Format::JsonCompact } else { Format::JsonSpaced };
    let bounds = Bounds { bytes: heap.memory_free(), nesting: NESTING };
    let encoded = encode(heap, argument(values, 0), format, bounds)
        .map_err(|error| Throw::message(format!("http.jsonencode: {error}")))?;
    heap.work(encoded.work);
    heap.string(&encoded.bytes)
}

/// `http.jsondecode(text)`
pub(super) fn json_decode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let text = bytes(heap, "http.jsondecode", argument(values, 0))?;
    decode_json(heap, &text, NESTING)
}

/// `http.base64encode(text or blob)`
pub(super) fn base64_encode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let data = bytes(heap, "http.base64encode", argument(values, 0))?;
    heap.work(data.len() / 16);
    heap.string(STANDARD.encode(data).as_bytes())
}

/// `http.base64decode(text)`: a blob.
pub(super) fn base64_decode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let mut text = bytes(heap, "http.base64decode", argument(values, 0))?;
    heap.work(text.len() / 16);
    text.retain(|byte| !byte.is_ascii_whitespace());
    let data = STANDARD.decode(text).map_err(|error| Throw::message(format!("http.base64decode: {error}")))?;
    heap.blob(&data)
}

/// `http.urlencode(table)`: values are strings, numbers or arrays of them.
pub(super) fn url_encode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let table = argument(values, 0);
    if !matches!(heap.view(table), View::Table(_)) {
        return Err(Throw::message("http.urlencode: a table was expected"));
    }
    let mut out = Vec::new();
    for (key, value) in heap.entries(table) {
        let name = heap.bytes_of(key).ok_or_else(|| Throw::message("http.urlencode: keys are strings"))?;
        match heap.view(value) {
            View::Array(items) => items.iter().try_for_each(|item| url_pair(heap, &mut out, name, *item))?,
            _ => url_pair(heap, &mut out, name, value)?,
        }
        if out.len() > heap.memory_free() {
            return Err(squirrel::Fatal::Memory.into());
        }
    }
    heap.work(out.len() / 16);
    heap.string(&out)
}

fn url_pair(heap: &Heap, out: &mut Vec<u8>, name: &[u8], value: Value) -> Result<(), Throw> {
    if !out.is_empty() {
        out.push(b'&');
    }
    url::encode_into(out, name);
    out.push(b'=');
    match heap.view(value) {
        View::Str(text) => url::encode_into(out, text),
        View::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        View::Float(number) => out.extend_from_slice(number.to_string().as_bytes()),
        View::Bool(flag) => out.extend_from_slice(flag.to_string().as_bytes()),
        View::Null => {}
        _ => return Err(Throw::message("http.urlencode: values are strings, numbers or arrays of them")),
    }
    Ok(())
}

/// `http.urldecode(text)`: a table of strings.
pub(super) fn url_decode(heap: &mut Heap, values: &[Value]) -> Result<Value, Throw> {
    let text = bytes(heap, "http.urldecode", argument(values, 0))?;
    heap.work(text.len() / 8);
    let table = heap.table(0)?;
    for (name, value) in url::pairs(&text) {
        let (name, value) = (heap.string(&name)?, heap.string(&value)?);
        heap.table_insert(table, name, value)?;
    }
    Ok(table)
}
