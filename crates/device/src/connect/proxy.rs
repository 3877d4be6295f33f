//! Asking an HTTP proxy for a tunnel to the server (RFC 9110, section 9.3.6), and judging its answer strictly.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::ProxyCredentials;
use crate::connect::attempt::AttemptResult;
use crate::limits::Limits;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// It answered with another status than 2xx.
    #[error("the proxy answered {0}")]
    Status(u16),
    /// It answered something that is no HTTP, or a head over the bounds.
    #[error("no HTTP answer: {0}")]
    NotHttp(String),
    /// It gave no whole answer in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It closed the connection before a whole answer.
    #[error("closed without an answer")]
    Closed,
    /// It granted the tunnel, and bytes came out of it before we sent any.
    #[error("bytes came through the tunnel before any were sent")]
    TalksFirst,
    /// The connection to it broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TunnelError {
    /// The proxy's HTTP status, if it came to one.
    pub fn status(&self) -> Option<u16> {
        match self {
            TunnelError::Status(status) => Some(*status),
            TunnelError::TalksFirst => Some(200),
            _ => None,
        }
    }

    /// The result as the diary has it.
    pub fn into_result(self) -> AttemptResult {
        match self {
            TunnelError::Status(407) => AttemptResult::ProxyWantsCredentials,
            TunnelError::Status(status) => AttemptResult::ProxyRefused { status },
            TunnelError::NotHttp(why) => AttemptResult::ProxyNotHttp { why },
            TunnelError::Silent(waited) => AttemptResult::ProxySilent { waited_ms: millis(waited) },
            TunnelError::Closed => AttemptResult::ProxyClosed,
            TunnelError::TalksFirst => AttemptResult::ProxyTalksFirst,
            TunnelError::Io(error) if is_close(&error) => AttemptResult::ProxyClosed,
            TunnelError::Io(error) => AttemptResult::TcpFailed { why: error.to_string() },
        }
    }
}

/// Asks for a tunnel to `host:port` and returns the proxy's status once it is open.
/// After this the stream belongs to the server, first byte and all.
pub async fn open_tunnel<S>(
    stream: &mut S,
    host: &str,
    port: u16,
    credentials: Option<&ProxyCredentials>,
    limits: &Limits,
) -> Result<u16, TunnelError>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let request = request(host, port, credentials);
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        read_status(stream, limits).await
    };
    let status = timeout(limits.proxy_wait, exchange).await.map_err(|_| TunnelError::Silent(limits.proxy_wait))??;
    if (200..300).contains(&status) { Ok(status) } else { Err(TunnelError::Status(status)) }
}

fn request(host: &str, port: u16, credentials: Option<&ProxyCredentials>) -> Zeroizing<String> {
    let authority = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    // Room for everything at once, so that no copy of the password stays behind in memory.
    let mut request = Zeroizing::new(String::with_capacity(2 * authority.len() + 1024));
    // Writing to a String cannot fail.
    let _ = write!(request, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(ProxyCredentials { user, password }) = credentials {
        let pair = Zeroizing::new([user.as_bytes(), b":", password.as_bytes()].concat());
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&Zeroizing::new(BASE64_STANDARD.encode(&*pair)));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

async fn read_status<S: AsyncReadExt + Unpin>(stream: &mut S, limits: &Limits) -> Result<u16, TunnelError> {
    let mut head = Vec::new();
    let mut chunk = [0_u8; 1024];
    loop {
        let room = limits.proxy_head.saturating_sub(head.len());
        if room == 0 {
            return Err(TunnelError::NotHttp(format!("a head of more than {} bytes", limits.proxy_head)));
        }
        let space = chunk.len().min(room);
        let read = match stream.read(&mut chunk[..space]).await {
            Ok(0) => return Err(TunnelError::Closed),
            Ok(read) => read,
            Err(error) => return Err(error.into()),
        };
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some((status, length)) = parse_head(&head, limits)? {
            let opened = (200..300).contains(&status);
            // A 2xx answer to CONNECT has no body: what follows would be the first bytes of the "server".
            return if opened && length < head.len() { Err(TunnelError::TalksFirst) } else { Ok(status) };
        }
    }
}

/// The status and the head's length once the head is whole; `None` while it is not.
fn parse_head(head: &[u8], limits: &Limits) -> Result<Option<(u16, usize)>, TunnelError> {
    let mut headers = vec![httparse::EMPTY_HEADER; limits.proxy_headers];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.ok_or_else(|| TunnelError::NotHttp("no status".to_owned()))?;
            Ok(Some((status, length)))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(TunnelError::NotHttp(error.to_string())),
    }
}

/// Whether an error of the socket means that the other end closed it.
pub(crate) fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LIMITS;
    use tokio::io::{DuplexStream, duplex};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// What a proxy that answers with these bytes leads to, and what it was sent.
    fn ask(answer: &[u8], credentials: Option<&ProxyCredentials>) -> (Result<u16, TunnelError>, String) {
        runtime().block_on(async {
            let (mut near, far) = duplex(64 * 1024);
            let proxy = async move {
                let sent = read_request(far, answer).await;
                String::from_utf8(sent).unwrap()
            };
            tokio::join!(open_tunnel(&mut near, "iot.example", 31314, credentials, &LIMITS), proxy)
        })
    }

    async fn read_request(mut far: DuplexStream, answer: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        while !sent.ends_with(b"\r\n\r\n") {
            let byte = far.read_u8().await.unwrap();
            sent.push(byte);
        }
        far.write_all(answer).await.unwrap();
        sent
    }

    fn credentials() -> ProxyCredentials {
        ProxyCredentials { user: "Aladdin".into(), password: Zeroizing::new("open sesame".into()) }
    }

    #[test]
    fn the_name_goes_into_connect_and_no_credentials_unless_configured() {
        let (opened, sent) = ask(b"HTTP/1.1 200 Connection established\r\n\r\n", None);
        assert_eq!(opened.unwrap(), 200);
        assert_eq!(sent, "CONNECT iot.example:31314 HTTP/1.1\r\nHost: iot.example:31314\r\n\r\n");
    }

    #[test]
    fn basic_credentials_are_the_ones_of_rfc_7617() {
        let (opened, sent) = ask(b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", Some(&credentials()));
        assert_eq!(opened.unwrap(), 200);
        assert!(sent.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{sent}");
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        assert!(request("2001:db8::1", 443, None).starts_with("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n"));
        assert!(request("192.0.2.1", 443, None).starts_with("CONNECT 192.0.2.1:443 HTTP/1.1\r\n"));
    }

    #[test]
    fn each_bad_answer_has_its_own_result() {
        let result = |answer: &[u8]| ask(answer, None).0.unwrap_err().into_result();
        let wants = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        assert_eq!(result(wants), AttemptResult::ProxyWantsCredentials);
        assert_eq!(result(b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>"), AttemptResult::ProxyRefused { status: 502 });
        assert!(matches!(result(b"SSH-2.0-OpenSSH_9.9\r\n"), AttemptResult::ProxyNotHttp { .. }));
        assert_eq!(result(b""), AttemptResult::ProxyClosed);
        assert_eq!(result(b"HTTP/1.1 200 OK\r\n"), AttemptResult::ProxyClosed);
        assert_eq!(result(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03"), AttemptResult::ProxyTalksFirst);
    }

    #[test]
    fn the_head_is_bounded_on_both_sides() {
        let head = |length: usize| {
            let fixed = b"HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(length - fixed)).into_bytes()
        };
        assert_eq!(ask(&head(LIMITS.proxy_head), None).0.unwrap(), 200);
        let too_long = ask(&head(LIMITS.proxy_head + 1), None).0.unwrap_err().into_result();
        assert!(matches!(too_long, AttemptResult::ProxyNotHttp { .. }), "{too_long:?}");
        let lines = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count)).into_bytes();
        assert_eq!(ask(&lines(LIMITS.proxy_headers), None).0.unwrap(), 200);
        let too_many = ask(&lines(LIMITS.proxy_headers + 1), None).0.unwrap_err().into_result();
        assert!(matches!(too_many, AttemptResult::ProxyNotHttp { .. }), "{too_many:?}");
    }

    #[test]
    fn a_silent_proxy_is_given_up() {
        let waited = Duration::from_millis(20);
        let result = runtime().block_on(async {
            let (mut near, _far) = duplex(1024);
            let limits = Limits { proxy_wait: waited, ..LIMITS };
            open_tunnel(&mut near, "iot.example", 443, None, &limits).await.unwrap_err().into_result()
        });
        assert_eq!(result, AttemptResult::ProxySilent { waited_ms: 20 });
    }
}
