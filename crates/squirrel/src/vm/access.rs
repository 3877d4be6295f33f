//! Slots: get, set, create, delete and `in`, with delegates, metamethods and the methods of the types.

use super::frame::Then;
use super::{Flow, Vm};
use crate::heap::object::{Meta, Payload, Place};
use crate::library::blob;
use crate::throw::Throw;
use crate::value::{Value, float_to_int};

/// What a look-up in a delegate counts, beside the nodes it walks over.
const DELEGATE_COST: u32 = 2;

impl Vm {
    /// The metamethod of a value, or null.
    pub(super) fn meta(&self, value: Value, meta: Meta) -> Value {
        match value {
            Value::Instance(i) => self.heap.classes.get(self.heap.instances.get(i).class).meta(meta),
            Value::Table(t) => {
                let mut next = self.heap.tables.get(t).delegate;
                let mut steps = 0;
                let mut found = Value::Null;
                while let Some(d) = next {
                    let table = self.heap.tables.get(d);
                    if let Some(v) = table.get(Value::Str(meta.name()), &self.heap.strings) {
                        found = v;
                        break;
                    }
                    next = table.delegate;
                    steps += DELEGATE_COST;
                }
                self.heap.strings.count_probes(steps);
                found
            }
            _ => Value::Null,
        }
    }

    /// The value's own slot, delegates included, metamethods and methods of the type not.
    pub(super) fn own(&self, object: Value, key: Value) -> Option<Value> {
        let heap = &self.heap;
        match object {
            Value::Table(t) => {
                let mut table = heap.tables.get(t);
                let mut steps = 0;
                let found = loop {
                    if let Some(v) = table.get(key, &heap.strings) {
                        break Some(heap.read(v));
                    }
                    match table.delegate {
                        Some(d) => table = heap.tables.get(d),
                        None => break None,
                    }
                    steps += DELEGATE_COST;
                };
                heap.strings.count_probes(steps);
                found
            }
            Value::Array(a) => index(key).and_then(|i| heap.arrays.get(a).get(i)).map(|&v| heap.read(v)),
            Value::Str(s) => index(key).and_then(|i| heap.str_bytes(s).get(i)).map(|&b| Value::Int(i32::from(b as i8))),
            Value::Instance(i) => {
                let instance = heap.instances.get(i);
                let class = heap.classes.get(instance.class);
                class.members.get(key, &heap.strings).map(|place| match Place::unpack(place) {
                    Place::Field(n) => heap.read(instance.fields.get(n).copied().unwrap_or_default()),
                    place => heap.read(class.member(place).map(|m| m.value).unwrap_or_default()),
                })
            }
            Value::Class(c) => {
                let class = heap.classes.get(c);
                class
                    .members
                    .get(key, &heap.strings)
                    .map(|place| heap.read(class.member(Place::unpack(place)).map(|m| m.value).unwrap_or_default()))
            }
            Value::Host(h) => match (&heap.hosts.get(h).payload, index(key)) {
                (Payload::Blob(b), Some(i)) => b.bytes.get(i).map(|&b| Value::Int(b.into())),
                _ => None,
            },
            _ => None,
        }
    }

    /// `object[key]`; a bare name falls back to the root table.
    pub(super) fn get(&mut self, object: Value, key: Value, bare: bool, then: Then) -> Result<Flow, Throw> {
        if let Some(v) = self.own(object, key) {
            return Ok(Flow::Value(v));
        }
        let meta = self.meta(object, Meta::Get);
        if !meta.is_null() {
            let then = match then {
                Then::Store(a) => Then::GetInto(a, bare),
                then => then,
            };
            return self.call_with(meta, &[object, key], then);
        }
        self.get_missing(object, key, bare).map(Flow::Value)
    }

    /// What a key gives that neither the object nor its metamethod has.
    pub(super) fn get_missing(&self, object: Value, key: Value, bare: bool) -> Result<Value, Throw> {
        if let Some(method) = self.heap.method(object, key) {
            return Ok(method);
        }
        if bare && let Some(v) = self.heap.tables.get(self.heap.root).get(key, &self.heap.strings) {
            return Ok(self.heap.read(v));
        }
        Err(self.no_index(key))
    }

    pub(super) fn no_index(&self, key: Value) -> Throw {
        Throw::Message(format!("the index '{}' does not exist", self.show(key)))
    }

    /// `object[key] = value` for a slot that is there.
    pub(super) fn set(&mut self, object: Value, key: Value, value: Value, bare: bool) -> Result<Flow, Throw> {
        let done = match object {
            Value::Table(t) => self.set_in_tables(t, key, value),
            Value::Array(a) => {
                let Some(i) = number(key) else {
                    return Err(Throw::Message(format!("indexing array with {}", key.type_name())));
                };
                match usize::try_from(i).ok().and_then(|i| self.heap.arrays.get_mut(a).get_mut(i)) {
                    Some(slot) => {
                        *slot = value;
                        true
                    }
                    None => false,
                }
            }
            Value::Instance(i) => self.set_field(i, key, value),
            Value::Class(_) if self.own(object, key).is_some() => return self.new_slot(object, key, value),
            Value::Host(h) => blob::set_byte(&mut self.heap, h, key, value)?,
            _ => false,
        };
        if done {
            return Ok(Flow::Value(value));
        }
        let meta = self.meta(object, Meta::Set);
        if !meta.is_null() {
            return self.call_with(meta, &[object, key, value], Then::Set(bare));
        }
        self.set_missing(key, value, bare)?;
        Ok(Flow::Value(value))
    }

    /// Sets what neither the object nor its metamethod has: a bare name may be a slot of the root table.
    pub(super) fn set_missing(&mut self, key: Value, value: Value, bare: bool) -> Result<(), Throw> {
        let root = self.heap.root;
        if bare && self.heap.tables.get_mut(root).set(key, value, &self.heap.strings) {
            return Ok(());
        }
        Err(self.no_index(key))
    }

    fn set_in_tables(&mut self, table: u32, key: Value, value: Value) -> bool {
        let mut next = Some(table);
        let mut steps = 0;
        let mut done = false;
        while let Some(t) = next
            && !done
        {
            let table = self.heap.tables.get_mut(t);
            done = table.set(key, value, &self.heap.strings);
            next = table.delegate;
            steps += DELEGATE_COST;
        }
        self.heap.strings.count_probes(steps);
        done
    }

    fn set_field(&mut self, instance: u32, key: Value, value: Value) -> bool {
        let heap = &mut self.heap;
        let class = heap.classes.get(heap.instances.get(instance).class);
        let Some(Place::Field(n)) = class.members.get(key, &heap.strings).map(Place::unpack) else { return false };
        match heap.instances.get_mut(instance).fields.get_mut(n) {
            Some(field) => {
                *field = value;
                true
            }
            None => false,
        }
    }

    /// `object[key] <- value`
    pub(super) fn new_slot(&mut self, object: Value, key: Value, value: Value) -> Result<Flow, Throw> {
        if key.is_null() {
            return Err(Throw::message("null cannot be used as index"));
        }
        match object {
            Value::Table(t) => {
                if self.heap.tables.get(t).delegate.is_some() {
                    let meta = self.meta(object, Meta::NewSlot);
                    if !meta.is_null() && self.heap.tables.get(t).get(key, &self.heap.strings).is_none() {
                        return self.call_with(meta, &[object, key, value], Then::Discard);
                    }
                }
                self.heap.table_insert(object, key, value)?;
                Ok(Flow::Value(value))
            }
            Value::Class(c) => self.new_member(c, key, value, Value::Null, false),
            Value::Instance(_) => match self.meta(object, Meta::NewSlot) {
                Value::Null => Err(Throw::message("class instances do not support the new slot operator")),
                meta => self.call_with(meta, &[object, key, value], Then::Discard),
            },
            _ => Err(Throw::Message(format!("indexing {} with {}", object.type_name(), key.type_name()))),
        }
    }

    /// `delete object[key]`
    pub(super) fn delete(&mut self, object: Value, key: Value, then: Then) -> Result<Flow, Throw> {
        match object {
            Value::Table(_) | Value::Instance(_) => {}
            _ => return Err(Throw::Message(format!("cannot delete a slot from {}", object.type_name()))),
        }
        let meta = self.meta(object, Meta::DelSlot);
        if !meta.is_null() {
            return self.call_with(meta, &[object, key], then);
        }
        match object {
            Value::Table(t) => match self.heap.table_remove(t, key) {
                Some(v) => Ok(Flow::Value(self.heap.read(v))),
                None => Err(self.no_index(key)),
            },
            _ => Err(Throw::Message(format!("cannot delete a slot from {}", object.type_name()))),
        }
    }

    /// `key in object`
    pub(super) fn contains(&self, object: Value, key: Value) -> bool {
        self.own(object, key).is_some()
    }

    pub(super) fn instance_of(&self, object: Value, class: Value) -> Result<bool, Throw> {
        if let (Value::Native(maker), Value::Host(h)) = (class, object) {
            // The makers of the library's own objects stand for their classes: `b instanceof blob`.
            let name = self.linked.library.natives.get(maker as usize).map(|n| n.name);
            let class = &self.linked.library.classes[self.heap.hosts.get(h).class as usize];
            return Ok(name == Some(class.name));
        }
        let Value::Class(class) = class else {
            let (a, b) = (object.type_name(), class.type_name());
            return Err(Throw::Message(format!("cannot apply instanceof between a {a} and a {b}")));
        };
        let Value::Instance(i) = object else { return Ok(false) };
        let mut next = Some(self.heap.instances.get(i).class);
        let mut steps = 0;
        while let Some(c) = next
            && c != class
        {
            next = self.heap.classes.get(c).base;
            steps += 1;
        }
        self.heap.strings.count_probes(steps);
        Ok(next.is_some())
    }
}

/// A numeric key as it is.
fn number(key: Value) -> Option<i32> {
    match key {
        Value::Int(i) => Some(i),
        Value::Float(f) => Some(float_to_int(f)),
        _ => None,
    }
}

/// A numeric key as an index; negative ones are none.
fn index(key: Value) -> Option<usize> {
    number(key).and_then(|i| usize::try_from(i).ok())
}
