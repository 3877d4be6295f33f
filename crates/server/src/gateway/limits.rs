//! What the gateway lets a stranger have: numbers, bytes and seconds, all in one place.

use std::time::Duration;

/// Limits of the device-facing edge. Every field has a default that suits one machine; an operator may change each.
#[derive(Clone, Debug)]
pub struct GatewayLimits {
    /// Connections of any kind at one time; more are closed at once.
    pub connections: usize,
    /// Connections that have not sent a whole ClientHello yet; the oldest makes room for the newest.
    pub lobby: usize,
    /// The same for one source address (/64 for IPv6).
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
    /// The same for one source address.
    pub waiting_per_source: usize,
    /// Longest wait at the door; a client has given up by then.
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
    /// Longest time without progress while bytes wait for a device that does not read.
    pub write_deadline: Duration,
    /// Sessions end within this time after a shutdown was asked for.
    pub drain_deadline: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            lobby: 4_096,
            lobby_per_source: 1_024,
            hello_deadline: Duration::from_secs(5),
            hello_bytes: 8 * 1024,
            door: 192,
            door_per_source: 64,
            waiting: 16_384,
            waiting_per_source: 8_192,
            waiting_deadline: Duration::from_secs(20),
            flight_deadline: Duration::from_secs(5),
            handshake_deadline: Duration::from_secs(10),
            challenge_deadline: Duration::from_secs(10),
            enrolment_deadline: Duration::from_secs(10),
            issuing: 4,
            write_deadline: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(3),
        }
    }
}
