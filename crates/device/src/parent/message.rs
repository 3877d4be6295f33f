//! What a child may ask its parent for, and the answers. Everything else is refused.
//!
//! Each packet is one CBOR item of exactly one form: what does not come out the same when it is written again is refused.

use std::fmt;

use keys::cbor;
use keys::cose::CosePurpose;
use keys::keystore::AttestationLevel;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::reason::OsTrouble;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::booted::Booted;
use crate::network::StaticNetwork;

/// A question with its number, which the answer repeats.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Question {
    #[n(0)]
    pub(super) number: u64,
    #[n(1)]
    pub(super) request: Request,
}

/// An answer with the number of its question.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Reply {
    #[n(0)]
    pub(super) number: u64,
    #[n(1)]
    pub(super) answer: Answer,
}

/// What is asked for. Which interface, which keys and which slots it is about is the parent's alone to know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Request {
    /// Who this device is, and what it needs to open its vault.
    #[n(0)]
    Start,
    /// A COSE signature by the identity key. The parent builds what is signed.
    #[n(1)]
    Sign {
        #[n(0)]
        purpose: SignFor,
        #[n(1)]
        payload: ByteVec,
    },
    /// The TLS key's signature over a handshake.
    #[n(2)]
    SignTls(#[n(0)] ByteVec),
    /// Step the hardware counter to this value, which must be the next one.
    #[n(3)]
    StepCounter {
        #[n(0)]
        to: u64,
    },
    /// Put this network in force, in place of the one before.
    #[n(4)]
    Apply(#[n(0)] StaticNetwork),
    /// Take out the network that was put in force.
    #[n(5)]
    Remove,
    /// This image has opened an authenticated session: it stays.
    #[n(6)]
    Confirm,
    /// Judge the image in the staging folder, with what is there to prove it, and install it. When it is done this child is ended and the
    /// image is tried.
    #[n(7)]
    Install {
        /// The signed manifest (COSE_Sign1).
        #[n(0)]
        manifest: ByteVec,
        /// The content key, wrapped to this device's key for agreement.
        #[n(1)]
        content_key: ByteVec,
    },
    /// Verify the newer root metadata in the staging folder, and believe it from now on.
    #[n(8)]
    LearnRoots,
}

/// What a child has signed with the identity key. Enrolment is not among it: a device is enrolled before it has a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum SignFor {
    #[n(1)]
    Challenge,
    #[n(2)]
    Renewal,
    #[n(3)]
    SelfTest,
}

/// The parent's answer.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Answer {
    /// It is done.
    #[n(0)]
    Done,
    /// It is not done, and why.
    #[n(1)]
    Failed(#[n(0)] String),
    /// The signature that was asked for.
    #[n(2)]
    Signature(#[n(0)] ByteVec),
    /// What a child begins with.
    #[n(3)]
    Start(#[n(0)] Box<Start>),
    /// The image is not installed.
    #[n(4)]
    NotInstalled {
        /// Why, as the server counts it.
        #[n(0)]
        trouble: OsTrouble,
        /// The same for people.
        #[n(1)]
        why: String,
    },
    /// The newest root metadata, which is verified.
    #[n(5)]
    Root(#[n(0)] ByteVec),
}

/// What a child begins with.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Start {
    /// The identity key (SubjectPublicKeyInfo, DER).
    #[n(0)]
    pub(super) identity_spki: ByteVec,
    /// The certificate chain of the TLS key, end entity first, DER.
    #[n(1)]
    pub(super) tls_chain: Vec<ByteVec>,
    /// Where the identity key lives.
    #[n(2)]
    pub(super) attestation: AttestationLevel,
    /// The keys of the vault, in the order of `vault::VaultKeys`.
    #[n(3)]
    pub(super) vault_keys: KeyBytes,
    /// The hardware counter, where there is one.
    #[n(4)]
    pub(super) counter: Option<u64>,
    /// What was booted.
    #[n(5)]
    pub(super) booted: Booted,
    /// The newest root metadata that was seen, where the anchors demand the custodians' approval: apps are verified from it, and the server
    /// must come from the TLS roots that it names.
    #[n(6)]
    pub(super) root: Option<ByteVec>,
}

/// Bytes of keys: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(transparent)]
pub(super) struct KeyBytes(#[cbor(n(0), with = "minicbor::bytes")] pub(super) Vec<u8>);

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// The packet of a message. It may hold keys.
pub(super) fn encode<T: Encode<()>>(message: &T) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(cbor::encode(message))
}

impl SignFor {
    /// The purpose, where a child may ask for it.
    pub(super) fn of(purpose: CosePurpose) -> Option<SignFor> {
        match purpose {
            CosePurpose::Challenge => Some(SignFor::Challenge),
            CosePurpose::Renewal => Some(SignFor::Renewal),
            CosePurpose::SelfTest => Some(SignFor::SelfTest),
            CosePurpose::Enrolment => None,
        }
    }

    #[cfg(feature = "parent")]
    pub(super) fn purpose(self) -> CosePurpose {
        match self {
            SignFor::Challenge => CosePurpose::Challenge,
            SignFor::Renewal => CosePurpose::Renewal,
            SignFor::SelfTest => CosePurpose::SelfTest,
        }
    }
}
