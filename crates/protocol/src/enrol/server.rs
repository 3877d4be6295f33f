//! The server's end of an enrolment.

use keys::profile::Profile;
use keys::time::Now;

use crate::codec::Message;
use crate::enrol::message::{EnrolToDevice, EnrolToServer, Enrolled};
use crate::enrol::request::{self, VerifiedRequest};
use crate::error::{ProtocolError, SendError};
use crate::events::Events;
use crate::facts::EXPORTER_LEN;
use crate::limits::Limits;
use crate::link::Link;
use crate::reason::EnrolRefusal;

/// What the server knows of a connection before its first message.
#[derive(Clone, Debug)]
pub struct ServerEnrolmentConfig {
    /// The roots bundle, as the tokens pin it.
    pub roots: Vec<u8>,
    /// The TLS exporter value of this connection.
    pub exporter: [u8; EXPORTER_LEN],
    /// The TLS profile of this connection.
    pub profile: Profile,
    /// The bounds to keep.
    pub limits: Limits,
}

/// What happened; the driver acts on it.
#[derive(Debug)]
pub enum ServerEnrolmentEvent {
    /// The request is sound: redeem its token and call [`ServerEnrolment::enrolled`] or
    /// [`ServerEnrolment::refuse`].
    Redeem(Box<VerifiedRequest>),
    /// The request was refused before its token was looked at; the enrolment is over.
    Refused(EnrolRefusal),
    /// The device broke the protocol, or is gone; the enrolment is over.
    Broken(ProtocolError),
}

/// The server's end of an enrolment. It begins with the roots bundle waiting to be transmitted.
#[derive(Debug)]
pub struct ServerEnrolment {
    state: State,
    link: Link,
    events: Events<ServerEnrolmentEvent>,
    deadline: u64,
    limits: Limits,
}

#[derive(Debug)]
enum State {
    AwaitRequest { exporter: [u8; EXPORTER_LEN], profile: Profile },
    AwaitDecision,
    Closed,
}

impl ServerEnrolment {
    /// An enrolment on a connection whose TLS handshake is done.
    pub fn new(config: ServerEnrolmentConfig, now: Now) -> Self {
        let ServerEnrolmentConfig { roots, exporter, profile, limits } = config;
        let mut link = Link::new(limits.enrol_frame, &limits);
        link.control(&EnrolToDevice::Roots(roots));
        Self {
            state: State::AwaitRequest { exporter, profile },
            link,
            events: Events::new(),
            deadline: now.mono_ms.saturating_add(limits.enrol_ms),
            limits,
        }
    }

    /// Takes bytes of the connection. May change every poll.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Now) {
        while !self.is_closed() {
            match self.link.receive::<EnrolToServer>(&mut bytes, &self.limits) {
                Ok(Some(message)) => self.handle(&message, now),
                Ok(None) => break,
                Err(error) => self.broken(error),
            }
        }
    }

    /// The connection has ended. May change `poll_event` and `poll_timeout`.
    pub fn handle_eof(&mut self) {
        self.broken(self.link.end());
    }

    /// The time of `poll_timeout` has come. May change every poll; harmless when called too early.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.mono_ms >= self.deadline {
            let waiting = self.state.doing();
            self.broken(ProtocolError::TimedOut { waiting });
        }
    }

    /// The token is redeemed and the device enrolled; the enrolment is over. May change every poll.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] when no decision is awaited, [`SendError::Invalid`] when the chain breaks a bound.
    pub fn enrolled(&mut self, enrolled: Enrolled) -> Result<(), SendError> {
        if !matches!(self.state, State::AwaitDecision) {
            return Err(SendError::NotOpen);
        }
        let message = EnrolToDevice::Enrolled(enrolled);
        message.check(&self.limits)?;
        self.link.send(&message, 0)?;
        self.state = State::Closed;
        Ok(())
    }

    /// The device is not enrolled; the enrolment is over. May change every poll. Does nothing when it is over.
    pub fn refuse(&mut self, reason: EnrolRefusal) {
        if !self.is_closed() {
            self.link.control(&EnrolToDevice::Refused { reason });
            self.state = State::Closed;
        }
    }

    /// The next thing that happened.
    #[must_use = "an event that is not acted upon is lost"]
    pub fn poll_event(&mut self) -> Option<ServerEnrolmentEvent> {
        self.events.next()
    }

    /// Everything that is to be sent now, in one piece.
    #[must_use = "the bytes are gone from here"]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.link.take_out()
    }

    /// When to call `handle_timeout`, in milliseconds of the monotonic clock.
    #[must_use = "without its timer the enrolment waits for ever"]
    pub fn poll_timeout(&self) -> Option<u64> {
        (!self.is_closed()).then_some(self.deadline)
    }

    /// Whether the enrolment is over; what `poll_transmit` still gives is to be sent, then the connection closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn handle(&mut self, message: &EnrolToServer, now: Now) {
        let EnrolToServer::Request { identity_spki, cose } = message;
        let State::AwaitRequest { exporter, profile } = &self.state else {
            let error = ProtocolError::Unexpected { message: message.name(), waiting: self.state.doing() };
            return self.broken(error);
        };
        match request::check(identity_spki, cose, exporter, *profile, &self.limits) {
            Ok(request) => {
                self.state = State::AwaitDecision;
                self.deadline = now.mono_ms.saturating_add(self.limits.enrol_ms);
                self.events.push(ServerEnrolmentEvent::Redeem(Box::new(request)));
            }
            Err(reason) => {
                self.refuse(reason);
                self.events.push(ServerEnrolmentEvent::Refused(reason));
            }
        }
    }

    fn broken(&mut self, error: ProtocolError) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.events.push(ServerEnrolmentEvent::Broken(error));
        }
    }
}

impl State {
    fn doing(&self) -> &'static str {
        match self {
            Self::AwaitRequest { .. } => "waiting for the request",
            Self::AwaitDecision => "the token was being redeemed",
            Self::Closed => "the enrolment was closed",
        }
    }
}
