//! `vouch logs`: a device's log, what was and, with `--follow`, what comes.

use std::io::BufRead;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::central::{Central, LoginFile};
use crate::output::{Output, Tone, paint};

/// Show the log of a device and its agent.
#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    /// Keep printing new lines until Ctrl-C.
    #[arg(long, short)]
    follow: bool,

    /// How many of the newest lines to show first.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=100))]
    lines: u32,

    #[command(flatten)]
    file: LoginFile,
}

impl Logs {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let id = super::device::resolve(&mut central, &self.device)?;
        if !self.follow {
            return self.history(&mut central, &id, output);
        }
        let stream = central.post("/logstream", &Value::Null)?;
        let stream = stream["data"]["id"].as_str().ok_or_else(|| anyhow!("central opened no log stream"))?.to_owned();
        let events = central.stream(&format!("/logstream/{stream}?format=json"))?;
        central.put(&format!("/logstream/{stream}/{id}"))?;
        self.history(&mut central, &id, output)?;
        follow(events, output)
    }

    fn history(&self, central: &mut Central, id: &str, output: &Output) -> Result<()> {
        if self.lines == 0 {
            return Ok(());
        }
        let answer = central.get(&format!("/devices/{id}/logs?page[number]=1&page[size]={}", self.lines))?;
        for entry in answer["data"].as_array().map(Vec::as_slice).unwrap_or_default().iter().rev() {
            print(entry, output);
        }
        Ok(())
    }
}

fn follow(events: impl BufRead, output: &Output) -> Result<()> {
    let mut is_message = false;
    for line in events.lines() {
        let line = line.context("the log stream broke off: is central still running?")?;
        if let Some(event) = line.strip_prefix("event: ") {
            is_message = event == "message";
        } else if let Some(data) = line.strip_prefix("data: ") {
            let entry: Value = serde_json::from_str(data).context("central sent a log line that is no JSON")?;
            if is_message {
                print(&entry, output);
            } else if entry["state"] == "closed" {
                bail!("central closed the log stream (another one was opened for this account)");
            }
        }
    }
    bail!("the log stream ended: is central still running?")
}

fn print(entry: &Value, output: &Output) {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let tone = if text("type").ends_with("error") || text("type") == "lastexitcode" { Tone::Bad } else { Tone::Quiet };
    let human =
        format!("{} {} {}", paint(Tone::Quiet, text("ts")), paint(tone, &format!("{:<12}", text("type"))), text("msg"));
    output.result(&json!(entry), &human);
}
