//! The objects that live in the slabs beside strings and tables.

use super::block_of;
use super::table::Table;
use crate::library::regexp::Regexp;
use crate::value::Value;

/// A script function with what it captured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    /// Its code: number in the linked program.
    pub(crate) proto: u32,
    /// Numbers of the boxes of its free variables.
    pub(crate) outers: Box<[u32]>,
    pub(crate) defaults: Box<[Value]>,
    /// The object that `bindenv` fixed as `this`.
    pub(crate) env: Option<Value>,
    /// The class whose body defined it: `base` is this class's base.
    pub(crate) class: Option<u32>,
}

impl Closure {
    /// Bytes of what it captured.
    pub(crate) fn bytes(&self) -> usize {
        block_of::<u32>(self.outers.len()) + block_of::<Value>(self.defaults.len())
    }
}

/// A value with its attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Member {
    pub(crate) value: Value,
    pub(crate) attributes: Value,
}

/// Where a class keeps a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Method(usize),
    Field(usize),
}

impl Place {
    pub(crate) fn pack(self) -> Value {
        match self {
            Place::Method(i) => Value::Int((i as i32) << 1),
            Place::Field(i) => Value::Int((i as i32) << 1 | 1),
        }
    }

    pub(crate) fn unpack(value: Value) -> Place {
        match value {
            Value::Int(i) if i & 1 == 1 => Place::Field((i >> 1) as usize),
            Value::Int(i) => Place::Method((i >> 1) as usize),
            _ => Place::Method(usize::MAX),
        }
    }
}

/// A class: its members by name, methods and statics, defaults of fields, metamethods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Class {
    pub(crate) members: Table,
    pub(crate) methods: Vec<Member>,
    pub(crate) fields: Vec<Member>,
    pub(crate) metas: Option<Box<[Value; Meta::COUNT]>>,
    pub(crate) base: Option<u32>,
    pub(crate) attributes: Value,
    /// Once it has an instance its fields are fixed.
    pub(crate) locked: bool,
}

impl Class {
    pub(crate) fn meta(&self, meta: Meta) -> Value {
        self.metas.as_ref().map_or(Value::Null, |m| m[meta as usize])
    }

    pub(crate) fn member(&self, place: Place) -> Option<&Member> {
        match place {
            Place::Method(i) => self.methods.get(i),
            Place::Field(i) => self.fields.get(i),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let metas = if self.metas.is_some() { block_of::<Value>(Meta::COUNT) } else { 0 };
        let members = block_of::<Member>(self.methods.capacity()) + block_of::<Member>(self.fields.capacity());
        self.members.bytes() + members + metas
    }
}

/// An instance of a script class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instance {
    pub(crate) class: u32,
    pub(crate) fields: Box<[Value]>,
}

/// What a generator is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum GeneratorState {
    #[default]
    Dead,
    Suspended,
    Running,
}

/// A suspended function: its registers and its place in the code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generator {
    pub(crate) state: GeneratorState,
    pub(crate) closure: u32,
    pub(crate) pc: u32,
    pub(crate) registers: Vec<Value>,
    /// Handlers of `try` that were open at the yield: register and code place.
    pub(crate) traps: Vec<(u8, u32)>,
}

impl Generator {
    /// Bytes of its registers and handlers.
    pub(crate) fn bytes(&self) -> usize {
        block_of::<Value>(self.registers.capacity()) + self.trap_bytes()
    }

    /// Bytes of its handlers.
    pub(crate) fn trap_bytes(&self) -> usize {
        Self::bytes_of_traps(self.traps.len())
    }

    /// Bytes of so many handlers.
    pub(crate) fn bytes_of_traps(traps: usize) -> usize {
        block_of::<(u8, u32)>(traps)
    }
}

/// An object of the library or the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostObject {
    /// Its class: number in the library.
    pub(crate) class: u32,
    pub(crate) payload: Payload,
}

/// What a host object is about.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payload {
    #[default]
    None,
    /// The host's own number for it.
    Handle(u64),
    Blob(Blob),
    Regexp(Box<Regexp>),
    #[cfg(feature = "regexp2")]
    Regexp2(Box<crate::library::regexp2::Regexp2>),
}

/// Bytes with a read and write place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: usize,
}

/// The metamethods; their names are the first strings of every library, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Meta {
    Add,
    Sub,
    Mul,
    Div,
    Modulo,
    Unm,
    Get,
    Set,
    NewSlot,
    DelSlot,
    Cmp,
    Call,
    Cloned,
    Typeof,
    ToString,
    NextI,
    Inherited,
    NewMember,
}

impl Meta {
    pub(crate) const COUNT: usize = 18;
    pub(crate) const NAMES: [&'static str; Meta::COUNT] = [
        "_add",
        "_sub",
        "_mul",
        "_div",
        "_modulo",
        "_unm",
        "_get",
        "_set",
        "_newslot",
        "_delslot",
        "_cmp",
        "_call",
        "_cloned",
        "_typeof",
        "_tostring",
        "_nexti",
        "_inherited",
        "_newmember",
    ];

    /// The number of its name's string.
    pub(crate) fn name(self) -> u32 {
        self as u32
    }
}

/// The number of the string "constructor", which follows the metamethods.
pub(crate) const CONSTRUCTOR: u32 = Meta::COUNT as u32;
