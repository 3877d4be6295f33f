//! The device's end of an enrolment.

use std::fmt;

use keys::cose::{self, CosePurpose};
use keys::hashes::{ct_eq, sha256};
use keys::pki::RootsBundle;
use keys::profile::Profile;
use keys::public::PublicKey;
use keys::secret::Secret;
use keys::time::Now;

use crate::codec::Message;
use crate::eat::AttestationLevel;
use crate::enrol::message::{EnrolToDevice, EnrolToServer, Enrolled};
use crate::enrol::request::EnrolmentRequest;
use crate::enrol::token::EnrolmentToken;
use crate::error::ProtocolError;
use crate::events::Events;
use crate::facts::EXPORTER_LEN;
use crate::limits::Limits;
use crate::link::Link;
use crate::reason::EnrolRefusal;
use crate::sign::SignRequest;

/// What a device brings into its enrolment. All keys are newly born.
#[derive(Clone, Debug)]
pub struct DeviceEnrolmentConfig {
    /// The token.
    pub token: EnrolmentToken,
    /// The TLS exporter value of this connection.
    pub exporter: [u8; EXPORTER_LEN],
    /// The TLS profile of this connection.
    pub profile: Profile,
    /// The identity key.
    pub identity: PublicKey,
    /// The key-agreement key.
    pub key_agreement: PublicKey,
    /// The certificate request for the TLS key, DER.
    pub csr: Vec<u8>,
    /// The model.
    pub model: String,
    /// Where the identity key lives.
    pub attestation: AttestationLevel,
    /// The bounds to keep.
    pub limits: Limits,
}

/// What happened; the driver acts on it.
#[derive(Debug)]
pub enum DeviceEnrolmentEvent {
    /// The server's roots are those that the token pins: check this connection's certificate against them and
    /// call [`DeviceEnrolment::proceed`], or drop the connection. Nothing has been sent yet.
    CheckServer(RootsBundle),
    /// Sign this with the identity key and call [`DeviceEnrolment::signature`].
    Sign(SignRequest),
    /// The device is enrolled; the enrolment is over.
    Enrolled(Enrolled),
    /// The server does not enrol the device; the enrolment is over.
    Refused(EnrolRefusal),
    /// The server broke the protocol, is not the token's, or is gone; the enrolment is over.
    Broken(ProtocolError),
}

/// The device's end of an enrolment. It sends nothing before the server has been checked.
#[derive(Debug)]
pub struct DeviceEnrolment {
    state: State,
    link: Link,
    events: Events<DeviceEnrolmentEvent>,
    deadline: u64,
    limits: Limits,
}

enum State {
    AwaitRoots(Box<DeviceEnrolmentConfig>),
    AwaitServerCheck(Box<DeviceEnrolmentConfig>),
    AwaitSignature { identity: PublicKey, payload: Secret },
    AwaitVerdict { identity: PublicKey },
    Closed,
}

impl DeviceEnrolment {
    /// An enrolment on a connection whose TLS handshake is done, its certificate chain not judged yet.
    pub fn new(config: DeviceEnrolmentConfig, now: Now) -> Self {
        let limits = config.limits;
        Self {
            state: State::AwaitRoots(Box::new(config)),
            link: Link::new(limits.enrol_frame, &limits),
            events: Events::new(),
            deadline: now.mono_ms.saturating_add(limits.enrol_ms),
            limits,
        }
    }

    /// Takes bytes of the connection. May change every poll.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Now) {
        while !self.is_closed() {
            match self.link.receive::<EnrolToDevice>(&mut bytes, &self.limits) {
                Ok(Some(message)) => self.handle(message, now),
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

    /// The server's certificate belongs to the roots of [`DeviceEnrolmentEvent::CheckServer`]: go on. May change
    /// `poll_event` and `poll_timeout`. Does nothing when no such answer is awaited.
    pub fn proceed(&mut self, now: Now) {
        let config = match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitServerCheck(config) => config,
            other => {
                self.state = other;
                return;
            }
        };
        let DeviceEnrolmentConfig {
            token, exporter, profile, identity, key_agreement, csr, model, attestation, ..
        } = *config;
        let payload = EnrolmentRequest {
            token_id: token.id(),
            token_secret: token.secret().clone(),
            exporter,
            profile,
            identity_spki: identity.spki_der().to_vec(),
            key_agreement_spki: key_agreement.spki_der().to_vec(),
            csr,
            model,
            attestation,
        }
        .to_cbor();
        self.events.push(DeviceEnrolmentEvent::Sign(SignRequest::new(CosePurpose::Enrolment, payload.clone())));
        self.wait(State::AwaitSignature { identity, payload: Secret::new(payload) }, now);
    }

    /// Hands in the signature that [`DeviceEnrolmentEvent::Sign`] asked for. May change `poll_transmit` and
    /// `poll_timeout`. A signature that comes when none is awaited is dropped.
    pub fn signature(&mut self, signature: [u8; 64], now: Now) {
        let (identity, payload) = match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitSignature { identity, payload } => (identity, payload),
            other => {
                self.state = other;
                return;
            }
        };
        let cose = cose::assemble(payload.expose(), signature);
        self.link.control(&EnrolToServer::Request { identity_spki: identity.spki_der().to_vec(), cose });
        self.wait(State::AwaitVerdict { identity }, now);
    }

    /// The next thing that happened.
    #[must_use = "an event that is not acted upon is lost"]
    pub fn poll_event(&mut self) -> Option<DeviceEnrolmentEvent> {
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

    /// Whether the enrolment is over, well or not.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn handle(&mut self, message: EnrolToDevice, now: Now) {
        match (std::mem::replace(&mut self.state, State::Closed), message) {
            (State::AwaitRoots(config), EnrolToDevice::Roots(bundle)) => self.roots(config, &bundle, now),
            (State::AwaitVerdict { identity }, EnrolToDevice::Enrolled(enrolled)) => {
                if enrolled.device_id == identity.device_id() {
                    self.events.push(DeviceEnrolmentEvent::Enrolled(enrolled));
                } else {
                    self.events.push(DeviceEnrolmentEvent::Broken(ProtocolError::WrongDevice));
                }
            }
            // Whoever has not shown the token's roots yet has no say: the next place may be the right server.
            (state, EnrolToDevice::Refused { reason }) if !matches!(state, State::AwaitRoots(_)) => {
                self.events.push(DeviceEnrolmentEvent::Refused(reason))
            }
            (state, message) => {
                let error = ProtocolError::Unexpected { message: message.name(), waiting: state.doing() };
                self.state = state;
                self.broken(error);
            }
        }
    }

    /// First the hash, which decides whether the bytes are worth reading at all.
    fn roots(&mut self, config: Box<DeviceEnrolmentConfig>, bundle: &[u8], now: Now) {
        let pinned = ct_eq(&sha256(bundle), config.token.roots_sha256());
        match RootsBundle::from_cbor(bundle) {
            Ok(roots) if pinned => {
                self.events.push(DeviceEnrolmentEvent::CheckServer(roots));
                self.wait(State::AwaitServerCheck(config), now);
            }
            _ => self.events.push(DeviceEnrolmentEvent::Broken(ProtocolError::WrongRoots)),
        }
    }

    fn wait(&mut self, state: State, now: Now) {
        self.state = state;
        self.deadline = now.mono_ms.saturating_add(self.limits.enrol_ms);
    }

    fn broken(&mut self, error: ProtocolError) {
        if !self.is_closed() {
            self.state = State::Closed;
            self.events.push(DeviceEnrolmentEvent::Broken(error));
        }
    }
}

impl State {
    fn doing(&self) -> &'static str {
        match self {
            Self::AwaitRoots(_) => "waiting for the server's roots",
            Self::AwaitServerCheck(_) => "the server's certificate was being checked",
            Self::AwaitSignature { .. } => "waiting for the signature",
            Self::AwaitVerdict { .. } => "waiting for the verdict",
            Self::Closed => "the enrolment was closed",
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doing())
    }
}
