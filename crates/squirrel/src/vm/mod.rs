//! The virtual machine: one script's heap, stack and frames, run slice by slice.

mod budget;
mod error;
mod frame;
mod task;

use std::sync::Arc;

use crate::heap::{Clock, Heap};
use crate::program::Linked;
use crate::throw::{Fatal, Throw};
use crate::value::Value;
use budget::Fuel;
use frame::{Frame, Then, Trap};

pub use budget::Budgets;
pub use error::{ScriptError, StackEntry};

/// Registers that one function may use, and the room that is always left above the running one.
const WINDOW: usize = 256;

/// Why [`Vm::run`] returned.
#[derive(Debug)]
pub enum Step {
    /// The event is over; what its function returned.
    Done(Value),
    /// The slice is used up: call `run` again when it is this VM's turn.
    SliceEnded,
    /// A host function was called: do it, then [`Vm::resume`] with its result, then `run`.
    HostCall(HostCall),
    /// The event ended with an error that nobody caught, or with a used-up budget.
    Failed(ScriptError),
}

/// A call of a host function.
#[derive(Clone, Debug)]
pub struct HostCall {
    /// The host's number of the function.
    pub id: u32,
    /// The object it was called on.
    pub this: Value,
    /// The arguments. They stay alive until `resume`.
    pub args: Vec<Value>,
}

/// A value that the host keeps alive.
#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
pub struct Pin(u32);

/// What the VM is in the middle of.
#[derive(Debug)]
enum State {
    Idle,
    Running,
    /// A host function was called; its result goes there.
    Waiting(Then),
    /// The host has answered.
    Answered(Then, Result<Value, Throw>),
}

/// How an operation went on.
pub(crate) enum Flow {
    /// It has a value at once.
    Value(Value),
    /// A frame was pushed or popped: the dispatch loads its registers anew.
    Frame,
    /// The event is over.
    Exit(Value),
    /// A host function is called.
    Host(HostCall, Then),
}

/// A native that needs the VM: the place of `this` on the stack, the number of values from there, what becomes of its result.
pub(crate) type SpecialFn = fn(&mut Vm, usize, usize, Then) -> Result<Flow, Throw>;

/// One script's virtual machine. Plain data: it may move between threads between two calls of `run`.
#[derive(Debug)]
pub struct Vm {
    linked: Arc<Linked>,
    pub(crate) heap: Heap,
    pub(crate) stack: Vec<Value>,
    pub(crate) frames: Vec<Frame>,
    traps: Vec<Trap>,
    pins: Vec<Option<Value>>,
    budgets: Budgets,
    fuel: Fuel,
    state: State,
    /// Main functions that have not run yet.
    mains: std::ops::Range<usize>,
}

impl Vm {
    /// A VM that is ready to [`Vm::start`].
    ///
    /// # Errors
    /// `Fatal::Memory` when the byte budget does not even hold the library's tables.
    pub fn new(linked: &Arc<Linked>, budgets: Budgets) -> Result<Vm, Fatal> {
        let heap = Heap::from_library(&linked.library, &linked.strings, budgets.bytes)?;
        Ok(Vm {
            linked: Arc::clone(linked),
            heap,
            stack: vec![Value::Null; WINDOW],
            frames: Vec::new(),
            traps: Vec::new(),
            pins: Vec::new(),
            budgets,
            fuel: Fuel { slice: 0, event: 0 },
            state: State::Idle,
            mains: 0..0,
        })
    }

    /// Begins the program's own event: its main functions, one after the other.
    pub fn start(&mut self) {
        self.begin();
        self.mains = 0..self.linked.mains.len();
    }

    /// Begins an event: a call of `function` with the root table as `this` (unless it is bound).
    ///
    /// An event that has not ended is given up.
    pub fn call(&mut self, function: Value, args: &[Value]) {
        self.begin();
        let _ = (function, args);
    }

    fn begin(&mut self) {
        self.frames.clear();
        self.traps.clear();
        self.fuel = Fuel { slice: 0, event: self.budgets.event };
        self.mains = 0..0;
        self.state = State::Running;
    }

    /// Runs until the event is over, the slice is used up, or a host function is called.
    pub fn run(&mut self) -> Step {
        Step::Done(Value::Null)
    }

    /// Answers the host call that `run` returned; a message is thrown where the script called.
    pub fn resume(&mut self, answer: Result<Value, String>) {
        if let State::Waiting(then) = self.state {
            self.state = State::Answered(then, answer.map_err(Throw::Message));
        }
    }

    /// Whether no event is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// The objects, to read.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// Makes values: runs `build`, once more after a collection of garbage when memory ran out.
    ///
    /// What it returns is not kept alive by itself: pass it to `call`, `resume` or `pin` before anything else.
    ///
    /// # Errors
    /// What `build` returns.
    pub fn build<T>(&mut self, mut build: impl FnMut(&mut Heap) -> Result<T, Throw>) -> Result<T, Throw> {
        match build(&mut self.heap) {
            Err(Throw::Fatal(Fatal::Memory)) => {
                self.collect_garbage();
                build(&mut self.heap)
            }
            other => other,
        }
    }

    /// Keeps a value alive until [`Vm::unpin`].
    pub fn pin(&mut self, value: Value) -> Pin {
        let free = self.pins.iter().position(Option::is_none);
        let at = free.unwrap_or(self.pins.len());
        if at == self.pins.len() {
            self.pins.push(None);
        }
        self.pins[at] = Some(value);
        Pin(at as u32)
    }

    /// A pinned value.
    pub fn pinned(&self, pin: Pin) -> Value {
        self.pins.get(pin.0 as usize).copied().flatten().unwrap_or_default()
    }

    /// Ends a pin; its value.
    pub fn unpin(&mut self, pin: Pin) -> Value {
        self.pins.get_mut(pin.0 as usize).and_then(Option::take).unwrap_or_default()
    }

    /// Frees everything that the script and the host's pins cannot reach.
    pub fn collect_garbage(&mut self) {}

    /// Sets the time that scripts see from now on.
    pub fn set_clock(&mut self, clock: Clock) {
        self.heap.clock = clock;
    }

    /// Sets the state of the random numbers.
    pub fn set_seed(&mut self, seed: u64) {
        self.heap.random = seed | 1;
    }

    /// A slot of the root table.
    pub fn global(&self, name: &str) -> Option<Value> {
        let _ = name;
        None
    }

    /// A value as `tostring` gives it without metamethods: what `print` shows.
    pub fn text(&self, value: Value) -> Vec<u8> {
        let _ = value;
        Vec::new()
    }

    /// Calls it is nested in now.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }
}
