//! Making releases: encrypting images, writing manifests, and collecting the signatures.
//!
//! No private key is needed here: whatever is to be signed is emitted as bytes, and the signature is handed in.

mod encrypt;

pub use encrypt::{Built, Encryptor};

/// log2 of the plain bytes in each chunk of the images that are made here: 64 KiB.
pub const CHUNK_LOG2: u8 = 16;
