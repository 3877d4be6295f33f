//! `vouch device run`: a device at work, below its parent or, for development, by itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use device::events::Observer;
use device::limits::{LIMITS, Limits};
use device::parent::ParentLink;
use device::sandbox::{self, Protections};
use device::{Opened, RunOptions, SelfTest, SelfTestCheck, SelfTestOutcome};
use serde_json::json;

use super::runtime;
use crate::output::{Output, Said, Tone, paint};
use crate::printer::Printer;

/// Run the device in a folder: connect, prove, fetch the app, run it; until Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The folder that `vouch device provision` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Standard input is the link to `vouch device boot`.
    #[arg(long, hide = true)]
    below_parent: bool,

    /// Try everything that a locked down device must not be able to do, and end.
    #[arg(long, hide = true, conflicts_with = "danger_no_sandbox")]
    self_test: bool,

    /// Do not lock the process down: it can then listen, be traced and be read by other processes of the same user.
    #[arg(long)]
    danger_no_sandbox: bool,

    /// The longest pause between two rounds of attempts to reach the server, in seconds.
    #[arg(long, default_value_t = LIMITS.backoff_most.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    retry_max: u64,
}

impl Run {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let limits = Limits { backoff_most: Duration::from_secs(self.retry_max), ..LIMITS };
        let runtime = runtime()?;
        let parent = self.below_parent.then(|| ParentLink::from_standard_input(&limits)).transpose()?;
        let device = Opened::open(&self.dir, parent.as_ref(), &limits)?;
        ensure!(
            self.danger_no_sandbox || !device.needs_parent_for_sandbox(),
            "keys in a TPM or a token are reached through libraries that the sandbox leaves no way to: boot the device from an OS image \
             (vouch device boot), where a parent holds them, or say --danger-no-sandbox"
        );
        let surroundings = device.surroundings();
        // Before there is another thread: the sandbox holds for this one and those that it starts.
        let protections = match self.danger_no_sandbox {
            true => None,
            false => Some(sandbox::enter(&device.sandbox_plan())?),
        };
        if let (true, Some(protections)) = (self.self_test, &protections) {
            return print(&device.self_test(&surroundings)?, protections, output);
        }
        let (observer, mut events) = Observer::channel(&limits);
        let output = *output;
        let printer = Printer::start(
            move || events.blocking_recv(),
            move |event| match serde_json::to_value(&event) {
                Ok(value) if output.is_json() => output.json_line(&value),
                _ => output.say(&event.to_string()),
            },
        );
        let options = RunOptions { device, protections, parent, limits };
        let result = runtime.block_on(device::run(options, crate::commands::stop_signal(), observer));
        printer.finish();
        Ok(result?)
    }
}

/// Prints the result of a self-test in the device's own process.
fn print(result: &SelfTest, protections: &Protections, output: &Output) -> Result<()> {
    let checks = result.checks.iter();
    let listed = checks.clone().map(
        |SelfTestCheck { id, outcome, detail }| json!({ "id": id, "outcome": outcome.as_str(), "detail": detail }),
    );
    let value = json!({
        "unix_ms": result.unix_ms,
        "os_version": result.os_version,
        "passed": result.is_passed(),
        "protections": protections,
        "checks": listed.collect::<Vec<_>>(),
    });
    let mut text = format!("locked down: {protections}\n");
    for check in checks.clone() {
        let tone = match check.outcome {
            SelfTestOutcome::Refused => Tone::Good,
            SelfTestOutcome::NotRefused => Tone::Bad,
            SelfTestOutcome::NotAvailable => Tone::Quiet,
        };
        text.push_str(&format!("{} {}\n", paint(tone, &format!("{:13}", check.outcome.as_str())), check.detail));
    }
    let count = |outcome: SelfTestOutcome| checks.clone().filter(|check| check.outcome == outcome).count();
    text.push_str(&format!(
        "{} refused, {} not refused, {} not available on this system",
        count(SelfTestOutcome::Refused),
        count(SelfTestOutcome::NotRefused),
        count(SelfTestOutcome::NotAvailable)
    ));
    output.result(&value, &text);
    if result.is_passed() { Ok(()) } else { Err(Said.into()) }
}
