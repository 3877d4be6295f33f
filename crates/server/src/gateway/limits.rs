//! What the gateway lets a stranger have: numbers, bytes and seconds, all in one place.

use std::time::Duration;

/// Limits of the device-facing edge. Every field has a default that suits one machine; an operator may change each.
#[derive(Clone, Debug)]
pub struct GatewayLimits {
    /// Connections of any kind at one time. One more takes the place of the oldest in the lobby, or is closed at once when nobody is there.
    pub connections: usize,
    /// Connections that have not sent a whole ClientHello yet; the oldest makes room for the newest.
    pub lobby: usize,
    /// How many of them a source address (/64 for IPv6) keeps when there are too many in all; until then it may have more, since a whole
    /// site may be behind one address.
    pub lobby_per_source: usize,
    /// Time for a whole ClientHello after the accept.
    pub hello_deadline: Duration,
    /// Longest ClientHello with its record headers, bytes. The largest of our devices needs about 2,500: a hybrid key share and a ticket.
    pub hello_bytes: usize,
    /// Handshakes and challenges in progress.
    pub door: usize,
    /// The same for one source address, so that one address never fills the door.
    pub door_per_source: usize,
    /// Connections that wait at the door, each with its ClientHello.
    pub waiting: usize,
    /// How many of them a source address keeps when there are too many in all; until then it may have more.
    pub waiting_per_source: usize,
    /// Longest wait at the door; a device has given up by then.
    pub waiting_deadline: Duration,
    /// Longest silence of the client between two of its flights.
    pub flight_deadline: Duration,
    /// Time for the whole TLS handshake.
    pub handshake_deadline: Duration,
    /// Time for hello, challenge and proof after the handshake. A TPM may need a second to sign.
    pub challenge_deadline: Duration,
    /// Time for an enrolment after the handshake; the device has made its keys before it connects.
    pub enrolment_deadline: Duration,
    /// Certificates issued at one time, each on a blocking thread.
    pub issuing: usize,
    /// TLS keys outside of this process that are used at once; each holds one thread.
    pub signing: usize,
    /// Pieces of OS images that are read, sealed and handed to sockets at one time; devices that update wait for one another, so that the
    /// others hardly notice them, and what they hold in memory does not grow with their number.
    pub os_pieces: usize,
    /// Longest time without progress while bytes wait for a device that does not read.
    pub write_deadline: Duration,
    /// Sessions end within this time after a shutdown was asked for.
    pub drain_deadline: Duration,
    /// How long a device that was told to go may take to hear of it and to end the connection.
    pub leave_deadline: Duration,
    /// How many devices a second are to come back after a shutdown: the time over which they are spread grows with their number.
    pub come_back_per_second: u32,
}

/// Files that a large server keeps for itself; a small one a quarter of all.
const RESERVED_FILES: usize = 768;

impl GatewayLimits {
    /// The same limits for a process that may open so many files, so that devices and strangers never take the last descriptor: a part stays
    /// free for the database, central and the agents. Strangers may have most of the rest, since after an outage every device is one;
    /// who is in the lobby gives way to all others.
    #[must_use]
    pub fn fitted(self, open_files: u64) -> Self {
        let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
        let devices = open_files.saturating_sub(RESERVED_FILES).max(open_files / 4 * 3).max(1);
        Self {
            connections: self.connections.min(devices),
            lobby: self.lobby.min(devices),
            lobby_per_source: self.lobby_per_source.min((devices / 2).max(1)),
            waiting: self.waiting.min(devices),
            waiting_per_source: self.waiting_per_source.min((devices / 2).max(1)),
            ..self
        }
    }
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            lobby: 32_768,
            lobby_per_source: 16_384,
            hello_deadline: Duration::from_secs(5),
            hello_bytes: 8 * 1024,
            door: 192,
            door_per_source: 64,
            waiting: 32_768,
            waiting_per_source: 16_384,
            waiting_deadline: Duration::from_secs(30),
            flight_deadline: Duration::from_secs(5),
            handshake_deadline: Duration::from_secs(10),
            challenge_deadline: Duration::from_secs(10),
            enrolment_deadline: Duration::from_secs(10),
            issuing: 4,
            signing: 4,
            os_pieces: 1,
            write_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(10),
            leave_deadline: Duration::from_secs(3),
            come_back_per_second: 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_never_take_the_last_descriptor() {
        let fitted = GatewayLimits::default().fitted(1_024);
        assert_eq!((fitted.connections, fitted.lobby, fitted.waiting), (768, 768, 768));
        assert_eq!(GatewayLimits::default().fitted(20_000).connections, 20_000 - RESERVED_FILES);
        assert!(fitted.lobby_per_source < fitted.lobby && fitted.waiting_per_source < fitted.waiting);
    }

    #[test]
    fn where_files_are_plenty_the_limits_stay() {
        let (whole, fitted) = (GatewayLimits::default(), GatewayLimits::default().fitted(u64::MAX));
        assert_eq!((fitted.connections, fitted.lobby, fitted.waiting), (whole.connections, whole.lobby, whole.waiting));
        assert_eq!(GatewayLimits::default().fitted(0).connections, 1);
    }
}
