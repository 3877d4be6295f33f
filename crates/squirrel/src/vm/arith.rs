//! Arithmetic, bit operations and comparisons: fast forms for numbers, then strings and metamethods.

use super::frame::{Ordering, Then};
use super::{Flow, Vm};
use crate::heap::object::Meta;
use crate::throw::Throw;
use crate::value::Value;
use crate::value::Value::{Bool, Float, Int, Null, Str};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

impl Arith {
    fn meta(self) -> Meta {
        match self {
            Arith::Add => Meta::Add,
            Arith::Sub => Meta::Sub,
            Arith::Mul => Meta::Mul,
            Arith::Div => Meta::Div,
            Arith::Mod => Meta::Modulo,
        }
    }

    fn sign(self) -> char {
        match self {
            Arith::Add => '+',
            Arith::Sub => '-',
            Arith::Mul => '*',
            Arith::Div => '/',
            Arith::Mod => '%',
        }
    }
}

/// Arithmetic of two integers; None where it needs a closer look.
#[inline(always)]
fn ints(op: Arith, x: i32, y: i32) -> Option<Value> {
    match op {
        Arith::Add => Some(Int(x.wrapping_add(y))),
        Arith::Sub => Some(Int(x.wrapping_sub(y))),
        Arith::Mul => Some(Int(x.wrapping_mul(y))),
        Arith::Div if y != 0 && y != -1 => Some(Int(x / y)),
        Arith::Mod if y != 0 && y != -1 => Some(Int(x % y)),
        Arith::Div | Arith::Mod => None,
    }
}

#[inline(always)]
fn floats(op: Arith, x: f32, y: f32) -> Value {
    Float(match op {
        Arith::Add => x + y,
        Arith::Sub => x - y,
        Arith::Mul => x * y,
        Arith::Div => x / y,
        Arith::Mod => x % y,
    })
}

/// Arithmetic of two numbers of one type. References, so that type and payload are loaded as they were stored.
#[inline(always)]
pub(super) fn simple(op: Arith, a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (&Int(x), &Int(y)) => ints(op, x, y),
        (&Float(x), &Float(y)) => Some(floats(op, x, y)),
        _ => None,
    }
}

/// A comparison of two numbers of one type.
///
/// The reference reduces floats to a three-way result, in which what is neither equal nor less is greater.
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "with NaN the negation is what the reference does")]
#[inline(always)]
pub(super) fn numbers(order: Ordering, a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Int(x), Int(y)) => Some(match order {
            Ordering::Lt => x < y,
            Ordering::Le => x <= y,
            Ordering::Gt => x > y,
            Ordering::Ge => x >= y,
        }),
        (Float(x), Float(y)) => Some(match order {
            Ordering::Lt => x < y,
            Ordering::Le => x <= y,
            Ordering::Gt => !(x <= y),
            Ordering::Ge => !(x < y),
        }),
        _ => None,
    }
}

/// A three-way comparison, or the metamethod that must answer.
pub(super) enum Compared {
    Is(i32),
    Ask(Value),
}

impl Vm {
    /// Arithmetic that is not just two numbers.
    #[inline(never)]
    pub(super) fn arith(&mut self, op: Arith, a: Value, b: Value, then: Then) -> Result<Flow, Throw> {
        if let (Int(x), Int(y)) = (a, b) {
            return integer_division(op, x, y).map(Flow::Value);
        }
        if op == Arith::Add && (matches!(a, Str(_)) || matches!(b, Str(_))) {
            return self.concat(a, b, then);
        }
        if let (Int(_) | Float(_), Int(_) | Float(_)) = (a, b) {
            let (x, y) = (a.to_float().unwrap_or_default(), b.to_float().unwrap_or_default());
            return Ok(Flow::Value(floats(op, x, y)));
        }
        let meta = self.meta(a, op.meta());
        if meta.is_null() {
            let (x, y) = (a.type_name(), b.type_name());
            return Err(Throw::Message(format!("arith op {} on between '{x}' and '{y}'", op.sign())));
        }
        self.call_with(meta, &[a, b], then)
    }

    #[cold]
    pub(super) fn bits_wrong(a: Value, b: Value) -> Throw {
        Throw::Message(format!("bitwise op between '{}' and '{}'", a.type_name(), b.type_name()))
    }

    pub(super) fn negate(&mut self, a: Value, then: Then) -> Result<Flow, Throw> {
        match a {
            Int(i) => Ok(Flow::Value(Int(i.wrapping_neg()))),
            Float(f) => Ok(Flow::Value(Float(-f))),
            _ => match self.meta(a, Meta::Unm) {
                Null => Err(Throw::Message(format!("attempt to negate a {}", a.type_name()))),
                meta => self.call_with(meta, &[a], then),
            },
        }
    }

    /// `<=>` of two values.
    pub(super) fn compare(&mut self, a: Value, b: Value) -> Result<Compared, Throw> {
        let sign = |o: std::cmp::Ordering| Compared::Is(o as i32);
        Ok(match (a, b) {
            (Int(x), Int(y)) => sign(x.cmp(&y)),
            (Int(_) | Float(_), Int(_) | Float(_)) => {
                let (x, y) = (a.to_float().unwrap_or_default(), b.to_float().unwrap_or_default());
                Compared::Is(if x == y { 0 } else { 1 - 2 * i32::from(x < y) })
            }
            (Str(x), Str(y)) => {
                let (x, y) = (self.heap.str_bytes(x), self.heap.str_bytes(y));
                // One byte more than both have decides.
                let n = x.len().min(y.len()) + 1;
                self.heap.work(n / 32);
                sign(c_string(&x[..n.min(x.len())]).cmp(c_string(&y[..n.min(y.len())])))
            }
            (Null, Null) => Compared::Is(0),
            (Null, _) => Compared::Is(-1),
            (_, Null) => Compared::Is(1),
            (Bool(x), Bool(y)) => sign(x.cmp(&y)),
            (Value::Table(x), Value::Table(y))
            | (Value::Instance(x), Value::Instance(y))
            | (Value::Host(x), Value::Host(y)) => match self.meta(a, Meta::Cmp) {
                Null => sign(x.cmp(&y)),
                meta => Compared::Ask(meta),
            },
            _ if a.kind() == b.kind() => sign(self.number_of(a).cmp(&self.number_of(b))),
            _ => {
                let (x, y) = (self.show(a), self.show(b));
                return Err(Throw::Message(format!("comparsion between '{x}' and '{y}'")));
            }
        })
    }

    fn number_of(&self, v: Value) -> u32 {
        crate::heap::table::hash_of(v, &self.heap.strings)
    }

    /// A comparison whose result is a bool.
    #[inline(never)]
    pub(super) fn ordered(&mut self, order: Ordering, a: Value, b: Value, then: Then) -> Result<Flow, Throw> {
        match self.compare(a, b)? {
            Compared::Is(i) => Ok(Flow::Value(Bool(order.holds(i)))),
            Compared::Ask(meta) => match self.call_with(meta, &[a, b], then)? {
                Flow::Value(v) => Ok(Flow::Value(Bool(order.holds(Self::compare_result(v)?)))),
                flow => Ok(flow),
            },
        }
    }

    pub(super) fn three_way(&mut self, a: Value, b: Value, then: Then) -> Result<Flow, Throw> {
        match self.compare(a, b)? {
            Compared::Is(i) => Ok(Flow::Value(Int(i))),
            Compared::Ask(meta) => self.call_with(meta, &[a, b], then),
        }
    }

    /// The integer that a `_cmp` must return.
    pub(super) fn compare_result(v: Value) -> Result<i32, Throw> {
        match v {
            Int(i) => Ok(i),
            _ => Err(Throw::message("_cmp must return an integer")),
        }
    }
}

fn integer_division(op: Arith, x: i32, y: i32) -> Result<Value, Throw> {
    match (op, y) {
        (Arith::Div, 0) => Err(Throw::message("division by zero")),
        (_, 0) => Err(Throw::message("modulo by zero")),
        // The reference dies of this one.
        (Arith::Div, _) => x.checked_div(y).map(Int).ok_or_else(|| Throw::message("integer overflow")),
        _ => Ok(Int(x.checked_rem(y).unwrap_or(0))),
    }
}

/// The bytes before the first NUL, as C compares strings.
pub(crate) fn c_string(s: &[u8]) -> &[u8] {
    s.iter().position(|&b| b == 0).map_or(s, |n| &s[..n])
}
