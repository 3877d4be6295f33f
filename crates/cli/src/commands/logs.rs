//! `vouch logs`: a device's log, what was and, with `--follow`, what comes.

use std::io::{self, BufRead, Read as _};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::central::{Central, LoginFile};
use crate::output::{Output, Tone, paint};

/// The longest line taken from a log stream, in bytes.
const STREAM_LINE_MAX: u64 = 1024 * 1024;

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
        match self.show(output) {
            // `vouch logs ... | head` has what it wants.
            Err(error) if error.downcast_ref::<io::Error>().map(io::Error::kind) == Some(io::ErrorKind::BrokenPipe) => {
                Ok(())
            }
            other => other,
        }
    }

    fn show(&self, output: &Output) -> Result<()> {
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
            print(entry, output)?;
        }
        Ok(())
    }
}

fn follow(mut events: impl BufRead, output: &Output) -> Result<()> {
    let mut is_message = false;
    while let Some(line) = next_line(&mut events)? {
        if let Some(event) = line.strip_prefix("event: ") {
            is_message = event == "message";
        } else if let Some(data) = line.strip_prefix("data: ") {
            let entry: Value = serde_json::from_str(data).context("central sent a log line that is no JSON")?;
            if is_message {
                print(&entry, output)?;
            } else if entry["state"] == "closed" {
                bail!("central closed the log stream (another one was opened for this account)");
            }
        }
    }
    bail!("the log stream ended: is central still running?")
}

fn next_line(events: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    let read = events.take(STREAM_LINE_MAX).read_until(b'\n', &mut line);
    let length = read.context("the log stream broke off: is central still running?")?;
    if length == 0 {
        return Ok(None);
    }
    ensure!(
        line.pop() == Some(b'\n'),
        "the log stream broke off within a line, or has one of more than {STREAM_LINE_MAX} bytes"
    );
    Ok(Some(String::from_utf8(line).context("central sent a log line that is no UTF-8")?))
}

fn print(entry: &Value, output: &Output) -> Result<()> {
    Ok(output.record(entry, &human(entry))?)
}

fn human(entry: &Value) -> String {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let tone = if text("type").ends_with("error") || text("type") == "lastexitcode" { Tone::Bad } else { Tone::Quiet };
    // Only a line of central's begins with a time: an app that logs line ends cannot forge one.
    let message = text("msg").replace('\n', "\n    ");
    format!("{} {} {message}", paint(Tone::Quiet, text("ts")), paint(tone, &format!("{:<12}", text("type"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_the_stream_has_a_bound() {
        let longest = STREAM_LINE_MAX as usize - 1;
        let stream = |length: usize| [&vec![b'a'; length][..], b"\nnext\n"].concat();
        let fits = stream(longest);
        let mut events = &fits[..];
        assert_eq!(next_line(&mut events).unwrap().map(|line| line.len()), Some(longest));
        assert_eq!(next_line(&mut events).unwrap().as_deref(), Some("next"));
        assert_eq!(next_line(&mut events).unwrap(), None);
        assert!(next_line(&mut &stream(longest + 1)[..]).is_err());
        assert!(next_line(&mut &b"cut off"[..]).is_err());
    }

    #[test]
    fn an_app_cannot_forge_a_line_of_the_log() {
        let forged = "2026-01-01T00:00:00.000Z [server.log] all is well";
        let shown = human(&json!({ "ts": "now", "type": "server.log", "msg": format!("x\n{forged}") }));
        assert!(shown.lines().all(|line| !line.starts_with("2026")), "{shown}");
        assert!(shown.contains(forged), "{shown}");
    }
}
