//! `vouch device self-test`: a device below its parent, locked down, tries what it must not be able to do.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
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
}

impl SelfTest {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let mut child = super::boot::child(&self.dir, output)?;
        child.arg("--self-test");
        let boot = parent::Boot { child, interface: String::new(), limits: LIMITS };
        let status = super::runtime()?.block_on(parent::run_once(boot))?;
        match status.code() {
            Some(0) => Ok(()),
            // The child has said what was not refused, or why it could not begin.
            Some(_) => Err(Said.into()),
            None => bail!("the device was ended in the middle of its self-test ({status})"),
        }
    }
}
