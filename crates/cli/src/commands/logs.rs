//! `vouch logs`: a device's log, what was and, with `--follow`, what comes.

use std::io::{self, BufRead, Read as _};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::central::{Central, LoginFile, PAGE_SIZE, encoded};
use crate::moment;
use crate::names;
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

    /// How many of the newest lines to show; with --follow, before what comes.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=5000))]
    limit: u32,

    /// Only lines written at or after this time: 2026-01-31T08:00:00Z, or how long ago, such as 30m or 2h.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<Timestamp>,

    /// Only lines written before this time.
    #[arg(long, value_name = "TIME", value_parser = moment::parse, conflicts_with = "follow")]
    until: Option<Timestamp>,

    /// Only lines with this text in them; a and A count as the same.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// Only lines of this kind, such as server.log, server.error, agent.log, agent.error or status.
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<String>,

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
        let id = names::id(&names::device(&mut central, &self.device)?)?.to_owned();
        if !self.follow {
            return self.history(&mut central, &id, output);
        }
        let stream = central.post("/logstream", &Value::Null)?;
        let stream = stream["data"]["id"].as_str().ok_or_else(|| anyhow!("central opened no log stream"))?.to_owned();
        let events = central.stream(&format!("/logstream/{stream}?format=json"))?;
        central.put(&format!("/logstream/{stream}/{id}"), &Value::Null)?;
        self.history(&mut central, &id, output)?;
        self.follow(events, output)
    }

    fn history(&self, central: &mut Central, id: &str, output: &Output) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let entries = central.list_until(&self.path(id), self.limit.min(PAGE_SIZE), |entries| entries.len() >= most)?;
        for entry in entries.iter().take(most).rev() {
            print(entry, output)?;
        }
        Ok(())
    }

    fn path(&self, id: &str) -> String {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let filters = [
            ("since", time(self.since)),
            ("until", time(self.until)),
            ("text", self.search.clone()),
            ("type", self.kind.clone()),
        ];
        let given = filters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let filters: Vec<_> = given.map(|(name, value)| format!("filter[{name}]={}", encoded(value))).collect();
        let join = if filters.is_empty() { "" } else { "?" };
        format!("/devices/{id}/logs{join}{}", filters.join("&"))
    }

    fn follow(&self, mut events: impl BufRead, output: &Output) -> Result<()> {
        let mut is_message = false;
        while let Some(line) = next_line(&mut events)? {
            if let Some(event) = line.strip_prefix("event: ") {
                is_message = event == "message";
            } else if let Some(data) = line.strip_prefix("data: ") {
                let entry: Value = serde_json::from_str(data).context("central sent a log line that is no JSON")?;
                if is_message && self.wants(&entry) {
                    print(&entry, output)?;
                } else if entry["state"] == "closed" {
                    bail!("central closed the log stream (another one was opened for this account)");
                }
            }
        }
        bail!("the log stream ended: is central still running?")
    }

    /// Whether a line of the stream is one that central would find by the same words.
    fn wants(&self, entry: &Value) -> bool {
        let text = entry["msg"].as_str().unwrap_or_default().to_ascii_lowercase();
        self.kind.as_ref().is_none_or(|kind| entry["type"] == *kind)
            && self.search.as_ref().is_none_or(|search| text.contains(&search.to_ascii_lowercase()))
    }
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

    fn logs(arguments: &[&str]) -> Logs {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            logs: Logs,
        }
        Alone::parse_from([&["logs", "d"], arguments].concat()).logs
    }

    #[test]
    fn what_is_searched_for_reaches_central_as_it_was_typed() {
        assert_eq!(logs(&[]).path("1"), "/devices/1/logs");
        let since = "2026-01-31T09:00:00+01:00";
        let path = logs(&["--since", since, "--search", "50% & more", "--type", "status"]).path("1");
        assert_eq!(
            path,
            "/devices/1/logs?filter[since]=2026-01-31T08%3A00%3A00Z&filter[text]=50%25%20%26%20more&filter[type]=status"
        );
    }

    #[test]
    fn what_comes_is_searched_as_what_was() {
        let line = json!({ "type": "server.log", "msg": "Temperature 20" });
        assert!(logs(&[]).wants(&line));
        assert!(logs(&["--search", "TEMP", "--type", "server.log"]).wants(&line));
        assert!(!logs(&["--search", "humid"]).wants(&line));
        assert!(!logs(&["--type", "agent.log"]).wants(&line));
    }

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
