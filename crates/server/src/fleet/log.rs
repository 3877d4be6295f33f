//! Log lines and connection diaries.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use keys::public::SpkiHash;

use super::ids::NoId;

/// What a log line is. The text form is the one of central's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogType {
    /// The device app's `server.log`.
    ServerLog,
    /// The device app's `server.error` and uncaught errors.
    ServerError,
    /// The device's notice that it sleeps.
    ServerSleep,
    /// The agent's `server.log`.
    AgentLog,
    /// The agent's `server.error` and uncaught errors.
    AgentError,
    /// What the server did: connected, restarted, downloading.
    Status,
    /// Why the device app ended.
    LastExitCode,
}

impl LogType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::ServerLog,
        Self::ServerError,
        Self::ServerSleep,
        Self::AgentLog,
        Self::AgentError,
        Self::Status,
        Self::LastExitCode,
    ];

    /// The text in central's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerLog => "server.log",
            Self::ServerError => "server.error",
            Self::ServerSleep => "server.sleep",
            Self::AgentLog => "agent.log",
            Self::AgentError => "agent.error",
            Self::Status => "status",
            Self::LastExitCode => "lastexitcode",
        }
    }
}

impl fmt::Display for LogType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogType {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NoId)
    }
}

/// One line of a device's log. Cheap to clone: it goes to the store and to every stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The device.
    pub device: SpkiHash,
    /// When it was written, Unix milliseconds, by the writer's clock.
    pub at_ms: i64,
    /// What it is.
    pub kind: LogType,
    /// Whether the device was in a production group.
    pub production: bool,
    /// The line; may hold line ends.
    pub text: Arc<str>,
}

/// What a device reported of its ways to the server: its connect attempts since the last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiaryReport {
    /// When it arrived, Unix milliseconds.
    pub at_ms: i64,
    /// The attempts, a JSON array, as the gateway wrote them down.
    pub entries: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_text() {
        for kind in LogType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("powerstate".parse::<LogType>().is_err());
    }
}
