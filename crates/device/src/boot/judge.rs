//! Whether an image may be installed: one judgement, of the factory's image and of an update.

use keys::public::SpkiHash;
use protocol::os::Trust;
use release::anchors::{Admission, AdmissionError, Anchors, Layers};
use release::assignment::Assignment;
use release::floors::Floors;
use release::l1::verify_l1;
use release::manifest::Manifest;
use release::tuf;
use release::verified::Verified;

use super::install::InstallError;
use crate::approval::files;

/// What came with an image to prove it beyond the release key's signature. Nothing of it is believed yet.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// What the server says: the custodians' metadata, its own, its assignment.
    pub trust: &'a Trust,
    /// The device that the image is to be installed on.
    pub identity: SpkiHash,
    /// Unix seconds: the greater of the clock and the time floor.
    pub now: u64,
}

/// An image that every layer speaks for; its bytes are not looked at yet.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(super) manifest: Verified<Manifest>,
    pub(super) admission: Verified<Admission>,
    /// The anchors once the image is confirmed.
    pub(crate) anchors: Anchors,
}

/// Judges a signed manifest by what these anchors demand. The floors rise as soon as newer metadata is verified, whatever becomes of the
/// image. Release keys and director are those of the root in force, not of the one that the anchors began with.
///
/// # Errors
/// [`InstallError`], naming the layer.
pub(crate) fn judge(
    anchors: &Anchors,
    floors: &mut Floors,
    signed: &[u8],
    proof: Option<&Proof<'_>>,
) -> Result<Judged, InstallError> {
    let Layers::Quorum { root } = anchors.layers() else {
        let manifest = verify_l1(anchors, floors, signed)?;
        let admission = anchors.admit(manifest.clone(), None)?;
        return Ok(Judged { manifest, admission, anchors: anchors.clone() });
    };
    let Some(Proof { trust, identity, now }) = proof else { return Err(AdmissionError::NoApproval.into()) };
    let trusted = tuf::verify(root, files::<InstallError>(trust)?, (), &floors.metadata, *now)?;
    floors.metadata = trusted.floors();
    let anchors = anchors.advance(&trusted)?;
    let manifest = verify_l1(&anchors, floors, signed)?;
    let mut approval = trusted.approve(&manifest)?;
    if let Some(log_proof) = &trust.log_proof {
        approval = trusted.prove_logged(approval, &manifest, log_proof)?;
    }
    let assignment = trust.assignment.as_ref().ok_or(InstallError::NotAssigned)?;
    Assignment::verify(&trusted.content()?.online.director, assignment, *identity, manifest.hash(), *now)?;
    let admission = anchors.admit(manifest.clone(), Some(approval))?;
    Ok(Judged { manifest, admission, anchors })
}
