//! The HTTP listener of central and the agents' URLs: HTTP/1.1 only, a bounded number of connections, and no waiting for slow heads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::auth::Peer;
use super::routes::collapse_slashes;
use crate::limits::Limits;

/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a listener that cannot accept says so in the log.
const ACCEPT_LOG_PAUSE: Duration = Duration::from_secs(5);

/// The least that hyper takes as a bound.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// A bound listener.
pub struct HttpListener {
    listener: TcpListener,
    addr: SocketAddr,
}

impl HttpListener {
    /// Binds an address; port 0 takes any free one.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(addr: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, then lets requests end within `limits.shutdown`.
    pub async fn run(self, router: Router, limits: Limits, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(limits.connections.max(1)));
        let tasks = TaskTracker::new();
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let Some((place, accepted)) = stop.run_until_cancelled(accepted).await else { break };
            match accepted {
                Ok((tcp, peer)) => {
                    let serving = serve(tcp, peer, router.clone(), limits.clone(), stop.clone());
                    tasks.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    if complained.is_none_or(|at| at.elapsed() >= ACCEPT_LOG_PAUSE) {
                        complained = Some(Instant::now());
                        tracing::warn!(%error, "cannot accept an HTTP connection; is the limit of open files too low?");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        tasks.close();
        if tokio::time::timeout(limits.shutdown, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "HTTP connections did not end in time and are cut");
        }
    }
}

async fn serve(tcp: TcpStream, peer: SocketAddr, router: Router, limits: Limits, stop: CancellationToken) {
    // Log lines are small and wanted at once; an error here only costs latency.
    let _ = tcp.set_nodelay(true);
    // A client that takes nothing would keep its place for ever. Where the system does not know the option, it does.
    let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(limits.write_deadline));
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(uri) = collapse_slashes(request.uri()) {
            *request.uri_mut() = uri;
        }
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_deadline)
        .max_buf_size(limits.head_bytes.max(HEAD_BYTES_MIN))
        .serve_connection(TokioIo::new(tcp), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection broke");
    }
}
