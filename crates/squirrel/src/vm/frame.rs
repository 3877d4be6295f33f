//! The explicit call stack: what runs, and what becomes of its result.

/// What is done with the value that a call returns, in the frame below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    /// The event is over.
    Exit,
    /// Into a register of the frame below.
    Store(u8),
    Discard,
    /// Whether the comparison holds for the returned integer goes to a register.
    Truth(u8, Ordering),
    /// The frame below jumps when the comparison with the returned integer is `when`.
    Branch(Ordering, bool, u32),
    /// Checks an integer of `_cmp` and stores it.
    CompareInto(u8),
    /// A `_get`: a thrown null means that there is nothing; a bare name is looked up in the root table then.
    GetInto(u8, bool),
    /// A `_set`: a thrown null means that there is no such slot; a bare name is set in the root table then.
    Set(bool),
    /// A generator's next value for `foreach` whose registers start here; jumps there at the end.
    Foreach(u8, u32),
    /// The index that `_nexti` gave for such a `foreach`.
    NextIndex(u8, u32),
    /// The task below goes on with it.
    Task,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    Lt,
    Le,
    Gt,
    Ge,
}

impl Ordering {
    /// Whether `<=>`'s result satisfies it.
    pub(crate) fn holds(self, result: i32) -> bool {
        match self {
            Ordering::Lt => result < 0,
            Ordering::Le => result <= 0,
            Ordering::Gt => result > 0,
            Ordering::Ge => result >= 0,
        }
    }
}

/// What a frame runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Script,
    /// A generator's frame: its number.
    Generator(u32),
    /// A native that calls scripts; its state lies on the stack of tasks.
    Task,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) function: u32,
    pub(crate) closure: u32,
    pub(crate) pc: u32,
    /// Its first register on the stack.
    pub(crate) base: u32,
    /// Open handlers of `try`.
    pub(crate) traps: u32,
    /// A constructor or `_cloned`: the result is its `this`, whatever it returns.
    pub(crate) gives_this: bool,
    pub(crate) then: Then,
}

/// A handler of `try`: where the caught value goes and where the code goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    pub(crate) register: u8,
    pub(crate) pc: u32,
}
