//! `vouch rollout`: brings a release to the devices of a group, in phases.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::central::{Central, LoginFile, encoded};
use crate::moment;
use crate::names::{self, id};
use crate::output::{Output, Said, Tone, paint};
use crate::table::{self, Cell, Table};

/// How often progress is asked for.
const PAUSE: Duration = Duration::from_secs(1);
/// Failed devices that are shown.
const FAILED_SHOWN: usize = 10;

/// Start, follow, pause, resume and abort roll-outs of OS releases.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    Start(Start),
    List(List),
    Show(Show),
    Pause(Pause),
    Resume(Resume),
    Advance(Advance),
    Abort(Abort),
}

impl Rollout {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        match self {
            Self::Start(command) => command.run(output),
            Self::List(command) => command.run(output),
            Self::Show(command) => command.run(output),
            Self::Pause(command) => command.order.give("pause", output),
            Self::Resume(command) => command.order.give("resume", output),
            Self::Advance(command) => command.order.give("advance", output),
            Self::Abort(command) => command.order.give("abort", output),
        }
    }
}

/// What a roll-out is to be like.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// How far each phase goes: shares or counts of devices, each larger than the one before. The next begins when all of one are done,
    /// or with `vouch rollout advance`.
    #[arg(long, default_value = "5%,25%,100%", value_name = "PHASES", value_delimiter = ',')]
    phases: Vec<String>,

    /// The share of failed devices, in percent of those reached, beyond which it stops.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    max_failures: u32,
}

impl Plan {
    pub(crate) fn attributes(&self) -> Value {
        json!({ "phases": self.phases, "max_failures": self.max_failures })
    }
}

/// Start to bring a release to the devices of a group, also those that join later.
///
/// Devices of models without an image in the release, and those that run this version or a newer one, are left as they are.
#[derive(Args, Debug)]
pub(crate) struct Start {
    /// The release's version or id.
    #[arg(value_name = "RELEASE")]
    release: String,

    /// The device group; not needed while there is only one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    #[command(flatten)]
    plan: Plan,

    /// Stay and show the progress until every device is done, or the roll-out stops.
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Start {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let release = names::release(&mut central, &self.release)?;
        let group = names::group_or_only(&mut central, self.group.as_deref())?;
        let body = json!({ "data": { "type": "rollout", "attributes": self.plan.attributes(), "relationships": {
            "release": { "type": "release", "id": release["id"] },
            "devicegroup": { "type": group["type"], "id": group["id"] },
        }}});
        let made = central.post("/rollouts", &body)?["data"].clone();
        let made_id = id(&made)?;
        if self.follow {
            output.say(&format!("roll-out {made_id} has begun"));
            return follow(&mut central, made_id, output);
        }
        let begun = format!("roll-out {made_id} has {}\n{}", paint(Tone::Good, "begun"), line(&made));
        output.result(&made, &format!("{begun}\nnext: vouch rollout show {made_id} --follow"));
        Ok(())
    }
}

/// List the roll-outs, the newest first.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those of this device group, by its name or id.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    #[command(flatten)]
    file: LoginFile,
}

impl List {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let path = format!("/rollouts{}", names::in_group(&mut central, self.group.as_deref())?);
        let rollouts = central.list(&path)?;
        table::list(output, &rollouts, "there is no roll-out yet", || {
            let groups = names::by_id(&mut central, "/devicegroups")?;
            let mut table = Table::new(&["ROLLOUT", "BEGUN", "VERSION", "GROUP", "STATE", "PHASE", "DONE", "FAILED"]);
            for rollout in &rollouts {
                let attributes = &rollout["attributes"];
                table.add(vec![
                    Cell::plain(id(rollout)?),
                    Cell::plain(moment::shown(moment::of(&attributes["created_at"])?)),
                    Cell::plain(word(&attributes["version"])),
                    Cell::plain(names::name_of(&groups, &rollout["relationships"]["devicegroup"]["id"])),
                    Cell::toned(tone(attributes), word(&attributes["state"])),
                    Cell::plain(phase(attributes)),
                    Cell::plain(format!("{} of {}", attributes["confirmed"], attributes["devices"])),
                    Cell::plain(attributes["failed"].to_string()),
                ]);
            }
            Ok(table)
        })
    }
}

/// Show how far a roll-out is, and which devices failed and why.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The roll-out's id.
    #[arg(value_name = "ROLLOUT")]
    rollout: String,

    /// Stay and show the progress until every device is done, or the roll-out stops.
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    file: LoginFile,
}

impl Show {
    fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        if self.follow {
            return follow(&mut central, &self.rollout, output);
        }
        show(&mut central, &self.rollout, output)
    }
}

/// Hold a roll-out: what is not installed yet is not installed.
#[derive(Args, Debug)]
pub(crate) struct Pause {
    #[command(flatten)]
    order: Order,
}

/// Let a roll-out go on that was paused, or that stopped for its failures; devices that failed are not tried again.
#[derive(Args, Debug)]
pub(crate) struct Resume {
    #[command(flatten)]
    order: Order,
}

/// Begin the next phase of a roll-out, although devices of this one are not done: those that are switched off, broken or gone.
///
/// They are not given up: whoever comes back is reached all the same. `vouch rollout show` says how many are missing.
#[derive(Args, Debug)]
pub(crate) struct Advance {
    #[command(flatten)]
    order: Order,
}

/// End a roll-out for good; devices that run the release already keep it.
#[derive(Args, Debug)]
pub(crate) struct Abort {
    #[command(flatten)]
    order: Order,
}

#[derive(Args, Debug)]
struct Order {
    /// The roll-out's id.
    #[arg(value_name = "ROLLOUT")]
    rollout: String,

    #[command(flatten)]
    file: LoginFile,
}

impl Order {
    fn give(self, order: &str, output: &Output) -> Result<()> {
        let path = format!("/rollouts/{}/{order}", encoded(&self.rollout));
        let rollout = Central::open(&self.file)?.post(&path, &Value::Null)?["data"].clone();
        let state = word(&rollout["attributes"]["state"]);
        output.result(&rollout, &format!("roll-out {} is {state}\n{}", self.rollout, line(&rollout)));
        Ok(())
    }
}

fn show(central: &mut Central, wanted: &str, output: &Output) -> Result<()> {
    let path = format!("/rollouts/{}", encoded(wanted));
    let rollout = central.get(&path)?["data"].clone();
    let enough = |failed: &[Value]| failed.len() > FAILED_SHOWN;
    let failed = central.list_until(&format!("{path}/devices?filter[failed]=true"), 50, enough)?;
    let mut value = rollout.clone();
    value["failed_devices"] = json!(failed);
    let mut lines = vec![line(&rollout)];
    for device in failed.iter().take(FAILED_SHOWN) {
        let attributes = &device["attributes"];
        let (step, reason) = (word(&attributes["step"]), word(&attributes["reason"]));
        lines.push(format!("  {} {} {reason}", id(device)?, paint(Tone::Bad, &step)));
    }
    if failed.len() > FAILED_SHOWN {
        lines.push("  and more: vouch rollout show --json has them".to_owned());
    }
    output.result(&value, &lines.join("\n"));
    Ok(())
}

/// Shows the progress until there is none to come.
fn follow(central: &mut Central, wanted: &str, output: &Output) -> Result<()> {
    let path = format!("/rollouts/{}", encoded(wanted));
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let ended = loop {
        let rollout = central.get(&path)?["data"].clone();
        let attributes = &rollout["attributes"];
        let count = |name: &str| attributes[name].as_u64().unwrap_or(0);
        bar.set_length(count("devices"));
        bar.set_position(count("confirmed") + count("failed"));
        bar.set_message(format!("phase {}; {}", phase(attributes), steps(attributes)));
        let is_done = count("devices") > 0 && count("confirmed") + count("failed") >= count("devices");
        if is_done || attributes["state"] != "running" {
            break rollout;
        }
        std::thread::sleep(PAUSE);
    };
    bar.finish_and_clear();
    show(central, wanted, output)?;
    let is_well = ended["attributes"]["state"] == "running" && ended["attributes"]["failed"] == 0;
    if is_well { Ok(()) } else { Err(Said.into()) }
}

/// A roll-out in a line, or two when it stopped.
fn line(rollout: &Value) -> String {
    let attributes = &rollout["attributes"];
    let state = paint(tone(attributes), &word(&attributes["state"]));
    let counts = format!(
        "{} of {} devices done, {} failed",
        attributes["confirmed"], attributes["devices"], attributes["failed"]
    );
    let mut text = format!("OS {} is {state}, phase {}: {counts}", word(&attributes["version"]), phase(attributes));
    let steps = steps(attributes);
    if !steps.is_empty() {
        text += &format!(" ({steps})");
    }
    match attributes["reason"].as_str() {
        Some(reason) if !reason.is_empty() => format!("{text}\n  {}: {reason}", word(&attributes["state"])),
        _ => text,
    }
}

fn phase(attributes: &Value) -> String {
    let phases = attributes["phases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = attributes["phase"].as_u64().and_then(|phase| usize::try_from(phase).ok()).unwrap_or(1);
    let reach = phases.get(at.saturating_sub(1)).map(word).unwrap_or_default();
    format!("{at} of {} ({reach})", phases.len())
}

fn steps(attributes: &Value) -> String {
    let order = ["offered", "downloading", "installed", "trying", "confirmed", "fell-back", "refused"];
    let counts = order.map(|step| (step, attributes["steps"][step].as_u64().unwrap_or(0)));
    let counts: Vec<_> =
        counts.iter().filter(|(_, count)| *count > 0).map(|(step, count)| format!("{count} {step}")).collect();
    counts.join(", ")
}

fn tone(attributes: &Value) -> Tone {
    match attributes["state"].as_str() {
        Some("running") => Tone::Good,
        Some("stopped") => Tone::Bad,
        _ => Tone::Quiet,
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_how_far_it_is_and_why_it_stopped() {
        let rollout = json!({ "attributes": {
            "version": "1.4.0", "state": "stopped", "reason": "3 of 20 devices failed, more than 10 %", "phases": ["5%", "100%"], "phase": 2,
            "devices": 20, "confirmed": 5, "failed": 3, "steps": { "confirmed": 5, "fell-back": 3, "trying": 1, "offered": 0 },
        }});
        let text = line(&rollout);
        for part in [
            "OS 1.4.0",
            "phase 2 of 2 (100%)",
            "5 of 20 devices done, 3 failed",
            "1 trying, 5 confirmed, 3 fell-back",
            "more than 10 %",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
