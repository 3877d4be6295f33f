//! Mark and sweep, with an explicit mark stack.

use super::object::Payload;
use super::slab::Slab;
use super::{Heap, block, block_of, collect_step};
use crate::value::Value;

/// The slab and number of an object that can be collected; None for scalars, strings and natives.
pub(super) fn name_of(value: Value) -> Option<(u8, u32)> {
    match value {
        Value::Table(i) => Some((1, i)),
        Value::Array(i) => Some((2, i)),
        Value::Closure(i) => Some((3, i)),
        Value::Class(i) => Some((4, i)),
        Value::Instance(i) => Some((5, i)),
        Value::Generator(i) => Some((6, i)),
        Value::Host(i) => Some((7, i)),
        Value::Weak(_) | Value::Cell(_) | Value::Native(_) | Value::Str(_) => None,
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
    }
}

impl Heap {
    /// Frees every object that cannot be reached from `roots` or the root table.
    pub(crate) fn collect(&mut self, roots: impl Iterator<Item = Value>) {
        let mut grey = Vec::new();
        self.shade(Value::Table(self.root), &mut grey);
        for value in roots {
            self.shade(value, &mut grey);
        }
        while let Some(value) = grey.pop() {
            self.scan(value, &mut grey);
        }
        self.clear_weaks();
        let mut freed = self.strings.sweep();
        self.sweep_objects(&mut freed);
        self.release(freed);
        self.held = self.spare().saturating_sub(super::SPARE_MAX);
        let (live, step) = (self.memory_used(), collect_step(self.limit));
        self.live = live;
        self.collect_at = (live * 2).max(live + step);
        let most = self.limit - self.limit / 8;
        if self.collect_at > most {
            self.collect_at = most.max(live + step);
        }
    }

    fn shade(&mut self, value: Value, grey: &mut Vec<Value>) {
        let new = match value {
            Value::Str(i) => {
                self.strings.mark(i);
                false
            }
            Value::Table(i) => self.tables.mark(i),
            Value::Array(i) => self.arrays.mark(i) && !self.arrays.get(i).is_empty(),
            Value::Closure(i) => self.closures.mark(i),
            Value::Class(i) => self.classes.mark(i),
            Value::Instance(i) => self.instances.mark(i),
            Value::Generator(i) => self.generators.mark(i),
            Value::Host(i) => {
                self.hosts.mark(i);
                false
            }
            Value::Cell(i) => self.cells.mark(i),
            Value::Weak(i) => {
                self.weaks.mark(i);
                false
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Native(_) => false,
        };
        if new {
            grey.push(value);
        }
    }

    fn scan(&mut self, value: Value, grey: &mut Vec<Value>) {
        match value {
            Value::Table(i) => {
                let table = std::mem::take(self.tables.get_mut(i));
                self.scan_table(&table, grey);
                *self.tables.get_mut(i) = table;
            }
            Value::Array(i) => {
                let items = std::mem::take(self.arrays.get_mut(i));
                self.shade_all(&items, grey);
                *self.arrays.get_mut(i) = items;
            }
            Value::Closure(i) => self.scan_closure(i, grey),
            Value::Class(i) => self.scan_class(i, grey),
            Value::Instance(i) => {
                let instance = std::mem::take(self.instances.get_mut(i));
                self.shade(Value::Class(instance.class), grey);
                self.shade_all(&instance.fields, grey);
                *self.instances.get_mut(i) = instance;
            }
            Value::Generator(i) => {
                let generator = std::mem::take(self.generators.get_mut(i));
                self.shade(Value::Closure(generator.closure), grey);
                self.shade_all(&generator.registers, grey);
                *self.generators.get_mut(i) = generator;
            }
            Value::Cell(i) => self.shade(*self.cells.get(i), grey),
            _ => {}
        }
    }

    fn shade_all(&mut self, values: &[Value], grey: &mut Vec<Value>) {
        for &v in values {
            self.shade(v, grey);
        }
    }

    fn scan_table(&mut self, table: &super::table::Table, grey: &mut Vec<Value>) {
        if let Some(d) = table.delegate {
            self.shade(Value::Table(d), grey);
        }
        for (k, v) in table.iter() {
            self.shade(k, grey);
            self.shade(v, grey);
        }
    }

    fn scan_closure(&mut self, id: u32, grey: &mut Vec<Value>) {
        let closure = std::mem::take(self.closures.get_mut(id));
        for &cell in &closure.outers {
            self.shade(Value::Cell(cell), grey);
        }
        self.shade_all(&closure.defaults, grey);
        self.shade(closure.env.unwrap_or_default(), grey);
        self.shade(closure.class.map_or(Value::Null, Value::Class), grey);
        *self.closures.get_mut(id) = closure;
    }

    fn scan_class(&mut self, id: u32, grey: &mut Vec<Value>) {
        let class = std::mem::take(self.classes.get_mut(id));
        self.scan_table(&class.members, grey);
        for m in class.methods.iter().chain(&class.fields) {
            self.shade(m.value, grey);
            self.shade(m.attributes, grey);
        }
        if let Some(metas) = &class.metas {
            self.shade_all(&metas[..], grey);
        }
        self.shade(class.attributes, grey);
        self.shade(class.base.map_or(Value::Null, Value::Class), grey);
        *self.classes.get_mut(id) = class;
    }

    fn clear_weaks(&mut self) {
        let dead: Vec<((u8, u32), u32)> = self
            .weak_of
            .iter()
            .filter(|&(name, weak)| !self.is_marked(*name) || !self.weaks.is_marked(*weak))
            .map(|(&name, &weak)| (name, weak))
            .collect();
        for (name, weak) in dead {
            if !self.is_marked(name) {
                *self.weaks.get_mut(weak) = Value::Null;
            }
            self.weak_of.remove(&name);
        }
        if self.weak_of.capacity() > self.weak_of.len() * 4 + 64 {
            self.weak_of.shrink_to(self.weak_of.len() * 2);
        }
    }

    fn is_marked(&self, (slab, id): (u8, u32)) -> bool {
        match slab {
            1 => self.tables.is_marked(id),
            2 => self.arrays.is_marked(id),
            3 => self.closures.is_marked(id),
            4 => self.classes.is_marked(id),
            5 => self.instances.is_marked(id),
            6 => self.generators.is_marked(id),
            _ => self.hosts.is_marked(id),
        }
    }

    fn sweep_objects(&mut self, freed: &mut usize) {
        self.tables.sweep(|_, t| *freed += Slab::<super::Table>::place() + t.bytes());
        self.arrays.sweep(|_, a| *freed += Slab::<Vec<Value>>::place() + block_of::<Value>(a.capacity()));
        self.closures.sweep(|_, c| *freed += Slab::<super::Closure>::place() + c.bytes());
        self.classes.sweep(|_, c| *freed += Slab::<super::Class>::place() + c.bytes());
        self.instances.sweep(|_, i| *freed += Slab::<super::Instance>::place() + block_of::<Value>(i.fields.len()));
        self.generators.sweep(|_, g| *freed += Slab::<super::Generator>::place() + g.bytes());
        self.weaks.sweep(|_, _| *freed += Slab::<Value>::place() + 32);
        self.cells.sweep(|_, _| *freed += Slab::<Value>::place());
        self.hosts.sweep(|_, h| {
            *freed += Slab::<super::HostObject>::place();
            *freed += match h.payload {
                Payload::Blob(b) => block(b.bytes.capacity()),
                Payload::Regexp(r) => r.bytes(),
                #[cfg(feature = "regexp2")]
                Payload::Regexp2(r) => r.bytes(),
                Payload::None | Payload::Handle(_) => 0,
            };
        });
    }
}
