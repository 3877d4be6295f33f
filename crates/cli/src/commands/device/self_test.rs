//! `vouch device self-test`: a device below its parent, locked down, tries what it must not be able to do.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use device::boot::BOOT_FOLDER;
use device::limits::LIMITS;
use device::parent;

use crate::output::{Output, Said};

/// Start the device as `boot` does and have it try everything that it must not be able to do: listen, be traced, run programs, and so on.
///
/// It ends with an error when one thing was not refused. The signed result is kept for the server.
#[derive(Args, Debug)]
pub(crate) struct SelfTest {
    /// The folder that `vouch device provision` made; the device must not be running.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Run an OS image whose memory the kernel does not lock, so that it could reach a swap device.
    #[arg(long)]
    danger_unlocked_memory: bool,
}

impl SelfTest {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let status = if self.dir.join(BOOT_FOLDER).exists() {
            let mut arguments = super::boot::arguments(&self.dir, output);
            arguments.push("--self-test".into());
            let danger_unlocked_memory = self.danger_unlocked_memory;
            let boot = parent::Boot {
                dir: self.dir,
                arguments,
                interface: None,
                pin: None,
                danger_unlocked_memory,
                limits: LIMITS,
            };
            super::runtime()?.block_on(parent::run_once(boot))?
        } else {
            let mut child = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
            child.args(output.is_json().then_some("--json"));
            child.args(["device", "run", "--self-test", "--dir"]).arg(&self.dir).stdin(Stdio::null());
            child.status().context("the device cannot be started")?
        };
        match status.code() {
            Some(0) => Ok(()),
            // The child has said what was not refused, or why it could not begin.
            Some(_) => Err(Said.into()),
            None => bail!("the device was ended in the middle of its self-test ({status})"),
        }
    }
}
