//! When to ask whether the other end is there, and when to give it up.

use crate::limits::Limits;

/// Silence, measured. All values are milliseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    ping_after: u64,
    dead_after: u64,
    heard: u64,
    pinged: u64,
    paused: bool,
}

/// What silence asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Short,
    Ping,
    Dead(u64),
}

impl KeepAlive {
    /// The server's: it asks first.
    pub(super) fn of_server(keepalive_s: u32, now: u64, limits: &Limits) -> Self {
        let interval = u64::from(keepalive_s) * 1000;
        Self {
            ping_after: interval,
            dead_after: 2 * interval + grace(keepalive_s, limits),
            heard: now,
            pinged: now,
            paused: false,
        }
    }

    /// The device's: it asks only when the server's question has not come, so that an idle session wakes once for
    /// each keep-alive and not twice.
    pub(super) fn of_device(keepalive_s: u32, now: u64, limits: &Limits) -> Self {
        let mut keepalive = Self::of_server(keepalive_s, now, limits);
        keepalive.ping_after = keepalive.ping_after.saturating_add(grace(keepalive_s, limits));
        keepalive
    }
    pub(super) fn heard(&mut self, now: u64) {
        self.heard = now;
    }

    /// From now on nothing is read, so that silence says nothing about the other end.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    pub(super) fn resume(&mut self, now: u64) {
        if self.paused {
            self.paused = false;
            self.heard = now;
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn timeout(&self) -> u64 {
        let ping = self.ping_at();
        if self.paused { ping } else { ping.min(self.heard.saturating_add(self.dead_after)) }
    }

    pub(super) fn judge(&mut self, now: u64) -> Silence {
        let silent = now.saturating_sub(self.heard);
        if !self.paused && silent >= self.dead_after {
            return Silence::Dead(silent);
        }
        if now >= self.ping_at() {
            self.pinged = now;
            return Silence::Ping;
        }
        Silence::Short
    }

    fn ping_at(&self) -> u64 {
        self.heard.max(self.pinged).saturating_add(self.ping_after)
    }
}

/// Half a keep-alive, so that an operator who asks for a short one learns of a dead connection soon.
fn grace(keepalive_s: u32, limits: &Limits) -> u64 {
    (u64::from(keepalive_s) * 500).min(limits.keepalive_grace_ms)
}
