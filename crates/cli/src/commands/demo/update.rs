//! The last act: a new OS release goes over the air to the devices, while the app keeps its settings.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::GLANCE;
use super::maker::Maker;
use super::stage::{Actor, Stage};
use crate::central::ask;
use crate::output::{Output, Tone, paint};

/// What the thermostats are set to before, degrees Celsius: far above what they measure, so that they heat.
const TARGET: f64 = 28.5;

/// Ships the next release; what was seen.
pub(super) fn ship(stage: &mut Stage, maker: &Maker, output: &Output, deadline: Instant) -> Result<Value> {
    output.say("");
    for actor in &stage.actors {
        set(actor)?;
    }
    say(output, &format!("both thermostats are set to {TARGET} °C, which they keep in the device, and heat"));
    for actor in &mut stage.actors {
        // A thermostat stores a setting before it acts on it.
        wait_for(actor, deadline, |latest| latest["heating"] == true)?;
    }
    let before = maker.ask(&["fleet", "skew"])?;
    say(output, &format!("before: {}", skew(&before)));
    let version = maker.release(output)?;
    for actor in &mut stage.actors {
        actor.process.forget();
    }
    let since = Timestamp::now();
    let rollout = maker.roll_out(&version)?;
    for actor in &mut stage.actors {
        let boots = |event: &Value| event["event"] == "booting" && event["version"] == version.as_str();
        actor.process.wait("start of the new OS image", deadline, boots)?;
        say(output, &format!("the {} device has verified and installed OS {version}, and tries it", actor.profile));
    }
    for actor in &mut stage.actors {
        actor.process.wait("session on the new OS image", deadline, |event| event["event"] == "welcomed")?;
    }
    maker.ask(&["rollout", "show", &rollout, "--follow"])?;
    let shown = maker.ask(&["rollout", "show", &rollout])?["attributes"].clone();
    if shown["confirmed"] != stage.actors.len() {
        bail!("not every device has confirmed OS {version}: {shown}");
    }
    let after = maker.ask(&["fleet", "skew"])?;
    say(output, &format!("after:  {}", skew(&after)));
    for actor in &mut stage.actors {
        still_set(maker, actor, since, deadline)?;
    }
    say(output, "the apps found their settings again, and heat");
    Ok(
        json!({ "version": version, "rollout": shown, "skew_before": before, "skew_after": after, "settings_kept": true }),
    )
}

fn set(actor: &Actor) -> Result<()> {
    let (status, body) =
        ask("PUT", &format!("{}/settings", actor.agent_url), &json!({ "target": TARGET }).to_string())?;
    if status == 202 { Ok(()) } else { bail!("the agent of {} takes no setting: {body}", actor.device_id) }
}

/// Waits until the latest reading of a device is as it should be.
fn wait_for(actor: &mut Actor, deadline: Instant, fits: impl Fn(&Value) -> bool) -> Result<()> {
    loop {
        let (_, body) = ask("GET", &format!("{}/status", actor.agent_url), "")?;
        let told: Value = serde_json::from_str(&body).context("the agent's answer")?;
        if fits(&told["latest"]) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("device {} does not heat as it was told: {}", actor.device_id, told["latest"]);
        }
        actor.process.next(GLANCE)?;
    }
}

/// A thermostat that heats after the update has found its setting in the device: its agent has told it none, since it does so only when it
/// is greeted, and a greeting says what was found.
fn still_set(maker: &Maker, actor: &mut Actor, since: Timestamp, deadline: Instant) -> Result<()> {
    wait_for(actor, deadline, |latest| latest["time"].as_i64() > Some(since.as_second()) && latest["heating"] == true)?;
    let greeting = maker.ask(&["logs", &actor.device_id, "--search", "device settings", "--limit", "1"])?;
    let at: Timestamp = greeting["ts"].as_str().context("a log line has a time")?.parse()?;
    if at > since && !greeting["msg"].as_str().unwrap_or_default().contains(&TARGET.to_string()) {
        bail!("the app of {} lost its settings: {greeting}", actor.device_id);
    }
    Ok(())
}

/// Versions and how many devices run each.
fn skew(found: &Value) -> String {
    let runs = found["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = |run: &Value| {
        let version = run["os_version"].as_str().unwrap_or("an unknown version");
        format!("{} run OS {version}", run["devices"])
    };
    runs.iter().map(told).collect::<Vec<_>>().join(", ")
}

fn say(output: &Output, what: &str) {
    output.say(&format!("{} {what}", paint(Tone::Strong, &format!("{:<9}", "update"))));
}
