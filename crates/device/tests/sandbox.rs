//! The sandbox in processes of its own: what it refuses to begin with, and that the attempts of a self-test bite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use vouch_device::SelfTestOutcome;
use vouch_device::sandbox::{Layer, Plan, SandboxError, enter};
use vouch_device::self_test::{self, Surroundings};

/// What must hold in a process of its own, by name. This file has no test harness: that would have threads.
const TESTS: [(&str, fn()); 5] = [
    ("a_process_with_threads_is_refused", a_process_with_threads_is_refused),
    ("a_kernel_without_seccomp_is_refused", a_kernel_without_seccomp_is_refused),
    ("a_folder_that_is_not_there_is_no_way_out", a_folder_that_is_not_there_is_no_way_out),
    (
        "what_a_self_test_tries_succeeds_where_nothing_is_locked_down",
        what_a_self_test_tries_succeeds_where_nothing_is_locked_down,
    ),
    ("nothing_of_it_can_be_undone", nothing_of_it_can_be_undone),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some("inside"), Some(name)) = (arguments.next().as_deref(), arguments.next()) {
        TESTS.iter().find(|(known, _)| *known == name).unwrap().1();
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut failed = 0;
    for (name, _) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let result = Command::new(std::env::current_exe().unwrap()).args(["inside", name]).output().unwrap();
        let is_well = result.status.success();
        println!("test {name} ... {}", if is_well { "ok" } else { "FAILED" });
        if !is_well {
            failed += 1;
            println!("{}\n{}", result.status, String::from_utf8_lossy(&result.stderr));
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan() -> Plan {
    Plan { kept: Vec::new(), read: Vec::new(), tcp_ports: vec![31314], udp_ports: Vec::new() }
}

fn a_process_with_threads_is_refused() {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    assert!(matches!(enter(&plan()), Err(SandboxError::Threads(2))));
    end.send(()).unwrap();
    thread.join().unwrap().unwrap();
    std::net::TcpListener::bind("127.0.0.1:0").expect("nothing was locked down");
}

/// A kernel that refuses the filter is played by a filter that refuses filters.
fn a_kernel_without_seccomp_is_refused() {
    let refused = SeccompAction::Errno(libc::EINVAL.unsigned_abs());
    let rules = [(libc::SYS_seccomp, vec![])].into();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into().unwrap());
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
    let error = enter(&plan()).unwrap_err();
    assert!(matches!(error, SandboxError::Layer { layer: Layer::SystemCalls, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("--danger-no-sandbox") && text.contains("CONFIG_SECCOMP_FILTER"), "{text}");
}

fn a_folder_that_is_not_there_is_no_way_out() {
    let missing = std::env::temp_dir().join("vouch-no-such-folder");
    let protections = enter(&Plan { kept: vec![missing.clone()], ..plan() }).unwrap();
    assert!(protections.holds(Layer::Files), "{protections}");
    assert!(std::fs::create_dir(missing).is_err());
}

/// Otherwise a self-test would find refused what nobody refuses. What needs privileges, and what a kernel may lack, is left out.
fn what_a_self_test_tries_succeeds_where_nothing_is_locked_down() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("keys")).unwrap();
    let surroundings = Surroundings {
        dir: dir.path().to_owned(),
        foreign_port: 1,
        parent: std::os::unix::process::parent_id(),
        os_version: "this one".to_owned(),
        boot: None,
    };
    let result = self_test::run(&surroundings, 0);
    assert!(!result.is_passed());
    for id in [
        "listen",
        "listen-from-a-thread",
        "bind-tcp",
        "bind-udp",
        "accept",
        "connect-foreign-port",
        "send-unconnected",
        "socket-netlink",
        "socket-unix",
        "read-parent",
        "open-own-memory",
        "signal-parent",
        "handle-of-parent",
        "dumpable",
        "memory-writable-executable",
        "memory-written-executable",
        "memory-executable",
        "execute",
        "execute-at",
        "fork",
        "memfd",
        "personality",
        "unshare",
        "read-keys",
        "read-outside",
        "write-outside",
    ] {
        let check = result.checks.iter().find(|check| check.id == id).expect(id);
        assert_eq!(check.outcome, SelfTestOutcome::NotRefused, "{check:?}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["keys"], "an attempt that succeeds leaves nothing behind");
}

fn nothing_of_it_can_be_undone() {
    enter(&plan()).unwrap();
    assert!(enter(&plan()).is_err(), "a second time there is nothing left to look at");
    for thread in [false, true] {
        let listen = || std::net::TcpListener::bind("127.0.0.1:0").map(drop).map_err(|error| error.kind());
        let result = if thread { std::thread::spawn(listen).join().unwrap() } else { listen() };
        assert_eq!(result, Err(std::io::ErrorKind::PermissionDenied));
    }
    assert!(Command::new("true").status().is_err());
}
