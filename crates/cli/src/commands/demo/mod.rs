//! `vouch demo`: the whole path on this machine, told step by step as it happens, or verified once for scripts.

mod evidence;
mod probe;
mod process;
mod stage;
mod tampered;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::output::{Output, Said, Tone, paint};
use evidence::Step;
use stage::{Actor, Stage};

/// Where central is when the place is free.
const USUAL_HTTP: &str = "127.0.0.1:8080";
/// Any free port.
const ANY_PORT: &str = "127.0.0.1:0";
/// How long each stretch of the demonstration may take.
const STRETCH: Duration = Duration::from_secs(30);
/// How long a verified demonstration may take in all.
const WHOLE: Duration = Duration::from_secs(110);
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
        let temporary =
            tempfile::Builder::new().prefix("vouch-demo-").tempdir().context("cannot make a temporary folder")?;
        let dir = self.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
        if self.once {
            return once(&dir, interrupted, output);
        }
        // The usual place when it is free, so that the printed addresses are easy to remember.
        let http = if TcpListener::bind(USUAL_HTTP).is_ok() { USUAL_HTTP } else { ANY_PORT };
        let mut stage = Stage::raise(&dir, http, interrupted, output, Instant::now() + WHOLE)?;
        show(&mut stage, output)?;
        stay(&mut stage, output)
    }
}

/// Verifies every step; whatever fails, the last line is the JSON object with what was seen.
fn once(dir: &Path, interrupted: Arc<AtomicBool>, output: &Output) -> Result<()> {
    let deadline = Instant::now() + WHOLE;
    let (steps, failure) = match Stage::raise(dir, ANY_PORT, interrupted, output, deadline) {
        Err(error) => (Vec::new(), Some(error)),
        Ok(mut stage) => evidence::gather(&mut stage, output, deadline),
    };
    let ok = failure.is_none() && evidence::is_complete(&steps);
    for step in &steps {
        output.say(&line(step));
    }
    let mut result = json!({ "ok": ok, "steps": steps.iter().map(Step::to_json).collect::<Vec<Value>>() });
    if let Some(error) = &failure {
        result["error"] = json!(format!("{error:#}"));
    }
    if let Some(error) = &failure {
        output.say(&paint(Tone::Bad, &format!("error: {error:#}")));
    }
    let verdict =
        if ok { paint(Tone::Good, "every step was verified") } else { paint(Tone::Bad, "not every step was verified") };
    output.result(&result, &verdict);
    if ok { Ok(()) } else { Err(Said.into()) }
}

fn line(step: &Step) -> String {
    let mark = if step.ok { paint(Tone::Good, "verified") } else { paint(Tone::Bad, "FAILED  ") };
    format!("{mark} {} {}", paint(Tone::Strong, step.claim), step.what)
}

fn show(stage: &mut Stage, output: &Output) -> Result<()> {
    let deadline = Instant::now() + STRETCH;
    for actor in &mut stage.actors {
        output.say(&paint(Tone::Strong, &format!("\ndevice {} ({})", actor.device_id, actor.profile)));
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
    if let Ok(event) = serde_json::from_value::<device::events::DeviceEvent>(event.clone()) {
        output.say(&format!("  {event}"));
    }
}

fn stay(stage: &mut Stage, output: &Output) -> Result<()> {
    output.say(&paint(Tone::Strong, "\nNow it is yours"));
    for Actor { profile, agent_url, .. } in &stage.actors {
        output.say(&format!("  agent of the {profile} device   {agent_url}"));
    }
    let (central, login) = (&stage.central, stage.login_file.display());
    output.say(&format!(
        "  central                        {central}/v5 (account {}, password in {})",
        stage.account,
        stage.password_file.display()
    ));
    output.say(&format!("  everything is kept in          {}", stage.dir.display()));
    output.say(&paint(Tone::Strong, "\nTry, in another terminal"));
    if let Some(actor) = stage.actors.first() {
        output.say(&format!("  curl {}", actor.agent_url));
        output.say(&format!("  curl -d 'hello' {}/echo", actor.agent_url));
        output.say(&format!("  export VOUCH_LOGIN_FILE={login}"));
        output.say("  vouch device list");
        output.say(&format!("  vouch logs {} --follow", actor.device_id));
        output.say(&format!("  vouch device revoke {}", actor.device_id));
    }
    output.say(&paint(Tone::Quiet, "\nCtrl-C stops everything. The devices' logs follow."));
    loop {
        for actor in &mut stage.actors {
            match actor.process.next(GLANCE) {
                Ok(Some(event)) => {
                    if let Ok(event) = serde_json::from_value::<device::events::DeviceEvent>(event) {
                        output.say(&format!("{} {event}", paint(Tone::Quiet, &format!("{:<8}", actor.profile))));
                    }
                }
                Ok(None) => {}
                Err(error) if error.to_string() == process::INTERRUPTED => {
                    output.say("\nstopping");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            actor.process.forget();
        }
    }
}
