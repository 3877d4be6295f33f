//! The yardstick: tokio-rustls, the same four configurations, the same messages, a table of keys, and nothing else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use keys::cose::{self, CosePurpose};
use keys::hashes::random;
use keys::pki::ServingPki;
use keys::profile::Profile;
use keys::public::{PublicKey, SpkiHash};
use keys::time::FloorClock;
use keys::tls::{ServerTls, ServerTlsMaterial, exporter};
use protocol::codec::{Message, decode_message, encode_frame};
use protocol::eat::Eat;
use protocol::frame::{FRAME_HEADER, FrameDecoder};
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer, Welcome};
use server::gateway::GatewayLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use crate::farm::{known_keys, now, pki_folder};

/// How the frame of a question for an OS image begins.
const WANT_OS: [u8; 2] = [0x83, 10];
/// The length of the image that the devices of this comparison fetch.
const IMAGE_BYTES: usize = 10_000_000;

/// What every connection needs.
struct Bare {
    tls: ServerTls,
    keys: HashMap<SpkiHash, PublicKey>,
    /// As many logins at a time as the gateway's door lets in, in the order of their arrival.
    door: Semaphore,
}

/// Serves until the process ends; returns the address.
///
/// # Errors
/// When the folder cannot be read or no port is free.
pub async fn serve(dir: &Path) -> Result<SocketAddr> {
    let pki = ServingPki::load(&pki_folder(dir))?;
    let tls = ServerTls::new(ServerTlsMaterial { pki: &pki, time: Arc::new(FloorClock::default()) })?;
    let keys = known_keys(dir)?.into_iter().map(|key| (key.spki_hash(), key)).collect();
    let bare = Arc::new(Bare { tls, keys, door: Semaphore::new(GatewayLimits::default().door) });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let bare = bare.clone();
            // A client that goes away ends its task with an error that says nothing.
            tokio::spawn(async move { drop(bare.connection(tcp).await) });
        }
    });
    Ok(addr)
}

impl Bare {
    /// Handshake, challenge, then an echo of whatever comes.
    async fn connection(&self, tcp: TcpStream) -> Result<()> {
        tcp.set_nodelay(true)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let inside = self.door.acquire().await?;
        let (kind, config) = self.tls.choose(&start.client_hello())?;
        let mut tls = start.into_stream(config).await?;
        self.challenge(&mut tls, kind.profile).await?;
        drop(inside);
        let mut buffer = vec![0; 4096];
        loop {
            let length = tls.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            // A device that asks for an OS image gets nothing else from then on.
            if buffer
                .get(..length)
                .and_then(|frame| frame.get(FRAME_HEADER..))
                .is_some_and(|body| body.starts_with(&WANT_OS))
            {
                return self.images(&mut tls, &buffer[..length]).await;
            }
            tls.write_all(&buffer[..length]).await?;
            tls.flush().await?;
        }
    }

    /// Answers each question with as many bytes as the gateway does.
    async fn images(&self, tls: &mut TlsStream<TcpStream>, first: &[u8]) -> Result<()> {
        let mut frames = FrameDecoder::new(LIMITS.frame);
        let (mut pending, mut buffer) = (first.to_vec(), vec![0; 4096]);
        loop {
            let mut input = pending.as_slice();
            while let Some(body) = frames.next(&mut input)? {
                let ToServer::WantOs { image, offset } = decode_message(&body, &LIMITS)? else { bail!("no question") };
                let end = (offset as usize / LIMITS.chunk + 1) * LIMITS.chunk;
                let data = vec![7; end.min(IMAGE_BYTES) - offset as usize];
                write(tls, &ToDevice::OsChunk { image, offset, data }).await?;
            }
            let length = tls.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            pending.clear();
            pending.extend_from_slice(&buffer[..length]);
        }
    }

    async fn challenge(&self, tls: &mut TlsStream<TcpStream>, profile: Profile) -> Result<()> {
        let exporter = exporter(tls.get_ref().1)?;
        let ToServer::Hello { identity, .. } = read(tls).await? else { bail!("no hello") };
        let key = self.keys.get(&identity).context("not known")?;
        let nonce = random();
        write(tls, &ToDevice::Challenge { nonce }).await?;
        let ToServer::Proof { cose } = read(tls).await? else { bail!("no proof") };
        let eat = Eat::from_cbor(&cose::verify(CosePurpose::Challenge, key, &cose)?, &LIMITS)?;
        ensure!(eat.nonce == nonce && eat.exporter == exporter && eat.profile == profile && eat.identity == identity);
        let welcome =
            Welcome { unix_ms: now().unix_ms, keepalive_s: 60, device_id: key.device_id(), app: None, agent_url: None };
        write(tls, &ToDevice::Welcome(welcome)).await
    }
}

async fn read(tls: &mut TlsStream<TcpStream>) -> Result<ToServer> {
    let length = tls.read_u32().await? as usize;
    ensure!(length <= LIMITS.frame_before_welcome);
    let mut body = vec![0; length];
    tls.read_exact(&mut body).await?;
    Ok(decode_message(&body, &LIMITS)?)
}

async fn write(tls: &mut TlsStream<TcpStream>, message: &impl Message) -> Result<()> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame);
    tls.write_all(&frame).await?;
    Ok(tls.flush().await?)
}
