//! OS updates as they travel: what is offered, what proves it, and how a device got on with it.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::codec::{CodecError, at_most};
use crate::limits::{LIMITS, Limits};
use crate::reason::OsTrouble;
use crate::report::cut;

/// The subject of a question for newer root metadata, of no image and no app.
pub const ROOTS_ALONE: [u8; 32] = [0; 32];

/// An OS image, named by the SHA-256 of its manifest's payload, in everything that is said about it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OsRef {
    /// SHA-256 of the manifest's payload.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub image: [u8; 32],
    /// The length of the encrypted image in bytes.
    #[n(2)]
    pub len: u32,
    /// The manifest: a COSE_Sign1 by the release key. Nothing here has checked it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
}

/// What proves an OS image or an app: TUF metadata, as the repository has it. Nothing here has checked it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Trust {
    /// The root metadata that follow the version asked for, oldest first. When there are more than fit, all other parts are absent, and the
    /// device asks again from the last of these on.
    #[n(1)]
    pub roots: Vec<ByteVec>,
    /// The timestamp.
    #[n(2)]
    pub timestamp: Option<ByteVec>,
    /// The snapshot.
    #[n(3)]
    pub snapshot: Option<ByteVec>,
    /// The top-level targets.
    #[n(4)]
    pub targets: Option<ByteVec>,
    /// The delegated targets that hold an app.
    #[n(5)]
    pub delegated: Option<ByteVec>,
    /// The path of an app among the targets; that of an OS image follows from its manifest.
    #[n(6)]
    pub path: Option<String>,
    /// The director's assignment of an OS image to this device.
    #[n(7)]
    pub assignment: Option<ByteVec>,
    /// The proof that an OS image is in the transparency log.
    #[n(8)]
    pub log_proof: Option<ByteVec>,
}

/// How far a device is with an OS image.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum OsState {
    /// It has the first so many bytes.
    #[n(1)]
    Downloading {
        /// How many.
        #[n(0)]
        received: u32,
    },
    /// The image is verified and in the inactive slot.
    #[n(2)]
    Installed,
    /// The image runs and has not been confirmed.
    #[n(3)]
    Trying,
    /// The image runs and stays.
    #[n(4)]
    Confirmed,
    /// The image ran, and the one before it runs again.
    #[n(5)]
    FellBack {
        /// Why.
        #[n(0)]
        trouble: OsTrouble,
        /// The same for people, with details.
        #[n(1)]
        text: String,
    },
    /// The image is not installed.
    #[n(6)]
    Refused {
        /// Why.
        #[n(0)]
        trouble: OsTrouble,
        /// The same for people, with details.
        #[n(1)]
        text: String,
    },
}

impl OsRef {
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        if self.len == 0 {
            return Err(CodecError::Meaningless("the length of the OS image"));
        }
        at_most("the OS image", self.len as usize, limits.os_image as usize)?;
        at_most("the OS manifest", self.manifest.len(), limits.os_manifest)
    }
}

impl Trust {
    /// The bytes of its parts, which [`Limits::trust`] bounds together.
    pub fn size(&self) -> usize {
        let parts =
            [&self.timestamp, &self.snapshot, &self.targets, &self.delegated, &self.assignment, &self.log_proof];
        let parts = parts.into_iter().flatten().chain(&self.roots).map(|part| part.len());
        parts.sum::<usize>() + self.path.as_ref().map_or(0, String::len)
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        at_most("the list of roots", self.roots.len(), limits.trust_roots)?;
        at_most("the metadata", self.size(), limits.trust)
    }
}

impl OsState {
    /// A falling back; a text beyond the bound is cut and ends in `...`.
    pub fn fell_back(trouble: OsTrouble, text: impl Into<String>) -> Self {
        Self::FellBack { trouble, text: cut(text.into(), LIMITS.os_text) }
    }

    /// A refusal; a text beyond the bound is cut and ends in `...`.
    pub fn refused(trouble: OsTrouble, text: impl Into<String>) -> Self {
        Self::Refused { trouble, text: cut(text.into(), LIMITS.os_text) }
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CodecError> {
        match self {
            Self::FellBack { text, .. } | Self::Refused { text, .. } => {
                at_most("the trouble with an OS image", text.len(), limits.os_text)
            }
            Self::Downloading { .. } | Self::Installed | Self::Trying | Self::Confirmed => Ok(()),
        }
    }
}
