//! The example applications compile, come back from their images, and `hello` runs against a pretended host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod host;

use std::fs;
use std::path::Path;

use vouch_squirrel::{Budgets, Constant, LibraryBuilder, Linked, Program, Step, Throw, Value, View, Vm};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_example_compiles_and_its_image_is_the_same_program() {
    for app in ["hello", "thermostat", "datalogger"] {
        for side in ["device", "agent"] {
            let name = format!("{app}/{side}.nut");
            let program = host::program(&name, &example(&name)).unwrap_or_else(|e| panic!("{}", e.with_caret()));
            assert_eq!(Program::from_image(&program.to_image()).unwrap(), program, "{name}");
        }
    }
}

const LOG: u32 = 1;
const ON: u32 = 2;
const SEND: u32 = 3;
const WAKEUP: u32 = 4;
const FREE: u32 = 5;
const TEXT: u32 = 6;
const CONNECTED: u32 = 7;
const RESPOND: u32 = 8;

/// What the pretended host saw: log lines and messages, and what it was handed.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    callbacks: Vec<(String, vouch_squirrel::Pin)>,
}

fn hello(side: &str) -> (Vm, Seen) {
    let mut b = LibraryBuilder::new();
    let root = b.root();
    let other = b.table(root, if side == "device" { "agent" } else { "device" });
    b.host_fn(other, "on", 2..=2, ON);
    b.host_fn(other, "send", 2..=2, SEND);
    b.host_fn(other, "isconnected", 0..=0, CONNECTED);
    let server = b.table(root, "server");
    b.host_text_fn(server, "log", LOG);
    let imp = b.table(root, "imp");
    b.host_fn(imp, "wakeup", 2..=2, WAKEUP);
    b.host_fn(imp, "getmemoryfree", 0..=0, FREE);
    let hardware = b.table(root, "hardware");
    b.host_fn(hardware, "getdeviceid", 0..=0, TEXT);
    b.host_fn(hardware, "wakereason", 0..=0, CONNECTED);
    let http = b.table(root, "http");
    b.host_fn(http, "onrequest", 1..=1, ON);
    b.host_fn(http, "agenturl", 0..=0, TEXT);
    b.host_fn(http, "jsonencode", 1..=1, TEXT);
    let response = b.class("httpresponse");
    b.host_fn(response, "send", 2..=2, RESPOND);
    b.host_fn(response, "header", 2..=2, RESPOND);
    let pins = b.table(root, "pins");
    b.object(pins, "response", response, 77);
    b.constant(pins, "one", Constant::Int(1));
    let name = format!("hello/{side}.nut");
    let program = host::program(&name, &example(&name)).unwrap();
    let mut vm = Vm::new(&Linked::new(&b.build(), &program), Budgets::default()).unwrap();
    vm.start();
    let mut seen = Seen::default();
    drive(&mut vm, &mut seen);
    (vm, seen)
}

fn drive(vm: &mut Vm, seen: &mut Seen) {
    loop {
        let call = match vm.run() {
            Step::Done(_) => return,
            Step::SliceEnded => continue,
            Step::Failed(error) => panic!("{error}"),
            Step::HostCall(call) => call,
        };
        let text = |vm: &Vm, n: usize| String::from_utf8_lossy(&vm.text(call.args[n])).into_owned();
        let answer = match call.id {
            LOG => {
                seen.lines.push(text(vm, 0));
                Value::Null
            }
            ON => {
                let name = if call.args.len() > 1 { text(vm, 0) } else { "request".to_owned() };
                let pin = vm.pin(call.args[call.args.len() - 1]);
                seen.callbacks.push((name, pin));
                Value::Null
            }
            SEND => {
                let entries = vm.heap().entries(call.args[1]).count();
                seen.lines.push(format!(
                    "send {} {entries} {}",
                    text(vm, 0),
                    vm.heap().bytes_of(call.args[1]).map_or(0, <[u8]>::len)
                ));
                Value::Int(0)
            }
            WAKEUP => {
                let pin = vm.pin(call.args[1]);
                seen.callbacks.push(("timer".to_owned(), pin));
                Value::Null
            }
            FREE => {
                vm.collect_garbage();
                Value::Int(vm.heap().memory_free() as i32)
            }
            TEXT => vm.build(|heap| heap.string(b"0123456789abcdef")).unwrap(),
            RESPOND => {
                let Some((_, handle)) = vm.heap().handle(call.this) else { panic!("no response") };
                seen.lines.push(format!("respond {handle} {} {}", text(vm, 0), text(vm, 1)));
                Value::Null
            }
            _ => Value::Int(1),
        };
        vm.resume(Ok(answer));
    }
}

fn fire(vm: &mut Vm, seen: &mut Seen, name: &str, args: &[Value]) {
    let pin = seen.callbacks.iter().find(|(n, _)| n == name).map(|(_, p)| *p).unwrap();
    let callback = vm.pinned(pin);
    vm.call(callback, args);
    drive(vm, seen);
}

#[test]
fn hello_ticks_and_echoes_on_the_device() {
    let (mut vm, mut seen) = hello("device");
    assert_eq!(seen.lines, ["device 0123456789abcdef started, wake reason 1", "tick 1", "send tick 2 0"]);
    fire(&mut vm, &mut seen, "timer", &[]);
    assert_eq!(seen.lines[3..], ["tick 2", "send tick 2 0"]);
    let text = vm.build(|heap| heap.string(b"hi there")).unwrap();
    fire(&mut vm, &mut seen, "echo", &[text]);
    assert_eq!(seen.lines[5..], ["send echoed 0 8"]);
}

#[test]
fn hello_logs_ticks_and_answers_http_on_the_agent() {
    let (mut vm, mut seen) = hello("agent");
    assert_eq!(seen.lines, ["agent at 0123456789abcdef"]);
    let message = |vm: &mut Vm, slots: &[(&str, Value)]| {
        vm.build(|heap| {
            let table = heap.table(2)?;
            for (name, value) in slots {
                let key = heap.string(name.as_bytes())?;
                heap.table_insert(table, key, *value)?;
            }
            Ok::<Value, Throw>(table)
        })
        .unwrap()
    };
    let tick = message(&mut vm, &[("count", Value::Int(3)), ("free", Value::Int(1000))]);
    fire(&mut vm, &mut seen, "tick", &[tick]);
    assert_eq!(seen.lines[1..], ["tick 3, 1000 bytes free"]);
    let pins = vm.global("pins").unwrap();
    let key = vm.build(|heap| heap.string(b"response")).unwrap();
    let response = vm.heap().table_get(pins, key).unwrap();
    assert!(matches!(vm.heap().view(response), View::Object(_, 77)));
    for (path, lines) in [
        ("/", vec!["respond 77 Content-Type application/json", "respond 77 200 0123456789abcdef"]),
        ("/echo", vec!["send echo 0 4"]),
        ("/x", vec!["respond 77 404 no such path: /x"]),
    ] {
        seen.lines.clear();
        let path = vm.build(|heap| heap.string(path.as_bytes())).unwrap();
        let body = vm.build(|heap| heap.string(b"body")).unwrap();
        let request = message(&mut vm, &[("path", path), ("body", body)]);
        fire(&mut vm, &mut seen, "request", &[request, response]);
        assert_eq!(seen.lines, lines);
    }
    seen.lines.clear();
    let text = vm.build(|heap| heap.string(b"echo!")).unwrap();
    fire(&mut vm, &mut seen, "echoed", &[text]);
    assert_eq!(seen.lines, ["respond 77 200 echo!"]);
}
