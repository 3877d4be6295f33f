//! A buffer to read into, shared by all connections of a worker thread: an idle connection holds none of its own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read from a socket at once: a few TLS records of full length.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Borrowed only within one poll.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Reads once; returns how many bytes were taken, 0 at the end of the stream.
pub(super) async fn read_shared(tcp: &mut TcpStream, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|cx| {
        poll_shared(tcp, cx, |bytes| {
            take(bytes);
            bytes.len()
        })
    })
    .await
}

/// Waits until something has come and shows it, nothing at the end of the stream; it stays to be read.
pub(super) async fn peek_shared<T>(tcp: &mut TcpStream, mut look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    poll_fn(|cx| {
        READ.with_borrow_mut(|buffer| {
            let mut seen = ReadBuf::new(buffer);
            ready!(tcp.poll_peek(cx, &mut seen))?;
            Poll::Ready(Ok(look(seen.filled())))
        })
    })
    .await
}

/// Reads once and hands on what came, which is nothing at the end of the stream.
pub(super) fn poll_shared<T>(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<io::Result<T>> {
    READ.with_borrow_mut(|buffer| {
        let mut filling = ReadBuf::new(buffer);
        ready!(Pin::new(tcp).poll_read(cx, &mut filling))?;
        Poll::Ready(Ok(take(filling.filled_mut())))
    })
}
