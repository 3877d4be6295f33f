//! One file per sub-command, named as the command; each is a struct of arguments with a `run`.

#[cfg(feature = "server")]
pub(crate) mod ceremony;
#[cfg(feature = "server")]
pub(crate) mod demo;
#[cfg(feature = "server")]
pub(crate) mod deploy;
#[cfg(feature = "server")]
pub(crate) mod deployment;
pub(crate) mod device;
#[cfg(feature = "server")]
pub(crate) mod enrolment_token;
#[cfg(feature = "server")]
pub(crate) mod fleet;
#[cfg(feature = "server")]
pub(crate) mod group;
#[cfg(feature = "server")]
pub(crate) mod init;
#[cfg(feature = "server")]
pub(crate) mod keys;
#[cfg(feature = "server")]
pub(crate) mod library;
#[cfg(feature = "server")]
pub(crate) mod login;
#[cfg(feature = "server")]
pub(crate) mod logs;
#[cfg(feature = "parent")]
pub(crate) mod password;
#[cfg(feature = "server")]
pub(crate) mod product;
#[cfg(feature = "server")]
pub(crate) mod release;
#[cfg(feature = "server")]
pub(crate) mod rollout;
#[cfg(feature = "server")]
pub(crate) mod rotate_roots;
#[cfg(feature = "server")]
pub(crate) mod serve;
#[cfg(feature = "server")]
pub(crate) mod squirrel;
#[cfg(feature = "server")]
pub(crate) mod status;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears when the process is asked to end, by Ctrl-C or SIGTERM; also what comes between two waits.
pub(crate) struct StopSignals(Option<(Signal, Signal)>);

impl StopSignals {
    pub(crate) fn new() -> Self {
        Self(signal(SignalKind::interrupt()).ok().zip(signal(SignalKind::terminate()).ok()))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some((interrupt, terminate)) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            // Without handlers the signals keep their default action, which ends the process.
            None => std::future::pending().await,
        }
    }
}

/// Resolves when the process is asked to end.
pub(crate) async fn stop_signal() {
    StopSignals::new().next().await;
}
