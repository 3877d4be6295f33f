//! JSON (RFC 8259) as `http.jsonencode`, `http.jsondecode` and `server.save` use it.

use std::fmt;
use std::io::Write as _;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use squirrel::{Heap, Throw, Value, View};

use super::safe_text;

/// Appends a value that holds no others. A float has a point or an exponent, so that it is a float again when read; what JSON
/// has no number for is null.
pub(super) fn scalar(out: &mut Vec<u8>, value: View<'_>) {
    // Writing to a Vec does not fail.
    let _ = match value {
        View::Bool(flag) => write!(out, "{flag}"),
        View::Int(number) => write!(out, "{number}"),
        View::Float(number) if number.is_finite() => write!(out, "{number:?}"),
        View::Str(bytes) => {
            string(out, safe_text(bytes).unwrap_or_default());
            Ok(())
        }
        _ => write!(out, "null"),
    };
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The value that `bytes` describe, made in `heap` and charged to its budget. Whole numbers beyond 32 bits become floats; of
/// equal keys the last counts.
///
/// # Errors
/// A message says what is wrong and where; `Fatal` when the budget does not hold it.
pub(crate) fn decode(heap: &mut Heap, bytes: &[u8], nesting: usize) -> Result<Value, Throw> {
    heap.work(bytes.len() / 8);
    let mut thrown = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { heap, thrown: &mut thrown, nesting }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    match (value, thrown) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(thrown)) => Err(thrown),
        (Err(error), None) => Err(Throw::message(format!("JSON: {error}"))),
    }
}

struct Seed<'a> {
    heap: &'a mut Heap,
    /// What the heap threw, which no error of the reader can carry.
    thrown: &'a mut Option<Throw>,
    nesting: usize,
}

impl Seed<'_> {
    fn take<E: de::Error>(&mut self, made: Result<Value, Throw>) -> Result<Value, E> {
        made.map_err(|throw| {
            *self.thrown = Some(throw);
            E::custom("no room")
        })
    }

    fn inner<E: de::Error>(&mut self) -> Result<Seed<'_>, E> {
        let nesting = self.nesting.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Seed { heap: self.heap, thrown: self.thrown, nesting })
    }

    fn again(&mut self) -> Seed<'_> {
        Seed { heap: self.heap, thrown: self.thrown, nesting: self.nesting }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(i32::try_from(number).map_or(Value::Float(number as f32), Value::Int))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(i32::try_from(number).map_or(Value::Float(number as f32), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number as f32))
    }

    fn visit_str<E: de::Error>(mut self, text: &str) -> Result<Value, E> {
        let made = self.heap.string(text.as_bytes());
        self.take(made)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut inner = self.inner()?;
        let made = inner.heap.array(Vec::new());
        let array = inner.take(made)?;
        while let Some(item) = items.next_element_seed(inner.again())? {
            let pushed = inner.heap.array_push(array, item).map(|()| array);
            inner.take(pushed)?;
        }
        Ok(array)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut inner = self.inner()?;
        let made = inner.heap.table(0);
        let table = inner.take(made)?;
        while let Some(key) = entries.next_key_seed(inner.again())? {
            let value = entries.next_value_seed(inner.again())?;
            let inserted = inner.heap.table_insert(table, key, value).map(|()| table);
            inner.take(inserted)?;
        }
        Ok(table)
    }
}
