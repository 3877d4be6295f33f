//! The base functions of the root table.

use super::LibraryBuilder;
use super::builder::Constant;
use crate::throw::Throw;
use crate::value::Value;
use crate::vm::frame::Then;
use crate::vm::{Flow, Vm};

pub(super) fn add(b: &mut LibraryBuilder) {
    let root = b.root();
    b.native(root, "getroottable", 0..=0, |heap, _| Ok(heap.root()));
    b.native(root, "assert", 1..=1, |_, args| {
        if args[1].is_true() { Ok(Value::Null) } else { Err(Throw::message("assertion failed")) }
    });
    b.native(root, "type", 1..=1, |heap, args| heap.string(args[1].type_name().as_bytes()));
    b.native(root, "dummy", 0..=255, |_, _| Ok(Value::Null));
    b.special(root, "collectgarbage", 0..=0, |vm, base, n, _| {
        let before = vm.heap.objects();
        vm.collect_below(base + n, None);
        Ok(Flow::Value(Value::Int(before.saturating_sub(vm.heap.objects()) as i32)))
    });
    b.constant(root, "_version_", Constant::Str(b"Squirrel 3.0.4 stable"));
    b.constant(root, "_versionnumber_", Constant::Int(304));
    b.constant(root, "_charsize_", Constant::Int(1));
    b.constant(root, "_intsize_", Constant::Int(4));
    b.constant(root, "_floatsize_", Constant::Int(4));
    b.constant(root, "RAND_MAX", Constant::Int(super::math::RAND_MAX));
}

/// `tostring` of everything.
pub(super) fn to_string(vm: &mut Vm, base: usize, _: usize, then: Then) -> Result<Flow, Throw> {
    let value = vm.stack[base];
    vm.text_of(value, then)
}
