//! After the story of `hello`: the thermostat, whose readings come from the devices' simulated boards.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::GLANCE;
use super::stage::{self, Actor, Application, Stage};
use crate::central::{Central, LoginFile, ask};
use crate::output::{Output, Tone, paint};

/// The application, compiled in so that the binary needs no source tree.
const THERMOSTAT: Application = Application {
    name: "thermostat",
    device: include_str!("../../../../../examples/thermostat/device.nut"),
    agent: include_str!("../../../../../examples/thermostat/agent.nut"),
};
/// How often the readings are shown.
const EVERY: Duration = Duration::from_secs(5);

/// Deploys the thermostat and waits for a reading of each device; the readings.
pub(super) fn begin(stage: &mut Stage, output: &Output, deadline: Instant) -> Result<Value> {
    output.say("");
    let mut central = Central::open(&LoginFile::at(&stage.login_file))?;
    stage::deploy(&mut central, &THERMOSTAT, output)?;
    let mut readings = Vec::new();
    for actor in &mut stage.actors {
        let reading = loop {
            if let Some(reading) = reading(actor) {
                break reading;
            }
            if Instant::now() > deadline {
                bail!("device {} sends no reading: its log is {}", actor.device_id, actor.log.display());
            }
            actor.process.next(GLANCE)?;
        };
        output.say(&line(actor, &reading));
        readings.push(json!({ "device": actor.device_id, "reading": reading }));
    }
    Ok(json!(readings))
}

/// The latest readings, shown now and then.
pub(super) struct Readings(Instant);

impl Readings {
    pub(super) fn new() -> Self {
        Self(Instant::now() + EVERY)
    }

    /// Shows them when it is time.
    pub(super) fn show(&mut self, stage: &Stage, output: &Output) {
        if Instant::now() < self.0 {
            return;
        }
        self.0 = Instant::now() + EVERY;
        for actor in &stage.actors {
            if let Some(reading) = reading(actor) {
                output.say(&line(actor, &reading));
            }
        }
    }
}

/// What a device's agent last heard of it.
fn reading(actor: &Actor) -> Option<Value> {
    let (status, body) = ask("GET", &format!("{}/status", actor.agent_url), "").ok()?;
    let told: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    Some(told["latest"].clone()).filter(|latest| latest["temperature"].is_number())
}

fn line(actor: &Actor, reading: &Value) -> String {
    let heating = if reading["heating"] == true { "heating" } else { "not heating" };
    let celsius = reading["temperature"].as_f64().unwrap_or_default();
    format!("{} {celsius:.1} °C, {heating}", paint(Tone::Strong, &format!("{:<9}", actor.profile)))
}
