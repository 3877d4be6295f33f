//! Methods of classes, instances, generators and weak references.

use super::{LibraryBuilder, weakref, wrong_type};
use crate::heap::Heap;
use crate::heap::object::{GeneratorState, Place};
use crate::throw::Throw;
use crate::value::{Type, Value};
use crate::vm::frame::Then;
use crate::vm::{Flow, Vm};

pub(super) fn add(b: &mut LibraryBuilder) {
    let c = Type::Class;
    b.native(c, "getattributes", 1..=1, |heap, args| attributes(heap, args, None));
    b.native(c, "setattributes", 2..=2, |heap, args| attributes(heap, args, Some(args[2])));
    b.native(c, "instance", 0..=0, |heap, args| heap.instance(class(args)?).map(Value::Instance));
    b.native(c, "getbase", 0..=0, |heap, args| {
        Ok(heap.classes.get(class(args)?).base.map_or(Value::Null, Value::Class))
    });
    b.native(c, "rawget", 1..=1, raw_get);
    b.native(c, "rawin", 1..=1, |heap, args| {
        Ok(Value::Bool(heap.classes.get(class(args)?).members.get(args[1], &heap.strings).is_some()))
    });
    b.special(c, "rawset", 2..=2, |vm, base, n, then| new_member(vm, base, n, then, true));
    b.special(c, "newmember", 2..=4, |vm, base, n, then| new_member(vm, base, n, then, false));
    b.special(c, "rawnewmember", 2..=4, |vm, base, n, then| new_member(vm, base, n, then, true));
    let i = Type::Instance;
    b.native(i, "getclass", 0..=0, |heap, args| match args[0] {
        Value::Instance(id) => Ok(Value::Class(heap.instances.get(id).class)),
        other => Err(wrong_type(0, other, "instance")),
    });
    b.native(i, "rawget", 1..=1, instance_get);
    b.native(i, "rawset", 2..=2, instance_set);
    b.native(i, "rawin", 1..=1, |heap, args| Ok(Value::Bool(member(heap, args)?.is_some())));
    let g = Type::Generator;
    b.native(g, "getstatus", 0..=0, |heap, args| {
        let Value::Generator(id) = args[0] else { return Err(wrong_type(0, args[0], "generator")) };
        let state = match heap.generators.get(id).state {
            GeneratorState::Dead => "dead",
            GeneratorState::Suspended => "suspended",
            GeneratorState::Running => "running",
        };
        heap.string(state.as_bytes())
    });
    b.native(Type::Weakref, "ref", 0..=0, |heap, args| Ok(heap.read(args[0])));
    for kind in [c, i, g, Type::Weakref] {
        b.native(kind, "weakref", 0..=0, weakref);
        b.special(kind, "tostring", 0..=0, super::base::to_string);
    }
}

fn class(args: &[Value]) -> Result<u32, Throw> {
    match args[0] {
        Value::Class(id) => Ok(id),
        other => Err(wrong_type(0, other, "class")),
    }
}

fn no_index() -> Throw {
    Throw::message("the index doesn't exist")
}

/// Attributes of a member, or of the class itself for null; the old ones when they are set.
fn attributes(heap: &mut Heap, args: &[Value], new: Option<Value>) -> Result<Value, Throw> {
    let id = class(args)?;
    let place = heap.classes.get(id).members.get(args[1], &heap.strings).map(Place::unpack);
    let c = heap.classes.get_mut(id);
    let slot = match (args[1], place) {
        (Value::Null, _) => &mut c.attributes,
        (_, Some(Place::Method(i))) => &mut c.methods.get_mut(i).ok_or_else(no_index)?.attributes,
        (_, Some(Place::Field(i))) => &mut c.fields.get_mut(i).ok_or_else(no_index)?.attributes,
        (_, None) => return Err(Throw::message("wrong index")),
    };
    let old = *slot;
    if let Some(new) = new {
        *slot = new;
    }
    Ok(old)
}

fn raw_get(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let c = heap.classes.get(class(args)?);
    let place = c.members.get(args[1], &heap.strings).map(Place::unpack).ok_or_else(no_index)?;
    c.member(place).map(|m| heap.read(m.value)).ok_or_else(no_index)
}

fn new_member(vm: &mut Vm, base: usize, n: usize, _: Then, raw: bool) -> Result<Flow, Throw> {
    let args = vm.stack[base..base + n].to_vec();
    class(&args)?;
    let attributes = args.get(3).copied().unwrap_or_default();
    let is_static = args.get(4).is_some_and(|v| v.is_true());
    let flow = vm.add_member(args[0], [args[1], args[2], attributes], is_static, raw)?;
    Ok(match flow {
        Flow::Value(_) => Flow::Value(Value::Null),
        flow => flow,
    })
}

fn member(heap: &Heap, args: &[Value]) -> Result<Option<Place>, Throw> {
    let Value::Instance(id) = args[0] else { return Err(wrong_type(0, args[0], "instance")) };
    let class = heap.classes.get(heap.instances.get(id).class);
    Ok(class.members.get(args[1], &heap.strings).map(Place::unpack))
}

fn instance_get(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let place = member(heap, args)?.ok_or_else(no_index)?;
    let Value::Instance(id) = args[0] else { return Err(no_index()) };
    let instance = heap.instances.get(id);
    let value = match place {
        Place::Field(i) => instance.fields.get(i).copied(),
        place => heap.classes.get(instance.class).member(place).map(|m| m.value),
    };
    value.map(|v| heap.read(v)).ok_or_else(no_index)
}

fn instance_set(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    let place = member(heap, args)?;
    match (args[0], place) {
        (Value::Instance(id), Some(Place::Field(i))) => match heap.instances.get_mut(id).fields.get_mut(i) {
            Some(field) => {
                *field = args[2];
                Ok(Value::Null)
            }
            None => Err(no_index()),
        },
        _ => Err(no_index()),
    }
}
