//! Measures what VMs cost: `measure` prints bytes and time of a fresh VM, of one with a library of 1,000 lines, and of compiling.
//!
//! Bytes are resident memory of the process for 10,000 VMs that live at once; times are CPU time, the median of a hundred batches.
#![allow(clippy::print_stdout, reason = "a command line program")]

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use vouch_squirrel::{
    Budgets, CompileError, CompileOptions, Library, LibraryBuilder, Linked, Program, Source, Step, Value, Vm, compile,
};

const VMS: usize = 10_000;
const BATCHES: usize = 100;
const BUDGETS: Budgets = Budgets { slice: 20_000, event: 50_000_000, bytes: 4 * 1024 * 1024, depth: 2_000 };

/// The head of a class as a library has it.
const HEAD: &str = r#"class Module@ {

    static NAME = "Module@";
    _handlers = null;
    _state = null;
    _count = 0;

    constructor(settings = null) {
        _handlers = {};
        _state = { ready = false, retries = 3, timeout = 1.5 };
        if (settings != null) {
            foreach (key, value in settings) {
                _state[key] <- value;
            }
        }
    }

    function _tostring() { return NAME + "(" + _count + ")"; }
"#;

/// Twenty lines of it, with two methods.
const METHODS: &str = r#"
    // Calls `callback` for each event of this name.
    function on@(event, callback) {
        if (!(event in _handlers)) _handlers[event] <- [];
        _handlers[event].push(callback);
        return this;
    }

    function emit@(event, data = null) {
        if (!(event in _handlers)) return 0;
        local called = 0;
        foreach (handler in _handlers[event]) {
            try {
                handler(data);
                called++;
            } catch (error) {
                throw format("%s: %s after %d calls", NAME, error, _count);
            }
        }
        return _count += called;
    }
"#;

/// Lines of one class.
const LINES: usize = 200;

/// A source of so many lines: classes of 200 lines with 17 methods.
fn source(lines: usize) -> String {
    let mut text = String::new();
    for class in 0..lines / LINES {
        let mut body = HEAD.replace('@', &class.to_string());
        for number in 0.. {
            if body.lines().count() + METHODS.lines().count() >= LINES {
                break;
            }
            body.push_str(&METHODS.replace('@', &number.to_string()));
        }
        while body.lines().count() < LINES - 1 {
            body.push('\n');
        }
        text.push_str(&body);
        text.push_str("}\n");
    }
    text
}

fn compiled(text: &str) -> Result<Program, CompileError> {
    compile(&[Source { name: "measured.nut", text: text.as_bytes() }], &CompileOptions::default())
}

fn library() -> Arc<Library> {
    let mut builder = LibraryBuilder::new();
    let root = builder.root();
    builder.host_text_fn(root, "print", 1);
    builder.regexp2();
    builder.build()
}

/// A VM that has run its program.
fn ready(linked: &Arc<Linked>) -> Result<Vm, String> {
    let mut vm = Vm::new(linked, BUDGETS).map_err(|e| e.to_string())?;
    vm.start();
    loop {
        match vm.run() {
            Step::Done(_) => return Ok(vm),
            Step::SliceEnded => {}
            Step::HostCall(_) => vm.resume(Ok(Value::Null)),
            Step::Failed(error) => return Err(error.to_string()),
        }
    }
}

/// Bytes of this process in memory.
fn resident() -> Result<usize, String> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(|e| e.to_string())?;
    let pages = text.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok());
    pages.map(|n| n * 4096).ok_or_else(|| "/proc/self/statm has no such figure".to_owned())
}

/// Microseconds that this thread has computed.
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// The median of what `run` takes, in microseconds.
fn median_us(mut run: impl FnMut() -> Result<(), String>) -> Result<f64, String> {
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let begin = cpu_us();
        run()?;
        times.push(cpu_us() - begin);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[BATCHES / 2])
}

fn measure(name: &str, linked: &Arc<Linked>) -> Result<(), String> {
    let us = median_us(|| {
        let vms = (0..100).map(|_| ready(linked)).collect::<Result<Vec<Vm>, String>>()?;
        drop(vms);
        Ok(())
    })?;
    let before = resident()?;
    let vms = (0..VMS).map(|_| ready(linked)).collect::<Result<Vec<Vm>, String>>()?;
    let kib = (resident()? - before) as f64 / VMS as f64 / 1024.0;
    let charged = vms.first().map_or(0, |vm| vm.heap().memory_used());
    println!("{name}: {kib:.1} KiB resident ({charged} bytes charged), {:.1} us to make and drop", us / 100.0);
    Ok(())
}

fn main() -> Result<(), String> {
    let library = library();
    let linked = |lines| compiled(&source(lines)).map(|p| Linked::new(&library, &p)).map_err(|e| e.to_string());
    measure("a fresh VM", &linked(0)?)?;
    measure("with a library of 1,000 lines", &linked(1_000)?)?;
    for lines in [1_000, 10_000] {
        let text = source(lines);
        let us = median_us(|| compiled(&text).map(drop).map_err(|e| e.to_string()))?;
        println!("compiling {lines} lines: {:.1} ms", us / 1000.0);
        let image = compiled(&text).map_err(|e| e.to_string())?.to_image();
        let us = median_us(|| Program::from_image(&image).map(drop).map_err(|e| e.to_string()))?;
        println!("loading their image of {} bytes: {:.1} ms", image.len(), us / 1000.0);
    }
    Ok(())
}
