//! An app on its way to the device, in pieces that the device asks for one after the other.

use std::fmt;

use keys::hashes::sha256;

use crate::codec::{CodecError, at_most};
use crate::message::AppRef;

/// The first bytes of an app, kept when a session ends so that the next one goes on from there.
#[derive(Clone, PartialEq, Eq)]
pub struct PartialApp {
    /// Which app.
    pub app: AppRef,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for PartialApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialApp").field("app", &self.app).field("bytes", &self.bytes.len()).finish()
    }
}

/// The fetching of apps in one session: at most one at a time, one question under way.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    current: Option<Current>,
    received: u64,
}

#[derive(Debug)]
struct Current {
    kept: PartialApp,
    /// When the answer to the last question must be here, in milliseconds of the monotonic clock.
    deadline: u64,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing: the piece was late mail of an earlier question.
    Nothing,
    /// Ask for the bytes from this one on.
    Want { sha256: [u8; 32], offset: u32 },
    /// All is there and is what its name says.
    Complete { app: AppRef, bytes: Vec<u8> },
    /// All is there and is something else.
    Damaged(AppRef),
}

impl Fetching {
    /// Begins with `app`, at the end of `kept` when that is the beginning of the same app.
    pub(super) fn begin(&mut self, app: AppRef, kept: Option<PartialApp>, deadline: u64) -> Progress {
        let kept = match kept {
            Some(kept) if kept.app == app && kept.bytes.len() <= app.len as usize => kept,
            _ => PartialApp { app, bytes: Vec::new() },
        };
        self.go_on(kept, deadline)
    }

    /// Takes a piece, if it is the one asked for.
    pub(super) fn take(
        &mut self,
        sha256: [u8; 32],
        offset: u32,
        data: &[u8],
        deadline: u64,
    ) -> Result<Progress, CodecError> {
        let Some(Current { kept, .. }) = self.current.as_mut() else {
            return Ok(Progress::Nothing);
        };
        if sha256 != kept.app.sha256 || offset as usize != kept.bytes.len() {
            return Ok(Progress::Nothing);
        }
        let missing = (kept.app.len as usize).saturating_sub(kept.bytes.len());
        at_most("a piece of an app, counted to the app's end", data.len(), missing)?;
        kept.bytes.extend_from_slice(data);
        self.received = self.received.saturating_add(data.len() as u64);
        match self.current.take() {
            Some(Current { kept, .. }) => Ok(self.go_on(kept, deadline)),
            None => Ok(Progress::Nothing),
        }
    }

    /// Gives up an app that is not to run any more.
    pub(super) fn keep_only(&mut self, app: Option<AppRef>) {
        if self.current.as_ref().is_some_and(|current| Some(current.kept.app) != app) {
            self.current = None;
        }
    }

    /// Ends the fetching with what there is.
    pub(super) fn stop(&mut self) -> Option<PartialApp> {
        self.current.take().map(|current| current.kept)
    }

    /// Nothing was read for a while, so the answer under way gets its whole time again.
    pub(super) fn postpone(&mut self, deadline: u64) {
        if let Some(current) = &mut self.current {
            current.deadline = deadline;
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.deadline)
    }

    /// The bytes of apps that came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    fn go_on(&mut self, kept: PartialApp, deadline: u64) -> Progress {
        let app = kept.app;
        if kept.bytes.len() < app.len as usize {
            // Shorter than a u32 length, so it fits one.
            let offset = u32::try_from(kept.bytes.len()).unwrap_or(app.len);
            self.current = Some(Current { kept, deadline });
            return Progress::Want { sha256: app.sha256, offset };
        }
        self.current = None;
        if sha256(&kept.bytes) == app.sha256 {
            Progress::Complete { app, bytes: kept.bytes }
        } else {
            Progress::Damaged(app)
        }
    }
}
