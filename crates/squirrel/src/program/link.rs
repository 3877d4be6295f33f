//! A program linked with a library: constants as values, strings numbered; shared by every VM that runs it.

use std::sync::Arc;

use super::op::Op;
use super::{Constant, Function, Program};
use crate::heap::Heap;
use crate::heap::strings::SharedStrings;
use crate::library::Library;
use crate::value::Value;

/// A program ready to run against one library. Make one for each deployment and share it.
#[derive(Debug)]
pub struct Linked {
    pub(crate) library: Arc<Library>,
    pub(crate) strings: Arc<SharedStrings>,
    pub(crate) functions: Vec<Linkage>,
    pub(crate) mains: Vec<u16>,
    pub(crate) files: Vec<u32>,
}

/// One function with its constants as values.
#[derive(Debug)]
pub(crate) struct Linkage {
    pub(crate) code: Vec<Op>,
    pub(crate) constants: Vec<Value>,
    /// Values that a call must bring, `this` included, to begin without arrangements; 0: there is no such call.
    pub(crate) takes: usize,
    pub(crate) registers: usize,
    /// The hash of each constant that is an interned string.
    pub(crate) hashes: Vec<u32>,
    pub(crate) name: Option<u32>,
    pub(crate) source: u32,
    pub(crate) parameters: Vec<u32>,
    pub(crate) function: Function,
}

impl Linked {
    /// Links a program with the library that its VMs will have.
    pub fn new(library: &Arc<Library>, program: &Program) -> Arc<Linked> {
        let mut strings = (*library.strings).clone();
        let ids: Vec<u32> = program.strings.iter().map(|s| strings.intern(s)).collect();
        let files = program.files.iter().map(|&f| ids.get(f as usize).copied().unwrap_or(0)).collect();
        let strings = Arc::new(strings);
        let heap = Heap::new(Arc::clone(library), Arc::clone(&strings), usize::MAX);
        let functions = program.functions.iter().map(|f| link(f, &ids, &heap)).collect();
        Arc::new(Linked { library: Arc::clone(library), strings, functions, mains: program.mains.clone(), files })
    }
}

fn link(function: &Function, ids: &[u32], heap: &Heap) -> Linkage {
    let string = |s: u32| ids.get(s as usize).copied().unwrap_or(0);
    let value = |c: &Constant| match *c {
        Constant::Null => Value::Null,
        Constant::Bool(b) => Value::Bool(b),
        Constant::Int(i) => Value::Int(i),
        Constant::Float(bits) => Value::Float(f32::from_bits(bits)),
        Constant::Str(s) => Value::Str(string(s)),
    };
    let constants: Vec<Value> = function.constants.iter().map(value).collect();
    let hash = |v: &Value| match *v {
        Value::Str(s) => heap.strings.hash(s),
        _ => 0,
    };
    Linkage {
        hashes: constants.iter().map(hash).collect(),
        constants,
        code: function.code.clone(),
        takes: if function.varargs || function.generator { 0 } else { function.parameters.len() + 1 },
        registers: function.registers as usize,
        name: function.name.map(string),
        source: string(function.source),
        parameters: function.parameters.iter().map(|&p| string(p)).collect(),
        function: Function { code: Vec::new(), constants: Vec::new(), ..function.clone() },
    }
}
