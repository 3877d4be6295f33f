//! The connection of a session: a socket and its keys, and no buffer while nothing waits.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keys::tls::{RecordError, Records};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::AlertDescription;

use super::reading::{poll_shared, read_shared};
use super::tls_socket::TlsSocketError;

/// An established TLS connection over TCP that rustls has left.
#[derive(Debug)]
pub(super) struct SessionSocket {
    tcp: TcpStream,
    records: Records,
    /// Records that wait to be sent, from `written` on.
    out: Vec<u8>,
    written: usize,
    sent: u64,
    /// The peer was told that it broke TLS: nothing may follow.
    over: bool,
}

impl SessionSocket {
    pub(super) fn new(tcp: TcpStream, records: Records) -> Self {
        Self { tcp, records, out: Vec::new(), written: 0, sent: 0, over: false }
    }

    /// Seals plaintext; [`Self::poll_write`] sends it.
    ///
    /// # Errors
    /// When the connection's keys are used up.
    pub(super) fn write(&mut self, plain: &[u8]) -> Result<(), RecordError> {
        if self.over { Ok(()) } else { self.records.seal(plain, &mut self.out) }
    }

    /// Whether bytes wait to be sent.
    pub(super) fn wants_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Bytes that the socket has taken so far; grows while the peer reads.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Reads what has arrived, no more than the thread's buffer holds, and hands the plaintext on.
    ///
    /// # Errors
    /// When the peer closed, the connection broke or the peer broke TLS; an alert may then wait to be written.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        plain: impl FnMut(&[u8]),
    ) -> Poll<Result<(), TlsSocketError>> {
        let records = &mut self.records;
        let opened = ready!(poll_shared(&mut self.tcp, cx, |bytes| {
            if bytes.is_empty() { Err(RecordError::Closed) } else { records.open(bytes, plain) }
        }))?;
        if let Err(RecordError::Broken { alert, .. }) = opened {
            // It fails only where the connection is lost anyway.
            let _ = self.records.alert(alert, &mut self.out);
            self.over = true;
        }
        Poll::Ready(Ok(opened?))
    }

    /// Sends what waits; ready when nothing waits any more.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.out[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.written += written;
                    self.sent = self.sent.wrapping_add(written as u64);
                }
            }
        }
        (self.out, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Says goodbye on both layers and waits, no longer than `patience`, for the peer to go: closing with unread bytes would reset the
    /// connection and could destroy the last words on their way.
    pub(super) async fn close(mut self, patience: Duration) {
        if !self.over {
            // Without it the end is as clear as TCP makes it.
            let _ = self.records.alert(AlertDescription::CloseNotify, &mut self.out);
        }
        let goodbye = async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.tcp).poll_shutdown(cx)).await?;
            while read_shared(&mut self.tcp, |_| ()).await? > 0 {}
            io::Result::Ok(())
        };
        // The peer may be gone already, and then nobody is left to tell.
        let _ = timeout(patience, goodbye).await;
    }
}
