//! The budgets of a VM: exceeding one ends its event and nothing else.

/// How much one VM may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Instructions until `run` returns [`crate::Step::SliceEnded`], so that others get their turn.
    /// Calls, backward jumps and the work of natives count, not every instruction.
    pub slice: u32,
    /// Instructions of one event, from [`crate::Vm::start`] or [`crate::Vm::call`] to its end.
    pub event: u64,
    /// Bytes of everything the VM holds: objects, strings, stack, frames.
    pub bytes: usize,
    /// Nested calls.
    pub depth: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets { slice: 20_000, event: 50_000_000, bytes: 1024 * 1024, depth: 1_000 }
    }
}

/// What is left of the instruction budgets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fuel {
    /// Left of the slice.
    pub(crate) slice: i64,
    /// Left of the event, the running slice not counted.
    pub(crate) event: u64,
}
