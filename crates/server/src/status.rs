//! What the server says of itself: where it listens, what its gateway counts, what went wrong lately.
//!
//! Plain facts, so that central can show them without knowing the gateway.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::Limits;
use crate::store::unix_ms;

/// What a running server knows of itself.
#[derive(Clone)]
pub struct Vitals {
    /// When it started, Unix milliseconds.
    pub started_ms: i64,
    /// Where central and the agents' URLs are.
    pub http: SocketAddr,
    /// Where devices connect.
    pub listeners: Vec<Listener>,
    /// Asks the gateway for its numbers.
    pub gateway: Arc<dyn Fn() -> GatewayNumbers + Send + Sync>,
    /// What went wrong lately.
    pub troubles: Troubles,
}

/// A port that devices connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The port of the rule that it stands for.
    pub rule_port: u16,
    /// Where it really is.
    pub address: SocketAddr,
}

/// What the gateway counts. Those above the line are now, those below it since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayNumbers {
    /// Authenticated sessions.
    pub sessions: u64,
    /// Connections, sessions included.
    pub connections: u64,
    /// TLS handshakes, challenges and enrolments in progress.
    pub handshakes: u64,
    /// Connections that wait for their handshake.
    pub waiting: u64,
    /// Devices that proved themselves.
    pub logins: u64,
    /// Devices that were enrolled.
    pub enrolments: u64,
    /// Connections that were turned away: why, and how many.
    pub turned_away: Vec<(String, u64)>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The server could not do what it should.
    Error,
    /// The server did what it should, and an operator may want to know: a device that was refused.
    Warning,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// How bad it is.
    pub severity: Severity,
    /// One line of the server's log, without its time.
    pub text: String,
}

/// The newest troubles of each severity, so that no number of warnings pushes an error out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Troubles(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: usize,
    text_bytes: usize,
    rings: Mutex<[VecDeque<Trouble>; 2]>,
}

impl Troubles {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        let (kept, text_bytes) = (limits.troubles_kept, limits.trouble_bytes);
        Self(Arc::new(Inner { kept, text_bytes, rings: Mutex::default() }))
    }

    /// Remembers one that happens now; a text beyond the bound is cut.
    pub fn note(&self, severity: Severity, text: &str) {
        let end = text.floor_char_boundary(self.0.text_bytes);
        let text = text.get(..end).unwrap_or_default().to_owned();
        let mut rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = &mut rings[severity as usize];
        ring.push_back(Trouble { at_ms: unix_ms(), severity, text });
        while ring.len() > self.0.kept {
            ring.pop_front();
        }
    }

    /// All that are remembered, the newest first.
    pub fn latest(&self) -> Vec<Trouble> {
        let rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = rings.iter().flatten().cloned().collect();
        drop(rings);
        all.sort_by_key(|trouble| std::cmp::Reverse(trouble.at_ms));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;

    #[test]
    fn the_newest_are_kept_and_warnings_push_no_error_out() {
        let troubles = Troubles::new(&Limits { troubles_kept: 3, ..LIMITS });
        troubles.note(Severity::Error, "the disk is full");
        for number in 0..3 {
            troubles.note(Severity::Warning, &number.to_string());
        }
        assert_eq!(troubles.latest().len(), 4);
        troubles.note(Severity::Warning, "3");
        let texts: Vec<_> = troubles.latest().into_iter().map(|trouble| trouble.text).collect();
        assert_eq!(texts.len(), 4);
        assert!(texts.contains(&"the disk is full".to_owned()) && !texts.contains(&"0".to_owned()), "{texts:?}");
    }

    #[test]
    fn a_text_as_long_as_the_limit_is_whole_and_a_longer_one_is_cut_between_characters() {
        let troubles = Troubles::new(&Limits { trouble_bytes: 4, ..LIMITS });
        for text in ["abcd", "abcde", "abc\u{fc}"] {
            troubles.note(Severity::Error, text);
        }
        let mut texts: Vec<_> = troubles.latest().into_iter().map(|trouble| trouble.text).collect();
        texts.sort();
        assert_eq!(texts, ["abc", "abcd", "abcd"]);
    }
}
