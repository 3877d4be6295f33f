//! OS images: their manifest, their encryption, and the layers of signatures that a device demands.
//!
//! Reading and verifying need nothing but bytes and a time, which are handed in. Making images is behind the feature `author`.
