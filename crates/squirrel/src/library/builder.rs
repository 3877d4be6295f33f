//! Puts a library together: the dialect's own functions first, then what the host adds.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{ClassId, HostClass, Library, Methods, Native, NativeFn, Run};
use crate::heap::object::{HostObject, Meta, Payload};
use crate::heap::strings::{SharedStrings, Strings};
use crate::heap::table::Table;
use crate::value::{Type, Value};
use crate::vm::SpecialFn;

/// A table of the library that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Where a function goes: a table, or the methods of a class of host objects.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// a slot of this table
    Table(Place),
    /// a method of the objects of this class
    Class(ClassId),
    /// a method of every value of this type
    #[doc(hidden)]
    Type(Type),
}

impl From<Place> for Owner {
    fn from(place: Place) -> Owner {
        Owner::Table(place)
    }
}

impl From<ClassId> for Owner {
    fn from(class: ClassId) -> Owner {
        Owner::Class(class)
    }
}

impl From<Type> for Owner {
    fn from(kind: Type) -> Owner {
        Owner::Type(kind)
    }
}

/// A constant value of a slot.
#[derive(Clone, Copy, Debug)]
pub enum Constant<'a> {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// integer
    Int(i32),
    /// float
    Float(f32),
    /// byte string
    Str(&'a [u8]),
}

/// Builds a [`Library`].
#[derive(Debug)]
pub struct LibraryBuilder {
    strings: SharedStrings,
    natives: Vec<Native>,
    classes: Vec<HostClass>,
    methods: [Methods; Type::COUNT],
    tables: Vec<Vec<(u32, Value)>>,
    hosts: Vec<HostObject>,
    blob_class: u32,
    regexp_class: u32,
    #[cfg(feature = "regexp2")]
    pub(super) regexp2_class: u32,
}

impl Default for LibraryBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl LibraryBuilder {
    /// A builder that holds the dialect's own library already.
    pub fn new() -> Self {
        let mut builder = LibraryBuilder {
            strings: SharedStrings::default(),
            natives: Vec::new(),
            classes: Vec::new(),
            methods: Default::default(),
            tables: vec![Vec::new()],
            hosts: Vec::new(),
            blob_class: 0,
            regexp_class: 0,
            #[cfg(feature = "regexp2")]
            regexp2_class: 0,
        };
        for name in Meta::NAMES.iter().chain(&["constructor"]) {
            builder.strings.intern(name.as_bytes());
        }
        builder.blob_class = builder.class("blob").0;
        builder.regexp_class = builder.class("regexp").0;
        super::add_all(&mut builder);
        builder
    }

    /// The root table.
    pub fn root(&self) -> Place {
        Place(0)
    }

    /// A new table in a slot of another.
    pub fn table(&mut self, parent: Place, name: &str) -> Place {
        self.tables.push(Vec::new());
        let place = self.tables.len() - 1;
        self.slot(parent, name, Value::Table(place as u32));
        Place(place)
    }

    /// A class of host objects; `typeof` gives `name`, `type()` gives "meta".
    pub fn class(&mut self, name: &str) -> ClassId {
        let name = self.strings.intern(name.as_bytes());
        self.classes.push(HostClass { name, methods: Methods::default() });
        ClassId((self.classes.len() - 1) as u32)
    }

    /// A constant in a slot of a table.
    pub fn constant(&mut self, place: Place, name: &str, value: Constant<'_>) {
        let value = match value {
            Constant::Null => Value::Null,
            Constant::Bool(b) => Value::Bool(b),
            Constant::Int(i) => Value::Int(i),
            Constant::Float(f) => Value::Float(f),
            Constant::Str(s) => Value::Str(self.strings.intern(s)),
        };
        self.slot(place, name, value);
    }

    /// An object of a host class in a slot of a table, with the host's number for it.
    pub fn object(&mut self, place: Place, name: &str, class: ClassId, handle: u64) {
        self.hosts.push(HostObject { class: class.0, payload: Payload::Handle(handle) });
        let value = Value::Host((self.hosts.len() - 1) as u32);
        self.slot(place, name, value);
    }

    /// A function that answers at once. `arguments` counts without `this`; 255 means any number.
    pub fn native(&mut self, owner: impl Into<Owner>, name: &str, arguments: RangeInclusive<u8>, run: NativeFn) {
        self.function(owner.into(), name, arguments, Run::Plain(run));
    }

    /// A function that suspends the VM with [`crate::Step::HostCall`] under the host's number `id`.
    pub fn host_fn(&mut self, owner: impl Into<Owner>, name: &str, arguments: RangeInclusive<u8>, id: u32) {
        self.function(owner.into(), name, arguments, Run::Host(id));
    }

    /// As [`LibraryBuilder::host_fn`] with one argument, which arrives as a string, made by `_tostring` where there is one.
    pub fn host_text_fn(&mut self, owner: impl Into<Owner>, name: &str, id: u32) {
        self.function(owner.into(), name, 1..=1, Run::HostText(id));
    }

    pub(crate) fn function(&mut self, owner: Owner, name: &str, arguments: RangeInclusive<u8>, run: Run) {
        let id = self.strings.intern(name.as_bytes());
        let native = self.natives.len();
        self.natives.push(Native { name: id, least: *arguments.start(), most: *arguments.end(), run });
        match owner {
            Owner::Table(place) => self.slot(place, name, Value::Native(native as u32)),
            Owner::Class(class) => {
                if let Some(class) = self.classes.get_mut(class.0 as usize) {
                    class.methods.put(id, native);
                }
            }
            Owner::Type(kind) => self.methods[kind as usize].put(id, native),
        }
    }

    pub(super) fn special(
        &mut self,
        owner: impl Into<Owner>,
        name: &str,
        arguments: RangeInclusive<u8>,
        run: SpecialFn,
    ) {
        self.function(owner.into(), name, arguments, Run::Special(run));
    }

    pub(super) fn blob_class(&self) -> ClassId {
        ClassId(self.blob_class)
    }

    pub(super) fn regexp_class(&self) -> ClassId {
        ClassId(self.regexp_class)
    }

    fn slot(&mut self, place: Place, name: &str, value: Value) {
        let id = self.strings.intern(name.as_bytes());
        if let Some(table) = self.tables.get_mut(place.0) {
            table.push((id, value));
        }
    }

    /// The finished library.
    pub fn build(self) -> Arc<Library> {
        let strings = Arc::new(self.strings);
        let local = Strings::new(Arc::clone(&strings));
        let fill = |slots: Vec<(u32, Value)>| {
            let mut table = Table::with_room(slots.len());
            for (name, value) in slots {
                table.insert(Value::Str(name), value, &local);
            }
            table
        };
        Arc::new(Library {
            strings,
            natives: self.natives,
            classes: self.classes,
            methods: self.methods,
            tables: self.tables.into_iter().map(fill).collect(),
            hosts: self.hosts,
            blob_class: self.blob_class,
            regexp_class: self.regexp_class,
            #[cfg(feature = "regexp2")]
            regexp2_class: self.regexp2_class,
        })
    }
}
