//! `vouch release upload`: gives a release to the server, which verifies all of it before it keeps any, and takes the log's proofs back.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use release::author::add_proofs;
use release::bundle::{Bundle, Report, verify_bundle};
use serde_json::{Value, json};

use super::{models, word};
use crate::central::{Central, LoginFile};
use crate::output::{Output, Tone, paint};

/// Upload a release: the server verifies each signature and each byte, and keeps it only when all is right.
///
/// The server enters it into its transparency log. Where the root names that log, the proofs are written into the bundle. A release that the
/// server has already is not kept again; the proofs come all the same.
#[derive(Args, Debug)]
pub(crate) struct Upload {
    /// The bundle, as `vouch release assemble` wrote it.
    #[arg(value_name = "FILE.vouchos")]
    bundle: PathBuf,

    /// Where to write the bundle with the proofs of the transparency log [default: in its own place].
    #[arg(long, value_name = "FILE.vouchos")]
    out: Option<PathBuf>,

    #[command(flatten)]
    file: LoginFile,
}

impl Upload {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let shown = self.bundle.display();
        let mut bundle = File::open(&self.bundle).with_context(|| format!("cannot read {shown}"))?;
        let length = bundle.metadata().with_context(|| format!("cannot read {shown}"))?.len();
        // What is no release is not worth the way.
        verify_bundle(&mut BufReader::new(&mut bundle), None).with_context(|| shown.to_string())?;
        let bundle = File::open(&self.bundle).with_context(|| format!("cannot read {shown}"))?;
        let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(length) };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}") {
            bar.set_style(style);
        }
        let answer = central.upload("/releases/bundle", bar.wrap_read(bundle), length);
        bar.finish_and_clear();
        let mut release = answer?["data"].clone();
        let version = word(&release["attributes"]["version"]);
        let proved = self.keep_proofs(&release).with_context(|| {
            format!("the server has the release, but the proofs are not in the bundle: upload it again, with --out FILE. {shown}")
        })?;
        let paused = release["attributes"]["paused_rollouts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let paused = paused.iter().map(|rollout| {
            format!("\nroll-out {} is paused: its release is no longer approved by the custodians", word(rollout))
        });
        let text = format!(
            "{} {} {version} for {}\n{}{}\nnext: vouch rollout start {version}",
            paint(Tone::Good, "uploaded and verified"),
            word(&release["attributes"]["product"]),
            models(&release).join(", "),
            proved.as_ref().map_or_else(|| "the root names no transparency log".to_owned(), proved_text),
            paused.collect::<String>(),
        );
        release["bundle"] = json!({ "file": self.out(), "has_log_proofs": proved.is_some() });
        output.result(&release, &text);
        Ok(())
    }

    fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or(&self.bundle)
    }

    /// Writes the bundle with the proofs that came back, each of them verified; nothing where the root names no log.
    fn keep_proofs(&self, release: &Value) -> Result<Option<Report>> {
        let mut from = BufReader::new(File::open(&self.bundle)?);
        let head = Bundle::read(&mut from)?;
        if release::bundle::verify_head(&head, None)?.log.is_none() {
            return Ok(None);
        }
        let images = release["attributes"]["images"].as_array().map(Vec::as_slice).unwrap_or_default();
        let proof = |image: &release::bundle::BundleImage| {
            let hash = image.manifest().hash().to_string();
            let found = images.iter().find(|found| found["sha256"] == *hash);
            let proof = found.and_then(|found| found["log_proof"].as_str());
            let proof = proof.ok_or_else(|| anyhow!("the server sent no proof for the image {hash}"))?;
            BASE64.decode(proof).context("the server sent a proof that is not in base64")
        };
        let proofs = head.images.iter().map(proof).collect::<Result<_>>()?;
        let unfinished = self.out().with_extension("unfinished");
        let written = write(&self.bundle, proofs, &unfinished).and_then(|report| {
            fs::rename(&unfinished, self.out())?;
            Ok(report)
        });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&unfinished);
        }
        written.with_context(|| self.out().display().to_string()).map(Some)
    }
}

fn write(bundle: &Path, proofs: Vec<Vec<u8>>, to: &Path) -> Result<Report> {
    let mut from = BufReader::new(File::open(bundle)?);
    let mut out = BufWriter::new(File::create(to)?);
    let report = add_proofs(&mut from, proofs, &mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(report)
}

fn proved_text(report: &Report) -> String {
    let numbers: Vec<_> =
        report.images.iter().filter_map(|image| image.logged).map(|logged| logged.index.to_string()).collect();
    let log = report.log.as_deref().unwrap_or_default();
    format!("in the transparency log {log}: number {}; the proofs are in the bundle", numbers.join(", "))
}
