//! `foreach`, generators: `resume` and `yield`.

use super::frame::{Frame, Kind, Then, Trap};
use super::{Flow, Vm};
use crate::heap::object::{Generator, GeneratorState, Meta, Payload, Place};
use crate::throw::{Fatal, Throw};
use crate::value::Value;

impl Vm {
    fn register(&self, r: u8) -> Value {
        self.frames.last().map_or(Value::Null, |f| self.stack[f.base as usize + r as usize])
    }

    /// A `foreach` step of what the dispatch does not do itself: container, state, key, value from `s` on.
    /// `Flow::Value(true)` when there is a next element, `Flow::Value(false)` at the end.
    pub(super) fn foreach(&mut self, s: u8, end: u32) -> Result<Flow, Throw> {
        let (container, state) = (self.register(s), self.register(s + 1));
        let at = match state {
            Value::Int(i) => i as usize,
            _ => 0,
        };
        let next = match container {
            Value::Table(t) => self.heap.tables.get(t).next(at),
            Value::Array(a) => self.heap.arrays.get(a).get(at).map(|&v| (at, Value::Int(at as i32), v)),
            Value::Str(id) => {
                self.heap.str_bytes(id).get(at).map(|&b| (at, Value::Int(at as i32), Value::Int(b.into())))
            }
            Value::Class(c) => {
                let class = self.heap.classes.get(c);
                class.members.next(at).map(|(i, k, place)| {
                    (i, k, class.member(Place::unpack(place)).map(|m| m.value).unwrap_or_default())
                })
            }
            Value::Host(h) => match &self.heap.hosts.get(h).payload {
                Payload::Blob(b) => b.bytes.get(at).map(|&b| (at, Value::Int(at as i32), Value::Int(b.into()))),
                _ => return Err(self.cannot_iterate(container)),
            },
            Value::Generator(g) => return self.foreach_generator(g, s, end),
            Value::Instance(_) => {
                return match self.meta(container, Meta::NextI) {
                    Value::Null => Err(self.cannot_iterate(container)),
                    meta => {
                        self.call_with(meta, &[container, state], Then::NextIndex(s, end)).and_then(|flow| match flow {
                            Flow::Value(v) => self.next_index(s, end, v),
                            flow => Ok(flow),
                        })
                    }
                };
            }
            _ => return Err(self.cannot_iterate(container)),
        };
        let passed = next.map_or_else(|| self.places(container), |(i, ..)| i).saturating_sub(at);
        self.heap.strings.count_probes(u32::try_from(passed).unwrap_or(u32::MAX));
        let Some((i, key, value)) = next else { return Ok(Flow::Value(Value::Bool(false))) };
        self.store(s + 1, Value::Int(i as i32 + 1));
        self.store(s + 2, key);
        let value = self.heap.read(value);
        self.store(s + 3, value);
        Ok(Flow::Value(Value::Bool(true)))
    }

    /// Nodes that a `foreach` passes over, most of them perhaps empty.
    fn places(&self, container: Value) -> usize {
        match container {
            Value::Table(t) => self.heap.tables.get(t).places(),
            Value::Class(c) => self.heap.classes.get(c).members.places(),
            _ => 0,
        }
    }

    fn cannot_iterate(&self, container: Value) -> Throw {
        Throw::Message(format!("cannot iterate {}", container.type_name()))
    }

    fn foreach_generator(&mut self, g: u32, s: u8, end: u32) -> Result<Flow, Throw> {
        if self.heap.generators.get(g).state == GeneratorState::Dead {
            return Ok(Flow::Value(Value::Bool(false)));
        }
        self.resume_generator(g, Then::Foreach(s, end))
    }

    /// A generator's value for `foreach`.
    pub(super) fn next_pair(&mut self, s: u8, value: Value) {
        let index = match self.register(s + 1) {
            Value::Int(i) => i,
            _ => 0,
        };
        self.store(s + 1, Value::Int(index.wrapping_add(1)));
        self.store(s + 2, Value::Int(index));
        self.store(s + 3, value);
    }

    /// The index that `_nexti` gave: null ends, anything else is read from the container.
    pub(super) fn next_index(&mut self, s: u8, end: u32, index: Value) -> Result<Flow, Throw> {
        if index.is_null() {
            if let Some(f) = self.frames.last_mut() {
                f.pc = end;
            }
            return Ok(Flow::Frame);
        }
        self.store(s + 1, index);
        self.store(s + 2, index);
        match self.get(self.register(s), index, false, Then::Store(s + 3))? {
            Flow::Value(v) => {
                self.store(s + 3, v);
                Ok(Flow::Frame)
            }
            flow => Ok(flow),
        }
    }

    pub(super) fn resume_value(&mut self, value: Value, then: Then) -> Result<Flow, Throw> {
        let Value::Generator(g) = value else {
            let kind = value.type_name();
            return Err(Throw::Message(format!("trying to resume a '{kind}',only genenerator can be resumed")));
        };
        self.resume_generator(g, then)
    }

    fn resume_generator(&mut self, g: u32, then: Then) -> Result<Flow, Throw> {
        if self.frames.len() >= self.budgets.depth {
            return Err(Fatal::Depth.into());
        }
        let base = self.top();
        self.reserve_stack(base)?;
        let generator = self.heap.generators.get(g);
        match generator.state {
            GeneratorState::Dead => return Err(Throw::message("resuming dead generator")),
            GeneratorState::Running => return Err(Throw::message("resuming active generator")),
            GeneratorState::Suspended => {}
        }
        let (closure, pc) = (generator.closure, generator.pc);
        let function = self.heap.closures.get(closure).proto;
        let traps = generator.traps.len() as u32;
        self.reserve_traps(traps as usize)?;
        let kind = Kind::Generator(g);
        self.push(Frame { kind, function, closure, pc, base: base as u32, traps, gives_this: false, then })?;
        let generator = self.heap.generators.get_mut(g);
        generator.state = GeneratorState::Running;
        self.stack[base..base + generator.registers.len()].copy_from_slice(&generator.registers);
        let freed = generator.trap_bytes();
        let traps = std::mem::take(&mut generator.traps);
        self.heap.release(freed);
        self.traps.extend(traps.into_iter().map(|(register, pc)| Trap { register, pc }));
        Ok(Flow::Frame)
    }

    /// `yield` in the running frame.
    pub(super) fn suspend(&mut self, value: Value) -> Result<Flow, Throw> {
        let Some(frame) = self.frames.last() else { return Ok(Flow::Exit(value)) };
        let Kind::Generator(g) = frame.kind else {
            self.frames.pop();
            return Err(Throw::message("trying to yield outside of a generator"));
        };
        let traps = (frame.traps as usize).min(self.traps.len());
        self.heap.charge(Generator::bytes_of_traps(traps))?;
        let Some(frame) = self.frames.pop() else { return Ok(Flow::Exit(value)) };
        let base = frame.base as usize;
        let first = self.traps.len() - traps;
        let generator = self.heap.generators.get_mut(g);
        let registers = generator.registers.len();
        generator.registers.copy_from_slice(&self.stack[base..base + registers]);
        generator.traps = self.traps.drain(first..).map(|t| (t.register, t.pc)).collect();
        generator.pc = frame.pc;
        generator.state = GeneratorState::Suspended;
        self.deliver(frame.then, value)
    }
}
