//! What a parent does for its child: it answers from the keys, the slots and the interface that it alone holds.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use keys::cbor;
use keys::chunks::ContentKey;
use keys::content_key::{ContentKeyError, WrappedContentKey};
use keys::hashes::sha256;
use keys::keystore::Keystore;
use keys::pki::Credential;
use keys::release_key;
use protocol::os::Trust;
use protocol::reason::OsTrouble;
use release::floors::Floors;
use vault::VaultKeys;
use zeroize::Zeroizing;

use super::claims::Known;
use super::message::{Answer, KeyBytes, Question, Reply, Request, Start, encode};
use super::rtnetlink::Interface;
use super::supervisor::BootError;
use crate::boot::{
    BOOT_FOLDER, BootFolder, BootFolderError, Loaded, Pin, Pinned, Proof, RootRefused, STAGED_IMAGE, STAGING_FOLDER,
    SealedProgram, Source,
};
use crate::booted::{Booted, GivenUp, demanded};
use crate::clock::DeviceClock;
use crate::folder::{FolderError, Parts, STAGED_ROOTS, STAGED_TRUST, VAULT_FOLDER, has_newer_root};
use crate::limits::Limits;
use crate::storage::{Disk as _, FolderDisk};
use crate::store::{Store, StoreError};
use crate::update::TooManyRoots;

/// What the parent holds for its child.
#[derive(Debug)]
pub(super) struct Services {
    keys: Keystore,
    tls: Credential,
    vault_keys: VaultKeys,
    counter: Option<u64>,
    /// The one interface on which the child may have a network put in force, where there is one.
    interface: Option<Interface>,
    boot: BootFolder<FolderDisk>,
    /// The loader was told which devices it boots.
    is_pinned: bool,
    booted: Option<Booted>,
    /// The time floor that the vault held when the image was loaded.
    time_floor_unix_ms: i64,
    /// Another image is to be started than the one that runs.
    restart_due: bool,
    diskless: bool,
    vault: PathBuf,
    staging: PathBuf,
    _lock: File,
}

impl Services {
    /// Opens the device of a folder, and keeps other processes from using it. With a pin, nothing is unsealed before the folder fits it.
    ///
    /// # Errors
    /// [`BootError`].
    pub(super) fn open(
        dir: &Path,
        interface: Option<Interface>,
        pin: Option<Pin>,
        limits: &Limits,
    ) -> Result<Services, BootError> {
        let folder = dir.join(BOOT_FOLDER);
        if !folder.exists() {
            return Err(BootError::NoImage(dir.to_owned()));
        }
        let pinned = pin.map(|pin| pinned_to(dir, pin)).transpose()?;
        let Parts { keys, tls, store, lock, .. } = Parts::open(dir)?;
        let root = keys.storage_root().map_err(FolderError::from)?;
        let counter = keys.counter().map_err(FolderError::from)?;
        let boot = BootFolder::open(FolderDisk::new(&folder), &root, limits)?;
        if let Some(pinned) = &pinned {
            boot.descends_from(&pinned.anchors)?;
        }
        // Now that no other parent uses this device. An interface that is not there holds nothing, and a device starts without.
        let _ = interface.as_ref().map(Interface::remove_marked);
        let vault_keys = VaultKeys::derive(&root).map_err(BootFolderError::from)?;
        let vault = dir.join(VAULT_FOLDER);
        Ok(Services {
            keys,
            tls,
            vault_keys,
            counter,
            interface,
            boot,
            is_pinned: pinned.is_some(),
            booted: None,
            time_floor_unix_ms: 0,
            restart_due: false,
            diskless: store.is_diskless(),
            vault,
            staging: folder.join(STAGING_FOLDER),
            _lock: lock,
        })
    }

    /// Loads the image that is to be started now, and measures it when it is another than before.
    ///
    /// # Errors
    /// [`BootError`] when no image may be started.
    pub(super) fn load(&mut self, danger_unlocked_memory: bool) -> Result<SealedProgram, BootError> {
        let in_vault = |source| FolderError::Store { folder: self.vault.clone(), source };
        let store = self.store().map_err(in_vault)?;
        let floors = store.os_floors().map_err(in_vault)?;
        self.time_floor_unix_ms = store.time_floor_unix_ms().map_err(in_vault)?;
        self.restart_due = false;
        let Loaded { program, manifest, hash } = self.boot.load(&floors, danger_unlocked_memory)?;
        // The boot folder holds against a child that lowers them, the vault, which the counter guards, against an older boot folder.
        // Version and epoch are the child's to raise there: it steps the counter with them.
        let kept = Floors { metadata: self.boot.floors().metadata, ..floors };
        if !self.diskless && kept != floors {
            if self.counter.is_some() && has_newer_root(&kept, &floors) {
                let to = store.begin_epoch(kept).map_err(in_vault)?;
                self.keys.advance_counter(to).map_err(FolderError::from)?;
                self.counter = Some(to);
            } else {
                store.set_os_floors(kept).map_err(in_vault)?;
            }
        }
        if self.booted.as_ref().is_none_or(|booted| *booted.manifest_sha256 != hash.0) {
            self.keys.measure(&hash.0).map_err(FolderError::from)?;
        }
        self.booted = Some(Booted {
            manifest_sha256: hash.0.into(),
            version: manifest.version,
            security_epoch: manifest.security_epoch,
            layers: demanded(self.boot.anchors().layers()),
            danger_unlocked_memory: !program.is_locked(),
            trying: self.boot.is_trying(),
            fell_back: self.boot.fell_back().map(str::to_owned),
            given_up: self
                .boot
                .given_up()
                .map(|(hash, why)| GivenUp { manifest_sha256: hash.0.into(), why: why.to_owned() }),
            root_version: self.boot.anchors().root_version(),
            pinned: self.is_pinned,
        });
        Ok(program)
    }

    fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.vault, self.vault_keys.clone(), self.counter)
    }

    /// Unix seconds, by the clock and never before the time floor.
    fn now(&self) -> u64 {
        // The child keeps it current, and may be writing it at this moment.
        let newest = self.store().and_then(|store| store.time_floor_unix_ms()).unwrap_or_default();
        let now = DeviceClock::new(newest.max(self.time_floor_unix_ms)).now();
        u64::try_from(now.unix_ms / 1000).unwrap_or_default()
    }

    /// What was loaded last.
    pub(super) fn booted(&self) -> Option<&Booted> {
        self.booted.as_ref()
    }

    /// Whether the image that runs has still to prove itself.
    pub(super) fn is_trying(&self) -> bool {
        self.boot.is_trying()
    }

    /// Gives up the image that runs.
    ///
    /// # Errors
    /// [`BootError`] when that cannot be stored.
    pub(super) fn give_up(&mut self, why: &str) -> Result<(), BootError> {
        Ok(self.boot.give_up(why)?)
    }

    /// The answer to one packet.
    pub(super) fn answer(&mut self, packet: &[u8], limits: &Limits) -> Zeroizing<Vec<u8>> {
        let refused = |why: &str| Reply { number: 0, answer: Answer::Failed(why.to_owned()) };
        if packet.len() > limits.parent_message {
            return encode(&refused("too long a question"));
        }
        let Ok(Question { number, request }) = cbor::decode(packet) else {
            return encode(&refused("no question that this parent answers"));
        };
        let answer = self.act(request, limits).unwrap_or_else(Answer::Failed);
        encode(&Reply { number, answer })
    }

    fn act(&mut self, request: Request, limits: &Limits) -> Result<Answer, String> {
        match request {
            Request::Start => Ok(Answer::Start(Box::new(self.start()?))),
            Request::Confirm => self.boot.confirm().map_err(told).map(|()| Answer::Done),
            Request::Sign { purpose, payload } => {
                self.known()?.allow(purpose, &payload).map_err(told)?;
                let signature = self.keys.sign(purpose.purpose(), &payload);
                Ok(Answer::Signature(signature.map_err(told)?.to_vec().into()))
            }
            Request::SignTls(message) => {
                let signature = self.tls.key().sign_handshake(&message);
                Ok(Answer::Signature(signature.map_err(told)?.into()))
            }
            Request::Install { manifest, content_key } => match self.install(&manifest, &content_key, limits) {
                Ok(()) => Ok(Answer::Done),
                Err((trouble, why)) => Ok(Answer::NotInstalled { trouble, why }),
            },
            Request::LearnRoots => self.learn_roots(limits).map(|root| Answer::Root(root.into())),
            Request::StepCounter { to } => self.step_counter(to).map(|()| Answer::Done),
            Request::Apply(network) => self.interface()?.apply(&network).map_err(told).map(|()| Answer::Done),
            Request::Remove => {
                self.remove_network().map_err(told)?;
                Ok(Answer::Done)
            }
        }
    }

    /// What a child may have signed about this device.
    fn known(&self) -> Result<Known<'_>, String> {
        let vault_generation = if self.diskless { None } else { Some(self.store().map_err(told)?.generation()) };
        Ok(Known {
            identity: self.keys.identity().spki_hash(),
            model: self.boot.anchors().model(),
            attestation: self.keys.level(),
            booted: self.booted.as_ref().ok_or("nothing was booted")?,
            vault_generation,
        })
    }

    fn start(&self) -> Result<Start, String> {
        Ok(Start {
            identity_spki: self.keys.identity().spki_der().to_vec().into(),
            tls_chain: self.tls.chain().iter().map(|certificate| certificate.to_vec().into()).collect(),
            attestation: self.keys.level(),
            vault_keys: KeyBytes(self.vault_keys.expose().to_vec()),
            counter: self.counter,
            booted: self.booted.clone().ok_or("nothing was booted")?,
            root: self.boot.newest_root().map(|(_, root)| root.to_vec().into()),
        })
    }

    /// Judges what the child has downloaded, with every layer that the anchors demand, and installs it.
    fn install(&mut self, manifest: &[u8], content_key: &[u8], limits: &Limits) -> Result<(), (OsTrouble, String)> {
        let other = |why: &str| (OsTrouble::Other, why.to_owned());
        if self.diskless {
            return Err(other("a diskless device installs nothing"));
        }
        // A key that is wrapped for another manifest than this one does not open; who signed it is judged below.
        let payload = release_key::danger_unverified(manifest);
        let named = sha256(&payload.map_err(|error| (OsTrouble::BadSignature, error.to_string()))?);
        let bad_key = |error: ContentKeyError| (OsTrouble::BadKey, error.to_string());
        let wrapped = WrappedContentKey::from_bytes(content_key).map_err(bad_key)?;
        let key = ContentKey::new(self.keys.open_content_key(&wrapped, named).map_err(bad_key)?);
        let no_room = |error: io::Error| (OsTrouble::NoRoom, error.to_string());
        let staging = FolderDisk::new(&self.staging);
        let staged = staging.look(STAGED_IMAGE).map_err(no_room)?;
        let image = staged.ok_or_else(|| other(&format!("no image is in {}", self.staging.display())))?;
        let length = image.metadata().map_err(no_room)?.len();
        let mut trust = None;
        if self.boot.anchors().root_version().is_some() {
            let staged = staging.read(STAGED_TRUST, limits.trust_file).map_err(no_room)?;
            trust = staged.map(|bytes| read_trust(&bytes, limits)).transpose()?;
        }
        let (identity, now) = (self.keys.identity().spki_hash(), self.now());
        let proof = trust.as_ref().map(|trust| Proof { trust, identity, now });
        let source = Source { manifest, proof, image, length, content_key: &key };
        // The floors of the vault were taken in when the image was loaded.
        let installed = self.boot.install(&Floors::NONE, source);
        installed.map_err(|error| (error.trouble(), error.to_string()))?;
        self.restart_due = true;
        Ok(())
    }

    /// Verifies the newer roots that the child has laid down, and gives back the newest.
    fn learn_roots(&mut self, limits: &Limits) -> Result<Vec<u8>, String> {
        if self.diskless {
            return Err("a diskless device keeps the roots of the factory".to_owned());
        }
        let staged = FolderDisk::new(&self.staging).read(STAGED_ROOTS, limits.trust_file).map_err(told)?;
        let trust = read_trust(&staged.ok_or("no root metadata is staged")?, limits).map_err(|(_, why)| why)?;
        if trust.roots.len() > limits.trust_roots {
            return Err(TooManyRoots(limits.trust_roots).to_string());
        }
        match self.boot.learn_roots(&trust.roots) {
            // A child that missed the answer, or the roots of an image, asks again, and is told what is in force.
            Ok(()) | Err(RootRefused::NotNewer(_)) => {}
            Err(error) => return Err(told(error)),
        }
        Ok(self.boot.newest_root().map(|(_, root)| root.to_vec()).unwrap_or_default())
    }

    /// Whether another image was installed and waits to be tried.
    pub(super) fn is_restart_due(&self) -> bool {
        self.restart_due
    }

    /// A child steps the counter after it has written its vault, and one step at a time.
    fn step_counter(&mut self, to: u64) -> Result<(), String> {
        let Some(counter) = self.counter else { return Err("the keys of this device have no counter".to_owned()) };
        if counter.checked_add(1) != Some(to) {
            return Err(format!("the counter stands at {counter} and is not stepped to {to}"));
        }
        self.keys.advance_counter(to).map_err(told)?;
        self.counter = Some(to);
        Ok(())
    }

    /// Takes out what a child had put in force.
    pub(super) fn remove_network(&mut self) -> io::Result<()> {
        self.interface.as_mut().map_or(Ok(()), Interface::remove)
    }

    fn interface(&mut self) -> Result<&mut Interface, String> {
        let none = "this parent may not change the network: start it as root, with `--interface`";
        self.interface.as_mut().ok_or_else(|| none.to_owned())
    }
}

/// What a folder says of its device, if that is what the loader was told.
fn pinned_to(dir: &Path, pin: Pin) -> Result<Pinned, BootError> {
    let pinned = Pinned::read(dir)?;
    if pinned.pin == pin {
        Ok(pinned)
    } else {
        Err(BootError::OtherPin { dir: dir.to_owned(), pin, found: pinned.pin, keys: pinned.keys.to_string() })
    }
}

/// Reads what a child laid down; nothing of it is believed.
fn read_trust(bytes: &[u8], limits: &Limits) -> Result<Trust, (OsTrouble, String)> {
    let strange = || (OsTrouble::Other, "what is staged is no metadata".to_owned());
    if bytes.len() > limits.trust_file {
        return Err(strange());
    }
    cbor::decode(bytes).map_err(|_| strange())
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
pub(super) mod tests;
