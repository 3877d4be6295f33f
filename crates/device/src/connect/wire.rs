//! A TCP connection that remembers how the other end began, so that an answer that is no TLS can be named.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connect::attempt::AttemptResult;

/// How much of the beginning is remembered: the first lines of an HTTP answer.
const HEARD_BYTES: usize = 1024;
/// The longest address of a web page that is told.
const LOCATION_CHARS: usize = 200;

/// The connection below TLS.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    heard: Option<Vec<u8>>,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream) -> Wire {
        Wire { tcp, heard: Some(Vec::new()) }
    }

    /// TLS has ended well: nothing has to be remembered any more.
    pub(crate) fn forget(&mut self) {
        self.heard = None;
    }

    /// What the other end really spoke, if that was HTTP.
    pub(crate) fn http(&self) -> Option<AttemptResult> {
        http(self.heard.as_deref().unwrap_or_default())
    }
}

fn http(heard: &[u8]) -> Option<AttemptResult> {
    let text = String::from_utf8_lossy(heard);
    let mut lines = text.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split_ascii_whitespace().nth(1)?;
    let status = status.parse().ok().filter(|status| (100..1000).contains(status))?;
    let location = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim())
    });
    // A stranger wrote it, and people will read it.
    let plain = |text: &str| text.chars().filter(|c| c.is_ascii_graphic()).take(LOCATION_CHARS).collect();
    Some(AttemptResult::HttpAnswered { status, location: location.map(plain) })
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if let Some(heard) = &mut self.heard {
            let new = buf.filled().get(before..).unwrap_or_default();
            let room = HEARD_BYTES.saturating_sub(heard.len());
            heard.extend_from_slice(new.get(..room.min(new.len())).unwrap_or_default());
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, location: Option<&str>) -> Option<AttemptResult> {
        Some(AttemptResult::HttpAnswered { status, location: location.map(str::to_owned) })
    }

    #[test]
    fn a_web_page_is_told_from_everything_else() {
        let redirect = b"HTTP/1.1 302 Found\r\nServer: x\r\nLOCATION:  http://portal.test/login \r\n\r\n<html>";
        assert_eq!(http(redirect), answered(302, Some("http://portal.test/login")));
        assert_eq!(http(b"HTTP/1.0 400 Bad Request\r\n\r\n"), answered(400, None));
        for other in
            [&b""[..], b"\x16\x03\x03\0\x7a", b"SSH-2.0-x\r\n", b"HTTP/1.1", b"HTTP/1.1 xyz\r\n", b"HTTP/1.1 99 x"]
        {
            assert_eq!(http(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_a_stranger_wrote_cannot_steer_a_terminal_or_fill_the_diary() {
        let long = format!("HTTP/1.1 302 x\r\nlocation: http://\x1b[2J{}\r\n", "a".repeat(500));
        let Some(AttemptResult::HttpAnswered { location: Some(told), .. }) = http(long.as_bytes()) else { panic!() };
        assert_eq!(told.len(), LOCATION_CHARS);
        assert!(!told.contains('\x1b'));
    }
}
