//! The root metadata that a device has seen, from the factory's on: the newest says which TLS roots the server must come from.

use keys::cbor;
use minicbor::bytes::ByteVec;
use release::anchors::{Anchors, Layers};
use release::floors::{BelowFloor, Floors};
use release::root::{RootChain, RootContent, RootError};
use vault::Record;

use super::{BootFolder, BootFolderError, put};
use crate::storage::Disk;

/// Roots of which each is signed by enough of the custodians of the one before it, and of its own.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    files: Vec<ByteVec>,
    newest: RootContent,
}

/// Why root metadata that came is not believed.
#[derive(Debug, thiserror::Error)]
pub enum RootRefused {
    /// Signatures, versions, form.
    #[error("root metadata refused: {0}")]
    Chain(#[from] RootError),
    /// Nothing that is newer.
    #[error("root metadata refused: none of it is newer than version {0}, which this device has seen")]
    NotNewer(u64),
    /// Older than what the device has verified with an OS image.
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
    /// The device demands no custodians.
    #[error("this device believes the release key alone; nobody changes its TLS roots")]
    NoQuorum,
    /// The records.
    #[error(transparent)]
    Boot(#[from] BootFolderError),
}

impl Roots {
    /// The first one, which is believed.
    pub(super) fn from_factory(root: &[u8]) -> Result<Roots, RootError> {
        Ok(Roots { files: vec![root.to_vec().into()], newest: RootContent::from_file(root)? })
    }

    /// Out of their record, which nobody else can write.
    pub(super) fn from_record(bytes: &[u8]) -> Result<Roots, BootFolderError> {
        let form = || BootFolderError::Form(Record::ReleaseRoots);
        let files: Vec<ByteVec> = cbor::decode(bytes).map_err(|_| form())?;
        let newest = RootContent::from_file(files.last().ok_or_else(form)?).map_err(|_| form())?;
        Ok(Roots { files, newest })
    }

    pub(super) fn to_record(&self) -> Vec<u8> {
        cbor::encode(&self.files)
    }

    /// With those of `newer` that are newer than these. Bytes tell no roots apart: spaces, and the order and number of signatures, are
    /// signed by nobody.
    pub(super) fn followed_by(&self, newer: &[ByteVec]) -> Result<Roots, RootError> {
        let versions = newer.iter().map(|file| Ok((RootContent::from_file(file)?.version, file)));
        let versions = versions.collect::<Result<Vec<_>, RootError>>()?;
        let newer = versions.into_iter().filter(|(version, _)| *version > self.newest.version);
        let newer: Vec<_> = newer.map(|(_, file)| file.clone()).collect();
        let last = self.files.last().into_iter().chain(&newer);
        let chain = RootChain::follow(last.map(|file| file.as_slice()))?;
        Ok(Roots { files: [&self.files[..], &newer].concat(), newest: chain.content })
    }

    /// The newest.
    pub(super) fn newest(&self) -> (&RootContent, &[u8]) {
        (&self.newest, self.files.last().map(|file| file.as_slice()).unwrap_or_default())
    }
}

impl Roots {
    /// Whether one of them says this.
    pub(super) fn hold(&self, content: &RootContent) -> bool {
        self.files.iter().any(|file| RootContent::from_file(file).as_ref() == Ok(content))
    }
}

impl<D: Disk + Clone> BootFolder<D> {
    /// The newest root metadata that this device has seen; none where the anchors demand no custodians.
    pub fn newest_root(&self) -> Option<(&RootContent, &[u8])> {
        self.roots.as_ref().map(Roots::newest)
    }

    /// Whether the anchors in force have come from these: product, model and demands are the same, and each root and release key since was
    /// signed by the custodians of the root before it.
    ///
    /// # Errors
    /// [`BootFolderError::NotTheFactorys`].
    pub fn descends_from(&self, factory: &Anchors) -> Result<(), BootFolderError> {
        let not = |why| Err(BootFolderError::NotTheFactorys(why));
        let (first, roots) = match (factory.layers(), &self.roots) {
            (Layers::DangerL1Only, None) if self.anchors == *factory && self.next_anchors.is_none() => return Ok(()),
            (Layers::Quorum { root }, Some(roots)) => (root, roots),
            _ => return not("they demand other signatures, or believe other keys"),
        };
        if roots.files.first().is_none_or(|file| file.as_slice() != first.as_slice()) {
            return not("their root metadata begin with another root");
        }
        if RootChain::follow(roots.files.iter().map(|file| file.as_slice())).is_err() {
            return not("one of their roots is not signed by enough of the custodians of the one before it");
        }
        for anchors in [Some(&self.anchors), self.next_anchors.as_ref()].into_iter().flatten() {
            let Layers::Quorum { root } = anchors.layers() else { return not("they demand no custodians") };
            let content = RootContent::from_file(root).ok().filter(|content| roots.hold(content));
            let is_named = content.is_some_and(|content| content.release_keys == anchors.release_keys());
            if (anchors.product(), anchors.model()) != (factory.product(), factory.model()) {
                return not("they are of another product or model");
            }
            if !is_named && anchors != factory {
                return not("they believe release keys that none of their roots names");
            }
        }
        Ok(())
    }

    /// Takes newer roots that the custodians signed, without an image: from then on, nothing older is believed, and the server must come from
    /// the TLS roots that the newest names. Which release keys count changes with an image only.
    ///
    /// # Errors
    /// [`RootRefused`]; nothing has changed then.
    pub fn learn_roots(&mut self, newer: &[ByteVec]) -> Result<(), RootRefused> {
        let known = self.roots.as_ref().ok_or(RootRefused::NoQuorum)?;
        let learned = known.followed_by(newer)?;
        let (before, now) = (known.newest.version, learned.newest.version);
        if now <= before {
            return Err(RootRefused::NotNewer(before));
        }
        let metadata = self.floors.metadata.under(&learned.newest)?;
        let floors = Floors { metadata, ..self.floors };
        let (roots, floors_bytes) = (learned.to_record(), floors.to_cbor());
        let changes = [put(Record::ReleaseRoots, &roots), put(Record::BootFloors, &floors_bytes)];
        self.records.write(&changes).map_err(BootFolderError::from)?;
        (self.roots, self.floors) = (Some(learned), floors);
        Ok(())
    }
}
