//! OS updates as the device process sees them: what is offered is fetched into the staging folder, and judged by its parent.
//!
//! Nothing that comes is believed here. A download goes on with the next session where it was; with the next start it begins
//! again.

use std::io;
use std::path::Path;

use protocol::os::{OsRef, OsState};
use protocol::reason::OsTrouble;

use crate::booted::Booted;
use crate::folder::{BOOT_FOLDER, STAGED_IMAGE, STAGING_FOLDER};
use crate::storage::{Disk as _, FolderDisk};

/// After so many bytes the server hears how far a download is.
const TOLD_BYTES: u32 = 1024 * 1024;

/// The image that is being fetched, and what is known of others.
#[derive(Debug)]
pub(crate) struct Update {
    disk: FolderDisk,
    wanted: Option<Wanted>,
    /// What was said of an image that is not installed; it is not fetched again before the next start.
    refused: Option<([u8; 32], OsState)>,
}

#[derive(Debug)]
struct Wanted {
    os: OsRef,
    received: u32,
    told: u32,
}

/// What is to be done about an offer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Say this; nothing is fetched.
    Say(OsState),
    /// Fetch from this byte on.
    Fetch(u32),
}

/// What is to be done after a piece has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing.
    Nothing,
    /// Say this.
    Say(OsState),
    /// All is there: ask for the key.
    Complete,
}

impl Update {
    /// The updates of the device in a folder.
    pub(crate) fn new(dir: &Path) -> Update {
        Update { disk: FolderDisk::new(&dir.join(BOOT_FOLDER).join(STAGING_FOLDER)), wanted: None, refused: None }
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
            Some(wanted) if wanted.os == os && wanted.received < os.len => wanted.received,
            _ => 0,
        };
        if received == 0
            && let Err(error) = self.disk.create(STAGED_IMAGE)
        {
            return Offered::Say(OsState::refused(OsTrouble::NoRoom, error.to_string()));
        }
        self.wanted = Some(Wanted { os, received, told: received });
        Offered::Fetch(received)
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
        if let Err(error) = write(&mut self.disk, offset, data, is_last) {
            return Taken::Say(self.refuse(image, OsTrouble::NoRoom, error.to_string()));
        }
        wanted.received = received;
        if is_last {
            return Taken::Complete;
        }
        if received - wanted.told < TOLD_BYTES {
            return Taken::Nothing;
        }
        wanted.told = received;
        Taken::Say(OsState::Downloading { received })
    }

    /// The signed manifest of the image that is complete, to be judged.
    pub(crate) fn complete(&self, image: [u8; 32]) -> Option<Vec<u8>> {
        let wanted = self.wanted.as_ref()?;
        (wanted.os.image == image && wanted.received == wanted.os.len).then(|| wanted.os.manifest.clone())
    }

    /// The image is not installed; what is said of it from now on.
    pub(crate) fn refuse(&mut self, image: [u8; 32], trouble: OsTrouble, text: String) -> OsState {
        let said = OsState::refused(trouble, text);
        self.wanted = None;
        self.refused = Some((image, said.clone()));
        said
    }
}

fn write(disk: &mut FolderDisk, offset: u32, data: &[u8], is_last: bool) -> io::Result<()> {
    let mut file = disk.open(STAGED_IMAGE)?;
    disk.write_at(&mut file, offset.into(), data)?;
    if is_last { disk.sync(&file) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::booted::GivenUp;
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
        }
    }

    fn offer(image: u8) -> OsRef {
        OsRef { image: [image; 32], len: 6, manifest: vec![image] }
    }

    fn update() -> (tempfile::TempDir, Update) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER)).unwrap();
        let update = Update::new(dir.path());
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
        assert_eq!(update.take([3; 32], 3, b"def"), Taken::Complete);
        assert_eq!(update.complete([3; 32]), Some(vec![3]));
        let staged = dir.path().join(BOOT_FOLDER).join(STAGING_FOLDER).join(STAGED_IMAGE);
        assert_eq!(std::fs::read(staged).unwrap(), b"abcdef");
        assert_eq!(update.offered(offer(5), Some(&booted()), false), Offered::Fetch(0), "another one begins anew");
    }
}
