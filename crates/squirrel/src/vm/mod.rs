//! The virtual machine: one script's heap, stack and frames, run slice by slice.

mod access;
pub(crate) mod arith;
mod budget;
mod call;
mod class;
mod dispatch;
mod error;
pub(crate) mod frame;
mod iterate;
mod make;
pub(crate) mod sort;
pub(crate) mod task;
mod text;
mod unwind;

use std::sync::Arc;

use crate::heap::{Clock, Heap};
use crate::program::Linked;
use crate::throw::{Fatal, Throw};
use crate::value::Value;
use budget::Fuel;
use frame::{Frame, Kind, Then, Trap};
use task::Task;

pub use budget::Budgets;
pub use error::{ScriptError, StackEntry};

/// Registers that one function may use, and the room that is always left above the running one.
const WINDOW: usize = 256;

/// Registers that a VM has between events; not charged.
const STACK_IDLE: usize = WINDOW + 64;

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
    /// The event begins with this call.
    Calling(Value, Vec<Value>),
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
    /// The slice is used up.
    Slice,
    /// A host function is called.
    Host(HostCall, Then),
}

/// A native that needs the VM: the place of `this` on the stack, the number of values from there, what becomes of its result.
pub(crate) type SpecialFn = fn(&mut Vm, usize, usize, Then) -> Result<Flow, Throw>;

/// One script's virtual machine. Plain data: it may move between threads between two calls of `run`.
#[derive(Debug)]
pub struct Vm {
    pub(crate) linked: Arc<Linked>,
    pub(crate) heap: Heap,
    pub(crate) stack: Vec<Value>,
    pub(crate) frames: Vec<Frame>,
    /// The state of each frame that is a native's; taken out while it takes a step.
    tasks: Vec<Option<Box<Task>>>,
    traps: Vec<Trap>,
    pins: Vec<Option<Value>>,
    budgets: Budgets,
    fuel: Fuel,
    state: State,
    /// Main functions that have not run yet.
    mains: std::ops::Range<usize>,
    /// The slice ended before a native's step with this value.
    unstepped: Option<Option<Value>>,
    /// Arguments of the host call that is under way.
    host_args: Vec<Value>,
    /// The end of its arguments on the stack.
    host_top: usize,
    /// A buffer for short texts.
    scratch: Vec<u8>,
    /// Where an operation was repeated for want of memory: calls, place, budget left.
    retried: Option<(usize, u32, i64)>,
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
            stack: vec![Value::Null; STACK_IDLE],
            frames: Vec::new(),
            tasks: Vec::new(),
            traps: Vec::new(),
            pins: Vec::new(),
            budgets,
            fuel: Fuel { slice: 0, event: 0 },
            state: State::Idle,
            mains: 0..0,
            unstepped: None,
            host_args: Vec::new(),
            host_top: 0,
            scratch: Vec::new(),
            retried: None,
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
        self.state = State::Calling(function, args.to_vec());
    }

    fn begin(&mut self) {
        self.end_event();
        self.fuel = Fuel { slice: 0, event: self.budgets.event };
        self.state = State::Running;
    }

    /// Forgets what was running.
    fn end_event(&mut self) {
        let frames = std::mem::take(&mut self.frames);
        for frame in frames.iter().rev() {
            if let Kind::Generator(g) = frame.kind {
                self.bury(g);
            }
        }
        self.heap.release(frames.capacity() * size_of::<Frame>());
        self.tasks = Vec::new();
        if self.stack.len() > STACK_IDLE {
            self.heap.release((self.stack.len() - STACK_IDLE) * size_of::<Value>());
            self.stack = vec![Value::Null; STACK_IDLE];
        }
        self.heap.release(self.traps.capacity() * size_of::<Trap>());
        self.traps = Vec::new();
        self.host_args.clear();
        self.mains = 0..0;
        self.unstepped = None;
        self.state = State::Idle;
    }

    /// Runs until the event is over, the slice is used up, or a host function is called.
    pub fn run(&mut self) -> Step {
        let slice = u64::from(self.budgets.slice).min(self.fuel.event);
        self.fuel.slice = slice as i64;
        let step = self.run_slice();
        let used = (slice as i64).saturating_sub(self.fuel.slice).max(0);
        self.fuel.event = self.fuel.event.saturating_sub(used as u64);
        if self.is_idle() && self.heap.has_garbage() {
            let result = if let Step::Done(value) = step { value } else { Value::Null };
            self.collect(Some(result));
        }
        step
    }

    fn run_slice(&mut self) -> Step {
        let mut flow = match std::mem::replace(&mut self.state, State::Running) {
            State::Idle => {
                self.state = State::Idle;
                return Step::Done(Value::Null);
            }
            State::Running if self.fuel.event == 0 => Err(Fatal::Instructions.into()),
            State::Running => match self.unstepped.take() {
                Some(value) => self.run_tasks(value),
                None if self.frames.is_empty() => Ok(Flow::Exit(Value::Null)),
                None => Ok(Flow::Frame),
            },
            State::Calling(function, args) => self.first_call(function, &args),
            // The host did not answer: there is no value.
            State::Waiting(then) => self.deliver(then, Value::Null),
            State::Answered(then, Ok(value)) => self.deliver(then, value),
            State::Answered(_, Err(throw)) => Err(throw),
        };
        self.host_args.clear();
        loop {
            flow = match flow {
                Ok(Flow::Frame) => self.dispatch(),
                Ok(Flow::Exit(value) | Flow::Value(value)) => match self.next_main() {
                    Some(flow) => flow,
                    None => {
                        self.end_event();
                        return Step::Done(value);
                    }
                },
                Ok(Flow::Slice) => return Step::SliceEnded,
                Ok(Flow::Host(call, then)) => {
                    self.host_args.clone_from(&call.args);
                    self.host_args.push(call.this);
                    self.state = State::Waiting(then);
                    return Step::HostCall(call);
                }
                Err(Throw::Fatal(Fatal::Memory)) if self.may_retry() => Ok(Flow::Frame),
                Err(throw) => match self.unwind(throw) {
                    Ok(flow) => flow,
                    Err(error) => return Step::Failed(error),
                },
            };
        }
    }

    fn first_call(&mut self, function: Value, args: &[Value]) -> Result<Flow, Throw> {
        let mut values = vec![self.heap.root()];
        values.extend_from_slice(args);
        self.call_with(function, &values, Then::Exit)
    }

    fn next_main(&mut self) -> Option<Result<Flow, Throw>> {
        let main = self.mains.next()?;
        let proto = u32::from(*self.linked.mains.get(main)?);
        let closure = crate::heap::object::Closure { proto, ..Default::default() };
        let made = self.heap.closure(closure);
        Some(made.and_then(|f| self.first_call(f, &[])))
    }

    /// Collects garbage for an operation that found no memory; false when it was repeated already.
    fn may_retry(&mut self) -> bool {
        let at = match self.frames.last_mut() {
            Some(f) if !matches!(f.kind, Kind::Task) && f.pc > 0 => {
                f.pc -= 1;
                f.pc
            }
            _ => return false,
        };
        self.heap.strings.take_work();
        let again = |(calls, pc, left): (usize, u32, i64)| {
            calls == self.frames.len() && pc == at && left - self.fuel.slice <= 2
        };
        if self.retried.take().is_some_and(again) {
            return false;
        }
        self.collect(None);
        self.retried = Some((self.frames.len(), at, self.fuel.slice));
        true
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
    pub fn collect_garbage(&mut self) {
        self.collect(None);
    }

    /// Charges the work that was done, and collects garbage when it is time.
    #[cold]
    pub(super) fn attend(&mut self, top: usize, callee: Value) {
        self.settle_work();
        if self.heap.wants_collection() {
            self.collect_below(top, [callee]);
        }
    }

    /// Whether the slice is used up, by work that nobody has looked at yet too.
    #[inline(always)]
    pub(super) fn is_spent(&mut self) -> bool {
        if self.heap.has_work() {
            self.settle_work();
        }
        self.fuel.slice <= 0
    }

    /// A collection with these values as roots beside the VM's own.
    pub(crate) fn collect(&mut self, more: impl IntoIterator<Item = Value>) {
        let top = if let State::Waiting(_) = self.state { self.host_top.min(self.top()) } else { self.top() };
        self.collect_below(top, more);
    }

    /// A collection at a call whose last argument lies below `top`: what is above it is dead.
    pub(crate) fn collect_below(&mut self, top: usize, more: impl IntoIterator<Item = Value>) {
        let end = self.top();
        if top < end {
            self.stack[top..end].fill(Value::Null);
        }
        let mut roots: Vec<Value> = more.into_iter().collect();
        for frame in &self.frames {
            match &frame.kind {
                Kind::Task => {}
                Kind::Generator(g) => roots.extend([Value::Generator(*g), Value::Closure(frame.closure)]),
                Kind::Script => roots.push(Value::Closure(frame.closure)),
            }
        }
        roots.extend(self.tasks.iter().flatten().flat_map(|t| t.roots()));
        match &self.state {
            State::Answered(_, Ok(value)) => roots.push(*value),
            State::Answered(_, Err(Throw::Value(value))) => roots.push(*value),
            State::Calling(function, args) => {
                roots.push(*function);
                roots.extend_from_slice(args);
            }
            _ => {}
        }
        roots.extend(self.unstepped.flatten());
        roots.extend_from_slice(&self.host_args);
        roots.extend(self.pins.iter().flatten());
        let live = self.heap.memory_used() / 256;
        self.heap.collect(roots.into_iter().chain(self.stack[..top].iter().copied()));
        self.fuel.slice = self.fuel.slice.saturating_sub(live as i64);
    }

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
        let entries = self.heap.tables.get(self.heap.root).iter();
        let named = |k| matches!(k, Value::Str(s) if self.heap.str_bytes(s) == name.as_bytes());
        entries.into_iter().find(|&(k, _)| named(k)).map(|(_, v)| self.heap.read(v))
    }

    /// A value as `tostring` gives it without metamethods: what `print` shows.
    pub fn text(&self, value: Value) -> Vec<u8> {
        self.plain_text(value)
    }

    /// The script function that runs.
    pub(crate) fn running(&self) -> Option<u32> {
        self.frames.last().filter(|f| !matches!(f.kind, Kind::Task)).map(|f| f.closure)
    }

    /// Calls it is nested in now.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }
}
