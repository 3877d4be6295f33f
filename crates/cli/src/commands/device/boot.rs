//! `vouch device boot`: run a device below a small parent that alone may change the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use device::limits::LIMITS;
use device::parent;

use crate::output::Output;

/// Run a device as its own system does: a small parent keeps the one privilege to change the network, the device has none.
#[derive(Args, Debug)]
pub(crate) struct Boot {
    /// The folder that `vouch device provision` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The one interface that a static network is put in force on.
    #[arg(long, value_name = "NAME")]
    interface: String,
}

impl Boot {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let child = child(&self.dir, output)?;
        let boot = parent::Boot { child, interface: self.interface, limits: LIMITS };
        let runtime = super::runtime()?;
        Ok(runtime.block_on(parent::boot(boot, crate::commands::stop_signal()))?)
    }
}

/// The program and arguments of the device below its parent.
pub(super) fn child(dir: &Path, output: &Output) -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(own);
    if output.is_json() {
        child.arg("--json");
    }
    child.args(["device", "run", "--below-parent", "--dir"]).arg(dir);
    Ok(child)
}
