//! What the gateway counts, and a way to wait for a count instead of for time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::Notify;

/// Why a connection ended before it was a session. The order is the order of the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turned {
    /// As many connections as permitted exist already.
    TooMany,
    /// It made room for a newer connection before its ClientHello was whole.
    Evicted,
    /// No whole ClientHello in time.
    HelloDeadline,
    /// The first bytes are no ClientHello.
    NotTls,
    /// Too many wait at the door.
    DoorFull,
    /// It waited at the door for too long.
    DoorDeadline,
    /// The client closed or broke the connection.
    Gone,
    /// The ClientHello is refused: its application protocol, version or suite is not ours.
    HelloRefused,
    /// The client stopped within the handshake, the challenge or the enrolment.
    FlightDeadline,
    /// The handshake took too long in all.
    HandshakeDeadline,
    /// TLS failed.
    HandshakeFailed,
    /// The client's certificate is missing, out of date, or another profile's.
    CertificateRefused,
    /// Hello, challenge and proof, or the enrolment, took too long in all.
    ChallengeDeadline,
    /// The peer broke the protocol.
    Broken,
    /// The device, its proof or its enrolment is refused; it was told why.
    Refused,
    /// The store or the bus did not answer.
    Unavailable,
}

impl Turned {
    const COUNT: usize = Self::Unavailable as usize + 1;

    /// Every reason.
    pub const ALL: [Self; Self::COUNT] = [
        Self::TooMany,
        Self::Evicted,
        Self::HelloDeadline,
        Self::NotTls,
        Self::DoorFull,
        Self::DoorDeadline,
        Self::Gone,
        Self::HelloRefused,
        Self::FlightDeadline,
        Self::HandshakeDeadline,
        Self::HandshakeFailed,
        Self::CertificateRefused,
        Self::ChallengeDeadline,
        Self::Broken,
        Self::Refused,
        Self::Unavailable,
    ];

    /// Its name, as it is serialised.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Evicted => "evicted",
            Self::HelloDeadline => "hello_deadline",
            Self::NotTls => "not_tls",
            Self::DoorFull => "door_full",
            Self::DoorDeadline => "door_deadline",
            Self::Gone => "gone",
            Self::HelloRefused => "hello_refused",
            Self::FlightDeadline => "flight_deadline",
            Self::HandshakeDeadline => "handshake_deadline",
            Self::HandshakeFailed => "handshake_failed",
            Self::CertificateRefused => "certificate_refused",
            Self::ChallengeDeadline => "challenge_deadline",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters of one gateway, readable at any time.
#[derive(Debug, Default)]
pub struct GatewayCounters {
    accepted: AtomicU64,
    connections: AtomicU64,
    lobby: AtomicU64,
    waiting: AtomicU64,
    door: AtomicU64,
    sessions: AtomicU64,
    logins: AtomicU64,
    enrolments: AtomicU64,
    accept_errors: AtomicU64,
    turned: [AtomicU64; Turned::COUNT],
    changed: Notify,
}

/// One of the numbers that go up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gauge {
    Connections,
    Lobby,
    Waiting,
    Door,
    Sessions,
}

/// Holds a gauge one higher while it lives.
#[derive(Debug)]
pub(crate) struct Counted {
    counters: Arc<GatewayCounters>,
    gauge: Gauge,
}

impl GatewayCounters {
    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now, sessions included.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections without a whole ClientHello now.
    pub fn lobby(&self) -> u64 {
        self.lobby.load(Ordering::Relaxed)
    }

    /// Connections waiting at the door now.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Handshakes, challenges and enrolments in progress now.
    pub fn door(&self) -> u64 {
        self.door.load(Ordering::Relaxed)
    }

    /// Authenticated sessions now.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Devices that proved themselves since the start.
    pub fn logins(&self) -> u64 {
        self.logins.load(Ordering::Relaxed)
    }

    /// Devices enrolled since the start.
    pub fn enrolments(&self) -> u64 {
        self.enrolments.load(Ordering::Relaxed)
    }

    /// Times the operating system could not hand over a connection (for want of descriptors, for example).
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections turned away for `reason` since the start.
    pub fn turned(&self, reason: Turned) -> u64 {
        self.turned[reason as usize].load(Ordering::Relaxed)
    }

    /// Waits until `enough` holds. It is asked again after every change.
    pub async fn wait_for(&self, enough: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls in between.
            changed.as_mut().enable();
            if enough(self) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn count_accepted(&self) {
        self.add(&self.accepted);
    }

    pub(crate) fn count_accept_error(&self) {
        self.add(&self.accept_errors);
    }

    pub(crate) fn count_login(&self) {
        self.add(&self.logins);
    }

    pub(crate) fn count_enrolment(&self) {
        self.add(&self.enrolments);
    }

    pub(crate) fn count_turned(&self, reason: Turned) {
        self.add(&self.turned[reason as usize]);
    }

    pub(crate) fn hold(self: &Arc<Self>, gauge: Gauge) -> Counted {
        self.add(self.gauge(gauge));
        Counted { counters: self.clone(), gauge }
    }

    fn add(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    fn gauge(&self, gauge: Gauge) -> &AtomicU64 {
        match gauge {
            Gauge::Connections => &self.connections,
            Gauge::Lobby => &self.lobby,
            Gauge::Waiting => &self.waiting,
            Gauge::Door => &self.door,
            Gauge::Sessions => &self.sessions,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counters.gauge(self.gauge).fetch_sub(1, Ordering::Relaxed);
        self.counters.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_name() {
        for (place, reason) in Turned::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
