//! Measures what busy agents cost: `busy_agents [COUNT [SECONDS]]`.
//!
//! So many agents of `examples/hello` get one message of their device a second each, evenly spread, in real time on one thread, as a host
//! drives them. Printed is the processor time of this process (Linux) as a share of one core.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a command line program")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use squirrel::{CompileOptions, Source, compile};
use vouch_apphost::{AgentInfo, App, Code, End, Input, Limits, Now, Output, Side, Turn, WakeReason};

/// What the device app of `examples/hello` sends each second: `{ count = 7, free = 1000000 }`, as CBOR.
const MESSAGE: &[u8] = b"\xa2\x65count\x07\x64free\x1a\x00\x0f\x42\x40";

fn main() {
    let mut arguments = std::env::args().skip(1).map(|number| number.parse().expect("a number"));
    let count: u64 = arguments.next().unwrap_or(1_000);
    let seconds: u64 = arguments.next().unwrap_or(20);
    let source = include_bytes!("../../../examples/hello/agent.nut");
    let program = compile(&[Source { name: "agent_code", text: source }], &CompileOptions::default());
    let image = program.unwrap_or_else(|error| panic!("{}", error.with_caret())).to_image();
    let code = Code::from_image(&image, End::Agent).expect("an image just made");

    let began = Instant::now();
    let mut agents: Vec<App> = (0..count).map(|number| agent(&code, number)).collect();
    for agent in &mut agents {
        settle(agent, now(began));
    }
    let mut lines = 0;
    let (from, used) = (Instant::now(), processor_ms());
    for event in 0..count * seconds {
        let due = from + Duration::from_micros(event * 1_000_000 / count);
        let early = due.saturating_duration_since(Instant::now());
        // A host of many agents is woken by its clock too, some ten microseconds late.
        if !early.is_zero() {
            sleep(early);
        }
        let agent = agents.get_mut((event % count) as usize).expect("one of them");
        let message = Input::Message { name: "tick".to_owned(), value: MESSAGE.to_vec(), to_handle: false };
        agent.input(message, now(began)).expect("room for one message");
        lines += settle(agent, now(began));
    }
    let (took, used) = (from.elapsed(), processor_ms() - used);
    assert_eq!(lines, count * seconds, "each message is logged once");
    println!(
        "{count} agents, one message a second each, {:.1} s: {used} ms of processor time, {:.2} % of one core, {:.1} us an event",
        took.as_secs_f64(),
        used as f64 / took.as_secs_f64() / 10.0,
        used as f64 * 1_000.0 / (count * seconds) as f64
    );
}

fn agent(code: &Code, number: u64) -> App {
    let info = AgentInfo {
        agent_url: format!("https://server.example/agent/{number:012}"),
        software_version: "measured".to_owned(),
        saved: None,
        connected: true,
    };
    let start = Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
    App::new(code, Side::Agent(info), Limits::agent(), WakeReason::PowerOn, start).expect("an app")
}

/// Runs an agent until it is at rest; how many lines it logged.
fn settle(agent: &mut App, now: Now) -> u64 {
    let mut lines = 0;
    loop {
        let turn = agent.run(now);
        while let Some(output) = agent.poll_output() {
            match output {
                Output::Log { .. } => lines += 1,
                Output::Failed { error, .. } => panic!("the agent failed: {error}"),
                _ => {}
            }
        }
        if turn == Turn::Idle {
            return lines;
        }
    }
}

fn now(began: Instant) -> Now {
    let mono_ms = u64::try_from(began.elapsed().as_millis()).expect("a short run");
    Now { mono_ms, unix_ms: 1_800_000_000_000 + mono_ms as i64 }
}

/// Processor time of this process, user and system, milliseconds.
fn processor_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("a name");
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|part| part.parse::<u64>().expect("a number")).sum();
    // Linux counts a hundred ticks a second for programs.
    ticks * 10
}
