//! The write of what an app sets, in the background, while the app that asked for it waits.

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use vault::Record;
use zeroize::Zeroizing;

use crate::config::ProxyConfig;
use crate::store::{Store, StoreError};

/// One write under way.
#[derive(Debug)]
pub(super) struct Saving {
    task: JoinHandle<Result<(), StoreError>>,
    /// The app that asked is still there.
    pub(super) is_awaited: bool,
}

impl Saving {
    /// Begins to store this content, or to take it out, after the write that is still under way.
    pub(super) fn begin(store: &Store, bytes: Option<Vec<u8>>, before: Option<Saving>) -> Saving {
        let store = store.clone();
        let task = tokio::spawn(async move {
            // That of an app that is gone: its content may not come over a newer one.
            if let Some(before) = before {
                let _ = before.task.await;
            }
            store.keep(Record::UserConfiguration, bytes.map(Zeroizing::new)).await
        });
        Saving { task, is_awaited: true }
    }

    /// Begins to store this proxy, or none; `redirected` is told when it is another than before.
    pub(super) fn proxy(
        store: &Store,
        proxy: Option<ProxyConfig>,
        redirected: &watch::Sender<bool>,
        before: Option<Saving>,
    ) -> Saving {
        let (store, redirected) = (store.clone(), redirected.clone());
        let write = move || {
            if store.set_proxy(proxy)? {
                redirected.send_replace(true);
            }
            Ok(())
        };
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.task.await;
            }
            spawn_blocking(write).await.map_err(|_| StoreError::Interrupted)?
        });
        Saving { task, is_awaited: true }
    }

    /// Waits for the end of the write; never ends when there is none. What went wrong is said for the app.
    pub(super) async fn ended(saving: Option<&mut Saving>) -> Result<(), String> {
        let Some(saving) = saving else { return std::future::pending().await };
        let written = (&mut saving.task).await.map_err(|_| StoreError::Interrupted);
        written.and_then(|result| result).map_err(|error| error.to_string())
    }
}
