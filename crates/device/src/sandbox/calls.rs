//! The system calls that are left to the device process, by seccomp: a list, and everything else is refused.
//!
//! What is not on the list fails with EPERM and does not kill: a library may probe for what it can do without, and a
//! self-test can show every refusal from one process. A call under another architecture's numbers kills at once.
//!
//! The list was made from traces of a real run, and is held against the tests that run devices locked down: direct, through
//! a proxy, with name look-ups, reconnects, apps and files written, as a dynamic and as a static program.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use super::Plan;

/// Permitted whatever the arguments are.
const ALWAYS: [libc::c_long; 47] = [
    // Open files, and those that Landlock lets it open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    // Sockets that it made; none can be bound or listen.
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory that is not executable.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    // Threads and their ends.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
];

/// The same, for calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALWAYS_HERE: [libc::c_long; 4] = [libc::SYS_rename, libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_exit_group];
#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_HERE: [libc::c_long; 1] = [libc::SYS_exit_group];

/// What a new thread shares with the others; and what would make a new process or a new namespace of it.
const THREAD: libc::c_int = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const NO_THREAD: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// The part of a socket's type that is not a flag (linux/net.h, SOCK_TYPE_MASK).
const SOCKET_TYPE: u64 = 0xf;

/// Takes away from all threads every system call that a device does not need.
pub(super) fn allow_only_needed(plan: &Plan) -> Result<(), Error> {
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // Its flags lie in memory, where a filter cannot look; C libraries that hear "no such call" take the older one.
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let newer = compiled([(libc::SYS_clone3, vec![])].into(), SeccompAction::Allow, no_such_call)?;
    let all = compiled(rules(plan)?, refused, SeccompAction::Allow)?;
    apply_filter_all_threads(&newer)?;
    apply_filter_all_threads(&all)
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn compiled(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<BpfProgram, Error> {
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, others, these, architecture)?.try_into()?)
}

fn rules(plan: &Plan) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALWAYS.into_iter().chain(ALWAYS_HERE).map(|call| (call, Vec::new())).collect();
    // Both filters are asked, and the other one refuses it.
    rules.insert(libc::SYS_clone3, Vec::new());
    rules.insert(libc::SYS_socket, sockets(plan)?);
    rules.insert(libc::SYS_sendto, vec![rule([equal_pointer(4, 0)?])?]);
    rules.insert(libc::SYS_setsockopt, vec![rule([equal(1, libc::IPPROTO_TCP)?, equal(2, libc::TCP_NODELAY)?])?]);
    let thread = SeccompCondition::new(0, Qword, MaskedEq(bits(THREAD | NO_THREAD)), bits(THREAD))?;
    rules.insert(libc::SYS_clone, vec![rule([thread])?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule([SeccompCondition::new(2, Qword, MaskedEq(bits(libc::PROT_EXEC)), 0)?])?]);
    }
    rules.insert(
        libc::SYS_fcntl,
        one_of(1, [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC])?,
    );
    // Whether something is a terminal, and how wide; never what is typed into it.
    let requests = [libc::TCGETS, libc::TIOCGWINSZ].map(|request| request as libc::c_int);
    rules.insert(libc::SYS_ioctl, one_of(1, requests)?);
    rules.insert(libc::SYS_prctl, one_of(0, [libc::PR_SET_NAME])?);
    // Its own limits may be read. New ones are a pointer that must be absent.
    rules.insert(libc::SYS_prlimit64, vec![rule([equal(0, 0)?, equal_pointer(2, 0)?])?]);
    // So that a fault of ours ends in SIGABRT.
    rules.insert(libc::SYS_tgkill, vec![rule([own_process()?, equal(2, libc::SIGABRT)?])?]);
    Ok(rules)
}

/// TCP over IPv4 and IPv6, and UDP where names are looked up.
fn sockets(plan: &Plan) -> Result<Vec<SeccompRule>, BackendError> {
    let mut kinds = vec![(libc::SOCK_STREAM, libc::IPPROTO_TCP)];
    if !plan.udp_ports.is_empty() {
        kinds.push((libc::SOCK_DGRAM, libc::IPPROTO_UDP));
    }
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in &kinds {
            for protocol in [0, *protocol] {
                let kind = SeccompCondition::new(1, Dword, MaskedEq(SOCKET_TYPE), bits(*kind))?;
                rules.push(rule([equal(0, family)?, kind, equal(2, protocol)?])?);
            }
        }
    }
    Ok(rules)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

fn one_of<const N: usize>(argument: u8, values: [libc::c_int; N]) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| rule([equal(argument, value)?])).collect()
}

fn own_process() -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, Dword, Eq, std::process::id().into())
}

fn equal(argument: u8, value: libc::c_int) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, Eq, bits(value))
}

fn equal_pointer(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Qword, Eq, value)
}

/// The bits as the kernel sees them in an argument of 32 bits.
fn bits(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}
