//! Calls to the kernel for which there is no safe wrapper: those that protect, and those that a self-test tries.
#![allow(unsafe_code, reason = "the calls have no safe wrapper; each is made with arguments that it cannot misuse")]

use std::io;
use std::ptr;

use libc::{c_long, c_void};

/// The size of the pages that are tried, a multiple of that of every architecture here.
const PAGE: usize = 64 * 1024;

/// From now on memory that is or was writable never becomes executable, and never the other way round (PR_SET_MDWE).
///
/// # Errors
/// The kernel is older than Linux 6.3.
pub(super) fn refuse_executable_gain() -> io::Result<()> {
    // SAFETY: prctl(2) with this option takes numbers only and changes no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, c_long::from(libc::PR_MDWE_REFUSE_EXEC_GAIN), 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor of this process but the three standard ones as closed in programs that are started from now on.
/// Libraries for TPMs and tokens leave some that are not.
///
/// # Errors
/// There is no /proc.
#[cfg(feature = "parent")]
pub(crate) fn close_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number @ 3..) = number {
            // SAFETY: fcntl(2) with this command takes numbers only; one that was closed meanwhile is refused.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// What a locked down process may not do and no safe function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// ptrace(2), with this request and process.
    Trace(c_long, u32),
    /// process_vm_readv(2) of this process.
    ReadProcess(u32),
    /// process_vm_writev(2) of this process.
    WriteProcess(u32),
    /// Memory that is writable and executable at once.
    WritableExecutable,
    /// Memory that was written and becomes executable.
    WrittenThenExecutable,
    /// Memory that is executable from the beginning.
    Executable,
    /// execve(2).
    Execute,
    /// execveat(2).
    ExecuteAt,
    /// A new process.
    Fork,
    /// A call that takes nothing but what may all be zero, by its number.
    Bare(c_long),
}

/// Tries it, so that nothing is left behind where it succeeds.
///
/// # Errors
/// As the kernel says: EPERM or EACCES where it refuses, something else where it looked at the arguments.
pub(crate) fn attempt(what: Forbidden) -> io::Result<()> {
    match what {
        Forbidden::Trace(request, process) => call(libc::SYS_ptrace, [request, process.into(), 0, 0]),
        Forbidden::ReadProcess(process) => call(libc::SYS_process_vm_readv, [process.into(), 0, 0, 0]),
        Forbidden::WriteProcess(process) => call(libc::SYS_process_vm_writev, [process.into(), 0, 0, 0]),
        Forbidden::WritableExecutable => map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, None),
        Forbidden::WrittenThenExecutable => {
            map(libc::PROT_READ | libc::PROT_WRITE, Some(libc::PROT_READ | libc::PROT_EXEC))
        }
        Forbidden::Executable => map(libc::PROT_READ | libc::PROT_EXEC, None),
        // Without a path: a kernel that does not refuse says that the path is none.
        Forbidden::Execute => call(libc::SYS_execve, [0; 4]),
        Forbidden::ExecuteAt => call(libc::SYS_execveat, [-1, 0, 0, 0]),
        Forbidden::Fork => fork(),
        Forbidden::Bare(number) => call(number, [0; 4]),
    }
}

/// Makes a call whose pointers are all null and whose numbers are harmless: every kernel answers it with an error, or with
/// nothing done to the memory of this process.
fn call(number: c_long, arguments: [c_long; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: no argument points to memory of this process, so the kernel can neither read nor write any of it.
    let result = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Maps memory, changes its protection where one is given, and unmaps it.
fn map(first: libc::c_int, then: Option<libc::c_int>) -> io::Result<()> {
    // SAFETY: a new private mapping at an address that the kernel chooses overlaps nothing that anybody uses.
    let memory: *mut c_void =
        unsafe { libc::mmap(ptr::null_mut(), PAGE, first, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let changed = match then {
        None => Ok(()),
        // SAFETY: the mapping is ours alone and nothing refers to it.
        Some(then) if unsafe { libc::mprotect(memory, PAGE, then) } == -1 => Err(io::Error::last_os_error()),
        Some(_) => Ok(()),
    };
    // SAFETY: as above; it is not used again.
    unsafe { libc::munmap(memory, PAGE) };
    changed
}

/// A child process that ends at once.
fn fork() -> io::Result<()> {
    // SAFETY: the child calls nothing but _exit(2), which is safe after a fork of a process with threads (signal-safety(7)).
    match unsafe { libc::syscall(libc::SYS_clone, c_long::from(libc::SIGCHLD), 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}
