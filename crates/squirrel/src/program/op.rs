//! The instructions: 8 bytes each, at most 256 registers to a function.

use std::ops::{Index, IndexMut};

use crate::value::Value;

/// A register of the running function; register 0 is `this`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u8);

/// A constant of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Konst(pub(crate) u16);

/// One of the first 256 constants of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Near(pub(crate) u8);

/// A place in the code to jump forward to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead(pub(crate) u32);

/// A place in the code to jump back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind(pub(crate) u32);

/// A free variable of the running closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer(pub(crate) u8);

/// A function of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner(pub(crate) u16);

/// The 256 registers from the running function's first on: indexing by [`Reg`] needs no check.
pub(crate) struct Window<'a>(pub(crate) &'a mut [Value; 256]);

impl Index<Reg> for Window<'_> {
    type Output = Value;
    #[inline(always)]
    fn index(&self, r: Reg) -> &Value {
        &self.0[r.0 as usize]
    }
}

impl IndexMut<Reg> for Window<'_> {
    #[inline(always)]
    fn index_mut(&mut self, r: Reg) -> &mut Value {
        &mut self.0[r.0 as usize]
    }
}

/// What the operands of a function's code may refer to.
pub(crate) struct Bounds {
    pub(crate) registers: usize,
    pub(crate) constants: usize,
    pub(crate) outers: usize,
    pub(crate) inners: usize,
    pub(crate) code: usize,
    pub(crate) pc: usize,
}

/// An operand: how it is written in an image, and whether it refers to something that exists.
pub(crate) trait Operand: Copy {
    fn write(self, out: &mut Vec<u8>);
    fn read(bytes: &mut &[u8]) -> Option<Self>;
    fn fits(self, bounds: &Bounds) -> bool;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

macro_rules! operand {
    ($t:ty, $raw:ty, $wrap:expr, $unwrap:expr, $fits:expr) => {
        impl Operand for $t {
            fn write(self, out: &mut Vec<u8>) {
                let unwrap: fn($t) -> $raw = $unwrap;
                out.extend_from_slice(&unwrap(self).to_le_bytes());
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let wrap: fn($raw) -> Option<$t> = $wrap;
                wrap(<$raw>::from_le_bytes(take(bytes)?))
            }
            fn fits(self, bounds: &Bounds) -> bool {
                let fits: fn($t, &Bounds) -> bool = $fits;
                fits(self, bounds)
            }
        }
    };
}

operand!(Reg, u8, |n| Some(Reg(n)), |r| r.0, |r, b| (r.0 as usize) < b.registers);
operand!(Konst, u16, |n| Some(Konst(n)), |k| k.0, |k, b| (k.0 as usize) < b.constants);
operand!(Near, u8, |n| Some(Near(n)), |k| k.0, |k, b| (k.0 as usize) < b.constants);
operand!(Ahead, u32, |n| Some(Ahead(n)), |t| t.0, |t, b| (t.0 as usize) > b.pc && (t.0 as usize) < b.code);
operand!(Behind, u32, |n| Some(Behind(n)), |t| t.0, |t, b| (t.0 as usize) <= b.pc);
operand!(Outer, u8, |n| Some(Outer(n)), |o| o.0, |o, b| (o.0 as usize) < b.outers);
operand!(Inner, u16, |n| Some(Inner(n)), |i| i.0, |i, b| (i.0 as usize) < b.inners);
operand!(i8, i8, Some, |n| n, |_, _| true);
operand!(u8, u8, Some, |n| n, |_, _| true);
operand!(u16, u16, Some, |n| n, |_, _| true);
operand!(i32, i32, Some, |n| n, |_, _| true);
operand!(bool, u8, |n| (n < 2).then_some(n == 1), u8::from, |_, _| true);

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident ( $($field:ident : $t:ty),* )),* $(,)?) => {
        /// One instruction.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(crate) enum Op { $($(#[$doc])* $name($($t),*)),* }

        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Code { $($name),* }

        impl Op {
            pub(crate) fn write(self, out: &mut Vec<u8>) {
                match self {
                    $(Op::$name($($field),*) => {
                        out.push(Code::$name as u8);
                        $($field.write(out);)*
                    })*
                }
            }

            pub(crate) fn read(bytes: &mut &[u8]) -> Option<Op> {
                let [code] = take::<1>(bytes)?;
                $(if code == Code::$name as u8 {
                    return Some(Op::$name($(<$t>::read(bytes)?),*));
                })*
                None
            }

            fn operands_fit(self, bounds: &Bounds) -> bool {
                match self {
                    $(Op::$name($($field),*) => true $(&& $field.fits(bounds))*,)*
                }
            }
        }
    };
}

ops! {
    Null(a: Reg),
    Bool(a: Reg, b: bool),
    Int(a: Reg, i: i32),
    Load(a: Reg, k: Konst),
    Move(a: Reg, b: Reg),
    /// The root table.
    Root(a: Reg),
    /// The base of the class that defined the running function.
    Base(a: Reg),
    Add(a: Reg, b: Reg, c: Reg),
    Sub(a: Reg, b: Reg, c: Reg),
    Mul(a: Reg, b: Reg, c: Reg),
    Div(a: Reg, b: Reg, c: Reg),
    Mod(a: Reg, b: Reg, c: Reg),
    AddI(a: Reg, b: Reg, i: i32),
    SubI(a: Reg, b: Reg, i: i32),
    AddK(a: Reg, b: Reg, k: Konst),
    SubK(a: Reg, b: Reg, k: Konst),
    MulK(a: Reg, b: Reg, k: Konst),
    DivK(a: Reg, b: Reg, k: Konst),
    ModK(a: Reg, b: Reg, k: Konst),
    /// The constant is the left operand.
    KSub(a: Reg, k: Konst, c: Reg),
    KMul(a: Reg, k: Konst, c: Reg),
    KAdd(a: Reg, k: Konst, c: Reg),
    BitAnd(a: Reg, b: Reg, c: Reg),
    BitOr(a: Reg, b: Reg, c: Reg),
    BitXor(a: Reg, b: Reg, c: Reg),
    Shl(a: Reg, b: Reg, c: Reg),
    Shr(a: Reg, b: Reg, c: Reg),
    UShr(a: Reg, b: Reg, c: Reg),
    BitAndI(a: Reg, b: Reg, i: i32),
    Neg(a: Reg, b: Reg),
    Not(a: Reg, b: Reg),
    BitNot(a: Reg, b: Reg),
    Eq(a: Reg, b: Reg, c: Reg),
    Ne(a: Reg, b: Reg, c: Reg),
    Lt(a: Reg, b: Reg, c: Reg),
    Le(a: Reg, b: Reg, c: Reg),
    Gt(a: Reg, b: Reg, c: Reg),
    Ge(a: Reg, b: Reg, c: Reg),
    Compare(a: Reg, b: Reg, c: Reg),
    /// Jumps when the comparison is `when`.
    JumpEq(b: Reg, c: Reg, when: bool, t: Ahead),
    JumpLt(b: Reg, c: Reg, when: bool, t: Ahead),
    JumpLe(b: Reg, c: Reg, when: bool, t: Ahead),
    JumpGt(b: Reg, c: Reg, when: bool, t: Ahead),
    JumpGe(b: Reg, c: Reg, when: bool, t: Ahead),
    JumpEqI(b: Reg, i: i8, when: bool, t: Ahead),
    JumpLtI(b: Reg, i: i8, when: bool, t: Ahead),
    JumpLeI(b: Reg, i: i8, when: bool, t: Ahead),
    JumpGtI(b: Reg, i: i8, when: bool, t: Ahead),
    JumpGeI(b: Reg, i: i8, when: bool, t: Ahead),
    JumpEqK(b: Reg, k: Near, when: bool, t: Ahead),
    JumpLtK(b: Reg, k: Near, when: bool, t: Ahead),
    JumpLeK(b: Reg, k: Near, when: bool, t: Ahead),
    JumpGtK(b: Reg, k: Near, when: bool, t: Ahead),
    JumpGeK(b: Reg, k: Near, when: bool, t: Ahead),
    JumpIf(a: Reg, when: bool, t: Ahead),
    Jump(t: Ahead),
    /// Jumps backwards; all of these are charged, and nothing else goes back.
    Loop(t: Behind),
    LoopLt(b: Reg, c: Reg, t: Behind),
    LoopLe(b: Reg, c: Reg, t: Behind),
    LoopGt(b: Reg, c: Reg, t: Behind),
    LoopGe(b: Reg, c: Reg, t: Behind),
    LoopLtK(b: Reg, k: Konst, t: Behind),
    LoopLeK(b: Reg, k: Konst, t: Behind),
    LoopGtK(b: Reg, k: Konst, t: Behind),
    LoopGeK(b: Reg, k: Konst, t: Behind),
    Get(a: Reg, b: Reg, c: Reg),
    GetK(a: Reg, b: Reg, k: Konst),
    /// A bare name: `this`, then the root table.
    GetSelf(a: Reg, k: Konst),
    GetRoot(a: Reg, k: Konst),
    Set(a: Reg, b: Reg, c: Reg),
    SetK(a: Reg, k: Konst, c: Reg),
    SetSelf(k: Konst, c: Reg),
    NewSlot(a: Reg, b: Reg, c: Reg),
    NewSlotK(a: Reg, k: Konst, c: Reg),
    Delete(a: Reg, b: Reg, c: Reg),
    In(a: Reg, b: Reg, c: Reg),
    InstanceOf(a: Reg, b: Reg, c: Reg),
    /// Prepares a call: the function of a member into `f`, the object into `f + 1`.
    Prep(f: Reg, b: Reg, c: Reg),
    PrepK(f: Reg, b: Reg, k: Konst),
    PrepSelf(f: Reg, k: Konst),
    PrepRoot(f: Reg, k: Konst),
    /// Calls `f` with `n` values from `f + 1` on, `this` first; the result goes to `a`.
    Call(a: Reg, f: Reg, n: u8),
    TailCall(f: Reg, n: u8),
    Return(a: Reg),
    ReturnNull(),
    Closure(a: Reg, p: Inner),
    Table(a: Reg, n: u16),
    Array(a: Reg, n: u16),
    Append(a: Reg, b: Reg),
    /// A class: base (when there is one) in `b`, attributes in `c`.
    Class(a: Reg, b: Reg, has: bool, c: Reg),
    /// A member of the class in `a`: name `b`, value `c`, attributes `d`.
    Member(a: Reg, b: Reg, c: Reg, d: Reg, is_static: bool),
    /// Boxes what is in the register.
    Box(a: Reg),
    GetBox(a: Reg, b: Reg),
    SetBox(a: Reg, b: Reg),
    GetOuter(a: Reg, o: Outer),
    SetOuter(o: Outer, b: Reg),
    /// Container, state, key and value from `s` on; jumps when there is no more.
    Foreach(s: Reg, t: Ahead),
    Trap(a: Reg, t: Ahead),
    Untrap(n: u8),
    Throw(a: Reg),
    Yield(a: Reg),
    Resume(a: Reg, b: Reg),
    Typeof(a: Reg, b: Reg),
    Clone(a: Reg, b: Reg),
}

impl Op {
    /// Whether every operand refers to something that exists, groups of registers included.
    pub(crate) fn fits(self, bounds: &Bounds) -> bool {
        let group = |first: Reg, n: usize| first.0 as usize + n <= bounds.registers;
        let whole = match self {
            Op::Call(_, f, n) | Op::TailCall(f, n) => n > 0 && group(f, n as usize + 1),
            Op::Prep(f, ..) | Op::PrepK(f, ..) | Op::PrepSelf(f, _) | Op::PrepRoot(f, _) => group(f, 2),
            Op::Foreach(s, _) => group(s, 4),
            _ => true,
        };
        whole && self.operands_fit(bounds)
    }

    /// The place that it may jump forward to.
    #[cfg(feature = "compile")]
    pub(crate) fn target_mut(&mut self) -> Option<&mut Ahead> {
        match self {
            Op::JumpEq(_, _, _, t) | Op::JumpLt(_, _, _, t) | Op::JumpLe(_, _, _, t) => Some(t),
            Op::JumpGt(_, _, _, t) | Op::JumpGe(_, _, _, t) | Op::JumpEqI(_, _, _, t) => Some(t),
            Op::JumpLtI(_, _, _, t) | Op::JumpLeI(_, _, _, t) | Op::JumpGtI(_, _, _, t) => Some(t),
            Op::JumpGeI(_, _, _, t) | Op::JumpIf(_, _, t) | Op::Jump(t) => Some(t),
            Op::JumpEqK(_, _, _, t) | Op::JumpLtK(_, _, _, t) | Op::JumpLeK(_, _, _, t) => Some(t),
            Op::JumpGtK(_, _, _, t) | Op::JumpGeK(_, _, _, t) => Some(t),
            Op::Foreach(_, t) | Op::Trap(_, t) => Some(t),
            _ => None,
        }
    }

    /// The place that it may jump forward to.
    #[cfg(feature = "compile")]
    pub(crate) fn target(mut self) -> Option<u32> {
        self.target_mut().map(|t| t.0)
    }

    /// Whether the code may end here.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Op::Return(_) | Op::ReturnNull())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_eight_bytes() {
        assert_eq!(size_of::<Op>(), 8);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for op in [Op::ReturnNull(), Op::JumpLtI(Reg(3), -5, true, Ahead(70_000)), Op::GetK(Reg(1), Reg(2), Konst(999))]
        {
            let mut out = Vec::new();
            op.write(&mut out);
            assert_eq!(Op::read(&mut &out[..]), Some(op));
            assert_eq!(Op::read(&mut &out[..out.len() - 1]), None);
        }
        assert_eq!(Op::read(&mut &[255_u8, 0, 0][..]), None);
    }

    #[test]
    fn operands_are_held_against_the_function() {
        let bounds = Bounds { registers: 4, constants: 1, outers: 0, inners: 0, code: 10, pc: 5 };
        assert!(Op::Move(Reg(3), Reg(0)).fits(&bounds));
        assert!(!Op::Move(Reg(4), Reg(0)).fits(&bounds));
        assert!(Op::Call(Reg(0), Reg(1), 2).fits(&bounds));
        assert!(!Op::Call(Reg(0), Reg(1), 3).fits(&bounds));
        assert!(!Op::Call(Reg(0), Reg(1), 0).fits(&bounds));
        assert!(Op::Jump(Ahead(6)).fits(&bounds));
        assert!(!Op::Jump(Ahead(5)).fits(&bounds), "a jump that is not charged goes forward only");
        assert!(!Op::Jump(Ahead(10)).fits(&bounds));
        assert!(Op::Loop(Behind(5)).fits(&bounds));
        assert!(!Op::Loop(Behind(6)).fits(&bounds));
        assert!(!Op::GetOuter(Reg(0), Outer(0)).fits(&bounds));
    }
}
