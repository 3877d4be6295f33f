//! The parent's life: it starts its child without any privilege, answers it, and starts it again when it fails.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::process::{ExitStatus, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::limits::Limits;
use crate::parent::message::{Answer, Request};
use crate::parent::privileges::{PrivilegeError, keep_network_only};
use crate::parent::rtnetlink::Interface;

/// What is needed to boot a device.
#[derive(Debug)]
pub struct Boot {
    /// The program and arguments of the child. It gets the link to its parent as standard input.
    pub child: std::process::Command,
    /// The one interface on which the child may have a network put in force.
    pub interface: String,
    /// The bounds.
    pub limits: Limits,
}

/// Why a device cannot be booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The parent's privileges.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The child could not be started, or the link to it not be made.
    #[error("the device cannot be started: {0}")]
    Child(#[from] io::Error),
}

/// Gives up all privileges but the one for the network, then starts the child and answers it until `shutdown` ends or the
/// child has ended well. To be called before this process has other threads: they would keep their privileges.
///
/// # Errors
/// [`BootError`] when the child cannot be started. A child that fails is started again.
pub async fn boot(boot: Boot, shutdown: impl Future<Output = ()>) -> Result<(), BootError> {
    keep_network_only()?;
    let mut interface = Interface::new(&boot.interface);
    let mut command = Command::from(boot.child);
    let mut shutdown = std::pin::pin!(shutdown);
    let ended = loop {
        let (mut child, link) = start(&mut command)?;
        let status = tokio::select! {
            status = child.wait() => status,
            () = answer_for_ever(&link, &mut interface, &boot.limits) => child.wait().await,
            () = &mut shutdown => break stop(&mut child, &boot.limits).await,
        };
        if status.as_ref().is_ok_and(ExitStatus::success) {
            break Ok(());
        }
        // Its successor begins with the network as it was.
        let _ = interface.remove();
        tokio::select! {
            () = sleep(boot.limits.child_pause) => {}
            () = &mut shutdown => break Ok(()),
        }
    };
    interface.remove().and(ended).map_err(BootError::Child)
}

/// Starts the child as [`boot`] does, and waits for its end. Where the privilege for the network is missing there is none to
/// give up either.
///
/// # Errors
/// [`BootError`] when the child cannot be started.
pub async fn run_once(boot: Boot) -> Result<ExitStatus, BootError> {
    match keep_network_only() {
        Ok(()) | Err(PrivilegeError::Missing) => {}
        Err(error) => return Err(error.into()),
    }
    let mut interface = Interface::new(&boot.interface);
    let (mut child, link) = start(&mut Command::from(boot.child))?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = answer_for_ever(&link, &mut interface, &boot.limits) => child.wait().await,
    };
    Ok(status?)
}

/// Starts the child with its end of a new socketpair.
fn start(command: &mut Command) -> io::Result<(Child, UnixDatagram)> {
    let flags = SocketFlags::CLOEXEC;
    let (own, childs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let child = command.stdin(Stdio::from(childs)).kill_on_drop(true).spawn()?;
    // The command keeps a copy of what it was given, and with it the child's end would never close.
    command.stdin(Stdio::null());
    Ok((child, packets(own)?))
}

fn packets(socket: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = StdDatagram::from(socket);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// Answers each question; ends when the child has closed its end.
async fn answer_for_ever(link: &UnixDatagram, interface: &mut Interface, limits: &Limits) {
    let mut packet = vec![0; limits.parent_message + 1];
    while let Ok(length) = link.recv(&mut packet).await {
        if length == 0 {
            return;
        }
        let answer = answer(packet.get(..length).unwrap_or_default(), interface, limits);
        let Ok(bytes) = serde_json::to_vec(&answer) else { return };
        if link.send(&bytes).await.is_err() {
            return;
        }
    }
}

fn answer(packet: &[u8], interface: &mut Interface, limits: &Limits) -> Answer {
    if packet.len() > limits.parent_message {
        return Answer::Failed("too long a question".to_owned());
    }
    let done = match serde_json::from_slice(packet) {
        Ok(Request::Apply(network)) => interface.apply(&network),
        Ok(Request::Remove) => interface.remove(),
        Err(_) => return Answer::Failed("no question that this parent answers".to_owned()),
    };
    done.map_or_else(|error| Answer::Failed(error.to_string()), |()| Answer::Done)
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
    use super::*;
    use crate::limits::LIMITS;

    fn failed(packet: &[u8]) -> String {
        match answer(packet, &mut Interface::new("none"), &LIMITS) {
            Answer::Failed(why) => why,
            Answer::Done => panic!("done"),
        }
    }

    #[test]
    fn everything_but_the_two_questions_is_refused() {
        for packet in [&b""[..], b"{}", br#""exec""#, br#"{"apply":{}}"#, br#"["remove"]"#, b"\xff"] {
            assert!(failed(packet).contains("no question"), "{packet:?}");
        }
        let network = r#"{"address":"192.0.2.7","prefix":24,"gateway":"192.0.2.1","dns":["192.0.2.53"]"#;
        let extra = format!(r#"{{"apply":{network},"interface":"lo"}}}}"#);
        assert!(failed(extra.as_bytes()).contains("no question"), "the child may not choose the interface");
    }

    #[test]
    fn a_network_that_would_strand_the_device_is_refused_before_anything_is_changed() {
        let network = r#"{"apply":{"address":"192.0.2.7","prefix":24,"gateway":"192.0.3.1","dns":["192.0.2.53"]}}"#;
        assert!(failed(network.as_bytes()).contains("192.0.3.1"));
        let good = r#"{"apply":{"address":"192.0.2.7","prefix":24,"gateway":"192.0.2.1","dns":["192.0.2.53"]}}"#;
        assert!(failed(good.as_bytes()).contains("no interface none"));
    }

    #[test]
    fn a_question_has_its_longest_length() {
        let padded = |length: usize| [br#""remove""#.to_vec(), vec![b' '; length - 8]].concat();
        assert_eq!(answer(&padded(LIMITS.parent_message), &mut Interface::new("none"), &LIMITS), Answer::Done);
        assert!(failed(&padded(LIMITS.parent_message + 1)).contains("too long"));
    }
}
