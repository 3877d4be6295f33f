//! Values as text: what `+` with a string, `tostring` and `print` show.

use super::frame::Then;
use super::task::Task;
use super::{Flow, Vm};
use crate::heap::object::Meta;
use crate::throw::{Fatal, Throw};
use crate::value::Value;

/// A float as C's `%g` prints it.
pub(crate) fn float_text(f: f32) -> String {
    crate::library::format::general(f64::from(f), 6, false, false)
}

/// Texts up to this length are joined in a buffer that the VM keeps.
const SCRATCH: usize = 256;
/// The longest text of anything but strings and host objects.
const TEXT_MAX: usize = 40;

fn write_int(i: i32, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut left = i.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if i < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

impl Vm {
    /// A value as text, metamethods aside.
    pub(crate) fn plain_text(&self, value: Value) -> Vec<u8> {
        let number = match value {
            Value::Str(s) => return self.heap.str_bytes(s).to_vec(),
            Value::Int(i) => return i.to_string().into_bytes(),
            Value::Float(f) => return float_text(f).into_bytes(),
            Value::Bool(b) => return b.to_string().into_bytes(),
            Value::Null | Value::Cell(_) => return b"(null : 0x(nil))".to_vec(),
            Value::Table(i) | Value::Array(i) | Value::Closure(i) | Value::Native(i) | Value::Class(i) => i,
            Value::Instance(i) | Value::Generator(i) | Value::Weak(i) | Value::Host(i) => i,
        };
        let kind = match value {
            Value::Host(id) => {
                let name = self.linked.library.classes[self.heap.hosts.get(id).class as usize].name;
                String::from_utf8_lossy(self.heap.str_bytes(name)).into_owned()
            }
            _ => value.type_name().to_owned(),
        };
        format!("({kind} : 0x{:08x})", number * 16 + value.kind() as u32).into_bytes()
    }

    /// For messages: at most 50 bytes.
    pub(super) fn show(&self, value: Value) -> String {
        let head = |text: &[u8]| String::from_utf8_lossy(&text[..text.len().min(50)]).into_owned();
        if let Value::Str(s) = value { head(self.heap.str_bytes(s)) } else { head(&self.plain_text(value)) }
    }

    fn text_meta(&self, value: Value) -> Value {
        match value {
            Value::Table(_) | Value::Instance(_) => self.meta(value, Meta::ToString),
            _ => Value::Null,
        }
    }

    /// Joins two values, at least one a string.
    pub(super) fn concat(&mut self, a: Value, b: Value, then: Then) -> Result<Flow, Throw> {
        if self.text_meta(a).is_null() && self.text_meta(b).is_null() {
            return self.join(a, b).map(Flow::Value);
        }
        self.start_task(Task::Concat { parts: [a, b], done: 0 }, then)
    }

    pub(super) fn join(&mut self, a: Value, b: Value) -> Result<Value, Throw> {
        let len = self.text_bound(a) + self.text_bound(b);
        if len > self.heap.memory_free() {
            return Err(Fatal::Memory.into());
        }
        if len > SCRATCH {
            let mut out = Vec::with_capacity(len);
            self.write_text(a, &mut out);
            self.write_text(b, &mut out);
            return self.heap.string_from(out);
        }
        let mut out = std::mem::take(&mut self.scratch);
        self.write_text(a, &mut out);
        self.write_text(b, &mut out);
        let made = self.heap.string(&out);
        out.clear();
        self.scratch = out;
        made
    }

    /// The most bytes of a value's text.
    fn text_bound(&self, value: Value) -> usize {
        match value {
            Value::Str(s) => self.heap.str_bytes(s).len(),
            Value::Host(_) => self.plain_text(value).len(),
            _ => TEXT_MAX,
        }
    }

    /// Appends a value's text, metamethods aside.
    fn write_text(&self, value: Value, out: &mut Vec<u8>) {
        match value {
            Value::Str(s) => out.extend_from_slice(self.heap.str_bytes(s)),
            Value::Int(i) => write_int(i, out),
            value => out.extend_from_slice(&self.plain_text(value)),
        }
    }

    /// `tostring()`: the value as a string, by `_tostring` where there is one.
    pub(crate) fn text_of(&mut self, value: Value, then: Then) -> Result<Flow, Throw> {
        if matches!(value, Value::Str(_)) {
            return Ok(Flow::Value(value));
        }
        match self.text_meta(value) {
            Value::Null => {
                let text = self.plain_text(value);
                self.heap.string_from(text).map(Flow::Value)
            }
            meta => self.call_with(meta, &[value], then),
        }
    }

    pub(super) fn type_of(&mut self, value: Value, then: Then) -> Result<Flow, Throw> {
        if let Value::Host(id) = value {
            let class = self.heap.hosts.get(id).class;
            return Ok(Flow::Value(Value::Str(self.linked.library.classes[class as usize].name)));
        }
        match self.meta(value, Meta::Typeof) {
            Value::Null => self.heap.string(value.type_name().as_bytes()).map(Flow::Value),
            meta => self.call_with(meta, &[value], then),
        }
    }
}
