//! Making releases: encrypting images, writing manifests and metadata, and collecting the signatures.
//!
//! No private key is needed here: whatever is to be signed is emitted as bytes, and the signature is handed in, so that cards,
//! HSMs and files look alike; only the ceremony (feature `ceremony`) speaks with them. Nothing is believed because it was
//! made here: each signature is verified when it is added.
//!
//! # A release, step by step
//! 1. [`Encryptor`] encrypts each model's image and describes it ([`encrypt`], where it is in memory): [`Built`], of which the content key is at once
//!    [`seal_content_key`]ed to the server and kept nowhere else.
//! 2. [`TargetsSpec::draft`] writes what the custodians sign: one [`Draft`] for all models. Each custodian reads the same
//!    bytes, signs [`Draft::to_be_signed`], and adds the signature ([`Draft::sign`]); drafts of different days are
//!    [`Draft::merge`]d. [`Draft::progress`] counts against the root.
//! 3. The release key signs each manifest: `keys::release_key::to_be_signed` and `assemble`.
//! 4. [`assemble`] verifies all of it, and only then writes the bundle.
//! 5. The server publishes it: [`snapshot`] and [`timestamp`] are signed by its online keys, again and again.
//!
//! The ceremony's [`Draft::of_root`] goes the same way, and is signed under the old root's keys and its own.

mod assemble;
#[cfg(feature = "ceremony")]
pub mod ceremony;
mod content_key;
mod draft;
mod encrypt;
mod log;
#[cfg(feature = "ceremony")]
pub mod pending;
mod roles;
#[cfg(feature = "ceremony")]
pub mod server_keys;

pub use assemble::{AssembleError, add_proofs, assemble};
pub use content_key::{seal_content_key, sealed_for};
pub use draft::{Draft, DraftError, Progress};
pub use encrypt::{Built, EncryptError, Encryptor, encrypt};
pub use log::{Log, bundle_path, unbundle};
pub use roles::{Delegation, OnlineRole, Quorum, TargetsSpec, approved_apps, snapshot, timestamp};

/// log2 of the plain bytes in each chunk of the images that are made here: 64 KiB.
pub const CHUNK_LOG2: u8 = 16;
