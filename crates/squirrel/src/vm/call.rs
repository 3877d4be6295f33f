//! Calls: script functions, natives, classes and whatever has `_call`; and what becomes of results.

use super::frame::{Frame, Kind, Then, Trap};
use super::task::Task;
use super::{Flow, HostCall, Vm, WINDOW};
use crate::heap::object::{CONSTRUCTOR, Generator, GeneratorState, Meta, Place};
use crate::library::Run;
use crate::program::Linked;
use crate::throw::{Fatal, Throw};
use crate::value::Value;

/// The most values that a native takes, `this` included.
const ARGUMENTS_MAX: usize = 256;

/// How often one call may be handed on by `call`, `acall` and `_call`.
const REDIRECTIONS_MAX: usize = 100;

/// Instructions that cost as much as one charged one.
const WAY_SHIFT: u32 = 6;

/// What a way through the code costs beside its calls and jumps: a jump back by its length, a function's end by its place.
#[inline(always)]
pub(super) fn way(instructions: u32) -> i64 {
    i64::from(instructions >> WAY_SHIFT)
}

/// Registers that are cleared at once when a function begins; what lies above a frame is never read.
const FILL: usize = 4;

impl Vm {
    /// The first place on the stack that no frame uses.
    pub(super) fn top(&self) -> usize {
        match self.frames.last() {
            None => 0,
            Some(f) => match f.kind {
                Kind::Task => f.base as usize,
                _ => f.base as usize + self.linked.functions[f.function as usize].function.registers as usize,
            },
        }
    }

    /// Room on the stack for a window from `base` on, charged.
    pub(super) fn reserve_stack(&mut self, base: usize) -> Result<(), Throw> {
        let need = base + WINDOW + FILL;
        if self.stack.len() < need {
            let size = need.max(self.stack.len() + self.stack.len() / 2);
            self.heap.charge((size - self.stack.len()) * size_of::<Value>())?;
            self.stack.resize(size, Value::Null);
        }
        Ok(())
    }

    /// Calls with these values, `this` first.
    pub(super) fn call_with(&mut self, callee: Value, values: &[Value], then: Then) -> Result<Flow, Throw> {
        let base = self.top();
        self.reserve_stack(base + values.len())?;
        self.stack[base..base + values.len()].copy_from_slice(values);
        self.call_value(callee, base, values.len(), then)
    }

    /// Calls with `n` values that lie on the stack from `base` on, `this` first.
    pub(super) fn call_value(&mut self, callee: Value, base: usize, n: usize, then: Then) -> Result<Flow, Throw> {
        let (mut callee, mut base, mut n) = (callee, base, n);
        for _ in 0..REDIRECTIONS_MAX {
            let native = match callee {
                Value::Closure(c) => return self.enter(c, base, n, then, false),
                Value::Class(c) => return self.construct(c, base, n, then),
                Value::Native(f) => f,
                _ => {
                    callee = self.call_meta(callee, base, n)?;
                    n += 1;
                    continue;
                }
            };
            match self.linked.library.natives.get(native as usize).map(|n| n.run) {
                Some(Run::Call) if n >= 2 => (callee, base, n) = (self.stack[base], base + 1, n - 1),
                Some(Run::Acall) if n == 2 => {
                    callee = self.stack[base];
                    n = self.spread(base)?;
                }
                _ => return self.call_native(native, base, n, then),
            }
        }
        Err(Fatal::Depth.into())
    }

    /// `_call` of a table or instance: the object becomes `this`, everything else moves up.
    fn call_meta(&mut self, callee: Value, base: usize, n: usize) -> Result<Value, Throw> {
        match self.meta(callee, Meta::Call) {
            Value::Null => Err(Throw::Message(format!("attempt to call '{}'", callee.type_name()))),
            meta => {
                self.reserve_stack(base + n + 1)?;
                self.stack.copy_within(base..base + n, base + 1);
                self.stack[base] = callee;
                Ok(meta)
            }
        }
    }

    /// The array of an `acall` as the arguments; how many.
    fn spread(&mut self, base: usize) -> Result<usize, Throw> {
        let Value::Array(a) = self.stack[base + 1] else {
            return Err(Throw::message("parameter 1 has an invalid type; expected: 'array'"));
        };
        let n = self.heap.arrays.get(a).len();
        if n == 0 {
            return Err(Throw::message("the array must hold the environment object"));
        }
        self.reserve_stack(base + n)?;
        self.heap.work(n / 8);
        self.settle_work();
        self.stack[base..base + n].copy_from_slice(self.heap.arrays.get(a));
        Ok(n)
    }

    fn call_native(&mut self, native: u32, base: usize, n: usize, then: Then) -> Result<Flow, Throw> {
        let Some(&native) = self.linked.library.natives.get(native as usize) else {
            return Err(Throw::message("attempt to call an unknown function"));
        };
        if n > ARGUMENTS_MAX || n <= native.least as usize || (native.most != u8::MAX && n > native.most as usize + 1) {
            return Err(Throw::message("wrong number of parameters"));
        }
        match native.run {
            Run::Plain(run) => {
                let result = run(&mut self.heap, &self.stack[base..base + n]);
                self.settle_work();
                result.map(Flow::Value)
            }
            Run::Special(run) => {
                let result = run(self, base, n, then);
                self.settle_work();
                result
            }
            Run::Host(id) => {
                self.host_top = base + n;
                let (this, args) = (self.stack[base], self.stack[base + 1..base + n].to_vec());
                Ok(Flow::Host(HostCall { id, this, args }, then))
            }
            Run::HostText(id) => {
                let task = Task::HostText { id, this: self.stack[base], text: self.stack[base + 1] };
                self.start_task(task, then)
            }
            Run::Call | Run::Acall => Err(Throw::message("wrong number of parameters")),
        }
    }

    /// Charges the work of natives to the instruction budget.
    pub(super) fn settle_work(&mut self) {
        let work = self.heap.strings.take_work();
        self.fuel.slice = self.fuel.slice.saturating_sub(i64::try_from(work).unwrap_or(i64::MAX));
    }

    fn construct(&mut self, class: u32, base: usize, n: usize, then: Then) -> Result<Flow, Throw> {
        let instance = Value::Instance(self.heap.instance(class)?);
        let c = self.heap.classes.get(class);
        let constructor = match c.members.get(Value::Str(CONSTRUCTOR), &self.heap.strings).map(Place::unpack) {
            Some(place @ Place::Method(_)) => c.member(place).map(|m| m.value).unwrap_or_default(),
            _ => Value::Null,
        };
        match constructor {
            Value::Closure(f) => {
                self.stack[base] = instance;
                self.enter(f, base, n, then, true)
            }
            _ => Ok(Flow::Value(instance)),
        }
    }

    /// Begins a script function where nothing has to be arranged; false when something has, and nothing was done.
    #[inline(always)]
    pub(super) fn enter_plain(&mut self, linked: &Linked, id: u32, base: usize, n: usize, to: u8) -> bool {
        let closure = self.heap.closures.get(id);
        let function = closure.proto;
        let f = &linked.functions[function as usize];
        let calls = self.frames.len();
        if f.takes != n || closure.env.is_some() || calls >= self.budgets.depth || calls == self.frames.capacity() {
            return false;
        }
        let Some(window) = self.stack[base..].first_chunk_mut::<{ WINDOW + FILL }>() else { return false };
        let mut at = n;
        while at < f.registers {
            if let Some(part) = window[at..].first_chunk_mut::<FILL>() {
                *part = [Value::Null; FILL];
            }
            at += FILL;
        }
        self.frames.push(Frame {
            kind: Kind::Script,
            function,
            closure: id,
            pc: 0,
            base: base as u32,
            traps: 0,
            gives_this: false,
            then: Then::Store(to),
        });
        true
    }

    /// Begins a script function: its arguments lie from `base` on.
    #[inline]
    pub(super) fn enter(
        &mut self,
        id: u32,
        base: usize,
        n: usize,
        then: Then,
        gives_this: bool,
    ) -> Result<Flow, Throw> {
        if self.frames.len() >= self.budgets.depth {
            return Err(Fatal::Depth.into());
        }
        self.reserve_stack(base)?;
        let closure = self.heap.closures.get(id);
        let function = closure.proto;
        let linked = &self.linked;
        let f = &linked.functions[function as usize].function;
        let (parameters, registers) = (f.parameters.len(), f.registers as usize);
        let generator = f.generator;
        if let Some(env) = closure.env
            && !gives_this
        {
            self.stack[base] = env;
        }
        if f.varargs || n != parameters + 1 {
            self.arrange(id, base, n)?;
        }
        let filled = self.linked.functions[function as usize].function.filled();
        self.stack[base + filled..base + registers].fill(Value::Null);
        if generator {
            let registers = self.stack[base..base + registers].to_vec();
            let state = GeneratorState::Suspended;
            let made = Generator { state, closure: id, pc: 0, registers, traps: Vec::new() };
            return self.heap.generator(made).map(Flow::Value);
        }
        self.push(Frame {
            kind: Kind::Script,
            function,
            closure: id,
            pc: 0,
            base: base as u32,
            traps: 0,
            gives_this,
            then,
        })?;
        Ok(Flow::Frame)
    }

    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Throw> {
        if self.frames.len() == self.frames.capacity() {
            let more = self.frames.len().max(8);
            self.heap.charge(more * size_of::<Frame>())?;
            self.frames.reserve_exact(more);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Default values and `vargv` into their registers.
    #[cold]
    fn arrange(&mut self, id: u32, base: usize, n: usize) -> Result<(), Throw> {
        let closure = self.heap.closures.get(id);
        let f = &self.linked.functions[closure.proto as usize].function;
        let (parameters, given) = (f.parameters.len(), n - 1);
        if f.varargs {
            if given < parameters {
                return Err(Throw::message("wrong number of parameters"));
            }
            self.heap.ensure((given - parameters) * size_of::<Value>())?;
            let rest = self.stack[base + 1 + parameters..base + n].to_vec();
            self.stack[base + 1 + parameters] = self.heap.array(rest)?;
            return Ok(());
        }
        let defaults = &closure.defaults;
        if given > parameters || parameters - given > defaults.len() {
            return Err(Throw::message("wrong number of parameters"));
        }
        for i in given..parameters {
            self.stack[base + 1 + i] = defaults[i + defaults.len() - parameters];
        }
        Ok(())
    }

    /// Ends the running frame with a value.
    pub(super) fn give_back(&mut self, value: Value) -> Result<Flow, Throw> {
        let Some(frame) = self.frames.pop() else { return Ok(Flow::Exit(value)) };
        self.drop_traps(&frame);
        let value = if frame.gives_this { self.stack[frame.base as usize] } else { value };
        if let Kind::Generator(g) = frame.kind {
            self.bury(g);
            if let Then::Foreach(_, end) = frame.then {
                if let Some(f) = self.frames.last_mut() {
                    f.pc = end;
                }
                return Ok(Flow::Frame);
            }
        }
        self.deliver(frame.then, value)
    }

    pub(super) fn drop_traps(&mut self, frame: &Frame) {
        let left = self.traps.len() - (frame.traps as usize).min(self.traps.len());
        self.traps.truncate(left);
    }

    /// A generator that has ended.
    pub(super) fn bury(&mut self, generator: u32) {
        let g = self.heap.generators.get_mut(generator);
        g.state = GeneratorState::Dead;
        g.registers.fill(Value::Null);
        let freed = g.trap_bytes();
        g.traps.clear();
        self.heap.release(freed);
    }

    /// A register of the running frame.
    pub(super) fn store(&mut self, register: u8, value: Value) {
        if let Some(f) = self.frames.last() {
            self.stack[f.base as usize + register as usize] = value;
        }
    }

    fn jump_to(&mut self, target: u32) {
        if let Some(f) = self.frames.last_mut() {
            // Back or not, nothing else may charge this way.
            self.fuel.slice -= 1 + way(f.pc.saturating_sub(target));
            f.pc = target;
        }
    }

    /// Room for `more` handlers, charged.
    pub(super) fn reserve_traps(&mut self, more: usize) -> Result<(), Throw> {
        if self.traps.capacity() - self.traps.len() < more {
            let more = more.max(self.traps.len()).max(8);
            let before = self.traps.capacity();
            self.heap.charge((self.traps.len() + more - before) * size_of::<Trap>())?;
            self.traps.reserve_exact(more);
        }
        Ok(())
    }

    /// Does with a call's value what its caller wanted.
    pub(super) fn deliver(&mut self, then: Then, value: Value) -> Result<Flow, Throw> {
        match then {
            Then::Exit => return Ok(Flow::Exit(value)),
            Then::Store(a) | Then::GetInto(a, _) => self.store(a, value),
            Then::Discard | Then::Set(_) => {}
            Then::Truth(a, order) => {
                let holds = order.holds(Self::compare_result(value)?);
                self.store(a, Value::Bool(holds));
            }
            Then::Branch(order, when, target) => {
                if order.holds(Self::compare_result(value)?) == when {
                    self.jump_to(target);
                }
                if self.is_spent() {
                    return Ok(Flow::Slice);
                }
            }
            Then::CompareInto(a) => {
                let result = Self::compare_result(value)?;
                self.store(a, Value::Int(result));
            }
            Then::Foreach(s, _) => self.next_pair(s, value),
            Then::NextIndex(s, end) => return self.next_index(s, end, value),
            Then::Task => return self.run_tasks(Some(value)),
        }
        Ok(Flow::Frame)
    }
}
