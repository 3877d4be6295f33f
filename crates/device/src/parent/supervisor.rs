//! The parent's life: it loads an image, starts it without any privilege, answers it, and starts it again when it fails.

use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::boot::BootFolderError;
use crate::events::BootReport;
use crate::folder::FolderError;
use crate::limits::Limits;
use crate::parent::privileges::{PrivilegeError, raise_memory_lock, reduce};
use crate::parent::rtnetlink::Interface;
use crate::parent::services::Services;

/// What is needed to boot a device.
#[derive(Debug)]
pub struct Boot {
    /// The folder that `provision` made.
    pub dir: PathBuf,
    /// The arguments of the OS image. It gets the link to its parent as standard input.
    pub arguments: Vec<OsString>,
    /// The one interface on which the child may have a network put in force, where there is one.
    pub interface: Option<String>,
    /// Whether an image runs whose memory the kernel does not lock, so that it could reach a swap device.
    pub danger_unlocked_memory: bool,
    /// The bounds.
    pub limits: Limits,
}

/// Why a device cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The parent's privileges.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The folder was made without an OS image.
    #[error(
        "{dir} holds no OS image to boot: it was provisioned without --image. Provision a device with one, or run this one \
         without verified boot: vouch device run --dir {dir}",
        dir = .0.display()
    )]
    NoImage(PathBuf),
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No slot holds an image that may run, or the boot folder cannot be used.
    #[error(transparent)]
    Boot(#[from] BootFolderError),
    /// The child could not be started, or the link to it not be made.
    #[error("the device cannot be started: {0}")]
    Child(#[from] io::Error),
}

/// What a parent tells whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BootEvent {
    /// An image was verified and is started.
    Booting(BootReport),
    /// The image on trial did not prove itself in time.
    GivenUp {
        /// Why.
        why: String,
    },
    /// The image ended, and is started again.
    Ended {
        /// How.
        status: String,
    },
}

impl fmt::Display for BootEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootEvent::Booting(report) => write!(f, "booting {report}"),
            BootEvent::GivenUp { why } => write!(f, "the new OS image is given up: {why}"),
            BootEvent::Ended { status } => write!(f, "the device ended ({status}) and is started again"),
        }
    }
}

/// How a child's life ended.
enum Ending {
    Itself(io::Result<ExitStatus>),
    Parent,
    Asked,
}

/// Gives up all privileges but the one for the network, loads the image that boots, starts it as the child and answers it
/// until `shutdown` ends or the child has ended well. To be called before this process has other threads: they would keep
/// their privileges.
///
/// # Errors
/// [`BootError`] when no image can be started. A child that fails is started again.
pub async fn boot(boot: Boot, shutdown: impl Future<Output = ()>, tell: impl Fn(BootEvent)) -> Result<(), BootError> {
    raise_memory_lock();
    reduce(boot.interface.is_some())?;
    let limits = &boot.limits;
    let interface = boot.interface.as_deref().map(Interface::new);
    let mut services = Services::open(&boot.dir, interface, limits)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let ended = loop {
        let program = services.load(boot.danger_unlocked_memory)?;
        if let Some(booted) = services.booted() {
            tell(BootEvent::Booting(booted.into()));
        }
        let (mut child, link) = start(&program.path(), &boot.arguments)?;
        let trial_over = Instant::now() + limits.image_trial;
        let ending = tokio::select! {
            status = child.wait() => Ending::Itself(status),
            () = answer_for_ever(&link, &mut services, limits, trial_over) => Ending::Parent,
            () = &mut shutdown => Ending::Asked,
        };
        match ending {
            Ending::Itself(status) if status.as_ref().is_ok_and(ExitStatus::success) => break Ok(()),
            Ending::Itself(status) => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tell(BootEvent::Ended { status });
            }
            Ending::Parent if services.is_restart_due() => stop(&mut child, limits).await?,
            Ending::Parent => {
                stop(&mut child, limits).await?;
                let why = format!("it did not reach the server within {} s", limits.image_trial.as_secs());
                services.give_up(&why)?;
                tell(BootEvent::GivenUp { why });
            }
            Ending::Asked => break stop(&mut child, limits).await,
        }
        // Its successor begins with the network as it was.
        let _ = services.remove_network();
        tokio::select! {
            () = sleep(limits.child_pause) => {}
            () = &mut shutdown => break Ok(()),
        }
    };
    services.remove_network().and(ended).map_err(BootError::Child)
}

/// Starts the image as [`boot`] does, and waits for its end.
///
/// # Errors
/// [`BootError`] when no image can be started.
pub async fn run_once(boot: Boot) -> Result<ExitStatus, BootError> {
    raise_memory_lock();
    reduce(false)?;
    let mut services = Services::open(&boot.dir, None, &boot.limits)?;
    let program = services.load(boot.danger_unlocked_memory)?;
    let (mut child, link) = start(&program.path(), &boot.arguments)?;
    let trial_over = Instant::now() + boot.limits.image_trial;
    let status = tokio::select! {
        status = child.wait() => status,
        () = answer_for_ever(&link, &mut services, &boot.limits, trial_over) => child.wait().await,
    };
    Ok(status?)
}

/// Starts the image with its end of a new socketpair.
fn start(program: &Path, arguments: &[OsString]) -> io::Result<(Child, UnixDatagram)> {
    let flags = SocketFlags::CLOEXEC;
    let (own, childs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut command = Command::new(program);
    // What stands in the environment is the parent's alone.
    command.args(arguments).env_clear().stdin(Stdio::from(childs)).kill_on_drop(true);
    Ok((command.spawn()?, packets(own)?))
}

fn packets(socket: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = StdDatagram::from(socket);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// Answers each question; ends when the image has been on trial for too long, or another one is to be started.
async fn answer_for_ever(link: &UnixDatagram, services: &mut Services, limits: &Limits, trial_over: Instant) {
    let mut packet = vec![0; limits.parent_message + 1];
    loop {
        let received = tokio::select! {
            received = link.recv(&mut packet) => received,
            () = sleep_until(trial_over), if services.is_trying() => return,
        };
        let length = match received {
            Ok(length) if length > 0 => length,
            // The child has closed its end: it ends soon, or is ended with the trial.
            _ if services.is_trying() => return sleep_until(trial_over).await,
            _ => return std::future::pending().await,
        };
        let answer = services.answer(packet.get(..length).unwrap_or_default(), limits);
        // Whether a child that does not take its answer has ended is seen when it is waited for.
        let _ = link.send(&answer).await;
        if services.is_restart_due() {
            return;
        }
    }
}

/// Asks the child to end, and ends it when it does not.
async fn stop(child: &mut Child, limits: &Limits) -> io::Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended already needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(limits.child_stop, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}
