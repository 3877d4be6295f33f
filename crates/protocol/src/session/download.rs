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

/// The download in progress.
#[derive(Debug)]
pub(super) struct Download(PartialApp);

/// What to do next.
#[derive(Debug)]
pub(super) enum Progress {
    /// Ask for the bytes from this one on.
    Want { sha256: [u8; 32], offset: u32 },
    /// All is there and is what its name says.
    Complete { app: AppRef, bytes: Vec<u8> },
    /// All is there and is something else.
    Damaged(AppRef),
}

impl Download {
    /// Goes on from `kept` when that is the beginning of the same app.
    pub(super) fn new(app: AppRef, kept: Option<PartialApp>) -> Self {
        match kept {
            Some(kept) if kept.app == app && kept.bytes.len() <= app.len as usize => Self(kept),
            _ => Self(PartialApp { app, bytes: Vec::new() }),
        }
    }

    /// Takes a piece if it is the one that was asked for and says so; another is late mail of an earlier question.
    pub(super) fn take(&mut self, sha256: [u8; 32], offset: u32, data: &[u8]) -> Result<bool, CodecError> {
        let PartialApp { app, bytes } = &mut self.0;
        if sha256 != app.sha256 || offset as usize != bytes.len() {
            return Ok(false);
        }
        let missing = (app.len as usize).saturating_sub(bytes.len());
        at_most("a piece of an app, counted to the app's end", data.len(), missing)?;
        bytes.extend_from_slice(data);
        Ok(true)
    }

    pub(super) fn app(&self) -> AppRef {
        self.0.app
    }

    /// What comes next; `Complete` and `Damaged` end it.
    pub(super) fn next(self) -> (Option<Self>, Progress) {
        let PartialApp { app, bytes } = &self.0;
        if bytes.len() < app.len as usize {
            // Shorter than a u32 length, so it fits one.
            let offset = u32::try_from(bytes.len()).unwrap_or(app.len);
            let want = Progress::Want { sha256: app.sha256, offset };
            return (Some(self), want);
        }
        let PartialApp { app, bytes } = self.0;
        if sha256(&bytes) == app.sha256 {
            (None, Progress::Complete { app, bytes })
        } else {
            (None, Progress::Damaged(app))
        }
    }

    pub(super) fn into_partial(self) -> PartialApp {
        self.0
    }
}
