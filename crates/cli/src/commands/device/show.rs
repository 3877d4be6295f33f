//! `vouch device show`: one device, and in plain sentences why it is or is not connected.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::central::{Central, LoginFile};
use crate::commands::group::shown_type;
use crate::moment;
use crate::names::{self, id};
use crate::output::{Output, Tone, paint};

/// How many of the newest attempts to connect are shown.
const ATTEMPTS: usize = 12;
/// How many of the newest content keys that it was given are shown to scripts.
const KEY_RELEASES: usize = 20;

/// Show one device: where it is assigned, what it runs, and why it is or is not connected.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The device's id, name or agent id.
    #[arg(value_name = "DEVICE")]
    device: String,

    #[command(flatten)]
    file: LoginFile,
}

/// Everything that central knows of a device.
struct Known {
    device: Value,
    group: Option<Value>,
    /// The attempts to connect that it reported, the oldest first.
    attempts: Vec<Value>,
    /// The newest line of the server about it, and the newest error of its app.
    status: Option<Value>,
    error: Option<Value>,
    /// Its last self-test.
    self_test: Option<Value>,
    /// The newest times at which it was given the content key of an OS image, the newest first.
    key_releases: Vec<Value>,
}

impl Show {
    pub(super) fn run(self, output: &Output) -> Result<()> {
        let mut central = Central::open(&self.file)?;
        let known = Known::ask(&mut central, &self.device)?;
        let now = Timestamp::now();
        let sentences = known.why(now)?;
        let value = json!({
            "device": known.device, "group": known.group, "connection": sentences, "attempts": known.attempts,
            "last_status": known.status, "last_error": known.error, "self_test": known.self_test,
            "key_releases": known.key_releases,
        });
        output.result(&value, &known.text(&sentences)?);
        Ok(())
    }
}

impl Known {
    fn ask(central: &mut Central, wanted: &str) -> Result<Self> {
        let device = names::device(central, wanted)?;
        let id = id(&device)?;
        let group = device["relationships"]["devicegroup"]["id"].as_str();
        let group = group.map(|group| central.get(&format!("/devicegroups/{group}"))).transpose()?;
        let mut attempts: Vec<Value> = Vec::new();
        // Reports come newest first, the attempts within each oldest first.
        for report in central.list(&format!("/devices/{id}/diary"))?.iter().rev() {
            attempts.extend(report["attempts"].as_array().into_iter().flatten().cloned());
        }
        let mut newest = |kind: &str| -> Result<Option<Value>> {
            let answer = central.get(&format!("/devices/{id}/logs?filter[type]={kind}&page[number]=1&page[size]=1"))?;
            Ok(answer["data"].get(0).cloned())
        };
        let (status, error) = (newest("status")?, newest("server.error")?);
        let self_test =
            central.found(&format!("/devices/{id}/self_test"))?.map(|answer| answer["data"]["attributes"].clone());
        let keys = central.get(&format!("/devices/{id}/key_releases?page[number]=1&page[size]={KEY_RELEASES}"))?;
        let key_releases = keys["data"].as_array().cloned().unwrap_or_default();
        let group = group.map(|answer| answer["data"].clone());
        Ok(Self { group, attempts, status, error, self_test, key_releases, device })
    }

    /// What is to be said about its connection.
    fn why(&self, now: Timestamp) -> Result<Vec<String>> {
        let attributes = &self.device["attributes"];
        let mut said = Vec::new();
        let seen = match &attributes["device_state_changed_at"] {
            Value::Null => None,
            time => Some(moment::of(time)?),
        };
        let from = attributes["ip_address"].as_str().map_or_else(String::new, |from| format!(" from {from}"));
        if attributes["revoked"] == true {
            let at = moment::shown(moment::of(&attributes["revoked_at"])?);
            said.push(format!("It was revoked at {at}: the server refuses it for ever."));
            said.push("To use the hardware again, provision it anew with new keys and a new token.".to_owned());
            return Ok(said);
        }
        let Some(seen) = seen else {
            let enrolled = moment::of(&attributes["last_enrolled_at"])?;
            let ago = moment::since(enrolled, now);
            said.push(format!(
                "It has not connected since it was enrolled at {} ({ago} ago).",
                moment::shown(enrolled)
            ));
            said.push("Is it running, and may it reach the server on TCP 31314, 993 or 443? It says so itself: `vouch device run` shows each attempt.".to_owned());
            said.extend(self.application());
            return Ok(said);
        };
        let (at, ago) = (moment::shown(seen), moment::since(seen, now));
        if attributes["device_online"] == true {
            said.push(format!("It is connected{from} since {at} ({ago})."));
        } else {
            said.push(format!(
                "It is not connected. It was here last at {at} ({ago} ago){from}; nothing was heard of it since."
            ));
            if let Some(status) = &self.status {
                let (ts, text) = (status["ts"].as_str(), status["msg"].as_str());
                said.push(format!("The last that the server noted: {} at {}.", text.unwrap_or("-"), ts.unwrap_or("-")));
            }
            said.push("It has no power or no network, or something keeps it from reaching the server. What it meets it reports when it is back; on the device, `vouch device run` shows it now.".to_owned());
        }
        said.extend(self.way());
        said.extend(self.application());
        Ok(said)
    }

    /// What it lacks to run an application.
    fn application(&self) -> Option<String> {
        if self.group.is_none() {
            let next = "`vouch device move DEVICE --group GROUP`";
            return Some(format!("It is in no device group, so it runs no application: {next}."));
        }
        let is_empty = self.device["attributes"]["deployment_id"].is_null();
        is_empty.then(|| "Nothing is deployed to its group yet: `vouch deploy`.".to_owned())
    }

    /// How it came to the server the last time, and what had failed before.
    fn way(&self) -> Option<String> {
        let open = self.attempts.iter().rposition(|attempt| attempt["stage"] == "open")?;
        let begin =
            self.attempts.get(..open)?.iter().rposition(|attempt| attempt["stage"] == "open").map_or(0, |at| at + 1);
        let mut failed: Vec<String> = Vec::new();
        for attempt in self.attempts.get(begin..open)? {
            let outcome = attempt["outcome"].as_str().unwrap_or_default();
            if !failed.iter().any(|known| known == outcome) {
                failed.push(outcome.to_owned());
            }
        }
        let port = self.attempts.get(open)?["rule_port"].as_u64()?;
        Some(if failed.is_empty() {
            format!("Its last way in was TCP {port}, at the first attempt.")
        } else {
            format!("Its last way in was TCP {port}. Before that failed: {}.", failed.join("; "))
        })
    }

    fn self_test_line(&self) -> String {
        let Some(test) = &self.self_test else { return "not reported".to_owned() };
        let checks = test["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let with = |outcome: &str| checks.iter().filter(|check| check["outcome"] == outcome).collect::<Vec<_>>();
        let possible: Vec<_> = with("not refused").iter().filter_map(|check| check["id"].as_str()).collect();
        let at = test["received_at"].as_str().unwrap_or("-");
        let refused = format!("{} of {} refused", with("refused").len(), checks.len());
        match possible.as_slice() {
            [] => format!("{refused}, {} could not be tried; at {at}", with("not available").len()),
            _ => paint(Tone::Bad, &format!("{refused}; NOT REFUSED: {}; at {at}", possible.join(", "))),
        }
    }

    /// The last content key of an OS image that it was given.
    fn key_release(&self) -> String {
        let Some(last) = self.key_releases.first() else { return "never given one over the air".to_owned() };
        let text = |name: &str| last[name].as_str().unwrap_or("-");
        format!("given at {} for {}", text("at"), text("image_sha256"))
    }

    fn text(&self, sentences: &[String]) -> Result<String> {
        let attributes = &self.device["attributes"];
        let text = |name: &str| attributes[name].as_str().unwrap_or("-").replace('\n', " ");
        let group = self.group.as_ref().map_or_else(
            || "none".to_owned(),
            |group| {
                let name = group["attributes"]["name"].as_str().unwrap_or_default();
                format!("{name} ({})", shown_type(&group["type"]))
            },
        );
        let free = attributes["free_memory"].as_u64().map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} bytes"));
        let mut lines = vec![format!("{} {}", paint(Tone::Strong, id(&self.device)?), text("name"))];
        for (name, value) in [
            ("model", text("imp_type")),
            ("group", group),
            ("profile", text("tls_profile")),
            ("keys", not_reported(&attributes["attestation_level"])),
            ("OS", text("swversion")),
            ("verified boot", boot(attributes)),
            (
                "vault",
                attributes["vault_generation"]
                    .as_u64()
                    .map_or_else(|| "none reported".to_owned(), |generation| format!("generation {generation}")),
            ),
            ("image key", self.key_release()),
            ("self-test", self.self_test_line()),
            ("application", text("deployment_sha")),
            ("free memory", free),
            ("agent", text("agent_url")),
            ("identity", format!("SHA-256 {}", text("identity_spki_sha256"))),
            ("enrolled", moment::shown(moment::of(&attributes["last_enrolled_at"])?)),
        ] {
            lines.push(format!("  {name:<13} {value}"));
        }
        lines.extend(shown_alarms(&attributes["alarms"], id(&self.device)?));
        lines.extend(sentences.iter().cloned());
        if let Some(error) = &self.error {
            let (ts, message) = (error["ts"].as_str().unwrap_or("-"), error["msg"].as_str().unwrap_or("-"));
            lines.push(format!("The last error of its application, at {ts}:\n    {}", message.replace('\n', "\n    ")));
        }
        if !self.attempts.is_empty() {
            lines.push("Its last attempts to connect, as it reported them:".to_owned());
        }
        for attempt in self.attempts.iter().skip(self.attempts.len().saturating_sub(ATTEMPTS)) {
            lines.push(shown_attempt(attempt));
        }
        Ok(lines.join("\n"))
    }
}

fn not_reported(value: &Value) -> String {
    value.as_str().unwrap_or("not reported").to_owned()
}

/// What the device proved of its boot.
fn boot(attributes: &Value) -> String {
    let Some(measured) = attributes["boot_measurement"].as_str() else { return "not reported".to_owned() };
    let layers = not_reported(&attributes["demanded_layers"]);
    let memory = match attributes["memory_locked"].as_bool() {
        Some(true) => "locked",
        Some(false) => "NOT LOCKED",
        None => "not reported",
    };
    format!("manifest {measured}; demands {layers}; memory {memory}")
}

/// Alarms come before anything else that is said.
fn shown_alarms(alarms: &Value, device: &str) -> Vec<String> {
    let alarms = alarms.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines: Vec<_> = alarms.iter().map(shown_alarm).collect();
    if alarms.iter().any(|alarm| alarm["kind"] != "vault-fell") {
        lines.push(format!("When you have looked into it: `vouch device dismiss-alarms {device}`."));
    }
    lines
}

/// One alarm in one line.
pub(crate) fn shown_alarm(alarm: &Value) -> String {
    let text = |name: &str| alarm[name].as_str().unwrap_or("-").replace('\n', " ");
    let times = if alarm["count"] == 1 {
        String::new()
    } else {
        format!(", {} times since {}", alarm["count"], text("first_at"))
    };
    let head = paint(Tone::Bad, &format!("ALARM {}", text("kind")));
    format!("{head} at {}{times}: {}", text("last_at"), text("detail"))
}

fn shown_attempt(attempt: &Value) -> String {
    let at = attempt["unix_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| "-".to_owned(), moment::shown);
    let outcome = attempt["outcome"].as_str().unwrap_or_default().replace('\n', " ");
    let to =
        attempt["address"].as_str().map_or_else(String::new, |address| format!(" [{}]", address.replace('\n', " ")));
    let tone = if attempt["stage"] == "open" { Tone::Good } else { Tone::Bad };
    format!("  {} {}{to}", paint(Tone::Quiet, &at), paint(tone, &outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-31T10:05:00Z";

    fn known(attributes: Value) -> Known {
        let mut all = json!({
            "last_enrolled_at": "2026-01-30T08:00:00.000Z", "device_state_changed_at": "2026-01-31T08:00:00.000Z",
            "ip_address": "192.0.2.7", "revoked": false, "deployment_id": "d",
        });
        all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        let group = json!({ "type": "development_devicegroup", "attributes": { "name": "shop" } });
        let device = json!({ "id": "0011223344556677", "attributes": all });
        Known {
            device,
            group: Some(group),
            attempts: Vec::new(),
            status: None,
            error: None,
            self_test: None,
            key_releases: vec![],
        }
    }

    fn why(known: &Known) -> String {
        known.why(NOW.parse().unwrap()).unwrap().join("\n")
    }

    fn attempt(stage: &str, port: u16, outcome: &str) -> Value {
        json!({ "unix_ms": 1_769_846_400_000_i64, "stage": stage, "rule_port": port, "outcome": outcome })
    }

    #[test]
    fn each_state_is_told_in_a_sentence_with_a_next_step() {
        let connected = why(&known(json!({ "device_online": true })));
        assert_eq!(connected, "It is connected from 192.0.2.7 since 2026-01-31 08:00:00 UTC (2 h 5 min).");
        let revoked = why(&known(json!({ "revoked": true, "revoked_at": "2026-01-31T09:00:00.000Z" })));
        assert!(
            revoked.contains("revoked at 2026-01-31 09:00:00") && revoked.contains("provision it anew"),
            "{revoked}"
        );
        let new = why(&known(json!({ "device_online": false, "device_state_changed_at": null })));
        assert!(new.contains("not connected since it was enrolled") && new.contains("31314, 993 or 443"), "{new}");
        let mut gone = known(json!({ "device_online": false }));
        gone.status = Some(json!({ "ts": "2026-01-31T08:00:00.000Z", "msg": "Device disconnected" }));
        let gone = why(&gone);
        assert!(gone.contains("2 h 5 min ago") && gone.contains("Device disconnected"), "{gone}");
    }

    #[test]
    fn what_blocked_its_ports_is_told_from_the_last_diary() {
        let mut device = known(json!({ "device_online": true }));
        device.attempts = vec![
            attempt("tcp", 31_314, "an old story"),
            attempt("open", 31_314, "open"),
            attempt("tcp", 31_314, "port 31314: no answer within 5 s (a firewall drops it?)"),
            attempt("tcp", 993, "port 993: refused"),
            attempt("tcp", 31_314, "port 31314: no answer within 5 s (a firewall drops it?)"),
            attempt("open", 443, "open"),
        ];
        let said = why(&device);
        let expected = "Its last way in was TCP 443. Before that failed: port 31314: no answer within 5 s (a firewall drops it?); port 993: refused.";
        assert!(said.contains(expected), "{said}");
        device.attempts = vec![attempt("open", 31_314, "open")];
        assert!(why(&device).contains("TCP 31314, at the first attempt"));
    }

    #[test]
    fn a_device_without_an_application_is_told_what_it_lacks() {
        let mut device = known(json!({ "device_online": true, "deployment_id": null }));
        assert!(why(&device).contains("`vouch deploy`"));
        device.group = None;
        assert!(why(&device).contains("vouch device move"));
    }

    #[test]
    fn an_attempt_stays_one_line() {
        let shown = shown_attempt(&attempt("tls", 443, "the certificate\nis another's"));
        assert!(!shown.contains('\n') && shown.contains("2026-01-31 08:00:00 UTC"), "{shown}");
    }
}
