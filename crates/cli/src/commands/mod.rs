//! One file per sub-command, named as the command; each is a struct of arguments with a `run`.

pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod deployment;
pub(crate) mod device;
pub(crate) mod enrolment_token;
pub(crate) mod group;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod library;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod password;
pub(crate) mod product;
pub(crate) mod serve;
pub(crate) mod squirrel;
pub(crate) mod status;

/// Resolves when the process is asked to end: Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        },
        // Without handlers the signals keep their default action, which ends the process.
        _ => std::future::pending().await,
    }
}
