//! OS images: their manifest, their encryption, and the layers of signatures that a device demands.
//!
//! Reading and verifying need nothing but bytes and a time, which are handed in. Making images is behind the feature `author`.
//! The formats are described in `docs/image.cddl`.
//!
//! # Layout
//! - [`manifest`]: what an image is; [`version`]: its number.
//! - [`header`], [`cipher`]: the encrypted image, decrypted as it arrives.
//! - [`anchors`]: what a device believes from the factory on, and the layers that it demands.
//! - [`l1`]: the release key's signature; [`floors`]: what a device never goes below.
//! - [`tuf`]: the custodians' approval, freshness.
//! - [`approval`]: how a custodian approved.
//! - [`apps`]: who approves apps; [`assignment`]: which image the director wants on a device.
//! - [`log`]: proof that a release is in the transparency log.
//! - [`image`]: the checkers of an image's bytes; [`verified`]: what only a checker can make.
//! - [`bundle`]: the file of a release, and what anybody can say of it offline.
//! - [`root`]: the custodians, the release keys and the server's keys, as the operator's TUF root has them.
//! - `author`: building releases.
//! - [`limits`]: every bound.

pub mod anchors;
pub mod approval;
pub mod apps;
pub mod assignment;
#[cfg(feature = "author")]
pub mod author;
pub mod bundle;
pub mod cipher;
pub mod floors;
pub mod header;
pub mod image;
pub mod l1;
pub mod limits;
pub mod log;
pub mod manifest;
pub mod root;
pub mod tuf;
pub mod verified;
pub mod version;
