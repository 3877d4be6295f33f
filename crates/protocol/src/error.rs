//! How the other end can break the protocol, and why a message of ours cannot be sent.

use crate::codec::CodecError;
use crate::frame::FrameError;

/// The other end broke the protocol or fell silent. The machine is closed; only its last bytes remain to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes hold no frame.
    #[error("broken framing: {0}")]
    Frame(#[from] FrameError),
    /// A frame holds no message.
    #[error("broken message: {0}")]
    Message(#[from] CodecError),
    /// A message that may not come now.
    #[error("the message {message} came while {waiting}")]
    Unexpected {
        /// The message's name in `docs/wire.cddl`.
        message: &'static str,
        /// What this end was doing.
        waiting: &'static str,
    },
    /// What was awaited did not come in time.
    #[error("time ran out {waiting}")]
    TimedOut {
        /// What this end was doing.
        waiting: &'static str,
    },
    /// An open session was silent for two keep-alives and the grace.
    #[error("nothing was heard for {0} ms")]
    Silence(u64),
    /// The stream ended between two frames without a closing message.
    #[error("the connection ended")]
    Ended,
    /// The stream ended within a frame.
    #[error("the connection ended within a message")]
    Truncated,
    /// More app messages wait for the word that they were handled than the bound allows.
    #[error("more than {0} messages wait to be handled")]
    TooManyToHandle(u64),
    /// The server answered for an app message that was answered before or never sent.
    #[error("the server says what became of messages below {next}, but {answered} were answered and {sent} sent")]
    HandledOutOfOrder {
        /// The number that the server names.
        next: u64,
        /// How many were answered before.
        answered: u64,
        /// How many were sent.
        sent: u64,
    },
    /// The server welcomed or enrolled another device than this one.
    #[error("the server answered for another device")]
    WrongDevice,
    /// The server asks for a keep-alive that is out of bounds.
    #[error("the server asks for a keep-alive of {0} s, which is out of bounds")]
    KeepaliveOutOfBounds(u32),
    /// The roots that the server sent are not those that the token pins.
    #[error(
        "the roots of this server are not those that the token names; this is another server, or the token is damaged"
    )]
    WrongRoots,
}

/// Why a message of ours was not taken. Nothing of it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too much waits already; try again when `poll_transmit` has been emptied.
    #[error("no room: the other end takes its data too slowly")]
    Full,
    /// The session is not open, or not any more.
    #[error("the session is not open")]
    NotOpen,
    /// The message breaks a bound and can never be sent.
    #[error("not sendable: {0}")]
    Invalid(#[from] CodecError),
}
