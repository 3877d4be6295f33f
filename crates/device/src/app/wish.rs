//! What the app wants of the connection: read by those who make it.

use tokio::sync::watch;

/// Whether the app wants a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// It wants one; without it the runtime connects only now and then, to look for updates.
    pub online: bool,
    /// How often it asked to be connected now.
    pub asked: u64,
}

impl Wish {
    /// A device connects until its app says otherwise.
    pub fn channel() -> (watch::Sender<Wish>, watch::Receiver<Wish>) {
        watch::channel(Wish { online: true, asked: 0 })
    }
}

/// Waits until the app wants a session and has asked for it since `asked`.
pub(crate) async fn asked_since(wish: &mut watch::Receiver<Wish>, asked: u64) {
    // The app's task ends only together with the runtime.
    if wish.wait_for(|wish| wish.online && wish.asked > asked).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the app wants a session.
pub(crate) async fn wanted(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| wish.online).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the app wants no session any more.
pub(crate) async fn unwanted(wish: &mut watch::Receiver<Wish>) {
    if wish.wait_for(|wish| !wish.online).await.is_err() {
        std::future::pending().await
    }
}
