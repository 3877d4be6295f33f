//! The sandbox in processes of its own: what it refuses to begin with, and that the attempts of a self-test bite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use vouch_device::SelfTestOutcome;
use vouch_device::limits::LIMITS;
use vouch_device::parent::{self, Boot, BootError, BootEvent, ParentError, ParentLink};
use vouch_device::sandbox::{Layer, Plan, SandboxError, enter};
use vouch_device::self_test::{self, Surroundings};

/// What must hold in a process of its own, by name. This file has no test harness: that would have threads.
const TESTS: [(&str, fn()); 8] = [
    ("a_process_with_threads_is_refused", a_process_with_threads_is_refused),
    ("a_kernel_without_seccomp_is_refused", a_kernel_without_seccomp_is_refused),
    ("a_folder_that_is_not_there_is_no_way_out", a_folder_that_is_not_there_is_no_way_out),
    (
        "what_a_self_test_tries_succeeds_where_nothing_is_locked_down",
        what_a_self_test_tries_succeeds_where_nothing_is_locked_down,
    ),
    ("nothing_of_it_can_be_undone", nothing_of_it_can_be_undone),
    (
        "attack_a_child_does_not_outlive_a_parent_that_is_killed",
        attack_a_child_does_not_outlive_a_parent_that_is_killed,
    ),
    ("a_child_of_another_parent_than_its_own_does_not_begin", a_child_of_another_parent_than_its_own_does_not_begin),
    ("a_parent_locks_its_memory_or_says_why_not", a_parent_locks_its_memory_or_says_why_not),
];

/// What other processes of these tests do, by name.
const ROLES: [(&str, fn()); 3] = [
    ("parent", || drop(link_to(Command::new(std::env::current_exe().unwrap()).args(["inside", "child"])).wait())),
    ("child", || {
        let _link = ParentLink::from_standard_input(&LIMITS).unwrap();
        enter(&plan()).unwrap();
        println!("locked down");
        loop {
            std::thread::park();
        }
    }),
    ("orphan", || {
        let begun = ParentLink::from_standard_input(&LIMITS);
        assert!(matches!(begun, Err(ParentError::Gone(_))), "{begun:?}");
        println!("refused");
    }),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some("inside"), Some(name)) = (arguments.next().as_deref(), arguments.next()) {
        TESTS.iter().chain(&ROLES).find(|(known, _)| *known == name).unwrap().1();
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
    let (end, wait) = channel::<()>();
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

/// Starts a program with a link to this process as its standard input. The other end is never closed.
fn link_to(program: &mut Command) -> Child {
    let (own, childs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    std::mem::forget(own);
    program.stdin(Stdio::from(childs)).spawn().unwrap()
}

fn attack_a_child_does_not_outlive_a_parent_that_is_killed() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["inside", "parent"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "locked down\n");
    parent.kill().unwrap();
    parent.wait().unwrap();
    // Both had this pipe: it ends with the last of them.
    let (ended, wait) = channel();
    std::thread::spawn(move || ended.send(output.read_to_end(&mut Vec::new()).unwrap()));
    wait.recv_timeout(Duration::from_secs(20)).expect("the child lives on");
}

fn a_child_of_another_parent_than_its_own_does_not_begin() {
    // The shell stands between: what made the socketpair is not the parent of what takes it.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "\"$0\" inside orphan; exit $?"]).arg(std::env::current_exe().unwrap());
    assert!(link_to(&mut shell).wait().unwrap().success());
}

fn a_parent_locks_its_memory_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let boot = Boot {
        dir: dir.path().to_owned(),
        arguments: Vec::new(),
        interface: None,
        pin: None,
        danger_unlocked_memory: false,
        limits: LIMITS,
    };
    let told = std::cell::Cell::new(false);
    let tell = |event| told.set(matches!(event, BootEvent::MemoryNotLocked { .. }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(parent::boot(boot, std::future::pending(), tell));
    assert!(matches!(ended, Err(BootError::NoImage(_))), "{ended:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    assert_eq!(locked.ends_with(" 0 kB"), told.get(), "{locked}");
}
