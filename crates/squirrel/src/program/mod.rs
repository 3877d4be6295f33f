//! A compiled program, and its link with a library into what VMs run.

pub(crate) mod image;
pub(crate) mod line;
mod link;
pub(crate) mod op;

pub use image::ImageError;
pub use link::Linked;

use op::Op;

/// The most instructions of one function: code without calls and jumps back is not interrupted.
pub(crate) const CODE_MAX: usize = 1 << 18;

/// A compiled program: functions, constants, names; no state. Cheap to share by `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub(crate) strings: Vec<Box<[u8]>>,
    pub(crate) functions: Vec<Function>,
    /// The functions to run, in order: one for each source.
    pub(crate) mains: Vec<u16>,
    /// Names of files that `#line` gave.
    pub(crate) files: Vec<u32>,
}

/// A constant of a function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    /// The bits of a float, so that a NaN equals itself.
    Float(u32),
    /// A string of the program.
    Str(u32),
}

/// From where a closure takes a free variable when it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capture {
    /// A register of the function that makes it, which holds a box.
    Register(u8),
    /// A free variable of the function that makes it.
    Outer(u8),
}

/// One function's code.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: Option<u32>,
    pub(crate) source: u32,
    pub(crate) code: Vec<Op>,
    pub(crate) constants: Vec<Constant>,
    /// From which instruction on which line; see [`line`].
    pub(crate) lines: Vec<(u32, u32)>,
    /// Names of the parameters, without `this`.
    pub(crate) parameters: Vec<u32>,
    /// Registers that hold the default values when the closure is made; they belong to the last parameters.
    pub(crate) defaults: Vec<u8>,
    pub(crate) captures: Vec<Capture>,
    pub(crate) registers: u16,
    pub(crate) varargs: bool,
    pub(crate) generator: bool,
}

impl Function {
    /// The line of an instruction.
    pub(crate) fn line(&self, pc: usize) -> u32 {
        let after = self.lines.partition_point(|&(from, _)| from as usize <= pc);
        after.checked_sub(1).map_or(0, |i| self.lines[i].1)
    }

    /// Registers that are filled by a call: `this`, parameters, `vargv`.
    pub(crate) fn filled(&self) -> usize {
        1 + self.parameters.len() + usize::from(self.varargs)
    }
}
