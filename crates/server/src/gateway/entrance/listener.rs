//! Accepts connections on every port by the same logic, and survives an operating system that has no more to give.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel keeps for us while we are busy. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// Pause after an accept that failed for want of resources, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One address to listen on, and the port of the rule (31314, 993 or 443) that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The port of the rule.
    pub rule_port: u16,
    /// The address and port that are bound. They differ from the rule where privileged ports cannot be bound.
    pub addr: SocketAddr,
}

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr} (for port {rule_port} of the rule): {source}. Is another program there, or does the port need a privilege?"
)]
pub struct BindError {
    rule_port: u16,
    addr: SocketAddr,
    source: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    pub(crate) listen: Listen,
}

impl Listener {
    /// Binds. Port 0 takes a free one, which [`Listener::listen`] then names.
    pub(crate) fn bind(listen: Listen) -> Result<Self, BindError> {
        let Listen { rule_port, addr } = listen;
        let bound = || -> io::Result<Self> {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            // A restarted server takes its ports back at once.
            socket.set_reuse_address(true)?;
            if addr.ip() == Ipv6Addr::UNSPECIFIED {
                // IPv4 has listeners of its own; one socket for both would clash with them.
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            socket.listen(BACKLOG)?;
            let tcp = TcpListener::from_std(socket.into())?;
            let addr = tcp.local_addr()?;
            Ok(Self { tcp, listen: Listen { rule_port, addr } })
        };
        bound().map_err(|source| BindError { rule_port, addr, source })
    }

    /// The next connection, without Nagle's delay. `failed` is called for each accept that did not succeed.
    pub(crate) async fn accept(&self, mut failed: impl FnMut(&io::Error)) -> (TcpStream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok((tcp, peer)) => {
                    // Fails only on a connection that is gone; its first read will tell.
                    let _ = tcp.set_nodelay(true);
                    return (tcp, peer);
                }
                Err(error) => {
                    failed(&error);
                    if !is_about_one_connection(&error) {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Whether an accept failed because that one connection is gone; anything else (no descriptors, no memory) concerns the next one as well.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn binds_both_families_and_names_the_port_it_got() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let listener = Listener::bind(Listen { rule_port: 31_314, addr: addr.parse().unwrap() }).unwrap();
            assert_eq!(listener.listen.rule_port, 31_314);
            let (client, (server, peer)) =
                tokio::join!(TcpStream::connect(listener.listen.addr), listener.accept(|_| ()));
            assert_eq!(client.unwrap().local_addr().unwrap(), peer);
            assert!(server.nodelay().unwrap());
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_it() {
        let first = Listener::bind(Listen { rule_port: 443, addr: "127.0.0.1:0".parse().unwrap() }).unwrap();
        let error = Listener::bind(first.listen).unwrap_err().to_string();
        assert!(error.contains(&first.listen.addr.to_string()) && error.contains("443"), "{error}");
    }

    #[test]
    fn only_what_concerns_one_connection_is_tried_again_at_once() {
        // EMFILE, ENFILE, ENOMEM
        for errno in [24, 23, 12] {
            assert!(!is_about_one_connection(&io::Error::from_raw_os_error(errno)));
        }
        assert!(is_about_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    }
}
