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

use crate::boot::{BootFolderError, Pin, PinError};
use crate::events::BootReport;
use crate::folder::FolderError;
use crate::limits::Limits;
use crate::parent::privileges::{PrivilegeError, reduce};
use crate::parent::rtnetlink::Interface;
use crate::parent::services::Services;
use crate::sandbox::{kernel, memory};

/// What is needed to boot a device.
#[derive(Debug)]
pub struct Boot {
    /// The folder that `provision` made.
    pub dir: PathBuf,
    /// The arguments of the OS image. It gets the link to its parent as standard input.
    pub arguments: Vec<OsString>,
    /// The one interface on which the child may have a network put in force, where there is one.
    pub interface: Option<String>,
    /// Which devices are booted; none where the folder is believed.
    pub pin: Option<Pin>,
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
    /// The folder holds another device than the loader is to boot.
    #[error(
        "{dir} holds a device that this loader is not to boot: its keys are in {keys}, and with its factory's anchors its pin is {found}, not {pin}. \
         Nothing was unsealed. If somebody put it there, restore the folder from a copy; if it is the right one, give the loader its pin"
    )]
    OtherPin {
        /// The folder.
        dir: PathBuf,
        /// What the loader was told.
        pin: Pin,
        /// What the folder amounts to.
        found: Pin,
        /// Where it says that its keys are.
        keys: String,
    },
    /// The folder says nothing that could be held against a pin.
    #[error(transparent)]
    Pin(#[from] PinError),
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
    /// The parent's own memory, with the keys, could reach a swap device.
    MemoryNotLocked {
        /// Why.
        why: String,
    },
}

impl fmt::Display for BootEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootEvent::Booting(report) => write!(f, "booting {report}"),
            BootEvent::GivenUp { why } => write!(f, "the new OS image is given up: {why}"),
            BootEvent::Ended { status } => write!(f, "the device ended ({status}) and is started again"),
            BootEvent::MemoryNotLocked { why } => write!(f, "the parent's memory could reach a swap device: {why}"),
        }
    }
}

/// How a child's life ended.
enum Ending {
    Itself(io::Result<ExitStatus>),
    Parent,
    Asked,
}

/// Locks its memory where it may, gives up all privileges but the one for the network, loads the image that boots, starts it as
/// the child and answers it until `shutdown` ends or the child has ended well. To be called before this process has other
/// threads: they would keep their privileges.
///
/// # Errors
/// [`BootError`] when no image can be started. A child that fails is started again.
pub async fn boot(boot: Boot, shutdown: impl Future<Output = ()>, tell: impl Fn(BootEvent)) -> Result<(), BootError> {
    if let Err(why) = memory::lock() {
        tell(BootEvent::MemoryNotLocked { why });
    }
    reduce(boot.interface.is_some())?;
    let interface = boot.interface.as_deref().map(Interface::new);
    let mut services = Services::open(&boot.dir, interface, boot.pin, &boot.limits)?;
    supervise(&boot, &mut services, shutdown, tell).await
}

async fn supervise(
    boot: &Boot,
    services: &mut Services,
    shutdown: impl Future<Output = ()>,
    tell: impl Fn(BootEvent),
) -> Result<(), BootError> {
    let limits = &boot.limits;
    let mut shutdown = std::pin::pin!(shutdown);
    let ended = loop {
        let program = services.load(boot.danger_unlocked_memory)?;
        if let Some(booted) = services.booted() {
            tell(BootEvent::Booting(booted.into()));
        }
        let ending = match start(&program.path(), &boot.arguments) {
            Ok((mut child, link)) => {
                let trial_over = Instant::now() + limits.image_trial;
                let ending = tokio::select! {
                    status = child.wait() => Ending::Itself(status),
                    () = answer_for_ever(&link, services, limits, trial_over) => Ending::Parent,
                    () = &mut shutdown => Ending::Asked,
                };
                match ending {
                    Ending::Itself(_) => ending,
                    _ => match stop(&mut child, limits).await {
                        Ok(()) => ending,
                        Err(error) => break Err(error),
                    },
                }
            }
            // No program of this machine, perhaps: that was one of its starts.
            Err(error) if services.is_trying() => Ending::Itself(Err(error)),
            Err(error) => break Err(error),
        };
        match ending {
            // An image on trial has to reach the server; one that ends without that has failed.
            Ending::Itself(Ok(status)) if status.success() && !services.is_trying() => break Ok(()),
            Ending::Itself(status) => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tell(BootEvent::Ended { status });
            }
            Ending::Parent if services.is_restart_due() => {}
            Ending::Parent => {
                let why = format!("it did not reach the server within {} s", limits.image_trial.as_secs());
                services.give_up(&why)?;
                tell(BootEvent::GivenUp { why });
            }
            Ending::Asked => break Ok(()),
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
    // The child, under the same limit, says whether memory is locked here.
    let _ = memory::lock();
    reduce(false)?;
    let mut services = Services::open(&boot.dir, None, boot.pin, &boot.limits)?;
    let program = services.load(boot.danger_unlocked_memory)?;
    let (mut child, link) = start(&program.path(), &boot.arguments)?;
    let trial_over = Instant::now() + boot.limits.image_trial;
    let status = tokio::select! {
        status = child.wait() => status,
        () = answer_for_ever(&link, &mut services, &boot.limits, trial_over) => child.wait().await,
    };
    Ok(status?)
}

/// Starts the image with its end of a new socketpair. It inherits nothing else but where its output goes.
fn start(program: &Path, arguments: &[OsString]) -> io::Result<(Child, UnixDatagram)> {
    let flags = SocketFlags::CLOEXEC;
    let (own, childs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    kernel::close_on_exec()?;
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
        tokio::select! {
            // Whether a child that does not take its answer has ended is seen when it is waited for.
            _ = link.send(&answer) => {}
            () = sleep_until(trial_over), if services.is_trying() => return,
        }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::super::message::{Question, Request, encode};
    use super::super::services::tests::{Bench, bench};
    use super::*;
    use crate::limits::LIMITS;

    fn a_boot() -> Boot {
        let limits = Limits { child_pause: Duration::ZERO, ..LIMITS };
        Boot {
            dir: PathBuf::new(),
            arguments: Vec::new(),
            interface: None,
            pin: None,
            danger_unlocked_memory: true,
            limits,
        }
    }

    /// A parent whose child is this program of the system, on trial.
    fn trying(program: &str) -> Bench {
        let mut bench = bench();
        bench.install(&std::fs::read(program).unwrap());
        bench
    }

    /// What is told until the image before the one on trial is started, which is no program.
    async fn told_until_the_old_one_is_back(mut bench: Bench) -> Vec<String> {
        let told = RefCell::new(Vec::new());
        let tell = |event: BootEvent| {
            told.borrow_mut().push(match event {
                BootEvent::Booting(report) => report.version,
                BootEvent::Ended { .. } => "ended".to_owned(),
                other => other.to_string(),
            });
        };
        let ended = supervise(&a_boot(), &mut bench.services, std::future::pending(), tell).await;
        assert!(matches!(ended, Err(BootError::Child(_))), "{ended:?}");
        told.into_inner()
    }

    #[tokio::test]
    async fn an_image_on_trial_that_ends_well_or_is_no_program_has_failed_and_the_old_one_comes_back() {
        for program in ["/bin/true", "/etc/passwd"] {
            let told = told_until_the_old_one_is_back(trying(program)).await;
            let starts = [["1.1.0", "ended"]; LIMITS.image_starts as usize];
            assert_eq!(told, [starts.as_flattened(), &["1.0.0"]].concat(), "{program}");
        }
    }

    #[tokio::test]
    async fn a_child_inherits_nothing_but_its_standard_files() {
        let open = rustix::fs::memfd_create("inherited", rustix::fs::MemfdFlags::empty()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        let script = format!("test -e /proc/self/fd/0 && ! test -e /proc/self/fd/{number}");
        let (mut child, _link) = start(Path::new("/bin/sh"), &["-c".into(), script.into()]).unwrap();
        assert!(child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn attack_an_image_on_trial_that_asks_and_never_reads_does_not_stop_its_clock() {
        let mut bench = trying("/bin/true");
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let link = packets(near).unwrap();
        let question = encode(&Question { number: 1, request: Request::Remove });
        let far = StdDatagram::from(far);
        let asking = std::thread::spawn(move || while far.send(&question).is_ok() {});
        let trial_over = Instant::now() + Duration::from_millis(200);
        let answering = answer_for_ever(&link, &mut bench.services, &LIMITS, trial_over);
        timeout(Duration::from_secs(20), answering).await.expect("the trial ends");
        drop(link);
        asking.join().unwrap();
    }
}
