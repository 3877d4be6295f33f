//! A release as it comes in: verified to its last byte before any of it is kept.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use keys::content_key::ContentKeyError;
use release::apps::{AppError, owners_with_quorum, server_approves};
use release::bundle::{Bundle, BundleError, BundleImage, Report, ReportError, verify_bundle};
use release::manifest::Manifest;
use release::root::{RootContent, RootError};

use super::{Inner, MetadataFile, ReleaseLogError, Repository, names_tls_roots};
use crate::fleet::{AccountId, NewRelease, NewReleaseImage, Release, ReleaseImage, Rollout, Rule};
use crate::store::{ChangeError, NewOsImage, Store};

/// Bytes that are copied at a time.
const COPY: usize = 64 * 1024;

/// Why a release is not taken. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is not what custodians and release key signed.
    #[error(transparent)]
    Refused(#[from] ReportError),
    /// Its root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// It is for another server.
    #[error(
        "the release's root names other online keys, or another transparency log, than this server's; hold a ceremony with the keys that `vouch release server-keys` writes here, or restart the server if they are newer than its start"
    )]
    OtherServer,
    /// Devices that believe it would not find this server.
    #[error(
        "the release's root names other TLS roots than the one that this server's certificate comes from, so that devices could not connect; \
         start the server again if it was given other roots since, or hold a ceremony with what `vouch release server-keys` writes here"
    )]
    OtherTlsRoots,
    /// It leaves apps to a key that signs none.
    #[error(
        "the release's targets leave apps to another key than its root, so that devices would take none; build it again with the ceremony's newest root"
    )]
    OtherAppsKey,
    /// A content key that this server cannot open.
    #[error("the content key of the OS image for {models} is not sealed to this server: {error}")]
    ContentKey {
        /// For which models the image is.
        models: String,
        /// Why.
        error: ContentKeyError,
    },
    /// Roots that this server knows otherwise.
    #[error(
        "the release's root of version {0} is not the one that this server knows; it is from another maker, or somebody signed twice"
    )]
    OtherRoot(u64),
    /// Fewer roots, or older targets, than this server has.
    #[error(
        "the release's {what} have version {found}, this server has {known} already; make the release again on top of that"
    )]
    Older {
        /// Which metadata.
        what: &'static str,
        /// Their version.
        found: u64,
        /// What there is.
        known: u64,
    },
    /// Targets that would silently leave an owner's apps to the server's key.
    #[error(
        "the release leaves out the quorum of the owner {0}, which the targets in force name; build it again with --app-owners"
    )]
    EndsQuorum(String),
    /// Delegations that cannot be read.
    #[error(transparent)]
    Owners(#[from] AppError),
    /// The transparency log.
    #[error(transparent)]
    Log(#[from] ReleaseLogError),
    /// It could not be kept.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A file.
    #[error("the release could not be kept: {0}")]
    Io(#[from] io::Error),
}

/// A release that the server has.
#[derive(Debug)]
pub struct Accepted {
    /// The release.
    pub release: Release,
    /// Whether it had it before.
    pub is_known: bool,
    /// Whether a newer root came with it.
    pub is_newer_root: bool,
    /// The roll-outs that it paused, since the custodians approve their releases no longer.
    pub paused: Vec<Rollout>,
}

/// What was verified of an upload.
struct Checked {
    bundle: Bundle,
    report: Report,
    metadata: Vec<MetadataFile>,
    /// The newest root.
    root: RootContent,
}

impl Repository {
    /// Verifies an uploaded bundle completely, keeps its images in files, and publishes its metadata. The first release that a server takes
    /// decides which maker's releases it takes from then on. Each of its manifests is in the transparency log when this returns. The same
    /// release again keeps newer roots and targets that came with it, and changes nothing else, so that whoever lost the answer asks again.
    ///
    /// # Errors
    /// [`UploadError`]; nothing of it is kept then. Only when the database fails at the very end, the log has the entries already.
    pub async fn accept(&self, upload: NewOsImage, uploader: AccountId) -> Result<Accepted, UploadError> {
        // One at a time: roots, targets and log that are compared here are those that are there in the end. Devices are answered meanwhile.
        let _accepting = self.0.accepting.lock().await;
        let (known_roots, known_targets) = self.0.metadata.lock().await.known();
        let inner = Arc::clone(&self.0);
        let checked = tokio::task::spawn_blocking(move || {
            let file = upload.open()?;
            let checked = check(&inner, file, &known_roots)?;
            Ok::<_, UploadError>((checked, upload))
        });
        let (checked, upload) = checked.await.map_err(io::Error::other)??;
        let manifests: Vec<_> = checked.bundle.images.iter().map(BundleImage::manifest).collect();
        self.keeps_quorums(&checked, known_targets).await?;
        if let Some(release) = self.same(&manifests).await? {
            let Checked { metadata: mut newer, root, .. } = self.logged(checked).await?;
            newer.retain(|file| file.role == "root" || known_targets.is_none_or(|known| file.version > known));
            let mut metadata = self.0.metadata.lock().await;
            let paused = self.0.store.publish_release_metadata(&newer).await.map_err(ChangeError::from)?;
            let is_newer_root = self.publish(&mut metadata, newer, &root);
            return Ok(Accepted { release, is_known: true, is_newer_root, paused });
        }
        let found = checked.report.targets_version;
        if let Some(known) = known_targets.filter(|known| found <= *known) {
            return Err(UploadError::Older { what: "targets", found, known });
        }
        let (product, version) = (checked.report.product.clone(), checked.report.version);
        if self.0.store.has_release(&product, version).await.map_err(ChangeError::from)? {
            return Err(ChangeError::from(Rule::ReleaseVersionTaken).into());
        }
        let store = self.0.store.clone();
        let kept = tokio::task::spawn_blocking(move || {
            keep_images(&store, &checked.bundle, &upload)?;
            Ok::<_, io::Error>(checked)
        });
        let checked = self.logged(kept.await.map_err(io::Error::other)??).await?;
        let new = new_release(&checked, uploader);
        let mut metadata = self.0.metadata.lock().await;
        let (release, paused) = self.0.store.create_release(&new, &checked.metadata).await?;
        let is_newer_root = self.publish(&mut metadata, checked.metadata, &checked.root);
        Ok(Accepted { release, is_known: false, is_newer_root, paused })
    }

    /// Refuses newer targets that leave out the quorum of an owner that the targets in force name.
    async fn keeps_quorums(&self, checked: &Checked, known: Option<u64>) -> Result<(), UploadError> {
        if known.is_none_or(|known| checked.report.targets_version <= known) {
            return Ok(());
        }
        let metadata = self.0.metadata.lock().await;
        let before = owners_with_quorum(metadata.targets().unwrap_or_default())?;
        let after = owners_with_quorum(&checked.bundle.targets)?;
        match before.difference(&after).next() {
            Some(owner) => Err(UploadError::EndsQuorum(owner.clone())),
            None => Ok(()),
        }
    }

    /// The release that has exactly these manifests, if there is one: they name every byte of it.
    async fn same(&self, manifests: &[&Manifest]) -> Result<Option<Release>, ChangeError> {
        let images: BTreeSet<_> = manifests.iter().map(|manifest| manifest.hash().0).collect();
        let Some(first) = images.first() else { return Ok(None) };
        let known = self.0.store.release_of_image(first).await?;
        Ok(known.filter(|known| known.images.iter().map(|image| image.image).collect::<BTreeSet<_>>() == images))
    }

    /// Enters the manifests into the transparency log, under the key of the root that is about to be in force.
    async fn logged(&self, checked: Checked) -> Result<Checked, UploadError> {
        let inner = Arc::clone(&self.0);
        let logged = tokio::task::spawn_blocking(move || {
            let manifests: Vec<_> = checked.bundle.images.iter().map(BundleImage::manifest).collect();
            let keys = inner.keys.named_by(&checked.root).ok_or(UploadError::OtherServer)?;
            inner.log.append(&manifests, &keys.log)?;
            Ok::<_, UploadError>(checked)
        });
        logged.await.map_err(io::Error::other)?
    }
}

fn check(inner: &Inner, file: File, known_roots: &[Vec<u8>]) -> Result<Checked, UploadError> {
    let first = known_roots.first().map(Vec::as_slice);
    let (bundle, report) = verify_bundle(&mut BufReader::with_capacity(COPY, file), first)?;
    let mut metadata = Vec::new();
    for (at, root) in bundle.roots.iter().enumerate() {
        let content = RootContent::from_file(root)?;
        if known_roots.get(at).is_some_and(|known| known != root) {
            return Err(UploadError::OtherRoot(content.version));
        }
        let (version, file) = (content.version, root.clone());
        metadata.push(MetadataFile { role: "root".to_owned(), version, expires: 0, file });
    }
    if bundle.roots.len() < known_roots.len() {
        let (found, known) = (bundle.roots.len() as u64, known_roots.len() as u64);
        return Err(UploadError::Older { what: "roots", found, known });
    }
    let newest = bundle.roots.last().map(Vec::as_slice).unwrap_or_default();
    let newest = RootContent::from_file(newest)?;
    let keys = inner.keys.named_by(&newest).ok_or(UploadError::OtherServer)?;
    if !server_approves(&bundle.targets, keys.apps.public())? {
        return Err(UploadError::OtherAppsKey);
    }
    if !names_tls_roots(&newest, &inner.tls_roots) {
        return Err(UploadError::OtherTlsRoots);
    }
    let (version, file) = (report.targets_version, bundle.targets.clone());
    metadata.push(MetadataFile { role: "targets".to_owned(), version, expires: 0, file });
    for image in &bundle.images {
        let opened = inner.keys.open_content_key(&image.content_key, image.manifest().hash());
        opened.map_err(|error| UploadError::ContentKey { models: image.manifest().models.join(", "), error })?;
    }
    Ok(Checked { bundle, report, metadata, root: newest })
}

/// Copies each encrypted image into its file.
fn keep_images(store: &Store, bundle: &Bundle, upload: &NewOsImage) -> io::Result<()> {
    let mut from = upload.open()?;
    let mut buffer = vec![0; COPY];
    for (at, image) in bundle.images.iter().enumerate() {
        let (begin, mut left) = bundle.place(at).ok_or(io::ErrorKind::UnexpectedEof)?;
        from.seek(SeekFrom::Start(begin))?;
        let mut file = store.new_os_image()?;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(COPY).min(COPY);
            let part = buffer.get_mut(..part).unwrap_or_default();
            from.read_exact(part)?;
            file.write(part)?;
            left -= part.len() as u64;
        }
        file.keep(&image.manifest().hash().0)?;
    }
    Ok(())
}

fn new_release(checked: &Checked, uploader: AccountId) -> NewRelease {
    let Checked { bundle, report, .. } = checked;
    let image = |image: &BundleImage| {
        let manifest = image.manifest();
        NewReleaseImage {
            shown: ReleaseImage {
                image: manifest.hash().0,
                models: manifest.models.clone(),
                len: u32::try_from(manifest.sealed.length).unwrap_or(u32::MAX),
            },
            manifest: image.signed_manifest.clone(),
            sealed_key: image.content_key.clone(),
        }
    };
    NewRelease {
        product: report.product.clone(),
        version: report.version,
        security_epoch: bundle.images.first().map_or(0, |image| image.manifest().security_epoch),
        uploader,
        images: bundle.images.iter().map(image).collect(),
    }
}

impl From<BundleError> for UploadError {
    fn from(error: BundleError) -> Self {
        Self::Refused(error.into())
    }
}
