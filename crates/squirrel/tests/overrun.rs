//! How far hostile programs get past their budgets: CPU time and memory of a process of their own, not a wall clock.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the child tells its figures")]

mod host;
mod overruns;

use std::fs;
use std::process::Command;

use overruns::PROGRAMS;
use rustix::time::{ClockId, clock_gettime};
use vouch_squirrel::{Budgets, Step, Value};

const BYTES: usize = 4 * 1024 * 1024;
/// A small slice: `run` then takes as long as the longest step that cannot be interrupted.
const BUDGETS: Budgets = Budgets { slice: 1_000, event: 300_000, bytes: BYTES, depth: 2_000 };
/// The most that one step may take.
const STEP_MS_MAX: u64 = 50;
/// The most that one unit of the instruction budget may cost on average; a charged call costs about 0.05.
const UNIT_US_MAX: f64 = 4.0;
const BEYOND_MAX: usize = 1024 * 1024;
/// Comes before the number of the program that a child runs.
const PROGRAM: &str = "program-";

/// Microseconds that this thread has computed.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// A figure of this process in bytes.
fn memory(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// What a child found out: the longest step, all of it, and memory beyond the budget.
struct Figures {
    longest_us: u64,
    total_us: u64,
    beyond: usize,
}

fn figures(text: &str) -> Figures {
    let mut vm = host::vm("hostile.nut", text, BUDGETS);
    let before = memory("VmRSS");
    let (mut longest_us, begin) = (0, cpu_us());
    loop {
        let at = cpu_us();
        let step = vm.run();
        longest_us = longest_us.max(cpu_us() - at);
        match step {
            Step::SliceEnded => {}
            Step::HostCall(_) => vm.resume(Ok(Value::Null)),
            Step::Done(_) => panic!("it ended"),
            Step::Failed(error) => {
                assert!(error.fatal.is_some(), "{error}");
                break;
            }
        }
    }
    Figures { longest_us, total_us: cpu_us() - begin, beyond: memory("VmHWM").saturating_sub(before + BYTES) }
}

/// Runs the program that the test below names as one more filter of tests; without one there is nothing to run.
#[test]
fn child() {
    let named = std::env::args().find_map(|a| a.strip_prefix(PROGRAM)?.parse::<usize>().ok());
    let Some(text) = named.and_then(|n| PROGRAMS.get(n)) else { return };
    let Figures { longest_us, total_us, beyond } = figures(&text());
    println!("figures: {longest_us} {total_us} {beyond}");
}

#[test]
fn no_step_outlasts_its_budget_and_no_vm_outgrows_it() {
    let mut wrong = Vec::new();
    for (number, text) in PROGRAMS.iter().enumerate() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", &format!("{PROGRAM}{number}")])
            .output()
            .unwrap();
        let mut text = text();
        text.truncate(150);
        let out = String::from_utf8_lossy(&child.stdout).into_owned();
        let Some((_, line)) = out.split_once("figures: ") else {
            wrong.push(format!("{text}\n  {out}{}", String::from_utf8_lossy(&child.stderr)));
            continue;
        };
        let numbers: Vec<u64> = line.split_whitespace().take(3).map(|n| n.parse().unwrap()).collect();
        let unit_us = numbers[1] as f64 / BUDGETS.event as f64;
        println!("{:8} us a step, {unit_us:6.3} us a unit, {:8} bytes beyond: {text}", numbers[0], numbers[2]);
        if numbers[0] >= STEP_MS_MAX * 1_000 || unit_us > UNIT_US_MAX || numbers[2] as usize >= BEYOND_MAX {
            wrong.push(format!("{text}\n  step {} us, unit {unit_us} us, {} bytes beyond", numbers[0], numbers[2]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
