//! `vouch device run`: a device at work, below its parent or, for development, by itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use device::RunOptions;
use device::events::Observer;
use device::limits::{LIMITS, Limits};
use device::parent::ParentLink;

use super::runtime;
use crate::output::Output;
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

    /// The longest pause between two rounds of attempts to reach the server, in seconds.
    #[arg(long, default_value_t = LIMITS.backoff_most.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    retry_max: u64,
}

impl Run {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let limits = Limits { backoff_most: Duration::from_secs(self.retry_max), ..LIMITS };
        let (observer, mut events) = Observer::channel(&limits);
        let output = *output;
        let printer = Printer::start(
            move || events.blocking_recv(),
            move |event| match serde_json::to_value(&event) {
                Ok(value) if output.is_json() => output.json_line(&value),
                _ => output.say(&event.to_string()),
            },
        );
        let result = runtime()?.block_on(async {
            let parent = self.below_parent.then(|| ParentLink::from_standard_input(&limits)).transpose()?;
            let options = RunOptions { dir: self.dir, parent, limits };
            anyhow::Ok(device::run(options, crate::commands::stop_signal(), observer).await?)
        });
        printer.finish();
        result
    }
}
