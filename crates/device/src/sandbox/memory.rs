//! Locked memory: pages that the kernel never writes to swap.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Locks all memory of this process, that of today and that of later, where the limit lets it. The limit is raised first, for
/// what is locked by itself and for children: to none where that may be, else as far as it goes.
///
/// A finite limit does not do: it is counted by addresses, of which a thread reserves far more than it touches, and once it
/// is used up the process would get no memory at all.
pub(crate) fn lock() -> Result<(), String> {
    raise_limit();
    if let Some(most) = getrlimit(Resource::Memlock).current {
        let raise = "raise it to unlimited before the device starts (ulimit -l, LimitMEMLOCK=)";
        return Err(format!("the limit RLIMIT_MEMLOCK is {} KiB; {raise}", most / 1024));
    }
    // Pages that are reserved and never touched need not be in memory.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| format!("the kernel refuses to lock it: {error}"))
}

fn raise_limit() {
    if setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_err() {
        let maximum = getrlimit(Resource::Memlock).maximum;
        // What cannot be raised stays as it is; whether the memory could be locked is seen when it is.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    }
}
