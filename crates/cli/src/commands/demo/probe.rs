//! A hostile client: it holds a device's TLS key and certificate, and tries to log in without the identity key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use device::folder::Folder;
use keys::cose::{self, CosePurpose};
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use keys::time::FloorClock;
use keys::tls::{SessionMaterial, client_session, exporter};
use protocol::codec::{Message, decode_message, encode_frame};
use protocol::eat::{AttestationLevel, Eat};
use protocol::facts::PROTOCOL_VERSION;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::stage::{SERVER_NAME, Stage};
use super::tampered;

/// How long an attack may take.
const ATTACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the attacker sends as proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// The device's own answer, recorded from another connection.
    Replay,
    /// A perfect answer for this connection, signed by a key that is not the device's.
    WithoutIdentityKey,
}

/// Attacks the server in the name of a device and returns the reason of the refusal.
///
/// # Errors
/// When the server lets the attacker in, or anything but a refusal comes.
pub(super) fn refusal(stage: &Stage, index: usize, recorded: &Value, attack: Attack) -> Result<String> {
    let actor = &stage.actors[index];
    let stolen = stage.dir.join(format!("stolen-{}", actor.profile));
    tampered::copy(&actor.dir, &stolen)?;
    let folder = Folder::open(&stolen)?;
    let eat = recorded["eat"].as_str().ok_or_else(|| anyhow!("no answer was recorded"))?;
    let recorded = BASE64_STANDARD.decode(eat)?;
    // The port that is open on both addresses of the stage.
    let target = SocketAddr::from((stage.places.open, stage.places.ports[1]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::time::timeout(ATTACK_TIMEOUT, log_in(folder, target, &recorded, attack))
            .await
            .context("the server did not answer")?
    })
}

async fn log_in(folder: Folder, target: SocketAddr, recorded: &[u8], attack: Attack) -> Result<String> {
    let (identity, profile) = (folder.keys.identity().spki_hash(), folder.config.profile);
    let config = client_session(SessionMaterial {
        profile,
        roots: &folder.roots,
        credential: &folder.tls,
        time: Arc::new(FloorClock::new(folder.time_floor_unix_ms)),
        seen: Arc::default(),
    })?;
    let name = ServerName::try_from(SERVER_NAME)?;
    let mut tls = TlsConnector::from(config).connect(name, TcpStream::connect(target).await?).await?;
    send(&mut tls, &ToServer::Hello { version: PROTOCOL_VERSION, identity }).await?;
    let ToDevice::Challenge { nonce } = receive(&mut tls).await? else { bail!("the server sent no challenge") };
    let cose = match attack {
        Attack::Replay => recorded.to_vec(),
        Attack::WithoutIdentityKey => {
            let exporter = exporter(tls.get_ref().1)?;
            forge(
                Eat {
                    nonce,
                    identity,
                    exporter,
                    model: folder.config.model,
                    os_version: env!("CARGO_PKG_VERSION").to_owned(),
                    attestation: AttestationLevel::Software,
                    profile,
                    boot: None,
                    vault_generation: None,
                    layers: None,
                    memory_locked: None,
                },
                identity,
            )?
        }
    };
    send(&mut tls, &ToServer::Proof { cose }).await?;
    match receive(&mut tls).await? {
        ToDevice::Refused { reason, .. } => Ok(format!("{reason:?}")),
        ToDevice::Welcome(_) => bail!("the server let an attacker in"),
        other => bail!("the server answered with {}", other.name()),
    }
}

/// Claims that are all true but for the key that signs them.
fn forge(eat: Eat, genuine: SpkiHash) -> Result<Vec<u8>> {
    let key = Signer::generate(KeyPurpose::DeviceIdentity)?;
    ensure!(key.public().spki_hash() != genuine, "a fresh key is not fresh");
    let payload = eat.to_cbor();
    let signature = key.sign(&cose::to_be_signed(CosePurpose::Challenge, &payload))?;
    Ok(cose::assemble(&payload, signature))
}

async fn send(tls: &mut TlsStream<TcpStream>, message: &ToServer) -> Result<()> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame);
    tls.write_all(&frame).await?;
    Ok(tls.flush().await?)
}

async fn receive(tls: &mut TlsStream<TcpStream>) -> Result<ToDevice> {
    let length = tls.read_u32().await?;
    ensure!(length <= 64 * 1024, "the server sent a frame of {length} bytes before it knew who is there");
    let mut body = vec![0; usize::try_from(length)?];
    tls.read_exact(&mut body).await?;
    Ok(decode_message(&body, &LIMITS)?)
}
