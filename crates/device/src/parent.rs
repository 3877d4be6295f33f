//! The small parent that stays: it alone may change the network, and it answers its child over one inherited socketpair.
//!
//! Both ends speak packets (SOCK_SEQPACKET), one question and one answer at a time. The child gets its end as standard
//! input, so that no number of a file descriptor has to be agreed on, and keeps nothing else of its parent.

mod message;
#[cfg(feature = "parent")]
mod privileges;
#[cfg(feature = "parent")]
mod rtnetlink;
#[cfg(feature = "parent")]
mod supervisor;

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::network::StaticNetwork;
use crate::parent::message::{Answer, Request};

#[cfg(feature = "parent")]
pub use privileges::PrivilegeError;
#[cfg(feature = "parent")]
pub use supervisor::{Boot, BootError, boot, run_once};

/// The child's end of the socketpair.
#[derive(Debug)]
pub struct ParentLink {
    socket: UnixDatagram,
    wait: Duration,
    answer_most: usize,
}

/// Why the parent did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// This process has no parent that could.
    #[error("only a device that was started with `vouch device boot` can have a static network")]
    NoParent,
    /// The parent tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The parent did not answer in time.
    #[error("the parent process did not answer within {0:?}")]
    Silent(Duration),
    /// The parent's answer cannot be understood.
    #[error("the parent process answered something else than was asked for")]
    Strange,
    /// The socketpair broke.
    #[error("the parent process is gone: {0}")]
    Gone(#[from] io::Error),
}

impl ParentLink {
    /// Takes the link that the parent gave this process as its standard input. To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ParentError::NoParent`] when standard input is something else.
    pub fn from_standard_input(limits: &Limits) -> Result<ParentLink, ParentError> {
        let input = io::stdin();
        let is_packets = sockopt::socket_type(&input).is_ok_and(|kind| kind == SocketType::SEQPACKET);
        let is_local = sockopt::socket_domain(&input).is_ok_and(|family| family == AddressFamily::UNIX);
        if !is_packets || !is_local {
            return Err(ParentError::NoParent);
        }
        let socket = rustix::io::fcntl_dupfd_cloexec(&input, 3).map_err(io::Error::from)?;
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing).map_err(io::Error::from)?;
        ParentLink::new(socket.into(), limits)
    }

    fn new(socket: StdDatagram, limits: &Limits) -> Result<ParentLink, ParentError> {
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        Ok(ParentLink { socket, wait: limits.parent_wait, answer_most: limits.parent_message })
    }

    /// Has the parent put this network in force.
    pub(crate) async fn apply(&mut self, network: &StaticNetwork) -> Result<(), ParentError> {
        self.ask(&Request::Apply(network.clone())).await
    }

    /// Has the parent take out the network that it put in force, if there is one.
    pub(crate) async fn remove(&mut self) -> Result<(), ParentError> {
        self.ask(&Request::Remove).await
    }

    async fn ask(&mut self, request: &Request) -> Result<(), ParentError> {
        let packet = serde_json::to_vec(request).map_err(|_| ParentError::Strange)?;
        let exchange = async {
            self.socket.send(&packet).await?;
            let mut answer = vec![0; self.answer_most];
            let length = self.socket.recv(&mut answer).await?;
            answer.truncate(length);
            Ok::<_, ParentError>(answer)
        };
        let answer = timeout(self.wait, exchange).await.map_err(|_| ParentError::Silent(self.wait))??;
        if answer.is_empty() {
            return Err(ParentError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&answer) {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Failed(why)) => Err(ParentError::Failed(why)),
            Err(_) => Err(ParentError::Strange),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::limits::LIMITS;
    use rustix::net::{SocketFlags, socketpair};

    pub(crate) fn pair() -> (ParentLink, UnixDatagram) {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let limits = Limits { parent_wait: Duration::from_millis(50), ..LIMITS };
        let far = StdDatagram::from(far);
        far.set_nonblocking(true).unwrap();
        (ParentLink::new(near.into(), &limits).unwrap(), UnixDatagram::from_std(far).unwrap())
    }

    async fn answered(answer: &[u8]) -> Result<(), ParentError> {
        let (mut link, parent) = pair();
        parent.send(answer).await.unwrap();
        link.remove().await
    }

    #[tokio::test]
    async fn each_answer_of_the_parent_has_its_own_meaning() {
        answered(br#""done""#).await.unwrap();
        assert!(matches!(answered(br#"{"failed":"why"}"#).await, Err(ParentError::Failed(why)) if why == "why"));
        assert!(matches!(answered(b"{}").await, Err(ParentError::Strange)));
    }

    #[tokio::test]
    async fn a_silent_parent_is_not_waited_for_and_a_dead_one_is_noticed() {
        let (mut link, parent) = pair();
        assert!(matches!(link.remove().await, Err(ParentError::Silent(_))));
        drop(parent);
        assert!(matches!(link.remove().await, Err(ParentError::Gone(_))));
    }

    #[tokio::test]
    async fn a_standard_input_that_is_no_parent_is_refused() {
        assert!(matches!(ParentLink::from_standard_input(&LIMITS), Err(ParentError::NoParent)));
    }
}
