//! `vouch release verify` and `inspect`: what anybody can say of a bundle, without a network.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use release::approval::Approval;
use release::bundle::{Bundle, Report, ReportedImage, verify_bundle};
use release::log::Logged;
use serde_json::{Value, json};

use super::build::read;
use crate::commands::ceremony::how;
use crate::moment;
use crate::output::{Output, Tone, paint};

/// Check a release bundle offline: who approved what, when, which key signed it, for which models.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The bundle.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The first root (roots/1.root.json of the ceremony) that you trust; without it, compare the hash that is printed.
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let root = self.root.as_deref().map(read).transpose()?;
        let (_, report) = verify_bundle(&mut open(&self.file)?, root.as_deref())?;
        let mut text = report_text(&report)?;
        if root.is_none() {
            text.push_str("\nno root was given: all of this holds if you know the first root by its hash");
        }
        output.result(&report_json(&report), &format!("{}\n{text}", paint(Tone::Good, "verified")));
        Ok(())
    }
}

/// Show what a release bundle says, believing nothing of it.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    /// The bundle.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let bundle = Bundle::read(&mut open(&self.file)?)?;
        let mut lines =
            vec![format!("{}: {} roots, {} images", self.file.display(), bundle.roots.len(), bundle.images.len())];
        let mut images = Vec::new();
        for (at, image) in bundle.images.iter().enumerate() {
            let manifest = image.manifest();
            let (from, length) = bundle.place(at).unwrap_or_default();
            lines.push(format!(
                "  {} {} for {}: {length} encrypted bytes from byte {from}; image {} bytes; epoch {}; manifest {}",
                manifest.product,
                manifest.version,
                manifest.models.join(", "),
                manifest.plain.length,
                manifest.security_epoch,
                manifest.hash()
            ));
            images.push(json!({
                "product": manifest.product, "models": manifest.models, "version": manifest.version.to_string(),
                "security_epoch": manifest.security_epoch, "manifest_sha256": manifest.hash().to_string(),
                "encrypted_bytes": length, "image_bytes": manifest.plain.length, "has_log_proof": image.log_proof.is_some(),
            }));
        }
        lines.push(paint(Tone::Quiet, "no signature was checked: vouch release verify does that"));
        output.result(&json!({ "roots": bundle.roots.len(), "images": images }), &lines.join("\n"));
        Ok(())
    }
}

fn open(file: &std::path::Path) -> Result<BufReader<File>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(BufReader::new(opened))
}

/// A report for scripts.
pub(super) fn report_json(report: &Report) -> Value {
    let images = report.images.iter().map(|image| {
        json!({
            "models": image.description.models, "manifest_sha256": image.manifest.to_string(),
            "signed_by_sha256": image.signed_by.to_string(), "built_unix_s": image.description.built,
            "security_epoch": image.description.security_epoch,
            "sbom_sha256": image.description.sbom.map(const_hex::encode), "mud_sha256": image.description.mud.map(const_hex::encode),
            "log": image.logged.map(|logged| json!({ "number": logged.index, "size": logged.size })),
        })
    });
    json!({
        "product": report.product, "version": report.version.to_string(), "approved_by": report.approved_by,
        "approvals_needed": report.needed, "targets_version": report.targets_version, "expires_unix_s": report.expires,
        "first_root_sha256": const_hex::encode(report.first_root), "root_version": report.root_version,
        "log": report.log,
        "approvals": report.approvals.iter().map(|approval| json!({
            "custodian": approval.custodian, "compared": approval.compared, "unix_ms": approval.unix_ms,
        })).collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
    })
}

fn log_text(log: Option<&str>, logged: Option<Logged>) -> String {
    match (log, logged) {
        (Some(log), Some(Logged { index, size, .. })) => {
            format!("in the transparency log, number {index} of tree size {size}, checkpoint of {log}")
        }
        (Some(log), None) => paint(
            Tone::Bad,
            &format!(
                "no proof that it is in the transparency log {log}: devices refuse it without; vouch release upload adds it"
            ),
        ),
        (None, _) => "the root names no transparency log".to_owned(),
    }
}

/// A report for people.
pub(super) fn report_text(report: &Report) -> Result<String> {
    let expires = Timestamp::from_second(report.expires).context("the end of the approval")?;
    let mut lines = vec![
        format!("  release      {} {}", report.product, report.version),
        format!("  approved by  {} ({} needed)", report.approved_by.join(", "), report.needed),
    ];
    for Approval { custodian, compared, unix_ms, .. } in &report.approvals {
        let when = Timestamp::from_millisecond(i64::try_from(*unix_ms)?).context("the time of an approval")?;
        lines.push(format!("               {custodian} {} ({})", moment::shown(when), how(*compared)));
    }
    lines.extend([
        format!("  until        {}, as number {} of this product", moment::shown(expires), report.targets_version),
        format!("  first root   SHA-256 {}", const_hex::encode(report.first_root)),
        format!("  root         version {}", report.root_version),
    ]);
    for ReportedImage { description, manifest, signed_by, logged } in &report.images {
        let built = Timestamp::from_second(i64::try_from(description.built)?).context("the time of the build")?;
        let digest = |digest: Option<[u8; 32]>| {
            digest.map_or_else(|| "none".to_owned(), |digest| format!("SHA-256 {}", const_hex::encode(digest)))
        };
        lines.push(format!("  image        for {}: manifest {manifest}", description.models.join(", ")));
        lines.push(format!(
            "               built {}, security epoch {}",
            moment::shown(built),
            description.security_epoch
        ));
        lines.push(format!("               SBOM {}; MUD {}", digest(description.sbom), digest(description.mud)));
        lines.push(format!("               signed by the release key {signed_by}"));
        lines.push(format!("               {}", log_text(report.log.as_deref(), *logged)));
    }
    Ok(lines.join("\n"))
}
