//! `vouch status`: how the server is.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::central::{Central, LoginFile};
use crate::commands::device::shown_alarm;
use crate::moment;
use crate::output::{Output, Tone, paint};

/// Show how the server is: version, listeners, devices, agents, sessions, last errors.
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    file: LoginFile,
}

impl Status {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let answer = Central::open(&self.file)?.get("/status")?;
        let status = &answer["data"]["attributes"];
        output.result(status, &text(status)?);
        Ok(())
    }
}

fn text(status: &Value) -> Result<String> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let (started, now) = (moment::of(&status["started_at"])?, moment::of(&status["now"])?);
    let listeners: Vec<_> = array(&status["listeners"])
        .iter()
        .map(|listener| format!("{} at {}", listener["rule_port"], word(&listener["address"])))
        .collect();
    let (devices, gateway) = (&status["devices"], &status["gateway"]);
    let turned = gateway["turned_away"].as_object().cloned().unwrap_or_default();
    let reasons: Vec<_> =
        turned.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " "))).collect();
    let reasons = if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") };
    let mut lines = vec![
        format!(
            "{} {} since {} ({})",
            paint(Tone::Good, "vouch"),
            word(&status["version"]),
            moment::shown(started),
            moment::since(started, now)
        ),
        format!("  central      {}", word(&status["http"])),
        format!("  gateway      {}", listeners.join(", ")),
        format!(
            "  devices      {} of {} connected; {} unassigned, {} revoked",
            devices["online"], devices["total"], devices["unassigned"], devices["revoked"]
        ),
        format!("  agents       {} running", status["agents_running"]),
        format!(
            "  sessions     {}; {} connections, {} handshakes under way, {} waiting for theirs",
            gateway["sessions"], gateway["connections"], gateway["handshakes"], gateway["waiting"]
        ),
        format!("  since start  {} logins, {} enrolments", gateway["logins"], gateway["enrolments"]),
        format!("  turned away  {reasons}"),
        format!("  kept         {} products, {} device groups", status["products"], status["devicegroups"]),
    ];
    let alarms = array(&status["alarms"]);
    if !alarms.is_empty() {
        lines.push(format!(
            "{} `vouch device show DEVICE` tells what to do",
            paint(Tone::Bad, "people must look at this:")
        ));
    }
    for alarm in alarms {
        lines.push(format!("  {} {}", word(&alarm["device_id"]), shown_alarm(alarm)));
    }
    for file in array(&status["expiring"]) {
        lines.push(expiring(file, now)?);
    }
    let errors = array(&status["recent_errors"]);
    lines.push(if errors.is_empty() { "no errors lately".to_owned() } else { "lately, the newest first:".to_owned() });
    for error in errors {
        let tone = if error["level"] == "error" { Tone::Bad } else { Tone::Quiet };
        // Only a line of this command's own begins at the left edge.
        let text = word(&error["text"]).replace('\n', "\n    ");
        lines.push(format!("  {} {} {text}", word(&error["ts"]), paint(tone, &word(&error["level"]))));
    }
    Ok(lines.join("\n"))
}

/// What custodians must sign again, and how.
fn expiring(file: &Value, now: Timestamp) -> Result<String> {
    let at = moment::of(&file["expires_at"])?;
    let ends = if at <= now { "has ended on" } else { "ends on" };
    let (what, next) = if file["role"] == "root" {
        ("the custodians' root", "`vouch ceremony rotate --days DAYS`, then build and upload a release with it")
    } else {
        ("the custodians' approval of release number", "build, approve, sign and upload the next one")
    };
    let line = format!("{what} {} {ends} {}; devices take no update afterwards:", file["version"], moment::shown(at));
    Ok(format!("{} {next}", paint(Tone::Bad, &line)))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_what_is_wrong_at_the_end() {
        let status = json!({
            "version": "1.2.3", "started_at": "2026-01-31T08:00:00.000Z", "now": "2026-01-31T10:05:00.000Z",
            "http": "127.0.0.1:8080", "listeners": [{ "rule_port": 443, "address": "192.0.2.1:443" }],
            "devices": { "total": 3, "online": 2, "unassigned": 1, "revoked": 0 }, "agents_running": 2,
            "products": 1, "devicegroups": 1,
            "gateway": { "sessions": 2, "connections": 5, "handshakes": 1, "waiting": 0, "logins": 9, "enrolments": 3,
                         "turned_away": { "not_tls": 4 } },
            "alarms": [{ "device_id": "0011223344556677", "kind": "vault-fell", "count": 1, "last_at": "x", "detail": "put back" }],
            "expiring": [{ "role": "root", "version": 3, "expires_at": "2026-01-31T10:05:00.000Z" },
                         { "role": "targets", "version": 8, "expires_at": "2026-01-31T10:06:00.000Z" }],
            "recent_errors": [{ "ts": "2026-01-31T09:00:00.000Z", "level": "error", "text": "the disk is full" }],
        });
        let text = text(&status).unwrap();
        for part in [
            "(2 h 5 min)",
            "443 at 192.0.2.1:443",
            "2 of 3 connected",
            "4 not tls",
            "the disk is full",
            "0011223344556677",
            "put back",
            "root 3 has ended on",
            "release number 8 ends on",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
