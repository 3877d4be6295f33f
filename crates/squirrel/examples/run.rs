//! Runs a script file with `print` and an error's call stack: `run FILE`.
#![allow(clippy::print_stderr, reason = "a command line program")]

use std::io::{Write, stdout};
use std::process::ExitCode;

use vouch_squirrel::{Budgets, CompileOptions, LibraryBuilder, Linked, Source, Step, Value, Vm, compile};

/// The host's number of `print`.
const PRINT: u32 = 1;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: run FILE");
        return ExitCode::from(2);
    };
    match run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let source = Source { name: path, text: &text };
    let program = compile(&[source], &CompileOptions::default()).map_err(|e| e.with_caret())?;
    let mut builder = LibraryBuilder::new();
    let root = builder.root();
    builder.host_text_fn(root, "print", PRINT);
    let budgets = Budgets { event: u64::MAX, bytes: 1 << 30, ..Budgets::default() };
    let mut vm = Vm::new(&Linked::new(&builder.build(), &program), budgets).map_err(|e| e.to_string())?;
    vm.start();
    loop {
        match vm.run() {
            Step::HostCall(call) => {
                let shown = vm.heap().bytes_of(call.args.first().copied().unwrap_or_default()).unwrap_or_default();
                stdout().write_all(shown).map_err(|e| e.to_string())?;
                vm.resume(Ok(Value::Null));
            }
            Step::SliceEnded => {}
            Step::Done(_) => return Ok(()),
            Step::Failed(error) => return Err(error.to_string()),
        }
    }
}
