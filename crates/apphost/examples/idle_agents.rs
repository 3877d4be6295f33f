//! Measures what idle agents cost: `idle_agents [COUNT [SOURCE]]`.
//!
//! It starts so many apps of one deployment, lets each come to rest, and prints the memory of this process (Linux).
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a command line program")]

use std::time::Instant;

use squirrel::{CompileOptions, Source, compile};
use vouch_apphost::{AgentInfo, App, Code, End, Input, Limits, Now, Output, Side, Turn, WakeReason};

const NOW: Now = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(10_000, |count| count.parse().expect("a number"));
    let source = match arguments.next() {
        Some(path) => std::fs::read(path).expect("a source file"),
        None => include_bytes!("../../../examples/thermostat/agent.nut").to_vec(),
    };
    let program = compile(&[Source { name: "agent_code", text: &source }], &CompileOptions::default());
    let image = program.unwrap_or_else(|error| panic!("{}", error.with_caret())).to_image();
    let code = Code::from_image(&image, End::Agent).expect("an image just made");

    let before = resident_kib();
    let began = Instant::now();
    let agents: Vec<App> = (0..count).map(|number| started(&code, number)).collect();
    let took = began.elapsed();
    let grown = resident_kib() - before;
    println!(
        "{count} idle agents: {:.1} MiB more resident memory, {:.1} KiB each; {:.1} us each to start and come to rest",
        grown as f64 / 1024.0,
        grown as f64 / count as f64,
        took.as_secs_f64() * 1e6 / count as f64
    );
    println!(
        "size of an app without its heap: {} bytes; whole process: {:.1} MiB",
        size_of::<App>(),
        resident_kib() as f64 / 1024.0
    );
    drop(agents);
}

/// An agent that has run its program and waits for what comes.
fn started(code: &Code, number: usize) -> App {
    let info = AgentInfo {
        agent_url: format!("https://server.example/agent/{number:012}"),
        software_version: "measured".to_owned(),
        saved: None,
        connected: false,
    };
    let mut app = App::new(code, Side::Agent(info), Limits::agent(), WakeReason::PowerOn, NOW).expect("an app");
    loop {
        let turn = app.run(NOW);
        while let Some(output) = app.poll_output() {
            let answer = match output {
                Output::Save(_) => Input::Saved(Ok(())),
                Output::Failed { error, .. } => panic!("the agent failed: {error}"),
                _ => continue,
            };
            app.input(answer, NOW).expect("answers are taken");
        }
        if turn == Turn::Idle {
            return app;
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
