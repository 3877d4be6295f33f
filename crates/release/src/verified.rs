//! Proof that something was checked: it can be made in this crate only.

use std::ops::Deref;

/// A `T` that the checker has accepted. Nobody else can make one.
///
/// | what | what was checked | by |
/// |---|---|---|
/// | `Verified<Manifest>` | the release key's signature, product, model, floors: good enough to start an installed image | [`verify_l1`](crate::l1::verify_l1) |
/// | `Verified<Admission>` | that, and every other layer that the anchors demand: may be installed | [`Anchors::admit`](crate::anchors::Anchors::admit) |
/// | `Verified<Image>` | that, and each byte of the encrypted image: was installed from | [`ImageChecker`](crate::image::ImageChecker) |
/// | `Verified<Program>` | each byte of a decrypted image that is about to be started | [`ProgramChecker`](crate::image::ProgramChecker) |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(crate) fn new(checked: T) -> Verified<T> {
        Verified(checked)
    }

    /// The thing itself, without the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
