//! Errors: to the nearest handler, or out with message and call stack.

use super::call::way;
use super::error::{STACK_ENTRIES_MAX, ScriptError, StackEntry};
use super::frame::{Kind, Then};
use super::{Flow, Vm};
use crate::program::line;
use crate::throw::{Fatal, Throw};
use crate::value::Value;

impl Vm {
    /// Goes on at the handler of a throw.
    ///
    /// # Errors
    /// What ends the event.
    pub(super) fn unwind(&mut self, throw: Throw) -> Result<Result<Flow, Throw>, ScriptError> {
        let value = match throw {
            Throw::Fatal(fatal) => return Err(self.fail(fatal.to_string(), Some(fatal))),
            Throw::Value(value) => value,
            Throw::Message(text) => match self.heap.string(text.as_bytes()) {
                Ok(value) => value,
                Err(_) => return Err(self.fail(text, Some(Fatal::Memory))),
            },
        };
        let misses = |then| value.is_null() && matches!(then, Then::GetInto(..) | Then::Set(_));
        let catches = |f: &super::Frame| f.traps > 0 || misses(f.then);
        if !self.frames.iter().rev().any(catches) {
            let text = self.plain_text(value);
            return Err(self.fail(String::from_utf8_lossy(&text).into_owned(), None));
        }
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Err(self.fail("error in error handling".to_owned(), None));
            };
            if frame.traps > 0 {
                frame.traps -= 1;
                let Some(trap) = self.traps.pop() else { continue };
                frame.pc = trap.pc;
                self.store(trap.register, value);
                return Ok(Ok(Flow::Frame));
            }
            let Some(frame) = self.frames.pop() else { continue };
            match frame.kind {
                Kind::Task => drop(self.tasks.pop()),
                Kind::Generator(g) => {
                    self.fuel.slice -= way(frame.pc);
                    self.bury(g);
                }
                Kind::Script => self.fuel.slice -= way(frame.pc),
            }
            if misses(frame.then) {
                return Ok(self.clean_miss(frame.base as usize, frame.then));
            }
        }
    }

    /// A `_get` or `_set` threw null: there is nothing under this key.
    fn clean_miss(&mut self, base: usize, then: Then) -> Result<Flow, Throw> {
        let heap = &self.heap;
        let open = |v| match v {
            Value::Cell(c) => *heap.cells.get(c),
            v => v,
        };
        let (object, key, third) = (open(self.stack[base]), open(self.stack[base + 1]), open(self.stack[base + 2]));
        match then {
            Then::GetInto(a, bare) => {
                let value = self.get_missing(object, key, bare)?;
                self.store(a, value);
            }
            Then::Set(bare) => {
                self.set_missing(key, third, bare)?;
            }
            _ => {}
        }
        Ok(Flow::Frame)
    }

    /// Ends the event: message and call stack.
    fn fail(&mut self, message: String, fatal: Option<Fatal>) -> ScriptError {
        let stack = self.trace();
        self.end_event();
        ScriptError { message, fatal, stack }
    }

    fn trace(&self) -> Vec<StackEntry> {
        let text = |id: u32| String::from_utf8_lossy(self.heap.str_bytes(id)).into_owned();
        let entry = |f: &super::Frame| {
            let linkage = self.linked.functions.get(f.function as usize)?;
            let (file, line) = line::unpack(linkage.function.line((f.pc as usize).saturating_sub(1)));
            let named = (file as usize).checked_sub(1).and_then(|i| self.linked.files.get(i).copied());
            Some(StackEntry {
                function: linkage.name.map_or_else(|| "unknown".to_owned(), text),
                file: text(named.unwrap_or(linkage.source)),
                line,
            })
        };
        let scripts = self.frames.iter().rev().filter(|f| !matches!(f.kind, Kind::Task));
        scripts.take(STACK_ENTRIES_MAX).filter_map(entry).collect()
    }
}
