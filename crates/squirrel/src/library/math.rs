//! The `math` table.

use super::builder::{Constant, Place};
use super::{LibraryBuilder, NativeFn, float_arg, int_arg};
use crate::heap::Heap;
use crate::throw::Throw;
use crate::value::Value;

/// The greatest number that `rand` gives.
pub(super) const RAND_MAX: i32 = i32::MAX;

/// A function of one number. Computed as the reference does: in double, kept as float.
macro_rules! of_one {
    ($b:expr, $place:expr, $($name:literal => $f:expr),* $(,)?) => {
        $($b.native($place, $name, 1..=1, |_, args| {
            let f: fn(f64) -> f64 = $f;
            Ok(Value::Float(f(float_arg(args, 1)?.into()) as f32))
        });)*
    };
}

pub(super) fn add(b: &mut LibraryBuilder) {
    let root = b.root();
    let math = b.table(root, "math");
    of_one!(b, math,
        "sqrt" => f64::sqrt, "sin" => f64::sin, "cos" => f64::cos, "asin" => f64::asin, "acos" => f64::acos,
        "log" => f64::ln, "log10" => f64::log10, "tan" => f64::tan, "atan" => f64::atan, "floor" => f64::floor,
        "ceil" => f64::ceil, "exp" => f64::exp, "fabs" => f64::abs,
    );
    two(b, math, "atan2", |_, args| {
        Ok(Value::Float(f64::from(float_arg(args, 1)?).atan2(float_arg(args, 2)?.into()) as f32))
    });
    two(b, math, "pow", |_, args| {
        Ok(Value::Float(f64::from(float_arg(args, 1)?).powf(float_arg(args, 2)?.into()) as f32))
    });
    b.native(math, "abs", 1..=1, |_, args| Ok(Value::Int(int_arg(args, 1)?.wrapping_abs())));
    b.native(math, "srand", 1..=1, |_, args| float_arg(args, 1).map(|_| Value::Null));
    b.native(math, "rand", 0..=0, rand);
    b.constant(math, "PI", Constant::Float(std::f32::consts::PI));
    b.constant(math, "RAND_MAX", Constant::Int(RAND_MAX));
}

fn two(b: &mut LibraryBuilder, math: Place, name: &str, run: NativeFn) {
    b.native(math, name, 2..=2, run);
}

/// xorshift64*: the host seeds it.
fn rand(heap: &mut Heap, _: &[Value]) -> Result<Value, Throw> {
    let mut x = heap.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    heap.random = x;
    Ok(Value::Int((x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as i32 & RAND_MAX))
}
