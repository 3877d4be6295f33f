//! What a first process does for its machine: modules, mounts, the line to the host, the end.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use serde_json::Value;

/// The modules, named in the order in which they must be loaded.
const MODULES: &str = "/modules";
/// The second serial line; the first is the kernel's.
const LINE: &str = "/dev/ttyS1";

/// The machine, with a line to the host.
pub(crate) struct Machine {
    line: File,
}

impl Machine {
    /// Loads the modules and mounts what every program expects.
    pub(crate) fn start() -> Result<Machine> {
        for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc")] {
            mount(kind, target, kind, MountFlags::empty(), None).with_context(|| format!("mounting {target}"))?;
        }
        let modules = std::fs::read_dir(MODULES).context(MODULES)?;
        let mut modules: Vec<_> = modules.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        modules.sort();
        for path in modules {
            match finit_module(File::open(&path)?, c"", 0) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).with_context(|| format!("loading {}", path.display())),
            }
        }
        let line = OpenOptions::new().write(true).open(LINE).context(LINE)?;
        Ok(Machine { line })
    }

    /// Tells the host: one line of JSON.
    pub(crate) fn report(&mut self, what: &Value) {
        // Without the host there is nobody to tell that it cannot be told.
        let _ = writeln!(self.line, "{what}");
    }

    /// Switches the machine off.
    pub(crate) fn power_off(self) -> ! {
        // Closing a serial line waits until it has sent everything.
        drop(self.line);
        let ended = reboot(RebootCommand::PowerOff);
        panic!("the machine does not switch off: {ended:?}")
    }
}
