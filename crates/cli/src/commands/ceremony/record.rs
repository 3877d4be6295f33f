//! `vouch ceremony record`: what was done, checked and readable.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use release::author::ceremony::record::{Act, Entry, read};
use release::author::ceremony::state::Folder;
use release::root::{RootChain, RootContent};
use serde_json::json;

use super::how;
use crate::moment;
use crate::output::{Output, Tone, paint};

/// Print the signed record of all meetings; fails when an entry was changed or is missing.
#[derive(Args, Debug)]
pub(crate) struct Record {
    /// The ceremony's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl Record {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let folder = Folder::open(&self.dir)?;
        // A custodian who left has signed what was done before.
        let roots = (1..=folder.roots.len())
            .map(|count| RootChain::follow(folder.roots.iter().take(count).map(Vec::as_slice)))
            .map(|chain| chain.map(|chain| chain.content))
            .collect::<Result<Vec<RootContent>, _>>()
            .context("the roots")?;
        let keys = |name: &str| {
            let custodians = roots.iter().flat_map(|root| &root.custodians);
            custodians.filter(|custodian| custodian.name == name).map(|custodian| &custodian.signing).collect()
        };
        let entries = read(&folder.records()?, keys)?;
        for entry in &entries {
            output.record(&json!(entry), &text(entry)?)?;
        }
        output.say(&paint(Tone::Good, &format!("{} entries, each signed by all who were there", entries.len())));
        Ok(())
    }
}

fn text(entry: &Entry) -> Result<String> {
    let when = Timestamp::from_millisecond(entry.unix_ms).context("an entry's time")?;
    let mut lines = vec![format!("{} {}", paint(Tone::Strong, &format!("#{}", entry.number)), moment::shown(when))];
    lines.push(format!("  present      {}", entry.present.join(", ")));
    let hsm = &entry.hsm;
    lines.push(format!(
        "  HSM          {} {}, firmware {}, serial {} ({})",
        hsm.maker,
        hsm.model,
        hsm.firmware,
        hsm.serial,
        hsm.validation()
    ));
    lines.extend(hsm.kept.iter().map(|place| format!("  kept         {place}")));
    lines.extend(entry.note.iter().map(|note| format!("  note         {note}")));
    match &entry.act {
        Act::Founded { custodians, release_needed, root_needed, release_key } => {
            lines.push(format!("  founded      with {}", custodians.join(", ")));
            lines.push(format!("  needed       {release_needed} for a release, {root_needed} for a root"));
            lines.push(format!("  release key  SHA-256 {release_key}"));
        }
        Act::Signed { version, manifests, approvals } => {
            lines.push(format!("  signed       OS {version}"));
            for manifest in manifests {
                lines.push(format!("  manifest     {} for {}", manifest.sha256, manifest.models.join(", ")));
            }
            for approval in approvals {
                let how = how(approval.compared);
                // What is in the record stays readable, also where a time was never noted or is none.
                let when = approval.unix_ms.and_then(|ms| Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok());
                let when = when.map_or_else(|| "time unknown".to_owned(), moment::shown);
                lines.push(format!("  approved     by {}, {when} ({how})", approval.custodian));
            }
        }
        Act::Changed { root_version, changes } => {
            lines.push(format!("  root         {root_version}"));
            lines.extend(changes.iter().map(|change| format!("  changed      {change}")));
        }
    }
    Ok(lines.join("\n"))
}
