//! A connection that rustls drives: its handshake, and all that a stranger says and is told.

use std::future::poll_fn;
use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use keys::tls::{RecordError, Records, TakeOverError, TrafficSecrets};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, ServerConnection};

use super::reading::read_shared;
use super::session_socket::SessionSocket;

/// A server-side TLS connection over TCP.
#[derive(Debug)]
pub(super) struct TlsSocket {
    tcp: TcpStream,
    /// Boxed, since a connection is handed from task to task and each hand-over would copy its kilobyte and make room for it twice.
    tls: Box<ServerConnection>,
    secrets: Arc<TrafficSecrets>,
    /// The beginning of a record whose rest has not come: rustls is handed whole records only, so that it holds nothing when it goes.
    part: Vec<u8>,
}

/// Why TLS or TCP ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsSocketError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    #[error("TLS failed: {0}")]
    Records(RecordError),
    #[error("the peer closed the connection")]
    Closed,
}

impl From<RecordError> for TlsSocketError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Closed => Self::Closed,
            error => Self::Records(error),
        }
    }
}

impl TlsSocket {
    pub(super) fn new(tcp: TcpStream, mut tls: ServerConnection, secrets: Arc<TrafficSecrets>) -> Self {
        // The gateway bounds what it hands to TLS itself; a second bound here would only cut writes short.
        tls.set_buffer_limit(None);
        Self { tcp, tls: Box::new(tls), secrets, part: Vec::new() }
    }

    pub(super) fn tls(&self) -> &ServerConnection {
        &self.tls
    }

    /// Lets rustls go: from here on the connection holds its keys and nothing else. Everything written must be flushed.
    ///
    /// # Errors
    /// When the keys cannot be taken over; the connection is lost then.
    pub(super) fn settle(self) -> Result<SessionSocket, TakeOverError> {
        let Self { tcp, tls, secrets, part } = self;
        Ok(SessionSocket::new(tcp, Records::take_over(*tls, &secrets, part)?))
    }

    /// Hands bytes to TLS; plaintext goes to `plain`.
    fn feed(&mut self, bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<(), TlsSocketError> {
        let mut kept = std::mem::take(&mut self.part);
        let bytes = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let (mut whole, part) = bytes.split_at(whole_records(bytes));
        self.part = part.to_vec();
        while !whole.is_empty() {
            if self.tls.read_tls(&mut whole)? == 0 {
                return Err(TlsSocketError::Closed);
            }
            self.tls.process_new_packets()?;
            self.drain(&mut plain)?;
        }
        Ok(())
    }

    /// Hands plaintext to TLS; [`Self::flush`] sends it.
    ///
    /// # Errors
    /// Never while no buffer limit is set.
    pub(super) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(plain)
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while self.tls.wants_write() {
                let mut socket = Polled { tcp: &mut self.tcp, cx };
                match self.tls.write_tls(&mut socket) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Reads once and hands the plaintext on.
    ///
    /// # Errors
    /// When the peer closed, the connection broke or TLS failed; an alert may then wait to be written.
    pub(super) async fn read(&mut self, mut plain: impl FnMut(&[u8])) -> Result<(), TlsSocketError> {
        // What came is copied, since the buffer is not this connection's and TLS is.
        let mut came = Vec::new();
        if read_shared(&mut self.tcp, |bytes| came.extend_from_slice(bytes)).await? == 0 {
            return Err(TlsSocketError::Closed);
        }
        self.feed(&came, &mut plain)
    }

    /// Runs the handshake to its end. What TLS has to say last (Finished, tickets) is left unsent, to go out with the first plaintext;
    /// plaintext that came with the client's last flight goes to `plain`.
    ///
    /// # Errors
    /// When the peer closed, the connection broke or TLS failed.
    pub(super) async fn handshake(
        &mut self,
        flight: Duration,
        mut plain: impl FnMut(&[u8]),
    ) -> Result<(), HandshakeError> {
        while self.tls.is_handshaking() {
            let step = async {
                self.flush().await?;
                self.read(&mut plain).await
            };
            timeout(flight, step).await.map_err(|_| HandshakeError::Flight)??;
        }
        Ok(())
    }

    /// Says goodbye on both layers and waits, no longer than `patience`, for the peer to go: closing with unread bytes would reset the
    /// connection and could destroy the last words on their way.
    pub(super) async fn close(mut self, patience: Duration) {
        self.tls.send_close_notify();
        let goodbye = async {
            self.flush().await?;
            poll_fn(|cx| Pin::new(&mut self.tcp).poll_shutdown(cx)).await?;
            while read_shared(&mut self.tcp, |_| ()).await? > 0 {}
            io::Result::Ok(())
        };
        // The peer may be gone already, and then nobody is left to tell.
        let _ = timeout(patience, goodbye).await;
    }

    fn drain(&mut self, plain: &mut impl FnMut(&[u8])) -> Result<(), TlsSocketError> {
        loop {
            let mut reader = self.tls.reader();
            match reader.fill_buf() {
                Ok([]) => return Err(TlsSocketError::Closed),
                Ok(chunk) => {
                    plain(chunk);
                    let length = chunk.len();
                    reader.consume(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How many bytes at the front are whole records. What cannot be one counts as well: rustls knows what to say to it.
fn whole_records(bytes: &[u8]) -> usize {
    const HEADER: usize = 5;
    const MOST: usize = 16 * 1024 + 2_048;
    let mut whole = 0;
    while let Some(&[kind, version, _, high, low]) = bytes[whole..].first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(20..=23).contains(&kind) || version != 3 || length > MOST {
            return bytes.len();
        }
        if bytes.len() - whole < HEADER + length {
            break;
        }
        whole += HEADER + length;
    }
    whole
}

/// Why a handshake did not finish.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("the client stopped in the middle of the handshake")]
    Flight,
    #[error(transparent)]
    Socket(#[from] TlsSocketError),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Socket(error.into())
    }
}

/// Lets rustls write to a socket within a poll.
struct Polled<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl io::Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_records_are_handed_on() {
        let record = [23, 3, 3, 0, 3, 1, 2, 3];
        let two = [record, record].concat();
        for (length, whole) in [(0, 0), (4, 0), (5, 0), (7, 0), (8, 8), (12, 8), (15, 8), (16, 16)] {
            assert_eq!(whole_records(&two[..length]), whole, "of {length} bytes");
        }
    }

    #[test]
    fn what_is_no_record_is_left_to_rustls() {
        for foreign in [&b"GET / HTTP/1.1\r\n"[..], &[23, 2, 0, 0, 3], &[22, 3, 3, 0x48, 0x01], &[24, 3, 3, 0, 9]] {
            assert_eq!(whole_records(foreign), foreign.len(), "{foreign:?}");
        }
        assert_eq!(whole_records(&[22, 3, 3, 0x48, 0x00]), 0);
    }
}
