//! Linked programs by their content: agents of one deployment share one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use apphost::{Code, End};
use thiserror::Error;

use crate::store::{Store, StoreError};

/// The programs that agents run now. Holds none of them alive.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<[u8; 32], Weak<Code>>>);

/// Why an agent's program cannot be had.
#[derive(Debug, Error)]
pub(super) enum CodeError {
    #[error("the agent's image is missing in the store: deploy again")]
    Missing,
    #[error("the agent's image cannot be run by this version: deploy again ({0})")]
    Image(#[from] squirrel::ImageError),
    #[error("the agent cannot be started: {0}")]
    Start(#[from] apphost::StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Codes {
    /// The program with this hash, read and linked if no agent runs it yet.
    pub(super) async fn get(&self, store: &Store, sha256: &[u8; 32]) -> Result<Arc<Code>, CodeError> {
        if let Some(code) = self.running(sha256) {
            return Ok(code);
        }
        let image = store.image(sha256).await?.ok_or(CodeError::Missing)?;
        let code = Arc::new(Code::from_image(&image, End::Agent)?);
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, code| code.strong_count() > 0);
        // Another agent may have been faster; one copy is enough.
        let kept = codes.get(sha256).and_then(Weak::upgrade).unwrap_or_else(|| Arc::clone(&code));
        codes.insert(*sha256, Arc::downgrade(&kept));
        Ok(kept)
    }

    fn running(&self, sha256: &[u8; 32]) -> Option<Arc<Code>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).and_then(Weak::upgrade)
    }
}
