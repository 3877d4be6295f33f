//! What a self-test tries, one by one.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SendFlags, SocketType, socket};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit};

use super::Surroundings;
use crate::folder::KEYS_FOLDER;
use crate::sandbox::kernel::{Forbidden, attempt};

/// PTRACE_PEEKDATA and PTRACE_SEIZE, which stop nobody (ptrace(2)).
const PEEK: libc::c_long = 2;
const SEIZE: libc::c_long = 0x4206;

/// An address of this host, any port.
const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
/// The port at which everything is thrown away (RFC 863).
const DISCARD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// One thing to try.
pub(super) struct Try {
    /// Its stable name.
    pub(super) id: &'static str,
    /// What it is, in words.
    pub(super) what: &'static str,
    /// Does it.
    pub(super) go: Box<dyn FnOnce() -> io::Result<()> + Send>,
}

fn a(id: &'static str, what: &'static str, go: impl FnOnce() -> io::Result<()> + Send + 'static) -> Try {
    Try { id, what, go: Box::new(go) }
}

/// Whether it was done; what came of it is of no use.
fn done<T, E: Into<io::Error>>(result: Result<T, E>) -> io::Result<()> {
    result.map(drop).map_err(Into::into)
}

/// Everything there is to try.
pub(super) fn all(surroundings: &Surroundings) -> Vec<Try> {
    let parent = surroundings.parent;
    let groups = [
        listening(),
        sockets(surroundings.foreign_port),
        tracing(parent),
        signals(parent),
        memory(),
        programs(),
        system(),
        files(surroundings),
    ];
    groups.into_iter().flatten().collect()
}

fn tcp() -> rustix::io::Result<OwnedFd> {
    socket(AddressFamily::INET, SocketType::STREAM, None)
}

fn udp() -> rustix::io::Result<OwnedFd> {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
}

fn listen() -> io::Result<()> {
    Ok(rustix::net::listen(tcp()?, 1)?)
}

fn listening() -> Vec<Try> {
    let in_a_thread = || std::thread::spawn(listen).join().unwrap_or_else(|_| Err(io::Error::other("it failed")));
    vec![
        a("listen", "listen on a TCP port", listen),
        a("listen-from-a-thread", "listen from another thread", in_a_thread),
        a("bind-tcp", "bind a TCP socket", || Ok(rustix::net::bind(tcp()?, &HERE)?)),
        a("bind-udp", "bind a UDP socket", || Ok(rustix::net::bind(udp()?, &HERE)?)),
        a("accept", "accept a connection", || done(rustix::net::accept(tcp()?))),
    ]
}

fn sockets(foreign_port: u16) -> Vec<Try> {
    let open = |family, kind| move || done(socket(family, kind, None));
    let foreign = SocketAddrV4::new(Ipv4Addr::LOCALHOST, foreign_port);
    vec![
        a("connect-foreign-port", "connect to a TCP port that is not configured", move || {
            Ok(rustix::net::connect(tcp()?, &foreign)?)
        }),
        a("send-unconnected", "send a datagram wherever it likes", || {
            done(rustix::net::sendto(udp()?, b"x", SendFlags::empty(), &DISCARD))
        }),
        a("socket-raw", "open a raw socket", open(AddressFamily::INET, SocketType::RAW)),
        a("socket-packet", "open a packet socket", open(AddressFamily::PACKET, SocketType::DGRAM)),
        a("socket-netlink", "open a netlink socket", open(AddressFamily::NETLINK, SocketType::RAW)),
        a("socket-unix", "open a Unix socket", open(AddressFamily::UNIX, SocketType::STREAM)),
    ]
}

fn tracing(parent: u32) -> Vec<Try> {
    vec![
        a("trace-self", "read itself as a tracer does (ptrace)", || {
            attempt(Forbidden::Trace(PEEK, std::process::id()))
        }),
        a("trace-parent", "trace its parent", move || attempt(Forbidden::Trace(SEIZE, parent))),
        a("read-parent", "read its parent's memory (process_vm_readv)", move || {
            attempt(Forbidden::ReadProcess(parent))
        }),
        a("write-parent", "write its parent's memory (process_vm_writev)", move || {
            attempt(Forbidden::WriteProcess(parent))
        }),
        a("open-parent-memory", "open its parent's memory (/proc/PID/mem)", move || {
            done(File::open(format!("/proc/{parent}/mem")))
        }),
        a("open-own-memory", "open its own memory (/proc/self/mem)", || {
            done(OpenOptions::new().read(true).write(true).open("/proc/self/mem"))
        }),
    ]
}

fn signals(parent: u32) -> Vec<Try> {
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw);
    let with = move |act: fn(Pid) -> rustix::io::Result<()>| {
        move || Ok(act(pid.ok_or(io::Error::from(rustix::io::Errno::NOENT))?)?)
    };
    vec![
        a("signal-parent", "signal its parent", with(rustix::process::test_kill_process)),
        a(
            "handle-of-parent",
            "take a handle of its parent (pidfd_open)",
            with(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).map(drop)),
        ),
    ]
}

fn memory() -> Vec<Try> {
    let most = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
    vec![
        a("dumpable", "open itself to tracing again", || {
            Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
        }),
        a("core-dump", "raise its limit for core dumps", move || Ok(rustix::process::setrlimit(Resource::Core, most)?)),
        a("memory-writable-executable", "map memory that is writable and executable", || {
            attempt(Forbidden::WritableExecutable)
        }),
        a("memory-written-executable", "make memory executable that it wrote", || {
            attempt(Forbidden::WrittenThenExecutable)
        }),
        a("memory-executable", "map memory that is executable", || attempt(Forbidden::Executable)),
    ]
}

fn programs() -> Vec<Try> {
    vec![
        a("execute", "run another program (execve)", || attempt(Forbidden::Execute)),
        a("execute-at", "run another program (execveat)", || attempt(Forbidden::ExecuteAt)),
        a("fork", "start another process", || attempt(Forbidden::Fork)),
        a("memfd", "make a file in memory that could be run", || {
            done(rustix::fs::memfd_create("x", MemfdFlags::empty()))
        }),
    ]
}

fn system() -> Vec<Try> {
    let bare = |number| move || attempt(Forbidden::Bare(number));
    vec![
        a("io-uring", "use io_uring, which goes round filters of system calls", bare(libc::SYS_io_uring_setup)),
        a("bpf", "use bpf", bare(libc::SYS_bpf)),
        a("perf", "use perf_event_open", bare(libc::SYS_perf_event_open)),
        a("userfaultfd", "use userfaultfd", bare(libc::SYS_userfaultfd)),
        a("keyctl", "use the kernel's keyring", bare(libc::SYS_keyctl)),
        a("personality", "change how its memory is laid out (personality)", bare(libc::SYS_personality)),
        a("setuid", "change its user", bare(libc::SYS_setuid)),
        a("unshare", "make a namespace of its own", bare(libc::SYS_unshare)),
        a("setns", "enter another namespace", bare(libc::SYS_setns)),
        a("mount", "mount something", bare(libc::SYS_mount)),
        a("chroot", "change its root folder", bare(libc::SYS_chroot)),
        a("module", "load a kernel module", bare(libc::SYS_init_module)),
    ]
}

fn files(surroundings: &Surroundings) -> Vec<Try> {
    let keys = surroundings.dir.join(KEYS_FOLDER);
    let beside = surroundings.dir.join("self-test-was-here");
    vec![
        a("read-keys", "look into the folder of its own keys", move || done(std::fs::read_dir(keys))),
        a("read-outside", "read a file outside its folder", || done(File::open("/etc/passwd"))),
        a("write-outside", "write a file beside its vault", move || {
            drop(OpenOptions::new().write(true).create(true).truncate(true).open(&beside)?);
            std::fs::remove_file(beside)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_has_a_name_of_its_own_and_a_sentence() {
        let surroundings =
            Surroundings { dir: "x".into(), foreign_port: 1, parent: 1, os_version: String::new(), boot: None };
        let all = all(&surroundings);
        for one in &all {
            assert_eq!(all.iter().filter(|other| other.id == one.id).count(), 1, "{}", one.id);
            assert!(!one.what.is_empty());
            assert!(one.id.len() <= protocol::limits::LIMITS.self_test_name, "{}", one.id);
        }
    }
}
