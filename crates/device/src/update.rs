//! OS updates as the device process sees them: what is offered is fetched into the staging folder, and judged by its parent.
//!
//! Nothing that comes is believed here. A download goes on where it was with the next session, and with the next start where it
//! was last made durable: every MiB.

use std::io;
use std::path::Path;

use keys::cbor;
use protocol::os::{OsRef, OsState, Trust};
use protocol::reason::OsTrouble;
use vault::Storage as _;

use crate::booted::Booted;
use crate::folder::{BOOT_FOLDER, STAGED_IMAGE, STAGED_PROGRESS, STAGED_ROOTS, STAGED_TRUST, STAGING_FOLDER};
use crate::limits::Limits;
use crate::storage::{Disk as _, DurableFiles, FolderDisk};

/// After so many bytes the server hears how far a download is, and the next start goes on from there.
const TOLD_BYTES: u32 = 1024 * 1024;
/// The bytes of the file that says how much of which image is there: its name, and a length in big endian.
const PROGRESS_BYTES: usize = 32 + 4;

/// The image that is being fetched, and what is known of others.
#[derive(Debug)]
pub(crate) struct Update {
    disk: DurableFiles<FolderDisk>,
    wanted: Option<Wanted>,
    /// What was said of an image that is not installed; it is not fetched again before the next start.
    refused: Option<([u8; 32], OsState)>,
    trust_roots: usize,
}

#[derive(Debug)]
struct Wanted {
    os: OsRef,
    received: u32,
    told: u32,
    proving: Proving,
}

/// What proves an image or an app, as it comes: roots that do not fit into one answer come alone, in several.
#[derive(Debug)]
pub(crate) struct Proving {
    /// The root metadata beyond which it must be proved; none where the release key's signature is enough.
    root_version: Option<u64>,
    trust: Trust,
    is_complete: bool,
}

/// More new roots than one update may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has more than {0} new roots of release metadata, which is more than one update may bring")]
pub(crate) struct TooManyRoots(pub(crate) usize);

/// What is to be done about an offer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Say this; nothing is fetched.
    Say(OsState),
    /// Fetch from this byte on.
    Fetch(u32),
    /// All is there.
    Complete(Missing),
}

/// What is to be done after a piece has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing.
    Nothing,
    /// Say this.
    Say(OsState),
    /// All is there.
    Complete(Missing),
}

/// What an image that is complete still lacks; its metadata comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// What proves it, beyond the root metadata of this version.
    Trust(u64),
    /// Its content key.
    Key,
}

impl Update {
    /// The updates of the device in a folder.
    pub(crate) fn new(dir: &Path, limits: &Limits) -> Update {
        let disk = DurableFiles(FolderDisk::new(&dir.join(BOOT_FOLDER).join(STAGING_FOLDER)));
        Update { disk, wanted: None, refused: None, trust_roots: limits.trust_roots }
    }

    /// The server wants this image on the device that has booted `booted`.
    pub(crate) fn offered(&mut self, os: OsRef, booted: Option<&Booted>, diskless: bool) -> Offered {
        let refused = |text: &str| Offered::Say(OsState::refused(OsTrouble::Other, text));
        let Some(booted) = booted else { return refused("this device runs without a verified boot") };
        if diskless {
            return refused("this device is diskless: what it boots is changed where it is provisioned");
        }
        if *booted.manifest_sha256 == os.image {
            return Offered::Say(if booted.trying { OsState::Trying } else { OsState::Confirmed });
        }
        if let Some(given_up) = booted.given_up.as_ref().filter(|given_up| *given_up.manifest_sha256 == os.image) {
            return Offered::Say(OsState::fell_back(OsTrouble::Other, given_up.why.clone()));
        }
        if let Some((_, said)) = self.refused.as_ref().filter(|(image, _)| *image == os.image) {
            return Offered::Say(said.clone());
        }
        let received = match &self.wanted {
            Some(wanted) if wanted.os == os => Ok(wanted.received),
            _ => self.begin(&os),
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => return Offered::Say(OsState::refused(OsTrouble::NoRoom, error.to_string())),
        };
        let is_complete = received == os.len;
        let proving = Proving::beyond(booted.root_version);
        let missing = proving.missing();
        let wanted = Wanted { os, received, told: received, proving };
        self.wanted = Some(wanted);
        if is_complete { Offered::Complete(missing) } else { Offered::Fetch(received) }
    }

    /// The server wants no image any more.
    pub(crate) fn removed(&mut self) {
        self.wanted = None;
    }

    /// A piece has come.
    pub(crate) fn take(&mut self, image: [u8; 32], offset: u32, data: &[u8]) -> Taken {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.os.image == image) else {
            return Taken::Nothing;
        };
        let received = u32::try_from(data.len()).ok().and_then(|length| offset.checked_add(length));
        let Some(received) = received.filter(|received| offset == wanted.received && *received <= wanted.os.len) else {
            return Taken::Nothing;
        };
        let is_last = received == wanted.os.len;
        let is_told = is_last || received - wanted.told >= TOLD_BYTES;
        if let Err(error) = write(&mut self.disk, image, offset, data, is_told.then_some(received)) {
            return Taken::Say(self.refuse(image, OsTrouble::NoRoom, error.to_string()));
        }
        wanted.received = received;
        if is_last {
            return Taken::Complete(wanted.proving.missing());
        }
        if !is_told {
            return Taken::Nothing;
        }
        wanted.told = received;
        Taken::Say(OsState::Downloading { received })
    }

    /// What proves the image has come, or more roots of it; what it still lacks. `Err` is to be said.
    pub(crate) fn proved(&mut self, image: [u8; 32], trust: Trust) -> Result<Option<Missing>, OsState> {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.is_complete(image)) else { return Ok(None) };
        if let Err(error) = wanted.proving.take(trust, self.trust_roots) {
            return Err(self.refuse(image, OsTrouble::Stale, error.to_string()));
        }
        let missing = wanted.proving.missing();
        if missing == Missing::Key
            && let Err(error) = stage(&mut self.disk.0, STAGED_TRUST, &wanted.proving.trust)
        {
            return Err(self.refuse(image, OsTrouble::NoRoom, error.to_string()));
        }
        Ok(Some(missing))
    }

    /// The signed manifest of the image that is complete, to be judged.
    pub(crate) fn complete(&self, image: [u8; 32]) -> Option<Vec<u8>> {
        self.wanted.as_ref().filter(|wanted| wanted.is_complete(image)).map(|wanted| wanted.os.manifest.clone())
    }

    /// The image is not installed; what is said of it from now on. The next start fetches it from its beginning.
    pub(crate) fn refuse(&mut self, image: [u8; 32], trouble: OsTrouble, text: String) -> OsState {
        let said = OsState::refused(trouble, text);
        self.wanted = None;
        self.refused = Some((image, said.clone()));
        // What cannot be written now leaves a download that is refused once more.
        let _ = self.disk.replace(STAGED_PROGRESS, &[]);
        said
    }

    /// Lays down newer root metadata, for the parent alone to judge.
    pub(crate) fn stage_roots(&mut self, trust: &Trust) -> io::Result<()> {
        stage(&mut self.disk.0, STAGED_ROOTS, trust)
    }

    /// How many bytes of this image are there for sure; those of another one are given up for it.
    fn begin(&mut self, os: &OsRef) -> io::Result<u32> {
        let progress = self.disk.read(STAGED_PROGRESS, PROGRESS_BYTES)?.unwrap_or_default();
        if let Some((name, length)) = progress.split_first_chunk::<32>()
            && *name == os.image
            && let Ok(length) = length.try_into()
            && let Some(file) = self.disk.0.look(STAGED_IMAGE)?
        {
            let there = u32::try_from(file.metadata()?.len()).unwrap_or(u32::MAX);
            return Ok(u32::from_be_bytes(length).min(there).min(os.len));
        }
        self.disk.replace(STAGED_PROGRESS, &[])?;
        self.disk.0.create(STAGED_IMAGE)?;
        Ok(0)
    }
}

impl Wanted {
    fn is_complete(&self, image: [u8; 32]) -> bool {
        self.os.image == image && self.received == self.os.len
    }
}

impl Proving {
    /// Of something that must be proved beyond the root metadata of this version, or that need not be.
    pub(crate) fn beyond(root_version: Option<u64>) -> Proving {
        Proving { root_version, trust: Trust::default(), is_complete: false }
    }

    /// What is to be asked for next.
    pub(crate) fn missing(&self) -> Missing {
        let roots = self.trust.roots.len() as u64;
        match self.root_version.filter(|_| !self.is_complete) {
            Some(version) => Missing::Trust(version.saturating_add(roots)),
            None => Missing::Key,
        }
    }

    /// Takes an answer, of at most so many roots together.
    pub(crate) fn take(&mut self, trust: Trust, most_roots: usize) -> Result<(), TooManyRoots> {
        let mut roots = std::mem::take(&mut self.trust.roots);
        self.is_complete = trust.timestamp.is_some() || trust.roots.is_empty();
        roots.extend(trust.roots.iter().cloned());
        self.trust = Trust { roots, ..trust };
        if self.trust.roots.len() > most_roots { Err(TooManyRoots(most_roots)) } else { Ok(()) }
    }

    /// All that came.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }
}

/// Writes a piece; with `durable` what is there up to then lasts.
fn write(
    disk: &mut DurableFiles<FolderDisk>,
    image: [u8; 32],
    offset: u32,
    data: &[u8],
    durable: Option<u32>,
) -> io::Result<()> {
    let mut file = disk.0.open(STAGED_IMAGE)?;
    disk.0.write_at(&mut file, offset.into(), data)?;
    let Some(received) = durable else { return Ok(()) };
    disk.0.sync(&file)?;
    disk.replace(STAGED_PROGRESS, &[&image[..], &received.to_be_bytes()].concat())
}

/// Lays down what proves something, for the parent alone to judge.
fn stage(disk: &mut FolderDisk, name: &str, trust: &Trust) -> io::Result<()> {
    let mut file = disk.create(name)?;
    disk.write_at(&mut file, 0, &cbor::encode(trust))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booted::GivenUp;
    use crate::limits::LIMITS;
    use minicbor::bytes::ByteVec;
    use protocol::eat::DemandedLayers;

    fn booted() -> Booted {
        Booted {
            manifest_sha256: [1; 32].into(),
            version: "1.0.0".parse().unwrap(),
            security_epoch: 0,
            layers: DemandedLayers::DangerL1Only,
            danger_unlocked_memory: false,
            trying: false,
            fell_back: None,
            given_up: Some(GivenUp { manifest_sha256: [2; 32].into(), why: "it crashed".into() }),
            root_version: None,
            pinned: false,
        }
    }

    fn offer(image: u8) -> OsRef {
        OsRef { image: [image; 32], len: 6, manifest: vec![image] }
    }

    fn update() -> (tempfile::TempDir, Update) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER)).unwrap();
        let update = Update::new(dir.path(), &LIMITS);
        (dir, update)
    }

    #[test]
    fn what_runs_was_given_up_or_was_refused_is_not_fetched_again() {
        let (_dir, mut update) = update();
        let mut running = booted();
        assert_eq!(update.offered(offer(1), Some(&running), false), Offered::Say(OsState::Confirmed));
        running.trying = true;
        assert_eq!(update.offered(offer(1), Some(&running), false), Offered::Say(OsState::Trying));
        let given_up = update.offered(offer(2), Some(&running), false);
        assert!(matches!(given_up, Offered::Say(OsState::FellBack { text, .. }) if text == "it crashed"));
        assert_eq!(update.offered(offer(3), Some(&running), false), Offered::Fetch(0));
        let said = update.refuse([3; 32], OsTrouble::BadSignature, "no".into());
        assert_eq!(update.offered(offer(3), Some(&running), false), Offered::Say(said));
        for (booted, diskless) in [(None, false), (Some(&running), true)] {
            let said = update.offered(offer(4), booted, diskless);
            assert!(matches!(said, Offered::Say(OsState::Refused { .. })), "{said:?}");
        }
    }

    #[test]
    fn pieces_are_written_in_order_and_a_download_goes_on_where_it_was() {
        let (dir, mut update) = update();
        assert_eq!(update.offered(offer(3), Some(&booted()), false), Offered::Fetch(0));
        assert_eq!(update.take([3; 32], 0, b"abc"), Taken::Nothing);
        assert_eq!(update.take([3; 32], 0, b"xyz"), Taken::Nothing, "not the next one");
        assert_eq!(update.take([4; 32], 3, b"xyz"), Taken::Nothing, "another image's");
        assert_eq!(update.take([3; 32], 3, b"toolong"), Taken::Nothing);
        assert_eq!(update.complete([3; 32]), None);
        assert_eq!(update.offered(offer(3), Some(&booted()), false), Offered::Fetch(3));
        assert_eq!(update.take([3; 32], 3, b"def"), Taken::Complete(Missing::Key));
        assert_eq!(update.complete([3; 32]), Some(vec![3]));
        let offered = update.offered(offer(3), Some(&booted()), false);
        assert_eq!(offered, Offered::Complete(Missing::Key), "all of it is there");
        let staged = dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER).join(STAGED_IMAGE);
        assert_eq!(std::fs::read(staged).unwrap(), b"abcdef");
        assert_eq!(update.offered(offer(5), Some(&booted()), false), Offered::Fetch(0), "another one begins anew");
    }

    fn pieces(update: &mut Update, image: u8, from: u32, to: u32) -> Taken {
        let mut taken = Taken::Nothing;
        for offset in (from..to).step_by(64 * 1024) {
            let length = (to - offset).min(64 * 1024) as usize;
            taken = update.take([image; 32], offset, &vec![image; length]);
        }
        taken
    }

    #[test]
    fn a_download_goes_on_after_a_restart_from_where_it_was_durable() {
        let (dir, mut update) = update();
        let len = 2 * TOLD_BYTES + 7;
        let os = |image| OsRef { len, ..offer(image) };
        let restart = || Update::new(dir.path(), &LIMITS);
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Fetch(0));
        let taken = pieces(&mut update, 3, 0, TOLD_BYTES);
        assert_eq!(taken, Taken::Say(OsState::Downloading { received: TOLD_BYTES }));
        pieces(&mut update, 3, TOLD_BYTES, TOLD_BYTES + 100);
        let mut update = restart();
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Fetch(TOLD_BYTES));
        assert_eq!(pieces(&mut update, 3, TOLD_BYTES, len), Taken::Complete(Missing::Key));
        let mut update = restart();
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Complete(Missing::Key));
        let staged = dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER).join(STAGED_IMAGE);
        assert_eq!(std::fs::read(&staged).unwrap(), vec![3; len as usize]);
        // A file that lost its end, what was refused, and another image.
        std::fs::File::options().write(true).open(&staged).unwrap().set_len(5).unwrap();
        let mut update = restart();
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Fetch(5));
        update.refuse([3; 32], OsTrouble::Damaged, "no".into());
        let mut update = restart();
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Fetch(0));
        pieces(&mut update, 3, 0, TOLD_BYTES);
        let mut update = restart();
        assert_eq!(update.offered(os(4), Some(&booted()), false), Offered::Fetch(0));
        let mut update = restart();
        assert_eq!(update.offered(os(3), Some(&booted()), false), Offered::Fetch(0), "it was given up for the other");
    }

    #[test]
    fn what_proves_an_image_is_asked_for_before_its_key_and_handed_over_whole() {
        let (dir, mut update) = update();
        let booted = Booted { root_version: Some(2), ..booted() };
        update.offered(offer(3), Some(&booted), false);
        let roots = |count| vec![ByteVec::from(vec![7]); count];
        let alone = |count| Trust { roots: roots(count), ..Trust::default() };
        assert_eq!(update.proved([3; 32], alone(1)), Ok(None), "it is not complete yet");
        assert_eq!(update.take([3; 32], 0, b"abcdef"), Taken::Complete(Missing::Trust(2)));
        assert_eq!(update.proved([4; 32], alone(1)), Ok(None), "another image's");
        assert_eq!(update.proved([3; 32], alone(16)), Ok(Some(Missing::Trust(18))));
        let last = Trust { timestamp: Some(vec![1].into()), ..alone(LIMITS.trust_roots - 16) };
        assert_eq!(update.proved([3; 32], last.clone()), Ok(Some(Missing::Key)));
        let staged = dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER).join(STAGED_TRUST);
        let handed: Trust = cbor::decode(&std::fs::read(&staged).unwrap()).unwrap();
        assert_eq!(handed, Trust { roots: roots(LIMITS.trust_roots), ..last });

        let offered = update.offered(offer(3), Some(&booted), false);
        assert_eq!(offered, Offered::Complete(Missing::Trust(2)), "asked anew in the next session");
        update.proved([3; 32], alone(LIMITS.trust_roots)).unwrap();
        assert!(matches!(update.proved([3; 32], alone(1)), Err(OsState::Refused { .. })), "one more than there may be");
    }
}
