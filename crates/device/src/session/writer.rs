//! The sending half of a connection: one write at a time, whole, each with a time limit, while everything else goes on.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

type Writing<W> = Pin<Box<dyn Future<Output = io::Result<W>> + Send>>;

/// Writes in the background of a loop that selects.
pub(crate) struct Writer<W> {
    idle: Option<W>,
    busy: Option<Writing<W>>,
    wait: Duration,
}

impl<W: AsyncWrite + Unpin + Send + 'static> Writer<W> {
    /// A writer that gives up a write that was not taken within `wait`.
    pub(crate) fn new(half: W, wait: Duration) -> Writer<W> {
        Writer { idle: Some(half), busy: None, wait }
    }

    /// Whether a write is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Begins a write; only when none is under way.
    pub(crate) fn start(&mut self, bytes: Vec<u8>) {
        let Some(mut half) = self.idle.take() else { return };
        let wait = self.wait;
        self.busy = Some(Box::pin(async move {
            let write = async {
                half.write_all(&bytes).await?;
                half.flush().await
            };
            timeout(wait, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(half)
        }));
    }

    /// Waits for the end of the write. Dropping this future loses nothing. Never ends when no write is under way.
    pub(crate) async fn done(&mut self) -> io::Result<()> {
        let Some(writing) = &mut self.busy else { return std::future::pending().await };
        let result = writing.await;
        self.busy = None;
        self.idle = Some(result?);
        Ok(())
    }

    /// Writes a last piece and closes the sending half.
    pub(crate) async fn finish(mut self, last: Option<Vec<u8>>) {
        if self.is_busy() && self.done().await.is_err() {
            return;
        }
        if let Some(bytes) = last {
            self.start(bytes);
            if self.done().await.is_err() {
                return;
            }
        }
        if let Some(mut half) = self.idle {
            // The connection is given up anyway; a peer that does not take the closing alert changes nothing.
            let _ = timeout(self.wait, half.shutdown()).await;
        }
    }
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("busy", &self.busy.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn a_write_arrives_whole_and_the_next_may_follow() {
        let (near, mut far) = duplex(4);
        let mut writer = Writer::new(near, Duration::from_secs(5));
        writer.start(b"hello, ".to_vec());
        let mut got = vec![0; 7];
        let (done, read) = tokio::join!(writer.done(), far.read_exact(&mut got));
        done.unwrap();
        read.unwrap();
        let (read, ()) = tokio::join!(far.read_to_end(&mut got), writer.finish(Some(b"bye".to_vec())));
        read.unwrap();
        assert_eq!(got, b"hello, bye");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (near, _far) = duplex(4);
        let mut writer = Writer::new(near, Duration::from_millis(20));
        writer.start(vec![0; 100]);
        assert!(writer.is_busy());
        assert_eq!(writer.done().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
