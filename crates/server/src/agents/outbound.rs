//! Requests that agents make to the world: bounded, and by default to public addresses only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apphost::{HttpAnswer, HttpFailure, OutgoingRequest};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keys::tls::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::address::is_public;
use super::limits::AgentLimits;

/// Headers that belong to the connection and are the host's to set.
const OURS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Makes the requests of all agents.
pub(super) struct Outbound {
    limits: Arc<AgentLimits>,
    turns: Semaphore,
    tls: TlsConnector,
}

/// Where a request goes.
struct Target {
    host: String,
    port: u16,
    tls: bool,
}

impl Outbound {
    pub(super) fn new(limits: Arc<AgentLimits>, tls: Arc<keys::tls::ClientConfig>) -> Self {
        Self { turns: Semaphore::new(limits.outgoing), tls: TlsConnector::from(tls), limits }
    }

    /// Makes one request within its time; redirects are the script's to follow.
    pub(super) async fn perform(&self, request: OutgoingRequest) -> Result<HttpAnswer, HttpFailure> {
        let time = Duration::from_millis(request.timeout_ms).min(self.limits.outgoing_deadline);
        let made = async {
            let _turn = self.turns.acquire().await.map_err(|_| HttpFailure::NotReached)?;
            let target = target(&request.url)?;
            let stream = self.connect(&target).await?;
            if target.tls {
                self.exchange(self.encrypt(stream, &target).await?, request).await
            } else {
                self.exchange(stream, request).await
            }
        };
        timeout(time, made).await.unwrap_or(Err(HttpFailure::TimedOut))
    }

    /// Connects to an address that was itself checked, so that a name cannot lead elsewhere the second time.
    async fn connect(&self, target: &Target) -> Result<TcpStream, HttpFailure> {
        let host = target.host.trim_start_matches('[').trim_end_matches(']');
        let found = lookup_host((host, target.port)).await.map_err(|_| HttpFailure::NotResolved)?;
        let permitted = |address: &SocketAddr| self.limits.danger_private_addresses || is_public(address.ip());
        let addresses: Vec<SocketAddr> = found.filter(permitted).take(self.limits.outgoing_addresses).collect();
        for address in &addresses {
            if let Ok(Ok(stream)) = timeout(self.limits.outgoing_connect, TcpStream::connect(address)).await {
                // Small requests should not wait; one that does is still right.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
        }
        Err(HttpFailure::NotReached)
    }

    async fn encrypt(
        &self,
        stream: TcpStream,
        target: &Target,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, HttpFailure> {
        let host = target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| HttpFailure::MalformedUrl)?;
        self.tls.connect(name, stream).await.map_err(|error| {
            debug!(%error, "an agent's TLS connection failed");
            if keys::tls::is_untrusted(&error) { HttpFailure::NotTrusted } else { HttpFailure::TlsFailed }
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: OutgoingRequest,
    ) -> Result<HttpAnswer, HttpFailure> {
        let request = wire(request)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(self.limits.outgoing_head_bytes);
        let handshake = builder.handshake::<_, Body>(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|_| HttpFailure::Broken)?;
        let most = self.limits.app.http_body_bytes;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|_| HttpFailure::Broken)?;
            let (head, body) = answer.into_parts();
            let body = to_bytes(Body::new(body), most).await.map_err(|error| {
                let too_long =
                    std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("length limit"));
                if too_long { HttpFailure::TooLong } else { HttpFailure::Broken }
            })?;
            let headers =
                head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
            Ok(HttpAnswer { status: head.status.as_u16(), headers: headers.collect(), body: body.to_vec() })
        };
        tokio::pin!(connection, answered);
        tokio::select! {
            answer = &mut answered => answer,
            // The connection may end with the answer's last byte; what was read is still there.
            _ = &mut connection => answered.await,
        }
    }
}

fn target(url: &str) -> Result<Target, HttpFailure> {
    let uri: Uri = url.parse().map_err(|_| HttpFailure::MalformedUrl)?;
    let (tls, usual) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        Some(_) => return Err(HttpFailure::UnsupportedProtocol),
        None => return Err(HttpFailure::MalformedUrl),
    };
    let authority = uri.authority().ok_or(HttpFailure::MalformedUrl)?;
    if authority.host().is_empty() {
        return Err(HttpFailure::MalformedUrl);
    }
    Ok(Target { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(usual), tls })
}

/// The request as it is written: path and query, `Host`, the script's headers but for the connection's.
fn wire(request: OutgoingRequest) -> Result<Request<Body>, HttpFailure> {
    let malformed = |_| HttpFailure::MalformedUrl;
    let uri: Uri = request.url.parse().map_err(|_| HttpFailure::MalformedUrl)?;
    let authority = uri.authority().ok_or(HttpFailure::MalformedUrl)?.as_str();
    // What comes before an `@` is for nobody's eyes but the server's, and only as a header of its own.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::from_str(host).map_err(|_| HttpFailure::MalformedUrl)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut wire = Request::builder()
        .method(Method::from_bytes(request.method.as_bytes()).map_err(|_| HttpFailure::MalformedUrl)?)
        .uri(path)
        .body(Body::from(request.body))
        .map_err(malformed)?;
    wire.headers_mut().insert(header::HOST, host);
    for (name, value) in request.headers {
        let name = HeaderName::try_from(name).ok().filter(|name| !OURS.contains(name));
        if let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            wire.headers_mut().append(name, value);
        }
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_port() {
        for (url, host, port, tls) in [
            ("http://a.example", "a.example", 80, false),
            ("https://a.example/x?y", "a.example", 443, true),
            ("http://u:p@a.example:8080/", "a.example", 8080, false),
            ("http://[::1]:1/", "[::1]", 1, false),
        ] {
            let found = target(url).unwrap();
            assert_eq!((found.host.as_str(), found.port, found.tls), (host, port, tls), "{url}");
        }
        for (url, failure) in [
            ("ftp://a", HttpFailure::UnsupportedProtocol),
            ("file:///etc/passwd", HttpFailure::MalformedUrl),
            ("/x", HttpFailure::MalformedUrl),
            ("", HttpFailure::MalformedUrl),
            ("http://", HttpFailure::MalformedUrl),
            ("http://a b/", HttpFailure::MalformedUrl),
        ] {
            assert_eq!(target(url).err(), Some(failure), "{url}");
        }
    }

    #[test]
    fn the_connections_headers_are_ours_and_the_host_is_the_urls() {
        let headers = [("Host", "elsewhere"), ("Content-Length", "99"), ("Connection", "upgrade"), ("X-A", "1")];
        let request = OutgoingRequest {
            id: 1,
            method: "PUT".into(),
            url: "http://u:p@a.example:81/p?q=1".into(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: b"x".to_vec(),
            timeout_ms: 1,
        };
        let wire = wire(request).unwrap();
        assert_eq!((wire.method().as_str(), wire.uri().to_string().as_str()), ("PUT", "/p?q=1"));
        let mut names: Vec<_> = wire.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        names.sort();
        assert_eq!(names, ["host=a.example:81", "x-a=1"]);
    }
}
