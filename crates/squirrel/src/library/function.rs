//! Methods of functions.

use super::builder::Owner;
use super::{LibraryBuilder, Run, weakref, wrong_type};
use crate::heap::Heap;
use crate::heap::object::Closure;
use crate::throw::Throw;
use crate::value::{Type, Value};
use crate::vm::frame::Then;
use crate::vm::{Flow, Vm};

pub(super) fn add(b: &mut LibraryBuilder) {
    let t = Type::Function;
    for name in ["call", "pcall"] {
        b.function(Owner::Type(t), name, 1..=255, Run::Call);
    }
    for name in ["acall", "pacall"] {
        b.function(Owner::Type(t), name, 1..=1, Run::Acall);
    }
    b.native(t, "bindenv", 1..=1, bind_env);
    b.native(t, "weakref", 0..=0, weakref);
    b.special(t, "getinfos", 0..=0, get_infos);
    b.special(t, "tostring", 0..=0, super::base::to_string);
    let root = b.root();
    b.special(root, "callee", 0..=0, |vm, _, _, _| Ok(Flow::Value(vm.running().map_or(Value::Null, Value::Closure))));
}

/// The dialect's `bindenv` keeps its object alive.
fn bind_env(heap: &mut Heap, args: &[Value]) -> Result<Value, Throw> {
    if !matches!(args[1], Value::Table(_) | Value::Class(_) | Value::Instance(_) | Value::Host(_)) {
        return Err(wrong_type(1, args[1], "table|class|instance"));
    }
    match args[0] {
        Value::Closure(id) => {
            let closure = heap.closures.get(id).clone();
            heap.closure(Closure { env: Some(args[1]), ..closure })
        }
        native @ Value::Native(_) => Ok(native),
        other => Err(wrong_type(0, other, "function")),
    }
}

fn get_infos(vm: &mut Vm, base: usize, _: usize, _: Then) -> Result<Flow, Throw> {
    let function = vm.stack[base];
    let heap = &mut vm.heap;
    let table = heap.table(8)?;
    let slot = |heap: &mut Heap, name: &str, value: Value| {
        let key = heap.string(name.as_bytes())?;
        heap.table_insert(table, key, value)
    };
    match function {
        Value::Closure(id) => {
            let closure = heap.closures.get(id).clone();
            let linkage = &vm.linked.functions[closure.proto as usize];
            let mut parameters = vec![heap.string(b"this")?];
            parameters.extend(linkage.parameters.iter().map(|&p| Value::Str(p)));
            if linkage.function.varargs {
                parameters.push(heap.string(b"...")?);
            }
            let parameters = heap.array(parameters)?;
            let defaults = heap.array(closure.defaults.to_vec())?;
            slot(heap, "native", Value::Bool(false))?;
            slot(heap, "name", linkage.name.map_or(Value::Null, Value::Str))?;
            slot(heap, "src", Value::Str(linkage.source))?;
            slot(heap, "parameters", parameters)?;
            slot(heap, "varargs", Value::Int(linkage.function.varargs.into()))?;
            slot(heap, "defparams", defaults)?;
        }
        Value::Native(n) => {
            let native = vm.linked.library.natives[n as usize];
            slot(heap, "native", Value::Bool(true))?;
            slot(heap, "name", Value::Str(native.name))?;
            slot(heap, "paramscheck", Value::Int(i32::from(native.least) + 1))?;
            slot(heap, "typecheck", Value::Null)?;
        }
        other => return Err(wrong_type(0, other, "function")),
    }
    Ok(Flow::Value(table))
}
