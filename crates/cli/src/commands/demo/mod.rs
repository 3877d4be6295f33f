//! `vouch demo`: the whole path on this machine, told step by step as it happens, or verified once for scripts.

mod back_end;
mod evidence;
mod image;
mod maker;
mod probe;
mod process;
mod stage;
mod tampered;
mod thermostat;
mod update;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use device::events::DeviceEvent;
use serde_json::{Map, Value, json};

use crate::output::{Output, Said, Tone, paint};
use evidence::Step;
use process::Interrupted;
use stage::{Actor, Stage};
use thermostat::Readings;

/// Where central is when the place is free.
const USUAL_HTTP: &str = "127.0.0.1:8080";
/// Any free port.
const ANY_PORT: &str = "127.0.0.1:0";
/// How long each stretch of the demonstration may take.
const STRETCH: Duration = Duration::from_secs(30);
/// How long a verified demonstration may take in all.
const WHOLE: Duration = Duration::from_secs(240);
/// How long to wait for the next line of one device before looking at the other.
const GLANCE: Duration = Duration::from_millis(150);

/// Show the whole path on this machine: make keys, serve, enrol two devices, deploy, watch.
///
/// Everything runs on loopback, as processes of its own, and stops with Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Keep keys, database and logs in this folder, and use what an earlier run left there [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The OS image that the devices boot (scripts/os-image builds it); without it they run with no verified boot.
    #[arg(long, value_name = "FILE")]
    os_image: Option<PathBuf>,

    /// Verify each step, print the measurements and end; exit code 0 only when all hold.
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone()).context("cannot watch for Ctrl-C")?;
        }
        let temporary = match self.dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new().prefix("vouch-demo-").tempdir().context("cannot make a temporary folder")?,
            ),
        };
        let dir = match (&temporary, &self.dir) {
            (Some(temporary), _) => temporary.path(),
            (None, Some(dir)) => dir,
            (None, None) => Path::new("."),
        };
        // The maker's commands run in a folder of their own.
        let dir = &std::path::absolute(dir).context("--dir names no folder")?;
        let os_image = self.os_image.map(std::path::absolute).transpose().context("--os-image names no file")?;
        if self.once {
            return once(dir, os_image.as_deref(), interrupted, output);
        }
        match live(dir, os_image.as_deref(), temporary.is_some(), interrupted, output) {
            Err(error) if error.is::<Interrupted>() => {
                output.say("\nstopped");
                Ok(())
            }
            result => result,
        }
    }
}

/// Tells the story and stays until Ctrl-C.
fn live(
    dir: &Path,
    os_image: Option<&Path>,
    is_temporary: bool,
    interrupted: Arc<AtomicBool>,
    output: &Output,
) -> Result<()> {
    // The usual place when it is free, so that the printed addresses are easy to remember.
    let http = if TcpListener::bind(USUAL_HTTP).is_ok() { USUAL_HTTP } else { ANY_PORT };
    let mut stage = Stage::raise(dir, http, os_image, interrupted, output, Instant::now() + WHOLE)?;
    show(&mut stage, output)?;
    thermostat::begin(&mut stage, output, Instant::now() + STRETCH)?;
    ship(&mut stage, output, Instant::now() + WHOLE)?;
    invite(&stage, is_temporary, output);
    follow(&mut stage, output)
}

/// Verifies every step; whatever fails, the last line is the JSON object with what was seen.
fn once(dir: &Path, os_image: Option<&Path>, interrupted: Arc<AtomicBool>, output: &Output) -> Result<()> {
    let deadline = Instant::now() + WHOLE;
    let mut facts = Map::new();
    let (steps, failure) = match Stage::raise(dir, ANY_PORT, os_image, interrupted, output, deadline) {
        Err(error) => (Vec::new(), Some(error)),
        Ok(mut stage) => {
            facts.extend(stage.facts().map(|(name, fact)| (name.to_owned(), fact)));
            let steps = evidence::gather(&mut stage, output, deadline);
            let mut acts = || -> Result<()> {
                facts.insert("readings".to_owned(), thermostat::begin(&mut stage, output, deadline)?);
                facts.insert("update".to_owned(), ship(&mut stage, output, deadline)?);
                Ok(())
            };
            // What failed is shown alone.
            let failure = if evidence::is_complete(&steps) { acts().err() } else { None };
            (steps, failure)
        }
    };
    let ok = failure.is_none() && evidence::is_complete(&steps);
    for step in &steps {
        output.say(&line(step));
    }
    facts.insert("ok".to_owned(), json!(ok));
    facts.insert("steps".to_owned(), steps.iter().map(Step::to_json).collect());
    if let Some(error) = &failure {
        facts.insert("error".to_owned(), json!(format!("{error:#}")));
    }
    if let Some(error) = &failure {
        output.say(&paint(Tone::Bad, &format!("error: {error:#}")));
    }
    let verdict =
        if ok { paint(Tone::Good, "every step was verified") } else { paint(Tone::Bad, "not every step was verified") };
    output.result(&Value::Object(facts), &verdict);
    if ok { Ok(()) } else { Err(Said.into()) }
}

/// Ships an OS update where there is a maker; what was seen of it.
fn ship(stage: &mut Stage, output: &Output, deadline: Instant) -> Result<Value> {
    let Some(maker) = stage.maker.take() else { return Ok(Value::Null) };
    let seen = update::ship(stage, &maker, output, deadline);
    stage.maker = Some(maker);
    seen
}

fn line(step: &Step) -> String {
    let mark = if step.ok { paint(Tone::Good, "verified") } else { paint(Tone::Bad, "FAILED  ") };
    format!("{mark} {} {}", paint(Tone::Strong, step.claim), step.what)
}

fn show(stage: &mut Stage, output: &Output) -> Result<()> {
    let deadline = Instant::now() + STRETCH;
    for actor in &mut stage.actors {
        output.say("");
        output.say(&paint(Tone::Strong, &format!("device {} ({})", actor.device_id, actor.profile)));
        let mut shown = 0;
        loop {
            for event in &actor.process.events()[shown..] {
                tell(event, output);
            }
            shown = actor.process.events().len();
            if actor.process.events().iter().any(|event| event["event"] == "app_log") {
                break;
            }
            if Instant::now() > deadline {
                bail!("device {} does not run its app: its log is {}", actor.device_id, actor.log.display());
            }
            actor.process.next(GLANCE)?;
        }
        actor.process.forget();
    }
    Ok(())
}

/// Prints an event of the device runtime as a sentence, indented below its device.
fn tell(event: &Value, output: &Output) {
    if let Ok(event) = serde_json::from_value::<DeviceEvent>(event.clone()) {
        output.say(&format!("  {event}"));
    }
}

/// Says where everything is and what to try.
fn invite(stage: &Stage, is_temporary: bool, output: &Output) {
    output.say(&format!("\n{}", paint(Tone::Strong, "Now it is yours")));
    for Actor { profile, agent_url, .. } in &stage.actors {
        output.say(&format!("  {:<28} {agent_url}", format!("agent of the {profile} device")));
    }
    let (account, password) = (stage.account, stage.password_file.display());
    output.say(&format!("  {:<28} {}/v5 (account {account}, password in {password})", "central", stage.central));
    let fate = if is_temporary { " (gone when this ends; --dir keeps it)" } else { "" };
    output.say(&format!("  {:<28} {}{fate}", "everything is kept in", stage.dir.display()));
    let Some(actor) = stage.actors.first() else { return };
    output.say(&format!("\n{}", paint(Tone::Strong, "Try, in another terminal")));
    if let Ok(program) = std::env::current_exe() {
        output.say(&format!("  alias vouch={}", program.display()));
    }
    output.say(&format!("  export VOUCH_LOGIN_FILE={}", stage.login_file.display()));
    output.say(&format!("  curl {}/status", actor.agent_url));
    output.say(&format!("  curl -X PUT -d '{{\"target\": 25}}' {}/settings", actor.agent_url));
    output.say(&format!("  vouch device pin {} pin1 12.5", actor.dir.display()));
    output.say("  vouch device list");
    output.say(&format!("  vouch logs {} --follow", actor.device_id));
    output.say(&format!("  vouch device revoke {}", actor.device_id));
    output.say(&format!("\n{}", paint(Tone::Quiet, "Ctrl-C stops everything. The devices' logs follow.")));
}

/// Prints what the devices say, until it is interrupted.
fn follow(stage: &mut Stage, output: &Output) -> Result<()> {
    let mut readings = Readings::new();
    loop {
        readings.show(stage, output);
        for actor in &mut stage.actors {
            let event = actor.process.next(GLANCE)?;
            if let Some(Ok(event)) = event.map(serde_json::from_value::<DeviceEvent>) {
                output.say(&format!("{} {event}", paint(Tone::Quiet, &format!("{:<8}", actor.profile))));
            }
            actor.process.forget();
        }
        stage.server.settle();
        stage.server.forget();
    }
}
