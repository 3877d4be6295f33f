//! `vouch release upload`: gives a release to the server, which verifies all of it before it keeps any.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{models, word};
use crate::central::{Central, LoginFile};
use crate::output::{Output, Tone, paint};

/// Upload a release: the server verifies each signature and each byte, and keeps it only when all is right.
#[derive(Args, Debug)]
pub(crate) struct Upload {
    /// The bundle, as `vouch release assemble` wrote it.
    #[arg(value_name = "FILE.vouchos")]
    bundle: PathBuf,

    #[command(flatten)]
    file: LoginFile,
}

impl Upload {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let shown = self.bundle.display();
        let bundle = File::open(&self.bundle).with_context(|| format!("cannot read {shown}"))?;
        let length = bundle.metadata().with_context(|| format!("cannot read {shown}"))?.len();
        let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(length) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}") {
            bar.set_style(style);
        }
        let answer = central.upload("/releases/bundle", bar.wrap_read(bundle), length);
        bar.finish_and_clear();
        let release = answer?["data"].clone();
        let version = word(&release["attributes"]["version"]);
        let text = format!(
            "{} {} {version} for {}\nnext: vouch rollout start {version}",
            paint(Tone::Good, "uploaded and verified"),
            word(&release["attributes"]["product"]),
            models(&release).join(", "),
        );
        output.result(&release, &text);
        Ok(())
    }
}
