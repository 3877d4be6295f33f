//! What anybody can say of a bundle without a network: who signed what, for which models, until when.

use std::io::{self, Read};

use keys::hashes::{Sha256, sha256};
use keys::public::SpkiHash;
use keys::release_key;
use minicbor::bytes::ByteArray;
use serde_json::Value;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::{Metadata, Targets};

use super::{Bundle, BundleError};
use crate::approval::{Approval, ApprovalError};
use crate::log::{LogError, Logged, verify_logged};
use crate::manifest::{Description, Manifest, ManifestHash};
use crate::root::{Custodian, RootChain, RootContent, RootError, wrong};
use crate::tuf::{content, content_of, os_target};
use crate::version::OsVersion;

/// What a bundle proves, given its first root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of the first root, which all else follows from. Whoever knows it from elsewhere compares it.
    pub first_root: [u8; 32],
    /// The version of the root in force.
    pub root_version: u64,
    /// The product of all images.
    pub product: String,
    /// The version of all images.
    pub version: OsVersion,
    /// The version of the targets.
    pub targets_version: u64,
    /// Until when the approval holds, in Unix seconds.
    pub expires: i64,
    /// How many custodians must approve.
    pub needed: usize,
    /// The custodians who did, by the names that the root gives them.
    pub approved_by: Vec<String>,
    /// When each of them did and how, as far as the bundle carries it.
    pub approvals: Vec<Approval>,
    /// The name of the transparency log whose proof the root demands; none where it names no log.
    pub log: Option<String>,
    /// The images, in the order of the bundle.
    pub images: Vec<ReportedImage>,
}

/// What a bundle proves about one of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedImage {
    /// Its manifest's hash.
    pub manifest: ManifestHash,
    /// What the manifest says.
    pub description: Description,
    /// The release key that signed it.
    pub signed_by: SpkiHash,
    /// Where it stands in the log, if the root names one and the bundle has the proof.
    pub logged: Option<Logged>,
}

/// Why a bundle proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The roots.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Another first root than the one that is known.
    #[error("the bundle begins with another root than the one that is trusted; it is not from this maker")]
    OtherRoot,
    /// The targets.
    #[error("the bundle is not approved: {0}")]
    NotApproved(#[from] sigstore_tuf::Error),
    /// The word of somebody who did not sign the targets, or of other targets.
    #[error("the bundle says wrongly how it was approved: {0}")]
    Approval(#[from] ApprovalError),
    /// An image that the custodians did not approve.
    #[error("the OS image for {} is not among those that the custodians approved", .0.join(", "))]
    ImageNotApproved(Vec<String>),
    /// An image that the release key did not sign.
    #[error("the OS image for {} is not signed by a release key in force", .0.join(", "))]
    ImageNotSigned(Vec<String>),
    /// A proof that does not hold; one that is missing is no error here.
    #[error("the proof that the OS image for {} is in the transparency log does not hold: {error}", .models.join(", "))]
    Log {
        /// For which models the image is.
        models: Vec<String>,
        /// Why.
        error: LogError,
    },
    /// Images of several products or versions, or two for one model.
    #[error("the bundle is not one release: its images must have one product, one version, and each model once")]
    NotOneRelease,
    /// An encrypted image that is another one.
    #[error("the encrypted OS image for {} is not the one of its manifest", .0.join(", "))]
    OtherImage(Vec<String>),
    /// Bytes after the last image.
    #[error("the bundle goes on after its end")]
    Trailing,
}

/// Checks all signatures of a bundle's head. `first_root` is what is trusted; without it, the bundle's own is believed, and
/// the report says which that was.
///
/// Nothing here depends on the time: an approval that has ended is reported with its end. Devices check freshness as well.
///
/// # Errors
/// [`ReportError`].
pub fn verify_head(bundle: &Bundle, first_root: Option<&[u8]>) -> Result<Report, ReportError> {
    let first = bundle.roots.first().map(Vec::as_slice).unwrap_or_default();
    if first_root.is_some_and(|trusted| trusted != first) {
        return Err(ReportError::OtherRoot);
    }
    let RootChain { content: root, trusted } = RootChain::follow(bundle.roots.iter().map(Vec::as_slice))?;
    let targets = Metadata::<Targets>::from_slice(&bundle.targets)?;
    let missing = || sigstore_tuf::Error::UnknownRole("targets".to_owned());
    let quorum = trusted.root().role("targets").ok_or_else(missing)?;
    targets.verify_threshold(&trusted.root().keys, quorum, "targets")?;
    let one = |id: &String| {
        let mut alone = quorum.clone();
        (alone.keyids, alone.threshold) = (vec![id.clone()], 1);
        targets.verify_threshold(&trusted.root().keys, &alone, "targets").is_ok()
    };
    let signed = quorum.keyids.iter().filter(|id| one(id));
    let approved_by: Vec<_> =
        signed.filter_map(|id| root.custodian(id)).map(|custodian| custodian.name.clone()).collect();
    let approvals = how_approved(bundle, &root, &approved_by)?;
    let mut images = Vec::new();
    for image in &bundle.images {
        let manifest = image.manifest();
        let models = || manifest.models.clone();
        let approved = targets.signed().target(&os_target(manifest)).and_then(content);
        if approved != Some(content_of(&manifest.to_cbor())) {
            return Err(ReportError::ImageNotApproved(models()));
        }
        let in_force = root.release_keys.iter().filter(|slot| !slot.revoked).map(|slot| &slot.key);
        let signer = release_key::verify(in_force, &image.signed_manifest);
        let (_, key) = signer.map_err(|_| ReportError::ImageNotSigned(models()))?;
        let proved = root.log.as_deref().zip(image.log_proof.as_deref());
        let logged = proved.map(|(log, proof)| verify_logged(log, manifest, proof)).transpose();
        let logged = logged.map_err(|error| ReportError::Log { models: models(), error })?;
        let (manifest, description) = (manifest.hash(), manifest.description());
        images.push(ReportedImage { manifest, description, signed_by: key.spki_hash(), logged });
    }
    let (product, version) = one_release(bundle)?;
    Ok(Report {
        first_root: sha256(first),
        root_version: root.version,
        product,
        version,
        targets_version: targets.signed().version,
        expires: targets.signed().expires.as_second(),
        needed: root.release_needed,
        approved_by,
        approvals,
        log: root.log.as_deref().map(|log| log.split('+').next().unwrap_or(log).to_owned()),
        images,
    })
}

/// What those who signed the targets said of how they approved.
fn how_approved(bundle: &Bundle, root: &RootContent, approved_by: &[String]) -> Result<Vec<Approval>, ReportError> {
    let file: Value = serde_json::from_slice(&bundle.targets).map_err(|error| wrong(error.to_string()))?;
    let targets = to_canonical_bytes(&file["signed"])?;
    let mut approvals: Vec<Approval> = Vec::new();
    for cose in &bundle.approvals {
        let (approval, Custodian { name, .. }) = Approval::verify(root, &targets, cose)?;
        if !approved_by.contains(name) || approvals.iter().any(|earlier| earlier.custodian == *name) {
            return Err(ApprovalError::Signature.into());
        }
        approvals.push(approval);
    }
    Ok(approvals)
}

/// Checks a whole bundle, its encrypted images as well, in one pass and bounded memory.
///
/// # Errors
/// [`ReportError`].
pub fn verify_bundle(from: &mut impl Read, first_root: Option<&[u8]>) -> Result<(Bundle, Report), ReportError> {
    let bundle = Bundle::read(from)?;
    let report = verify_head(&bundle, first_root)?;
    for image in &bundle.images {
        check_image(image.manifest(), from)?;
    }
    if from.read(&mut [0]).map_err(BundleError::Read)? != 0 {
        return Err(ReportError::Trailing);
    }
    Ok((bundle, report))
}

/// Reads one encrypted image and compares it with its manifest.
pub(crate) fn check_image(manifest: &Manifest, from: &mut impl Read) -> Result<(), ReportError> {
    let (mut hash, mut left, mut buffer) = (Sha256::new(), manifest.sealed.length, vec![0; 64 * 1024]);
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let read = match from.read(part) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BundleError::Read(error).into()),
        };
        if read == 0 {
            return Err(ReportError::OtherImage(manifest.models.clone()));
        }
        hash.update(part.get(..read).unwrap_or_default());
        left -= read as u64;
    }
    let same = ByteArray::from(hash.finish()) == manifest.sealed.sha256;
    if same { Ok(()) } else { Err(ReportError::OtherImage(manifest.models.clone())) }
}

/// The product and version of all images, of which no two are for one model.
fn one_release(bundle: &Bundle) -> Result<(String, OsVersion), ReportError> {
    let first = bundle.images.first().ok_or(ReportError::NotOneRelease)?.manifest();
    let mut models: Vec<&String> = bundle.images.iter().flat_map(|image| &image.manifest().models).collect();
    let all = models.len();
    models.sort_unstable();
    models.dedup();
    let same = bundle.images.iter().all(|image| {
        let manifest = image.manifest();
        (&manifest.product, manifest.version, manifest.security_epoch)
            == (&first.product, first.version, first.security_epoch)
    });
    if same && models.len() == all {
        Ok((first.product.clone(), first.version))
    } else {
        Err(ReportError::NotOneRelease)
    }
}
