//! `vouch fleet`: which models run which OS version, and one command that brings all to one.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use release::version::OsVersion;
use serde_json::{Value, json};

use super::rollout::Plan;
use crate::central::{Central, LoginFile};
use crate::names::{self, id};
use crate::output::{Output, Tone, paint};
use crate::table::{Cell, Table};

/// Show which models run which OS version, and bring all to one.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    Skew(Skew),
    Align(Align),
}

impl Fleet {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Skew(command) => command.run(output),
            Self::Align(command) => command.run(output),
        }
    }
}

/// Show which models run which OS version, and how many devices do.
#[derive(Args, Debug)]
pub(crate) struct Skew {
    /// Only the devices of this group, by its name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    #[command(flatten)]
    file: LoginFile,
}

impl Skew {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let filter = names::in_group(&mut central, self.group.as_deref())?;
        let skew = central.get(&format!("/fleet/skew{filter}"))?["data"].clone();
        let runs = skew["versions"].as_array().cloned().unwrap_or_default();
        let mut table = Table::new(&["MODEL", "OS VERSION", "DEVICES"]);
        for run in &runs {
            let version = run["os_version"].as_str().unwrap_or("not reported");
            table.add(vec![
                Cell::plain(run["model"].as_str().unwrap_or_default()),
                Cell::plain(version),
                Cell::plain(run["devices"].to_string()),
            ]);
        }
        let mut lines = table.lines(None);
        lines.push(verdict(&runs));
        output.result(&skew, &lines.join("\n"));
        Ok(())
    }
}

fn verdict(runs: &[Value]) -> String {
    let versions: BTreeSet<_> = runs.iter().map(|run| run["os_version"].as_str().unwrap_or("-")).collect();
    match versions.len() {
        0 => "there are no devices yet".to_owned(),
        1 => paint(Tone::Good, "all devices run one OS version"),
        count => {
            let count = paint(Tone::Bad, &format!("{count} OS versions"));
            format!("{count} are in use; bring all to one with: vouch fleet align VERSION")
        }
    }
}

/// Bring every device to one OS version: start the roll-outs that this takes.
///
/// A device that runs a newer version keeps it; no device ever goes back.
#[derive(Args, Debug)]
pub(crate) struct Align {
    /// The version that all are to run.
    #[arg(value_name = "VERSION")]
    os_version: String,

    #[command(flatten)]
    plan: Plan,

    #[command(flatten)]
    file: LoginFile,
}

impl Align {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let releases = central.list("/releases")?;
        let releases: Vec<_> = releases
            .into_iter()
            .filter(|release| release["attributes"]["version"] == self.os_version.as_str())
            .collect();
        ensure!(!releases.is_empty(), "there is no release {:?}; `vouch release list` shows all", self.os_version);
        let body = json!({ "data": { "type": "rollout", "attributes": self.plan.attributes() } });
        let mut begun = Vec::new();
        for release in &releases {
            let answer = central.post(&format!("/releases/{}/align", id(release)?), &body)?;
            begun.extend(answer["data"].as_array().cloned().unwrap_or_default());
        }
        let groups = names::by_id(&mut central, "/devicegroups")?;
        let mut lines = Vec::new();
        for rollout in &begun {
            let name = names::name_of(&groups, &rollout["relationships"]["devicegroup"]["id"]);
            lines.push(format!("roll-out {} has {} for group {name}", id(rollout)?, paint(Tone::Good, "begun")));
        }
        lines.push(match begun.len() {
            0 => format!("nothing to do in any group: all that can run {}, or its roll-out has begun", self.os_version),
            _ => "next: vouch rollout list".to_owned(),
        });
        let skew = central.get("/fleet/skew")?["data"]["versions"].as_array().cloned().unwrap_or_default();
        lines.extend(left_out(&skew, &releases, &self.os_version));
        output.result(&json!(begun), &lines.join("\n"));
        Ok(())
    }
}

/// What is to be said of devices that a release has an image for and no roll-out reaches, since they are in no group.
fn left_out(runs: &[Value], releases: &[Value], version: &str) -> Option<String> {
    let images = releases.iter().filter_map(|release| release["attributes"]["images"].as_array()).flatten();
    let models: Vec<_> = images.filter_map(|image| image["models"].as_array()).flatten().collect();
    // A device that runs a newer one keeps it.
    let is_behind = |run: &&Value| version_of(&run["os_version"]) < version.parse().ok();
    let behind = runs.iter().filter(|run| models.contains(&&run["model"])).filter(is_behind);
    let count: u64 = behind.filter_map(|run| run["without_group"].as_u64()).sum();
    let next = "`vouch device move DEVICE --group GROUP`, then align again";
    (count > 0).then(|| format!("{} in no group and get no update: {next}", paint(Tone::Bad, &are(count))))
}

/// None, which is below every version, where none was proved yet.
fn version_of(value: &Value) -> Option<OsVersion> {
    value.as_str()?.parse().ok()
}

fn are(count: u64) -> String {
    if count == 1 { "1 device is".to_owned() } else { format!("{count} devices are") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_in_no_group_that_a_release_is_for_are_named() {
        let releases = [json!({ "attributes": { "images": [{ "models": ["a", "b"] }] } })];
        let run = |model: &str, version: &str| json!({ "model": model, "os_version": version, "devices": 5, "without_group": 1 });
        let in_groups = json!({ "model": "a", "os_version": "1.3.0", "devices": 5 });
        let said = |runs: &[Value]| left_out(runs, &releases, "1.4.0");
        assert_eq!(said(&[run("a", "1.4.0"), run("b", "1.10.0"), run("c", "1.3.0"), in_groups]), None);
        assert!(said(&[run("a", "1.3.0")]).unwrap().contains("1 device is"));
        let never = json!({ "model": "b", "devices": 1, "without_group": 1 });
        assert!(said(&[run("a", "1.3.0"), never]).unwrap().contains("2 devices are"));
    }

    #[test]
    fn the_verdict_says_whether_there_is_skew() {
        let run = |model: &str, version: &str| json!({ "model": model, "os_version": version, "devices": 1 });
        assert!(verdict(&[]).contains("no devices"));
        assert!(verdict(&[run("a", "1.4.0"), run("b", "1.4.0")]).contains("one OS version"));
        assert!(verdict(&[run("a", "1.4.0"), run("a", "1.3.0")]).contains("2 OS versions"));
        assert!(verdict(&[run("a", "1.4.0"), json!({ "model": "b", "devices": 1 })]).contains("vouch fleet align"));
    }
}
