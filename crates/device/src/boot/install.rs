//! From an encrypted image into a slot: every layer of signatures, every byte, and only then the control record.

use std::io::{self, Read};

use keys::chunks::ContentKey;
use keys::hashes::{random, sha256};
use keys::purpose::KeyPurpose;
use keys::storage::{PurposeKey, StorageRoot};
use protocol::reason::OsTrouble;
use release::anchors::{AdmissionError, Anchors, AnchorsError, Layers};
use release::assignment::AssignmentError;
use release::floors::Floors;
use release::image::{ImageChecker, ImageError, ProgramChecker};
use release::l1::L1Error;
use release::manifest::{Manifest, ManifestHash};
use release::tuf::{TooMany, TufError};
use vault::{Record, Vault, VaultError, VaultKeys};

use super::control::{Content, Control, Installing, Slot};
use super::judge::{Judged, Proof, judge};
use super::roots::Roots;
use super::slot::{SlotError, SlotReader, SlotWriter};
use super::{BootFolder, BootFolderError, put};
use crate::limits::Limits;
use crate::storage::{Disk, DurableFiles};

/// How many bytes of an encrypted image are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// An encrypted image and what goes with it. Nothing of it is believed yet.
#[derive(Debug)]
pub struct Source<'a, R> {
    /// The signed manifest (COSE_Sign1).
    pub manifest: &'a [u8],
    /// What proves it beyond that signature, where more is demanded.
    pub proof: Option<Proof<'a>>,
    /// The encrypted image: header and chunks.
    pub image: R,
    /// How many bytes that has.
    pub length: u64,
    /// The key that the image is encrypted with.
    pub content_key: &'a ContentKey,
}

/// Why an image is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A layer of signatures, product, model, or a floor.
    #[error(transparent)]
    Manifest(#[from] L1Error),
    /// A layer beside the release key's signature.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The custodians' metadata and the server's: signatures, dates, versions, approval, log.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// More metadata than may come together, or longer.
    #[error(transparent)]
    TooMuch(#[from] TooMany),
    /// The root in force is none for this device.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// There is no assignment.
    #[error("the server has not assigned this OS image to this device")]
    NotAssigned,
    /// The assignment.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// The image's bytes.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be read.
    #[error("the OS image cannot be read: {0}")]
    Read(io::Error),
    /// The slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The records.
    #[error(transparent)]
    Boot(#[from] BootFolderError),
    /// The same image runs already, or waits to be tried.
    #[error("OS version {0} is installed already")]
    Already(release::version::OsVersion),
    /// An image that was installed now is still to prove itself.
    #[error("the image that runs is on trial; another one is installed only after it has proved itself")]
    OnTrial,
}

impl InstallError {
    /// The same as a server counts it.
    pub(crate) fn trouble(&self) -> OsTrouble {
        match self {
            InstallError::Manifest(L1Error::Signature(_) | L1Error::Manifest(_)) => OsTrouble::BadSignature,
            InstallError::Manifest(L1Error::Product { .. } | L1Error::Model { .. }) => OsTrouble::OtherModel,
            InstallError::Manifest(L1Error::BelowFloor(_)) | InstallError::Metadata(TufError::BelowFloor(_)) => {
                OsTrouble::Rollback
            }
            InstallError::Admission(AdmissionError::NotLogged) | InstallError::Metadata(TufError::Log(_)) => {
                OsTrouble::NotLogged
            }
            InstallError::Metadata(error) if error.is_expired() => OsTrouble::Stale,
            InstallError::Assignment(AssignmentError::Expired) => OsTrouble::Stale,
            InstallError::NotAssigned | InstallError::Assignment(_) => OsTrouble::NotAssigned,
            InstallError::Admission(_)
            | InstallError::Boot(BootFolderError::Roots(_))
            | InstallError::Metadata(_)
            | InstallError::Anchors(_)
            | InstallError::TooMuch(_) => OsTrouble::NoQuorum,
            InstallError::Image(_) => OsTrouble::Damaged,
            InstallError::Read(_) | InstallError::Slot(_) | InstallError::Boot(_) => OsTrouble::NoRoom,
            InstallError::Already(_) | InstallError::OnTrial => OsTrouble::Other,
        }
    }
}

impl<D: Disk + Clone> BootFolder<D> {
    /// Makes the boot folder of a new device: the factory's anchors, and its image in the first slot.
    ///
    /// # Errors
    /// [`InstallError`]; what was written is then of no use.
    pub fn create(
        mut disk: D,
        root: &StorageRoot,
        anchors: &Anchors,
        source: Source<'_, impl Read>,
        limits: &Limits,
    ) -> Result<(), InstallError> {
        let mut floors = Floors::NONE;
        let judged = judge(anchors, &mut floors, source.manifest, source.proof.as_ref())?;
        let floors = floors.raise(&judged.manifest).to_cbor();
        let content = content_of(&judged.manifest, source.manifest);
        let slot_key = root.purpose_key(KeyPurpose::BootSlot).map_err(BootFolderError::from)?;
        let target = Target { slot: Slot::A, content: &content, key: &slot_key, from: 0, limits };
        let roots = match anchors.layers() {
            Layers::DangerL1Only => None,
            Layers::Quorum { root } => {
                let newer = source.proof.as_ref().map(|proof| &proof.trust.roots[..]).unwrap_or_default();
                let seen = Roots::from_factory(root).and_then(|factory| factory.followed_by(newer));
                Some(seen.map_err(BootFolderError::from)?.to_record())
            }
        };
        let anchors = judged.anchors.to_cbor();
        target.fill(&mut disk, judged, source, |_| Ok(()))?;
        let control = Control::of_factory(content).encode();
        let mut first =
            vec![put(Record::Anchors, &anchors), put(Record::Control, &control), put(Record::BootFloors, &floors)];
        first.extend(roots.as_ref().map(|roots| put(Record::ReleaseRoots, roots)));
        let keys = VaultKeys::derive_boot(root).map_err(BootFolderError::from)?;
        Vault::create(DurableFiles(disk), keys, 0, &first).map_err(BootFolderError::from)?;
        Ok(())
    }

    /// Installs an image into the slot that is not active, and has it tried at the next start. After a power cut the same
    /// call goes on where it was. Returns the hash of the image's manifest. `floors` are those that the device's vault holds; what newer
    /// metadata says counts from now on also when the image is refused.
    ///
    /// # Errors
    /// [`InstallError`]; the active image is not touched.
    pub fn install(&mut self, floors: &Floors, source: Source<'_, impl Read>) -> Result<ManifestHash, InstallError> {
        if self.control.is_trying() {
            return Err(InstallError::OnTrial);
        }
        let mut raised = self.floors.highest(floors);
        let judged = judge(&self.anchors, &mut raised, source.manifest, source.proof.as_ref());
        self.raise(raised)?;
        // Before the verdict: an image that is refused may have raised the floor of roots, and none below it is believed alone.
        let seen = self.see_roots(source.proof.as_ref());
        let judged = judged?;
        seen?;
        let (active, hash) = (self.control.active, judged.manifest.hash());
        if self.control.slot(active).is_some_and(|installed| *installed.content.manifest == *source.manifest) {
            return Err(InstallError::Already(judged.manifest.version));
        }
        // Where other bytes were written than now, a key must not be used again. Under one content key there are no others.
        let content_key = sha256(source.content_key.expose()).into();
        let is_same =
            |before: &Installing| *before.content.manifest == *source.manifest && before.content_key == content_key;
        let installing = self.control.installing.take().filter(is_same).unwrap_or_else(|| Installing {
            content: content_of(&judged.manifest, source.manifest),
            chunks: 0,
            content_key,
        });
        let (content, from) = (installing.content.clone(), installing.chunks);
        self.control.begin_install(installing);
        self.store(Some(&judged.anchors))?;
        let target =
            Target { slot: active.other(), content: &content, key: &self.slot_key, from, limits: &self.limits };
        let (records, control) = (&mut self.records, &mut self.control);
        let anchors = judged.anchors.clone();
        let filled = target.fill(&mut self.disk, judged, source, |chunks| {
            control.progress(chunks);
            records.write(&[put(Record::Control, &control.encode())])
        });
        if let Err(error) = filled {
            self.control.installing = None;
            self.store(None)?;
            return Err(error);
        }
        self.control.finish_install(self.limits.image_starts);
        self.store(Some(&anchors))?;
        Ok(hash)
    }

    /// Keeps the newer roots that came with an image that was judged by them.
    fn see_roots(&mut self, proof: Option<&Proof<'_>>) -> Result<(), BootFolderError> {
        let Some((roots, proof)) = self.roots.as_ref().zip(proof) else { return Ok(()) };
        let seen = roots.followed_by(&proof.trust.roots)?;
        if seen.newest().0.version > roots.newest().0.version {
            self.records.write(&[put(Record::ReleaseRoots, &seen.to_record())])?;
            self.roots = Some(seen);
        }
        Ok(())
    }
}

/// A new write of a slot.
fn content_of(manifest: &Manifest, signed: &[u8]) -> Content {
    Content { manifest: signed.to_vec().into(), salt: random().into(), length: manifest.plain.length }
}

/// Where an image goes.
struct Target<'a> {
    slot: Slot,
    content: &'a Content,
    key: &'a PurposeKey,
    from: u32,
    limits: &'a Limits,
}

impl Target<'_> {
    /// Fills the slot from its first missing chunk on, tells how many chunks would survive a power cut now and then, and
    /// reads it all back.
    fn fill<D: Disk>(
        &self,
        disk: &mut D,
        judged: Judged,
        source: Source<'_, impl Read>,
        progress: impl FnMut(u32) -> Result<(), VaultError>,
    ) -> Result<(), InstallError> {
        let read_back = ProgramChecker::new(judged.manifest);
        let checker = ImageChecker::new(judged.admission, source.length, source.content_key)?;
        self.write(disk, checker, source.image, progress)?;
        self.read_back(disk, read_back)
    }

    fn write<D: Disk>(
        &self,
        disk: &mut D,
        mut checker: ImageChecker<'_>,
        mut image: impl Read,
        mut progress: impl FnMut(u32) -> Result<(), VaultError>,
    ) -> Result<(), InstallError> {
        let mut writer = SlotWriter::begin(disk, self.slot, self.content, self.key, self.from)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut chunk = Vec::new();
        let mut position = 0;
        loop {
            let length = match image.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(InstallError::Read(error)),
            };
            let mut input = buffer.get(..length).unwrap_or_default();
            while let Some(mut plain) = checker.next_chunk(&mut input)? {
                while let Some((wanted, _)) = writer.shape(position).filter(|_| !plain.is_empty()) {
                    let (head, rest) = plain.split_at((wanted - chunk.len()).min(plain.len()));
                    chunk.extend_from_slice(head);
                    plain = rest;
                    if chunk.len() == wanted {
                        // What a power cut left behind durably is checked again, and not written again.
                        if position >= self.from {
                            writer.write(&mut chunk)?;
                            if writer.position().is_multiple_of(self.limits.slot_progress) {
                                progress(writer.sync()?).map_err(BootFolderError::from)?;
                            }
                        }
                        chunk.clear();
                        position += 1;
                    }
                }
            }
        }
        checker.finish()?;
        writer.sync()?;
        Ok(())
    }

    fn read_back<D: Disk>(&self, disk: &D, mut checker: ProgramChecker) -> Result<(), InstallError> {
        let mut reader = SlotReader::open(disk, self.slot, self.content, self.key)?;
        while let Some(chunk) = reader.next()? {
            checker.update(chunk);
        }
        checker.finish()?;
        Ok(())
    }
}
