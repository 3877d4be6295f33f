//! The devices' side: full logins, and one round trip after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use keys::pki::ServerName;
use keys::tls::exporter;
use protocol::codec::encode_frame;
use protocol::eat::AttestationLevel;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::report::{LogLevel, LogLine, RingId};
use protocol::session::{DeviceEvent, DeviceSession, DeviceSessionConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::farm::{BenchDevice, NAME, now};
use crate::process::Kind;

/// The count that a device's lines belong to.
const RING: RingId = [7; 8];
/// Bytes of text in a message of the round trip.
const TEXT: usize = 128;

/// Logs in `count` times, each device one login after the other, all devices at once.
///
/// # Errors
/// When one login fails: then nothing was measured.
pub async fn logins(addr: SocketAddr, devices: &[Arc<BenchDevice>], count: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(count));
    let mut tasks = JoinSet::new();
    for device in devices {
        let (device, left) = (device.clone(), left.clone());
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let mut tls = login(addr, &device).await?;
                // An orderly end, so that the server has nothing left of it.
                tls.shutdown().await.ok();
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The times of `count` round trips, sorted: to the agent and back, or of a frame of the same length to the bare server and back.
///
/// # Errors
/// When an answer is not the one expected.
pub async fn round_trip(addr: SocketAddr, kind: Kind, device: &BenchDevice, count: usize) -> Result<Vec<Duration>> {
    let mut tls = login(addr, device).await?;
    // A CBOR text: the value that the apps exchange.
    let mut value = vec![0x78, TEXT as u8];
    value.resize(2 + TEXT, b'x');
    let (mut ping, mut pong) = (Vec::new(), Vec::new());
    encode_frame(&ToServer::App { name: "ping".to_owned(), value: value.clone() }, &mut ping);
    encode_frame(&ToDevice::App { name: "pong".to_owned(), value }, &mut pong);
    if kind == Kind::Bare {
        pong.clone_from(&ping);
    }
    let mut times = Vec::with_capacity(count);
    let mut answer = vec![0; pong.len()];
    for _ in 0..count {
        let start = Instant::now();
        tls.write_all(&ping).await?;
        tls.flush().await?;
        let read = tls.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read).await.context("no answer: does the agent run?")??;
        times.push(start.elapsed());
        ensure!(answer == pong, "another answer than the echo");
    }
    times.sort_unstable();
    tls.shutdown().await.ok();
    Ok(times)
}

/// A device with an open session.
pub struct Open {
    pub(crate) tls: TlsStream<TcpStream>,
    pub(crate) machine: DeviceSession,
}

/// [`login`] from an address of the device's own, or from the one that all have.
///
/// # Errors
/// When the device is not let in.
pub async fn login_from(addr: SocketAddr, source: Option<SocketAddr>, device: &BenchDevice) -> Result<Open> {
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = source {
        socket.bind(source)?;
    }
    enter(socket.connect(addr).await?, device).await
}

/// The one line that a device reports when it is asked to.
pub struct Report {
    /// Whether it is asked.
    pub wanted: watch::Receiver<bool>,
    /// Whether the server said that it has the line.
    pub kept: bool,
    /// How many devices' lines it has.
    pub count: Arc<AtomicUsize>,
}

/// The text of the line.
pub const LINE: &str = "reported while the server was told to stop";

/// Keeps a session alive until the server ends it, and reports the line if that is wanted and the server has not got it. Nothing is held
/// while nothing comes. Returns when the server wants the device back, milliseconds, if it said so.
pub async fn stay(Open { mut tls, mut machine }: Open, report: &mut Report) -> Option<u32> {
    let (mut buffer, mut sent) = ([0; 64], report.kept);
    loop {
        if !sent && *report.wanted.borrow_and_update() {
            let line = LogLine::new(now().unix_ms, LogLevel::Log, LINE);
            sent = machine.send_logs(RING, 0, &[line]).is_ok();
        }
        if let Some(bytes) = machine.poll_transmit()
            && (tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err())
        {
            return None;
        }
        tokio::select! {
            read = tls.read(&mut buffer) => match read {
                Ok(length) if length > 0 => machine.handle_bytes(buffer.get(..length).unwrap_or_default(), now()),
                _ => return None,
            },
            Ok(()) = report.wanted.changed(), if !sent => {}
        }
        while let Some(event) = machine.poll_event() {
            match event {
                DeviceEvent::LogsKept(_) => {
                    report.kept = true;
                    report.count.fetch_add(1, Ordering::Relaxed);
                }
                DeviceEvent::Closed { come_back_after_ms, .. } => {
                    // An orderly end, as devices make it.
                    tls.shutdown().await.ok();
                    return come_back_after_ms;
                }
                _ => {}
            }
        }
    }
}

/// TCP, TLS, challenge, welcome.
pub(crate) async fn login(addr: SocketAddr, device: &BenchDevice) -> Result<TlsStream<TcpStream>> {
    Ok(enter(TcpStream::connect(addr).await?, device).await?.tls)
}

async fn enter(tcp: TcpStream, device: &BenchDevice) -> Result<Open> {
    tcp.set_nodelay(true)?;
    let mut tls = TlsConnector::from(device.tls.clone()).connect(ServerName::try_from(NAME)?, tcp).await?;
    let config = DeviceSessionConfig {
        identity: device.identity.public().clone(),
        exporter: exporter(tls.get_ref().1)?,
        profile: device.profile,
        model: "bench".to_owned(),
        os_version: "1.0.0".to_owned(),
        attestation: AttestationLevel::Software,
        boot: None,
        vault_generation: None,
        layers: None,
        memory_locked: None,
        limits: LIMITS,
    };
    let mut machine = DeviceSession::new(config, now());
    let mut buffer = vec![0; 4096];
    loop {
        while let Some(event) = machine.poll_event() {
            match event {
                DeviceEvent::Sign(request) => {
                    machine.signature(device.identity.sign(&request.to_be_signed())?, now());
                }
                DeviceEvent::Welcomed(_) => return Ok(Open { tls, machine }),
                other => bail!("not welcome: {other:?}"),
            }
        }
        if let Some(bytes) = machine.poll_transmit() {
            tls.write_all(&bytes).await?;
            tls.flush().await?;
        }
        match tls.read(&mut buffer).await? {
            0 => machine.handle_eof(),
            length => machine.handle_bytes(&buffer[..length], now()),
        }
    }
}
