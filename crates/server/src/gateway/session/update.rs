//! OS updates in a session: what is to be installed, its pieces, its key and what proves it.

use std::sync::Arc;

use keys::public::SpkiHash;
use protocol::eat::Eat;
use protocol::error::SendError;
use protocol::os::{OsRef, OsState, Trust};
use protocol::session::ServerEvent;
use release::version::OsVersion;
use tokio::sync::OwnedSemaphorePermit;

use super::{Done, Session, failed};
use crate::fleet::{DeviceStep, OsUpdate};
use crate::gateway::edge::Caller;
use crate::repository::RepositoryError;

/// What a device is and runs, as far as OS updates need it.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Proved {
    /// The model that it proved to be.
    pub(super) model: Arc<str>,
    /// The OS version that it proved to run; none when what it said is no version of a release, and then it gets none.
    pub(super) os_version: Option<OsVersion>,
    /// Whether the records said otherwise, so that the journal has a note of it.
    pub(super) is_noted: bool,
}

/// What a device is answered about an OS update.
pub(super) enum UpdateAnswer {
    /// A piece of the image, with the turn that was waited for.
    Piece { image: [u8; 32], offset: u32, piece: Arc<[u8]>, turn: OwnedSemaphorePermit },
    /// Its content key; none when this device does not get it.
    Key { image: [u8; 32], wrapped: Option<Vec<u8>> },
    /// Nobody gets its content key from this server.
    NoKey,
    /// What proves an image or an app.
    Trust { subject: [u8; 32], trust: Box<Trust> },
}

impl Proved {
    /// Out of the claims that a device signed, and whether its version was noted in the journal.
    pub(in crate::gateway) fn of(claims: &Eat, is_noted: bool) -> Self {
        Self { model: claims.model.as_str().into(), os_version: claims.os_version.parse().ok(), is_noted }
    }
}

impl Session {
    /// Acts on what the device asks and says about OS updates.
    pub(super) fn act_on_update(&mut self, event: ServerEvent, caller: &Caller) {
        match event {
            ServerEvent::WantOs { image, offset } => self.want_os(image, offset, caller),
            ServerEvent::WantOsKey { image } => self.want_os_key(image, caller),
            ServerEvent::WantTrust { subject, root_version } => self.want_trust(subject, root_version, caller),
            ServerEvent::OsState { image, state } => self.os_state(image, &state, caller),
            _ => {}
        }
    }

    /// Answers what was asked for.
    pub(super) fn answer_update(&mut self, answer: UpdateAnswer) {
        let sent = match answer {
            UpdateAnswer::Piece { image, offset, piece, turn } => {
                let sent = self.machine.send_os_chunk(image, offset, &piece);
                self.send_at_once();
                drop(turn);
                sent
            }
            UpdateAnswer::Key { image, wrapped: Some(wrapped) } => self.machine.os_key(image, wrapped),
            UpdateAnswer::Key { wrapped: None, .. } => {
                // The records know better than this session what the device is to install.
                self.os = None;
                self.stale.get_or_insert(None);
                return self.tell_os();
            }
            UpdateAnswer::NoKey => {
                self.os = None;
                return self.tell_os();
            }
            UpdateAnswer::Trust { subject, trust } => self.machine.trust(subject, *trust),
        };
        // What is not sendable was asked for beyond the end.
        if sent.is_err() {
            self.tell_os();
        }
    }

    /// Tells the device what it is to install, if that is something else than before.
    pub(super) fn told_os(&mut self, os: Option<Box<OsUpdate>>) {
        if self.os.as_ref().map(|os| os.image) != os.as_ref().map(|os| os.image) {
            self.os = os;
            self.tell_os();
        }
    }

    /// Tells the device what it is to install; when that finds no room, it is told when there is.
    fn tell_os(&mut self) {
        let told = match &self.os {
            Some(os) => {
                let os = OsRef { image: os.image, len: os.len, manifest: os.manifest.clone() };
                self.machine.os_available(os)
            }
            None => self.machine.os_removed(),
        };
        if told == Err(SendError::Full) {
            self.stale.get_or_insert(None);
            self.os = None;
        }
    }

    /// Tells the device of the newest root metadata, if that is another than before; when it finds no room, it is told when there is.
    pub(super) fn tell_root(&mut self, caller: &Caller) {
        let newest = caller.edge.repository.root_version();
        if let Some(version) = newest.filter(|_| newest != self.told_root) {
            match self.machine.root_available(version) {
                Err(SendError::Full) => drop(self.stale.get_or_insert(None)),
                _ => self.told_root = newest,
            }
        }
    }

    fn is_to_install(&self, image: &[u8; 32]) -> bool {
        self.os.as_ref().is_some_and(|os| os.image == *image)
    }

    fn want_os(&mut self, image: [u8; 32], offset: u32, caller: &Caller) {
        if !self.is_to_install(&image) {
            return self.tell_os();
        }
        let (store, lane, device) = (caller.edge.store.clone(), caller.edge.os_lane.clone(), self.report.device);
        self.busy = Some(Box::pin(async move {
            // The lane is never closed.
            let Ok(turn) = lane.acquire_owned().await else { return Done::Failed };
            // Whoever hands a turn on is followed at once by the one that gets it, before all that wait to run: without this, one piece leads to
            // the next and the others stand behind dozens of them.
            tokio::task::yield_now().await;
            match store.os_piece(image, offset).await {
                Ok(piece) => Done::Update(UpdateAnswer::Piece { image, offset, piece, turn }),
                Err(error) => {
                    tracing::error!(%device, %error, "cannot read an OS image; the device is told to come back");
                    Done::Failed
                }
            }
        }));
    }

    /// Gives the content key to the device that proved itself on this session, if the records say so at this moment.
    fn want_os_key(&mut self, image: [u8; 32], caller: &Caller) {
        if !self.is_to_install(&image) {
            return self.tell_os();
        }
        let (repository, device) = (caller.edge.repository.clone(), self.report.device);
        self.busy = Some(Box::pin(async move {
            match repository.content_key(device, image).await {
                Ok(wrapped) => {
                    let wrapped = wrapped.map(|wrapped| wrapped.as_bytes().to_vec());
                    Done::Update(UpdateAnswer::Key { image, wrapped })
                }
                Err(RepositoryError::ContentKey(error)) => {
                    let image = const_hex::encode(image);
                    tracing::error!(
                        %device, image, %error,
                        "the content key of an OS image cannot be opened, so that no device gets it: roll out a newer release, or put back the folder of online keys that it is sealed to"
                    );
                    Done::Update(UpdateAnswer::NoKey)
                }
                Err(error) => unable(device, &error),
            }
        }));
    }

    fn want_trust(&mut self, subject: [u8; 32], root_version: u64, caller: &Caller) {
        let (repository, device) = (caller.edge.repository.clone(), self.report.device);
        let is_assigned = self.is_to_install(&subject);
        self.busy = Some(Box::pin(async move {
            match repository.trust(device, subject, is_assigned, root_version).await {
                Ok(trust) => Done::Update(UpdateAnswer::Trust { subject, trust: Box::new(trust) }),
                Err(error) => unable(device, &error),
            }
        }));
    }

    fn os_state(&mut self, image: [u8; 32], state: &OsState, caller: &Caller) {
        let (step, reason) = match state {
            OsState::Downloading { .. } => (DeviceStep::Downloading, String::new()),
            OsState::Installed => (DeviceStep::Installed, String::new()),
            OsState::Trying => (DeviceStep::Trying, String::new()),
            OsState::Confirmed => (DeviceStep::Confirmed, String::new()),
            OsState::FellBack { trouble, text } => (DeviceStep::FellBack, format!("{trouble}: {text}")),
            OsState::Refused { trouble, text } => (DeviceStep::Refused, format!("{trouble}: {text}")),
        };
        if step.is_last() && self.is_to_install(&image) {
            self.os = None;
        }
        let line = format!("OS update {}{}{reason}", step.as_str(), if reason.is_empty() { "" } else { ": " });
        let line = self.report.status(caller.edge.now(), &line);
        let (store, bus, device) = (caller.edge.store.clone(), caller.edge.bus.clone(), self.report.device);
        // Devices say in each session that their image is confirmed; that its version is new, they prove once.
        let is_noted = step == DeviceStep::Confirmed && std::mem::take(&mut self.proved.is_noted);
        self.busy = Some(Box::pin(async move {
            if is_noted {
                // Whoever reads that the device confirmed a version also reads that it runs it.
                bus.journal().flush().await;
            }
            let progressed = match store.os_progress(device, &image, step, &reason).await {
                Ok(progressed) => progressed,
                Err(error) => return failed(device, &error),
            };
            if progressed.changed {
                bus.log(line).await;
            }
            // The devices of a whole group are told beside the session: it would hold the device up.
            if let Some(group) = progressed.tell {
                tokio::spawn(async move {
                    if let Err(error) = bus.group_changed(&store, group).await {
                        tracing::error!(%group, %error, "cannot tell the devices of a group about its roll-out");
                    }
                });
            }
            Done::Taken
        }));
    }
}

fn unable(device: SpkiHash, error: &RepositoryError) -> Done {
    tracing::error!(%device, %error, "cannot do the server's part of an OS update; the device is told to come back");
    Done::Failed
}
