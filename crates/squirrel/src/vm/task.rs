//! Natives that call scripts, as state machines: no Rust frame waits for a script.

use super::frame::{Frame, Kind, Then};
use super::sort::Sort;
use super::{Flow, HostCall, Vm};
use crate::heap::Heap;
use crate::throw::{Fatal, Throw};
use crate::value::Value;

/// A native that is waiting for a script's result.
#[derive(Debug)]
pub(crate) enum Task {
    /// Joins two values once both are strings.
    Concat {
        parts: [Value; 2],
        done: usize,
    },
    /// Calls the host once the value is a string.
    HostText {
        id: u32,
        this: Value,
        text: Value,
    },
    /// `map` and `apply` of an array: results go to `out`.
    Map {
        array: Value,
        callback: Value,
        out: Value,
        at: usize,
        apply: bool,
    },
    Filter {
        array: Value,
        callback: Value,
        out: Value,
        at: usize,
    },
    Reduce {
        array: Value,
        callback: Value,
        sum: Value,
        at: usize,
    },
    Sort(Sort),
}

/// What a task wants next.
pub(super) enum Next {
    /// A call with these values, `this` first.
    Call(Value, [Value; 3], usize),
    /// The value as a string.
    Text(Value),
    Done(Value),
    Host(HostCall),
    /// The slice ended in the middle of its own work.
    Pause,
}

impl Task {
    /// Everything that it keeps alive.
    pub(super) fn roots(&self) -> Vec<Value> {
        match self {
            Task::Concat { parts, .. } => parts.to_vec(),
            Task::HostText { this, text, .. } => vec![*this, *text],
            Task::Map { array, callback, out, .. } | Task::Filter { array, callback, out, .. } => {
                vec![*array, *callback, *out]
            }
            Task::Reduce { array, callback, sum, .. } => vec![*array, *callback, *sum],
            Task::Sort(sort) => vec![sort.array, sort.callback],
        }
    }

    /// Takes the value it waited for, or begins; charges before it changes anything.
    fn step(&mut self, vm: &mut Vm, value: Option<Value>) -> Result<Next, Throw> {
        match self {
            Task::Concat { parts, done } => {
                if let Some(text) = value {
                    if !matches!(text, Value::Str(_)) {
                        return Err(Throw::message("_tostring must return a string"));
                    }
                    parts[*done] = text;
                    *done += 1;
                }
                match parts.get(*done) {
                    Some(&part) => Ok(Next::Text(part)),
                    None => vm.join(parts[0], parts[1]).map(Next::Done),
                }
            }
            Task::HostText { id, this, text } => match value {
                None => Ok(Next::Text(*text)),
                Some(text) if !matches!(text, Value::Str(_)) => Err(Throw::message("_tostring must return a string")),
                Some(text) => Ok(Next::Host(HostCall { id: *id, this: *this, args: vec![text] })),
            },
            Task::Map { array, callback, out, at, apply } => {
                if let Some(v) = value {
                    put(&mut vm.heap, *out, *at, v);
                    *at += 1;
                }
                match item(&vm.heap, *array, *at) {
                    Some(v) => Ok(Next::Call(*callback, [*array, v, Value::Null], 2)),
                    None => Ok(Next::Done(if *apply { Value::Null } else { *out })),
                }
            }
            Task::Filter { array, callback, out, at } => {
                if let Some(keep) = value {
                    if keep.is_true() {
                        let v = item(&vm.heap, *array, *at).unwrap_or_default();
                        vm.heap.array_push(*out, v)?;
                    }
                    *at += 1;
                }
                match item(&vm.heap, *array, *at) {
                    Some(v) => Ok(Next::Call(*callback, [*array, Value::Int(*at as i32), v], 3)),
                    None => Ok(Next::Done(*out)),
                }
            }
            Task::Reduce { array, callback, sum, at } => {
                if let Some(v) = value {
                    *sum = v;
                    *at += 1;
                }
                match item(&vm.heap, *array, *at) {
                    Some(v) => Ok(Next::Call(*callback, [*array, *sum, v], 3)),
                    None => Ok(Next::Done(*sum)),
                }
            }
            Task::Sort(sort) => sort.step(vm, value),
        }
    }
}

fn item(heap: &Heap, array: Value, at: usize) -> Option<Value> {
    let Value::Array(id) = array else { return None };
    heap.arrays.get(id).get(at).map(|&v| heap.read(v))
}

fn put(heap: &mut Heap, array: Value, at: usize, value: Value) {
    if let Value::Array(id) = array
        && let Some(slot) = heap.arrays.get_mut(id).get_mut(at)
    {
        *slot = value;
    }
}

impl Vm {
    /// Begins a task in a frame of its own; its first step is taken by the dispatch.
    pub(crate) fn start_task(&mut self, task: Task, then: Then) -> Result<Flow, Throw> {
        if self.frames.len() >= self.budgets.depth {
            return Err(Fatal::Depth.into());
        }
        let base = self.top() as u32;
        let kind = Kind::Task;
        self.push(Frame { kind, function: u32::MAX, closure: 0, pc: 0, base, traps: 0, gives_this: false, then })?;
        self.tasks.push(Some(Box::new(task)));
        Ok(Flow::Frame)
    }

    /// Steps the task on top, and the one below it when that one is done, until a script runs.
    pub(super) fn run_tasks(&mut self, value: Option<Value>) -> Result<Flow, Throw> {
        let mut value = value;
        loop {
            if self.fuel.slice <= 0 {
                self.unstepped = Some(value);
                return Ok(Flow::Slice);
            }
            self.fuel.slice -= 1;
            let flow = match self.step_task(value)? {
                Next::Call(callee, values, n) => self.call_again(callee, &values[..n])?,
                Next::Text(v) => self.text_of(v, Then::Task)?,
                Next::Done(v) => match self.pop_task() {
                    Some(Then::Task) => Flow::Value(v),
                    Some(then) => return self.deliver(then, v),
                    None => return Ok(Flow::Exit(v)),
                },
                Next::Pause => {
                    self.unstepped = Some(None);
                    return Ok(Flow::Slice);
                }
                Next::Host(call) => {
                    let then = self.pop_task().unwrap_or(Then::Exit);
                    self.host_top = self.top();
                    return Ok(Flow::Host(call, then));
                }
            };
            if let Flow::Frame = flow
                && let Some(Frame { kind: Kind::Task, pc: 0, .. }) = self.frames.last()
            {
                value = None;
                continue;
            }
            match flow {
                Flow::Value(v) => value = Some(v),
                flow => return Ok(flow),
            }
        }
    }

    /// Ends the task on top; what becomes of its value.
    fn pop_task(&mut self) -> Option<Then> {
        self.tasks.pop();
        self.frames.pop().map(|f| f.then)
    }

    /// One step of the task on top; once more after a collection when memory ran out.
    fn step_task(&mut self, value: Option<Value>) -> Result<Next, Throw> {
        match self.step_once(value) {
            Err(Throw::Fatal(Fatal::Memory)) => {
                self.collect(value);
                self.step_once(value)
            }
            other => other,
        }
    }

    fn step_once(&mut self, value: Option<Value>) -> Result<Next, Throw> {
        let Some(Frame { kind: Kind::Task, pc, .. }) = self.frames.last_mut() else {
            return Err(Throw::message("no native waits for this value"));
        };
        // From now on it is not new: it waits for a value.
        *pc = 1;
        // It is out while it takes a step.
        let Some(mut taken) = self.tasks.last_mut().and_then(Option::take) else {
            return Err(Throw::message("native is busy"));
        };
        let next = taken.step(self, value);
        if let Some(place) = self.tasks.last_mut() {
            *place = Some(taken);
        }
        next
    }

    /// A call from a task; natives get a second chance after a collection.
    fn call_again(&mut self, callee: Value, values: &[Value]) -> Result<Flow, Throw> {
        match self.call_with(callee, values, Then::Task) {
            Err(Throw::Fatal(Fatal::Memory)) => {
                self.collect(values.iter().copied().chain([callee]));
                self.call_with(callee, values, Then::Task)
            }
            other => other,
        }
    }
}
