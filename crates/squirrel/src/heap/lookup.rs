//! The quick look-ups of the dispatch: named members without delegates, metamethods and long walks.

use super::Heap;
use super::object::Place;
use crate::value::Value;

impl Heap {
    /// A named member of a table or an instance itself.
    #[inline(always)]
    pub(crate) fn member(&self, object: &Value, name: Value, hash: u32) -> Option<Value> {
        let Value::Str(id) = name else { return None };
        match *object {
            Value::Table(t) => self.tables.get(t).get_interned(id, hash, &self.strings).map(|v| self.read(v)),
            Value::Instance(i) => {
                let instance = self.instances.get(i);
                let class = self.classes.get(instance.class);
                let v = match Place::unpack(class.members.get_interned(id, hash, &self.strings)?) {
                    Place::Field(n) => *instance.fields.get(n)?,
                    Place::Method(n) => class.methods.get(n)?.value,
                };
                Some(self.read(v))
            }
            Value::Array(_) | Value::Str(_) => self.method(*object, name),
            _ => None,
        }
    }

    /// Sets a named slot that a table or an instance itself has; false when it has none.
    #[inline(always)]
    pub(crate) fn set_member(&mut self, object: &Value, name: Value, hash: u32, value: Value) -> bool {
        let Value::Str(id) = name else { return false };
        match *object {
            Value::Table(t) => self.tables.get_mut(t).set_interned(id, hash, value, &self.strings),
            Value::Instance(i) => {
                let instance = self.instances.get_mut(i);
                let members = &self.classes.get(instance.class).members;
                let Some(place) = members.get_interned(id, hash, &self.strings) else { return false };
                let Place::Field(n) = Place::unpack(place) else { return false };
                let Some(field) = instance.fields.get_mut(n) else { return false };
                *field = value;
                true
            }
            _ => false,
        }
    }

    /// A bare name: of `this`, or of the root table, where no delegate, metamethod or method of the type may answer.
    #[inline(always)]
    pub(crate) fn bare(&self, this: &Value, name: Value, hash: u32) -> Option<Value> {
        if let Some(v) = self.member(this, name, hash) {
            return Some(v);
        }
        let plain = match *this {
            Value::Table(t) => self.tables.get(t).delegate.is_none(),
            Value::Instance(i) => self.classes.get(self.instances.get(i).class).metas.is_none(),
            _ => false,
        };
        let Value::Str(id) = name else { return None };
        // A look-up that gave up says nothing.
        if self.strings.gave_up() || !plain || self.method(*this, name).is_some() {
            return None;
        }
        self.tables.get(self.root).get_interned(id, hash, &self.strings).map(|v| self.read(v))
    }

    /// A method of the value's type.
    #[inline]
    pub(crate) fn method(&self, object: Value, key: Value) -> Option<Value> {
        let Value::Str(name) = key else { return None };
        if let Value::Host(h) = object {
            let class = self.hosts.get(h).class;
            return self.library.classes[class as usize].methods.get(name).map(Value::Native);
        }
        self.library.methods[object.kind() as usize].get(name).map(Value::Native)
    }

    /// The base of the class that defined a function.
    pub(crate) fn base_class(&self, closure: u32) -> Value {
        let class = self.closures.get(closure).class;
        class.and_then(|c| self.classes.get(c).base).map_or(Value::Null, Value::Class)
    }
}
