//! What the fuzzer and the replay of its corpus run.
#![allow(dead_code, reason = "each user has a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use vouch_squirrel::{
    Budgets, CompileOptions, Library, LibraryBuilder, Linked, Program, Source, Step, Value, Vm, compile,
};

/// Budgets that a mutated program uses up quickly.
const BUDGETS: Budgets = Budgets { slice: 5_000, event: 20_000, bytes: 256 * 1024, depth: 100 };

/// What reads the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    Source,
    Image,
    Regexp,
}

impl Target {
    pub(crate) const ALL: [Target; 3] = [Target::Source, Target::Image, Target::Regexp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Source => "source",
            Target::Image => "image",
            Target::Regexp => "regexp",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// The committed inputs, and for sources and images those made of the test scripts.
pub(crate) fn corpus(target: Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|p| fs::read(p).unwrap()).collect()
    };
    let mut inputs = files(&format!("fuzz/corpus/{}", target.name()));
    match target {
        Target::Source => inputs.extend(files("testdata/scripts")),
        Target::Image => inputs.extend(files("testdata/scripts").iter().map(|text| {
            let source = Source { name: "a", text };
            compile(&[source], &CompileOptions::default()).unwrap().to_image()
        })),
        Target::Regexp => {}
    }
    inputs
}

fn library() -> &'static Arc<Library> {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut builder = LibraryBuilder::new();
        let root = builder.root();
        builder.host_text_fn(root, "print", 1);
        builder.regexp2();
        builder.build()
    })
}

/// Nothing that comes from outside may panic, run on, or use more than its budget.
pub(crate) fn try_input(target: Target, input: &[u8]) {
    match target {
        Target::Source => {
            if let Ok(program) = compile(&[Source { name: "a", text: input }], &CompileOptions::default()) {
                let again = Program::from_image(&program.to_image());
                assert_eq!(again.as_ref(), Ok(&program), "the image is the program");
                run(&program);
            }
        }
        Target::Image => {
            if let Ok(program) = Program::from_image(input) {
                run(&program);
            }
        }
        Target::Regexp => patterns(input),
    }
}

fn run(program: &Program) {
    let Ok(mut vm) = Vm::new(&Linked::new(library(), program), BUDGETS) else { return };
    vm.start();
    loop {
        match vm.run() {
            Step::HostCall(_) => vm.resume(Ok(Value::Null)),
            Step::SliceEnded => {}
            Step::Done(_) | Step::Failed(_) => break,
        }
        assert!(vm.heap().memory_used() <= BUDGETS.bytes);
    }
    vm.collect_garbage();
}

/// The first line is the pattern, the rest the text, for both kinds of patterns.
fn patterns(input: &[u8]) {
    static PROGRAM: OnceLock<Arc<Linked>> = OnceLock::new();
    let linked = PROGRAM.get_or_init(|| {
        let text = b"function go(p, t) { foreach (make in [regexp, regexp2]) { try { local r = make(p);
            r.match(t); r.search(t); r.capture(t); r.search(t, 1) } catch (e) {} } }";
        let program = compile(&[Source { name: "a", text }], &CompileOptions::default()).unwrap();
        Linked::new(library(), &program)
    });
    let (pattern, text) = match input.iter().position(|&b| b == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b"aaab0 -x"[..]),
    };
    let mut vm = Vm::new(linked, Budgets { event: 1_000_000, ..BUDGETS }).unwrap();
    vm.start();
    while !matches!(vm.run(), Step::Done(_)) {}
    let Ok(args) = vm.build(|heap| Ok([heap.string(pattern)?, heap.string(text)?])) else { return };
    let go = vm.global("go").unwrap();
    vm.call(go, &args);
    while matches!(vm.run(), Step::SliceEnded) {}
}
