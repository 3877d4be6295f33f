//! A host for tests: prints into a string, through an image, as a device would run it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use vouch_squirrel::{
    Budgets, Clock, CompileError, CompileOptions, Library, LibraryBuilder, Linked, Program, ScriptError, Source, Step,
    Value, Vm, compile,
};

/// The number of `print`.
pub(crate) const PRINT: u32 = 1;
/// The number of `ask`, which the tests answer.
pub(crate) const ASK: u32 = 2;

/// The dialect's library with `print` and `ask`.
pub(crate) fn library() -> Arc<Library> {
    let mut builder = LibraryBuilder::new();
    let root = builder.root();
    builder.host_text_fn(root, "print", PRINT);
    builder.regexp2();
    builder.host_fn(root, "ask", 0..=255, ASK);
    builder.build()
}

/// Compiles one source.
pub(crate) fn program(name: &str, text: &str) -> Result<Program, CompileError> {
    compile(&[Source { name, text: text.as_bytes() }], &CompileOptions::default())
}

/// A VM that has begun its program.
pub(crate) fn vm(name: &str, text: &str, budgets: Budgets) -> Vm {
    let program = program(name, text).unwrap_or_else(|e| panic!("{}", e.with_caret()));
    let program = Program::from_image(&program.to_image()).unwrap();
    let linked = Linked::new(&library(), &program);
    let mut vm = Vm::new(&linked, budgets).unwrap();
    vm.set_clock(Clock { unix_ms: 1_000_000_000_000, mono_us: 1_500_000 });
    vm.start();
    vm
}

/// Runs the event to its end; what it printed, and how it ended.
pub(crate) fn drive(vm: &mut Vm) -> (String, Result<Value, ScriptError>) {
    let mut printed = Vec::new();
    loop {
        match vm.run() {
            Step::Done(value) => return (String::from_utf8_lossy(&printed).into_owned(), Ok(value)),
            Step::Failed(error) => return (String::from_utf8_lossy(&printed).into_owned(), Err(error)),
            Step::SliceEnded => {}
            Step::HostCall(call) if call.id == PRINT => {
                printed.extend_from_slice(vm.heap().bytes_of(call.args[0]).unwrap());
                vm.resume(Ok(Value::Null));
            }
            Step::HostCall(call) => vm.resume(Ok(call.args.first().copied().unwrap_or_default())),
        }
    }
}

/// Runs a script; what it printed, then an uncaught error.
pub(crate) fn run(name: &str, text: &str, budgets: Budgets) -> String {
    let (mut printed, end) = drive(&mut vm(name, text, budgets));
    if let Err(error) = end {
        printed.push_str(&format!("{error}\n"));
    }
    printed
}
