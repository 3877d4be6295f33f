//! One TCP connection with its TLS state: reads through a buffer shared by the whole thread, writes in one piece.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, BufRead as _, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, ServerConnection};

/// Bytes read from a socket at once: one TLS record of full length.
const READ_BYTES: usize = 16 * 1024;

thread_local! {
    /// Shared by all connections of a worker thread, and borrowed only within one poll: an idle connection holds no buffer of its own.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Reads once from a socket that has no TLS yet; returns how many bytes were taken, 0 at the end of the stream.
pub(crate) async fn read_shared(tcp: &mut TcpStream, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|cx| {
        READ.with_borrow_mut(|buffer| {
            let bytes = ready!(poll_into(tcp, cx, buffer))?;
            take(bytes);
            Poll::Ready(Ok(bytes.len()))
        })
    })
    .await
}

fn poll_into<'b>(tcp: &mut TcpStream, cx: &mut Context<'_>, buffer: &'b mut [u8]) -> Poll<io::Result<&'b [u8]>> {
    let mut filling = ReadBuf::new(buffer);
    ready!(Pin::new(tcp).poll_read(cx, &mut filling))?;
    let length = filling.filled().len();
    Poll::Ready(Ok(&buffer[..length]))
}

/// A server-side TLS connection over TCP.
#[derive(Debug)]
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    /// Boxed, since a connection is handed from task to task and each hand-over would copy its kilobyte and make room for it twice.
    tls: Box<ServerConnection>,
    sent: u64,
}

/// Why TLS or TCP ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSocketError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the peer closed the connection")]
    Closed,
}

impl TlsSocket {
    pub(crate) fn new(tcp: TcpStream, mut tls: ServerConnection) -> Self {
        // The gateway bounds what it hands to TLS itself; a second bound here would only cut writes short.
        tls.set_buffer_limit(None);
        Self { tcp, tls: Box::new(tls), sent: 0 }
    }

    pub(crate) fn tls(&self) -> &ServerConnection {
        &self.tls
    }

    /// Hands bytes that were read before TLS began to TLS; plaintext goes to `plain`.
    ///
    /// # Errors
    /// When TLS refuses them; an alert may then wait to be written.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<(), TlsSocketError> {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes)? == 0 {
                return Err(TlsSocketError::Closed);
            }
            self.tls.process_new_packets()?;
            self.drain(&mut plain)?;
        }
        Ok(())
    }

    /// Hands plaintext to TLS; [`Self::poll_flush`] sends it.
    ///
    /// # Errors
    /// Never while no buffer limit is set.
    pub(crate) fn write(&mut self, plain: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(plain)
    }

    /// Whether bytes wait to be sent.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Bytes that the socket has taken so far; grows while the peer reads.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Reads what has arrived, at most [`READ_BYTES`], and hands the plaintext on.
    ///
    /// # Errors
    /// When the peer closed, the connection broke or TLS failed; an alert may then wait to be written.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: impl FnMut(&[u8]),
    ) -> Poll<Result<(), TlsSocketError>> {
        READ.with_borrow_mut(|buffer| {
            let bytes = ready!(poll_into(&mut self.tcp, cx, buffer))?;
            if bytes.is_empty() {
                return Poll::Ready(Err(TlsSocketError::Closed));
            }
            Poll::Ready(self.feed(bytes, plain))
        })
    }

    /// Sends what waits; ready when nothing waits any more.
    ///
    /// # Errors
    /// When the connection broke.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut socket = Polled { tcp: &mut self.tcp, cx };
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.sent = self.sent.wrapping_add(written as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// [`Self::poll_write`] until nothing waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// [`Self::poll_read`] once.
    pub(crate) async fn read(&mut self, mut plain: impl FnMut(&[u8])) -> Result<(), TlsSocketError> {
        poll_fn(|cx| self.poll_read(cx, &mut plain)).await
    }

    /// Runs the handshake to its end. What TLS has to say last (Finished, tickets) is left unsent, to go out with the first plaintext;
    /// plaintext that came with the client's last flight goes to `plain`.
    ///
    /// # Errors
    /// When the peer closed, the connection broke or TLS failed.
    pub(crate) async fn handshake(
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
    pub(crate) async fn close(mut self, patience: Duration) {
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

/// Why a handshake did not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the client stopped in the middle of the handshake")]
    Flight,
    #[error(transparent)]
    Socket(#[from] TlsSocketError),
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
