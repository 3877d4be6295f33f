//! What a device reports, as the log and the records keep it.

use std::sync::Arc;

use keys::public::SpkiHash;
use keys::time::Now;
use protocol::limits::LIMITS;
use protocol::report::{AppState, DiaryEntry, DiaryStage, LogLevel, LogLine};
use serde_json::json;

use crate::bus::{AgentControl, Bus};
use crate::fleet::{AppRef, DeploymentId, LogEntry, LogType};
use crate::store::Attempts;

/// Writes entries for one device.
#[derive(Clone, Copy)]
pub(super) struct Reporter {
    pub(super) device: SpkiHash,
    /// Whether its logs are production logs.
    pub(super) production: bool,
    /// The deployment that the device is to run.
    pub(super) deployment: Option<DeploymentId>,
}

impl Reporter {
    /// The app of the device began, or ended: an agent that is still on another deployment follows the device that is on its own.
    pub(super) fn app_state(&self, bus: &Bus, state: &AppState, app: Option<AppRef>) {
        bus.journal().free_memory(self.device, state.free_memory);
        let is_current = state.sha256.is_some() && state.sha256 == app.map(|app| app.sha256);
        if is_current && bus.agent_deployment(&self.device).is_some_and(|agents| Some(agents) != self.deployment) {
            let (bus, device) = (bus.clone(), self.device);
            tokio::spawn(async move { bus.control_agents(AgentControl::Reload(device)).await });
        }
    }

    /// A line of the server about the device.
    pub(super) fn status(&self, now: Now, text: &str) -> LogEntry {
        self.entry(now.unix_ms, LogType::Status, text.into())
    }

    /// A line that the device sent, with the time at which it was written.
    pub(super) fn line(&self, line: LogLine) -> LogEntry {
        let kind = match line.level {
            LogLevel::Log => LogType::ServerLog,
            LogLevel::Error => LogType::ServerError,
            LogLevel::Status => LogType::Status,
        };
        self.entry(line.unix_ms, kind, line.text.into())
    }

    /// The device's attempts to connect, each as a JSON object.
    pub(super) fn diary(&self, now: Now, first: u64, entries: &[DiaryEntry]) -> Attempts {
        let entries = entries.iter().map(|entry| diary_entry(entry).to_string()).collect();
        Attempts { first, at_ms: now.unix_ms, entries }
    }

    fn entry(&self, at_ms: i64, kind: LogType, text: Arc<str>) -> LogEntry {
        LogEntry { device: self.device, at_ms, kind, production: self.production, text }
    }
}

/// The line that clients of central's API know for the start of a download.
pub(super) fn downloading(bytes: u32) -> String {
    let percent = f64::from(bytes) * 100.0 / f64::from(LIMITS.app);
    format!("Downloading new code; {percent:.2}% program storage used")
}

fn diary_entry(entry: &DiaryEntry) -> serde_json::Value {
    let stage = match entry.stage {
        DiaryStage::Name => "name",
        DiaryStage::Tcp => "tcp",
        DiaryStage::Proxy => "proxy",
        DiaryStage::Tls => "tls",
        DiaryStage::Login => "login",
        DiaryStage::Open => "open",
    };
    let certificate = entry.certificate.as_ref().map(|seen| {
        json!({ "subject": seen.subject, "issuer": seen.issuer, "spki_sha256": const_hex::encode(seen.spki_sha256) })
    });
    json!({
        "unix_ms": entry.unix_ms,
        "took_ms": entry.took_ms,
        "stage": stage,
        "outcome": entry.outcome,
        "address": entry.address,
        "rule_port": entry.rule_port,
        "port": entry.port,
        "certificate": certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reporter() -> Reporter {
        Reporter { device: SpkiHash([1; 32]), production: true, deployment: None }
    }

    #[test]
    fn a_line_keeps_its_own_time_and_kind() {
        for (level, kind) in [
            (LogLevel::Log, LogType::ServerLog),
            (LogLevel::Error, LogType::ServerError),
            (LogLevel::Status, LogType::Status),
        ] {
            let entry = reporter().line(LogLine::new(-5, level, "x"));
            assert_eq!((entry.at_ms, entry.kind, &*entry.text, entry.production), (-5, kind, "x", true));
        }
    }

    #[test]
    fn a_download_says_how_much_of_the_storage_it_takes() {
        assert_eq!(downloading(LIMITS.app / 4), "Downloading new code; 25.00% program storage used");
    }

    #[test]
    fn a_diary_is_json_whatever_the_device_writes() {
        let entry = DiaryEntry {
            unix_ms: 1,
            took_ms: 2,
            stage: DiaryStage::Tls,
            outcome: "\"quoted\"\n\u{0}".to_owned(),
            address: None,
            rule_port: Some(443),
            port: None,
            certificate: None,
        };
        let report = reporter().diary(Now { mono_ms: 0, unix_ms: 7 }, 3, &[entry]);
        let read: serde_json::Value = serde_json::from_str(&report.entries[0]).unwrap();
        assert_eq!((report.at_ms, report.first), (7, 3));
        assert_eq!(
            (&read["stage"], &read["outcome"], &read["port"]),
            (&json!("tls"), &json!("\"quoted\"\n\u{0}"), &json!(null))
        );
    }
}
