//! The stable numbers behind refusals, closings, restarts and troubles. A number, once given, is never given again.

use std::fmt;

use minicbor::{Decode, Encode};

/// Why a device was not let in. The order is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// The device speaks a version of the protocol that this server does not.
    #[n(1)]
    UnsupportedVersion,
    /// No device with that identity key is enrolled.
    #[n(2)]
    UnknownDevice,
    /// The device was revoked.
    #[n(3)]
    Revoked,
    /// The TLS client certificate is not the one enrolled for this identity.
    #[n(4)]
    WrongCertificate,
    /// The proof is not signed by the identity key.
    #[n(5)]
    BadSignature,
    /// What is signed is no set of claims.
    #[n(6)]
    BadClaims,
    /// The proof answers another challenge: a replay.
    #[n(7)]
    NonceMismatch,
    /// The proof was made for another TLS connection: a relay.
    #[n(8)]
    ExporterMismatch,
    /// The proof names another TLS profile than this connection's.
    #[n(9)]
    WrongProfile,
    /// The proof names another device than the one whose key signed it.
    #[n(10)]
    WrongIdentity,
    /// The server has no room now.
    #[n(11)]
    Busy,
    /// The server cannot decide now.
    #[n(12)]
    Unavailable,
    /// The key does not live where it was enrolled, or not where the device's group demands it.
    #[n(13)]
    AttestationTooLow,
    /// The vault is older than one that the device proved before.
    #[n(14)]
    VaultFell,
}

/// Why a server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CloseReason {
    /// The same device has proved itself on a newer connection.
    #[n(1)]
    Replaced,
    /// The device was revoked.
    #[n(2)]
    Revoked,
    /// The server empties itself; the device comes back when told.
    #[n(3)]
    Drain,
    /// The device broke the protocol.
    #[n(4)]
    ProtocolError,
    /// Nothing was heard of the device for too long.
    #[n(5)]
    Silence,
}

/// Why the app shall start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RestartReason {
    /// A person or script asked for it.
    #[n(1)]
    Asked,
    /// The agent restarted.
    #[n(2)]
    AgentRestarted,
    /// There is a new deployment; the app that runs decides when it is ready.
    #[n(3)]
    WhenReady,
}

/// Why an OS image was not installed, or did not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum OsTrouble {
    /// The bytes are not those of the manifest.
    #[n(1)]
    Damaged,
    /// The manifest is not signed by a release key that the device trusts.
    #[n(2)]
    BadSignature,
    /// Too few custodians signed.
    #[n(3)]
    NoQuorum,
    /// Metadata or assignment have expired.
    #[n(4)]
    Stale,
    /// Something is older than what the device has seen already.
    #[n(5)]
    Rollback,
    /// The image is for another product or model.
    #[n(6)]
    OtherModel,
    /// The image is not assigned to this device.
    #[n(7)]
    NotAssigned,
    /// The image is not in the transparency log.
    #[n(8)]
    NotLogged,
    /// The content key does not open.
    #[n(9)]
    BadKey,
    /// The device has no room for it.
    #[n(10)]
    NoRoom,
    /// The image could not be started.
    #[n(11)]
    NotStarted,
    /// The image ended too often.
    #[n(12)]
    Ended,
    /// The image had no authenticated session in time.
    #[n(13)]
    NotConnected,
    /// Something else, that the text tells.
    #[n(14)]
    Other,
}

/// Why an enrolment was refused. The request is judged before the token, so that a bad request uses none up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum EnrolRefusal {
    /// The request is not signed by the identity key that it asks to enrol.
    #[n(1)]
    BadSignature,
    /// What is signed is no enrolment request.
    #[n(2)]
    BadRequest,
    /// The request was made for another TLS connection: a false or relaying server stands between.
    #[n(3)]
    ExporterMismatch,
    /// The request names another TLS profile than this connection's.
    #[n(4)]
    WrongProfile,
    /// The certificate request is not signed by the key that it asks to certify.
    #[n(5)]
    BadCertificateRequest,
    /// Identity, key-agreement and TLS key are not three different keys.
    #[n(6)]
    SharedKey,
    /// No such token, or the secret is not its secret.
    #[n(7)]
    UnknownToken,
    /// The token has expired.
    #[n(8)]
    TokenExpired,
    /// The token has no use left.
    #[n(9)]
    TokenUsedUp,
    /// This key, or another with the same device id, is enrolled already.
    #[n(10)]
    AlreadyEnrolled,
    /// The server has no room now.
    #[n(11)]
    Busy,
    /// The server cannot decide now.
    #[n(12)]
    Unavailable,
    /// The device's keys do not live where the token's group demands it.
    #[n(13)]
    AttestationTooLow,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnsupportedVersion => "the server does not speak this protocol version; update one of the two",
            Self::UnknownDevice => "no device with this identity key is enrolled; enrol it first",
            Self::Revoked => "the device is revoked; it must be enrolled anew",
            Self::WrongCertificate => "the TLS certificate is not the one enrolled for this device",
            Self::BadSignature => "the proof is not signed by the device's identity key",
            Self::BadClaims => "the signed proof holds no readable claims",
            Self::NonceMismatch => "the proof answers another challenge (replayed?)",
            Self::ExporterMismatch => "the proof was made for another TLS connection (relayed?)",
            Self::WrongProfile => "the proof names another TLS profile than this connection's",
            Self::WrongIdentity => "the proof names another device than the key that signed it",
            Self::Busy => "the server has no room now; try again later",
            Self::Unavailable => "the server cannot decide now; try again later",
            Self::AttestationTooLow => "the device's keys do not live where its group demands it, or not where they were enrolled",
            Self::VaultFell => "the device's vault is older than one it had before (copied or put back?); a person must accept it at the server",
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "the device has connected anew elsewhere",
            Self::Revoked => "the device is revoked",
            Self::Drain => "the server empties itself",
            Self::ProtocolError => "the device broke the protocol",
            Self::Silence => "nothing was heard of the device for too long",
        })
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "a restart was asked for",
            Self::AgentRestarted => "the agent restarted",
            Self::WhenReady => "there is a new deployment, to be taken when the app is ready",
        })
    }
}

impl fmt::Display for OsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "the image is not what its manifest says",
            Self::BadSignature => "the manifest is not signed by a release key of this product",
            Self::NoQuorum => "too few custodians signed",
            Self::Stale => "the metadata or the assignment have expired",
            Self::Rollback => "it is older than what the device has seen",
            Self::OtherModel => "it is for another product or model",
            Self::NotAssigned => "it is not assigned to this device",
            Self::NotLogged => "it is not in the transparency log",
            Self::BadKey => "its content key does not open",
            Self::NoRoom => "the device has no room for it",
            Self::NotStarted => "it could not be started",
            Self::Ended => "it ended too often",
            Self::NotConnected => "it had no session in time",
            Self::Other => "something else went wrong",
        })
    }
}

impl fmt::Display for EnrolRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSignature => "the request is not signed by the identity key it asks to enrol",
            Self::BadRequest => "the signed request is not readable",
            Self::ExporterMismatch => "the request was made for another TLS connection; something stands between",
            Self::WrongProfile => "the request names another TLS profile than this connection's",
            Self::BadCertificateRequest => "the certificate request is not signed by its own key",
            Self::SharedKey => "identity, key-agreement and TLS key must be three different keys",
            Self::UnknownToken => "the server knows no such token; make a new one",
            Self::TokenExpired => "the token has expired; make a new one",
            Self::TokenUsedUp => "the token has no use left; make a new one",
            Self::AlreadyEnrolled => "this device is enrolled already",
            Self::Busy => "the server has no room now; try again later",
            Self::Unavailable => "the server cannot decide now; try again later",
            Self::AttestationTooLow => "the device's keys do not live where the token's group demands it; see --keys",
        })
    }
}
