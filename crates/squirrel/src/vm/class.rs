//! Classes: making them, their members, clones.

use super::frame::Then;
use super::{Flow, Vm};
use crate::heap::block_of;
use crate::heap::object::{Class, Closure, Member, Meta, Place};
use crate::throw::Throw;
use crate::value::Value;

impl Vm {
    /// A class over a base.
    pub(super) fn make_class(&mut self, base: Option<Value>, attributes: Value) -> Result<(u32, Value), Throw> {
        let mut class = Class { attributes, ..Class::default() };
        let mut inherited = Value::Null;
        if let Some(base) = base {
            let Value::Class(b) = base else {
                return Err(Throw::Message(format!("trying to inherit from a {}", base.type_name())));
            };
            let from = self.heap.classes.get(b);
            self.heap.ensure(from.bytes())?;
            self.heap.work(from.bytes() / 64);
            class.members = from.members.copy(&self.heap.strings);
            class.methods = from.methods.clone();
            class.fields = from.fields.clone();
            class.metas = from.metas.clone();
            class.base = Some(b);
            inherited = from.meta(Meta::Inherited);
        }
        Ok((self.heap.class(class)?, inherited))
    }

    /// Adds or replaces a member, `_newmember` aside.
    pub(super) fn new_member(
        &mut self,
        class: u32,
        key: Value,
        value: Value,
        attributes: Value,
        is_static: bool,
    ) -> Result<Flow, Throw> {
        if key.is_null() {
            return Err(Throw::message("null cannot be used as index"));
        }
        let value = self.adopt(class, value)?;
        let heap = &mut self.heap;
        if let Value::Str(name) = key
            && (name as usize) < Meta::COUNT
            && matches!(value, Value::Closure(_) | Value::Native(_))
        {
            if heap.classes.get(class).metas.is_none() {
                heap.charge(block_of::<Value>(Meta::COUNT))?;
            }
            let metas = &mut heap.classes.get_mut(class).metas;
            metas.get_or_insert_with(|| Box::new([Value::Null; Meta::COUNT]))[name as usize] = value;
            return Ok(Flow::Value(value));
        }
        let method = is_static || matches!(value, Value::Closure(_) | Value::Native(_));
        let c = heap.classes.get(class);
        let existing = c.members.get(key, &heap.strings).map(Place::unpack);
        let replaced = existing.filter(|p| matches!(p, Place::Method(_)) == method);
        if c.locked && !method {
            return Err(Throw::message("trying to modify a class that has already been instantiated"));
        }
        let member = Member { value, attributes };
        if let Some(place) = replaced {
            let c = heap.classes.get_mut(class);
            let members = if method { &mut c.methods } else { &mut c.fields };
            let (Place::Method(i) | Place::Field(i)) = place;
            if let Some(m) = members.get_mut(i) {
                m.value = value;
                if !attributes.is_null() {
                    m.attributes = attributes;
                }
            }
            return Ok(Flow::Value(value));
        }
        // Room for the member, and for the table to double.
        let room = 4 * size_of::<Member>() + 64 + c.members.growth();
        if room > heap.memory_free() {
            return Err(crate::throw::Fatal::Memory.into());
        }
        let c = heap.classes.get_mut(class);
        let before = c.bytes();
        let members = if method { &mut c.methods } else { &mut c.fields };
        if members.len() == members.capacity() {
            members.reserve_exact(4);
        }
        members.push(member);
        let at = members.len() - 1;
        let place = if method { Place::Method(at) } else { Place::Field(at) };
        c.members.insert(key, place.pack(), &heap.strings);
        let grown = c.bytes().saturating_sub(before);
        heap.charge(grown)?;
        Ok(Flow::Value(value))
    }

    /// A function that becomes a method knows its class, for `base`.
    fn adopt(&mut self, class: u32, value: Value) -> Result<Value, Throw> {
        let Value::Closure(id) = value else { return Ok(value) };
        let closure = self.heap.closures.get(id).clone();
        if closure.class == Some(class) {
            return Ok(value);
        }
        self.heap.closure(Closure { class: Some(class), ..closure })
    }

    /// A member in a class body; a function that was `made` for it alone need not be copied to know its class.
    pub(super) fn body_member(
        &mut self,
        class: Value,
        values: [Value; 3],
        is_static: bool,
        made: bool,
    ) -> Result<Flow, Throw> {
        if let (Value::Class(c), Value::Closure(f), true) = (class, values[1], made) {
            self.heap.closures.get_mut(f).class = Some(c);
        }
        self.add_member(class, values, is_static, false)
    }

    /// Adds a member; `raw` passes `_newmember` by.
    pub(crate) fn add_member(
        &mut self,
        class: Value,
        values: [Value; 3],
        is_static: bool,
        raw: bool,
    ) -> Result<Flow, Throw> {
        let Value::Class(c) = class else { return Err(Throw::message("a class was expected")) };
        let [key, value, attributes] = values;
        let meta = if raw { Value::Null } else { self.heap.classes.get(c).meta(Meta::NewMember) };
        match meta {
            Value::Null => self.new_member(c, key, value, attributes, is_static),
            meta => self.call_with(meta, &[class, key, value, attributes, Value::Bool(is_static)], Then::Discard),
        }
    }

    pub(super) fn clone_value(&mut self, value: Value, then: Then) -> Result<Flow, Throw> {
        let copy = match value {
            Value::Table(t) => {
                let table = self.heap.tables.get(t);
                let bytes = table.bytes();
                if bytes > self.heap.memory_free() {
                    return Err(crate::throw::Fatal::Memory.into());
                }
                let table = table.copy(&self.heap.strings);
                self.heap.work(bytes / 64);
                self.heap.table_from(table)?
            }
            Value::Instance(i) => {
                let from = self.heap.instances.get(i);
                self.heap.ensure(size_of_val(&from.fields[..]) * 2)?;
                let (class, fields) = (from.class, from.fields.clone());
                let id = self.heap.instance(class)?;
                self.heap.instances.get_mut(id).fields = fields;
                Value::Instance(id)
            }
            Value::Array(a) => {
                let items = self.heap.arrays.get(a);
                if size_of_val(&items[..]) > self.heap.memory_free() {
                    return Err(crate::throw::Fatal::Memory.into());
                }
                let items = items.clone();
                self.heap.work(items.len() / 8);
                return self.heap.array(items).map(Flow::Value);
            }
            Value::Host(h) => return crate::library::blob::copy(&mut self.heap, h).map(Flow::Value),
            Value::Class(_) | Value::Closure(_) | Value::Native(_) | Value::Generator(_) | Value::Weak(_) => {
                return Err(Throw::Message(format!("cloning a {}", value.type_name())));
            }
            scalar => scalar,
        };
        match self.meta(copy, Meta::Cloned) {
            Value::Closure(f) => {
                let base = self.top();
                self.reserve_stack(base + 2)?;
                self.stack[base] = copy;
                self.stack[base + 1] = value;
                self.enter(f, base, 2, then, true)
            }
            _ => Ok(Flow::Value(copy)),
        }
    }
}
