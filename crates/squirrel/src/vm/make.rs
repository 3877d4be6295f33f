//! What instructions make: arrays, closures; and the call that takes its frame over.

use super::call::way;
use super::frame::{Kind, Then};
use super::{Flow, Vm};
use crate::heap::object::Closure;
use crate::program::Capture;
use crate::program::op::Inner;
use crate::throw::{Fatal, Throw};
use crate::value::Value;
use crate::value::Value::Null;

impl Vm {
    #[inline(never)]
    pub(super) fn make_array(&mut self, n: usize) -> Result<Flow, Throw> {
        if n * size_of::<Value>() > self.heap.memory_free() {
            return Err(Fatal::Memory.into());
        }
        let array = self.heap.array(Vec::new())?;
        if let Value::Array(id) = array
            && n > 0
        {
            self.heap.array_reserve(id, n)?;
        }
        Ok(Flow::Value(array))
    }

    pub(super) fn make_closure(&mut self, inner: Inner, base: usize, maker: u32) -> Result<Flow, Throw> {
        let f = &self.linked.functions[inner.0 as usize].function;
        let mut outers = Vec::with_capacity(f.captures.len());
        for capture in &f.captures {
            let cell = match *capture {
                Capture::Register(r) => match self.stack[base + r as usize] {
                    Value::Cell(c) => c,
                    _ => return Err(Throw::message("a free variable's box was expected")),
                },
                Capture::Outer(o) => self.heap.closures.get(maker).outers[o as usize],
            };
            outers.push(cell);
        }
        let defaults = f.defaults.iter().map(|&d| self.stack[base + d as usize]).collect();
        let (proto, outers) = (u32::from(inner.0), outers.into());
        self.heap.closure(Closure { proto, outers, defaults, env: None, class: None }).map(Flow::Value)
    }

    /// `return f()`: a plain script function takes the running frame over; anything else is called.
    pub(super) fn tail_call(&mut self, callee: Value, first: usize, n: usize, to: u8) -> Result<Flow, Throw> {
        let Some(frame) = self.frames.last() else { return Ok(Flow::Exit(Null)) };
        if let (Value::Closure(id), Kind::Script, 0, false) = (callee, &frame.kind, frame.traps, frame.gives_this) {
            let f = &self.linked.functions[self.heap.closures.get(id).proto as usize].function;
            // What they were asked for is read from their registers when they throw null, so these keep their frame.
            let keeps = matches!(frame.then, Then::GetInto(..) | Then::Set(_));
            if !keeps && !f.varargs && !f.generator && n == f.parameters.len() + 1 {
                let (base, then) = (frame.base as usize, frame.then);
                self.fuel.slice -= way(frame.pc);
                self.stack.copy_within(first..first + n, base);
                self.frames.pop();
                return self.enter(id, base, n, then, false);
            }
        }
        self.call_value(callee, first, n, Then::Store(to))
    }
}
