//! The 8-byte value that registers, slots and constants hold, and the names of the types.

/// A Squirrel value: a scalar, or the number of an object in the heap of one VM.
///
/// A value that names an object means nothing in another VM and is kept alive only while the VM
/// can reach it; a host that keeps one across events pins it ([`crate::Vm::pin`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(u32, align(8))]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` and `false`
    Bool(bool),
    /// 32-bit integer that wraps around
    Int(i32),
    /// 32-bit float
    Float(f32),
    /// byte string
    Str(u32),
    /// table
    Table(u32),
    /// array
    Array(u32),
    /// script function with its free variables
    Closure(u32),
    /// function of the library or the host: its number in the library
    Native(u32),
    /// class
    Class(u32),
    /// instance of a script class
    Instance(u32),
    /// generator
    Generator(u32),
    /// weak reference
    Weak(u32),
    /// object that the library or the host made: blob, regexp, pin
    Host(u32),
    /// a free variable's box; only registers of compiled code ever hold one
    #[doc(hidden)]
    Cell(u32),
}

/// What kind of value it is, as `type()` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    /// null
    Null,
    /// bool
    Bool,
    /// integer
    Integer,
    /// float
    Float,
    /// string
    String,
    /// table
    Table,
    /// array
    Array,
    /// closures and natives alike
    Function,
    /// class
    Class,
    /// instance
    Instance,
    /// generator
    Generator,
    /// weakref
    Weakref,
    /// objects of the library or the host
    Meta,
}

impl Type {
    /// How many types there are.
    pub const COUNT: usize = 13;

    /// The name that `type()` gives.
    pub fn name(self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Integer => "integer",
            Type::Float => "float",
            Type::String => "string",
            Type::Table => "table",
            Type::Array => "array",
            Type::Function => "function",
            Type::Class => "class",
            Type::Instance => "instance",
            Type::Generator => "generator",
            Type::Weakref => "weakref",
            Type::Meta => "meta",
        }
    }
}

impl Value {
    /// The type of this value.
    pub fn kind(self) -> Type {
        match self {
            Value::Null | Value::Cell(_) => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Integer,
            Value::Float(_) => Type::Float,
            Value::Str(_) => Type::String,
            Value::Table(_) => Type::Table,
            Value::Array(_) => Type::Array,
            Value::Closure(_) | Value::Native(_) => Type::Function,
            Value::Class(_) => Type::Class,
            Value::Instance(_) => Type::Instance,
            Value::Generator(_) => Type::Generator,
            Value::Weak(_) => Type::Weakref,
            Value::Host(_) => Type::Meta,
        }
    }

    /// The name that `type()` gives.
    pub fn type_name(self) -> &'static str {
        self.kind().name()
    }

    /// Everything is true but `null`, `false`, `0` and `0.0`.
    #[inline(always)]
    pub fn is_true(self) -> bool {
        !matches!(self, Value::Null | Value::Bool(false) | Value::Int(0)) && self != Value::Float(0.0)
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self, Value::Null)
    }

    /// An integer, from an integer, a float (truncated, saturating) or a bool.
    pub fn to_int(self) -> Option<i32> {
        match self {
            Value::Int(i) => Some(i),
            Value::Float(f) => Some(float_to_int(f)),
            Value::Bool(b) => Some(i32::from(b)),
            _ => None,
        }
    }

    /// A float, from a number or a bool.
    pub fn to_float(self) -> Option<f32> {
        match self {
            Value::Int(i) => Some(i as f32),
            Value::Float(f) => Some(f),
            Value::Bool(b) => Some(if b { 1.0 } else { 0.0 }),
            _ => None,
        }
    }

    /// Same key of a table: same type and same bits; long strings are compared by the caller.
    #[inline(always)]
    pub(crate) fn same_bits(self, other: Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}

/// Float to integer as the x86 reference does it: what does not fit becomes the smallest integer.
pub(crate) fn float_to_int(f: f32) -> i32 {
    if (-2_147_483_648.0..2_147_483_648.0).contains(&f) { f as i32 } else { i32::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_eight_bytes() {
        assert_eq!(size_of::<Value>(), 8);
    }

    #[test]
    fn only_null_false_and_zero_are_false() {
        for v in [Value::Null, Value::Bool(false), Value::Int(0), Value::Float(0.0), Value::Float(-0.0)] {
            assert!(!v.is_true(), "{v:?}");
        }
        for v in [Value::Bool(true), Value::Int(-1), Value::Float(f32::NAN), Value::Str(0), Value::Array(0)] {
            assert!(v.is_true(), "{v:?}");
        }
    }

    #[test]
    fn floats_out_of_range_become_the_smallest_integer() {
        assert_eq!(float_to_int(1e20), i32::MIN);
        assert_eq!(float_to_int(f32::NAN), i32::MIN);
        assert_eq!(float_to_int(-1.9), -1);
        assert_eq!(float_to_int(2_147_483_520.0), 2_147_483_520);
    }
}
