//! `vouch device boot`: boot a device from a verified OS image, below a small parent that alone holds its keys.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use device::boot::Pin;
use device::limits::{LIMITS, Limits};
use device::parent;

use crate::output::Output;

/// Boot a device: a small parent verifies the OS image, keeps the keys and the one privilege to change the network, and starts it.
#[derive(Args, Debug)]
pub(crate) struct Boot {
    /// The folder that `vouch device provision` made with --image.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// The one interface that a static network is put in force on; without it the device cannot have one.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    /// Boot this device alone, and all of its model and key back end: the pin that `vouch device status` shows. Give it where secure boot covers
    /// it, in the signed command line or in the initial file system that starts this.
    #[arg(long, value_name = "sha256:HEX")]
    pin: Option<Pin>,

    /// Run an OS image whose memory the kernel does not lock, so that it could reach a swap device.
    #[arg(long)]
    danger_unlocked_memory: bool,

    /// How long a new OS image may take to reach the server before the old one comes back, in seconds.
    #[arg(long, default_value_t = LIMITS.image_trial.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    trial: u64,

    /// The longest pause between two rounds of attempts to reach the server, in seconds.
    #[arg(long, default_value_t = LIMITS.backoff_most.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    retry_max: u64,
}

impl Boot {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut arguments = arguments(&self.dir, output);
        arguments.extend(["--retry-max".into(), self.retry_max.to_string().into()]);
        let boot = parent::Boot {
            dir: self.dir,
            arguments,
            interface: self.interface,
            pin: self.pin,
            danger_unlocked_memory: self.danger_unlocked_memory,
            limits: Limits { image_trial: Duration::from_secs(self.trial), ..LIMITS },
        };
        let runtime = super::runtime()?;
        let tell = |event: parent::BootEvent| match serde_json::to_value(&event) {
            Ok(value) if output.is_json() => output.json_line(&value),
            _ => output.say(&event.to_string()),
        };
        Ok(runtime.block_on(parent::boot(boot, crate::commands::stop_signal(), tell))?)
    }
}

/// The arguments of an OS image below its parent.
pub(super) fn arguments(dir: &Path, output: &Output) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    if output.is_json() {
        arguments.push("--json".into());
    }
    arguments.extend(["device", "run", "--below-parent", "--dir"].map(Into::into));
    arguments.push(dir.into());
    arguments
}
