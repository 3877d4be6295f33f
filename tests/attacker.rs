//! What an attacker has: stolen keys, a false gateway, and a place between two TLS connections.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use keys::cose;
use keys::pki::{Credential, RootsBundle};
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::signer::Signer;
use keys::time::FloorClock;
use keys::tls::{ALPN_ENROL, ALPN_SESSION, ServerName, SessionMaterial, client_session, exporter};
use protocol::codec::{decode_message, encode_frame};
use protocol::eat::{AttestationLevel, Eat};
use protocol::facts::PROTOCOL_VERSION;
use protocol::frame::FrameDecoder;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::reason::Refusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::PATIENCE;
use crate::product::Product;
use crate::site::NAME;

/// A TLS client that shows this certificate, with everything else as a real device has it.
pub fn client(credential: &Credential, roots: &RootsBundle, profile: Profile) -> Arc<ClientConfig> {
    let (time, seen) = (Arc::new(FloorClock::default()), Arc::default());
    client_session(SessionMaterial { profile, roots, credential, time, seen }).unwrap()
}

/// A private key as its file holds it: PKCS#8.
pub fn stolen_key(credential: &Credential, folder: &Path) -> PrivateKeyDer<'static> {
    let file = folder.join(keys::signer::file_name(credential.key().purpose()));
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(fs::read(file).unwrap()))
}

/// A server that shows this chain, in any version and suite, with the protocols of a gateway.
pub fn server_showing(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Arc<ServerConfig> {
    let key = aws_lc_rs::sign::any_supported_type(key).unwrap();
    let certified = CertifiedKey::new(chain, key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN_SESSION.to_vec(), ALPN_ENROL.to_vec()];
    Arc::new(config)
}

/// An Entity Attestation Token about the device with this identity, for the connection with this exporter, signed by `signer`.
pub fn answer(identity: SpkiHash, profile: Profile, nonce: [u8; 32], exporter: [u8; 32], signer: &Signer) -> Vec<u8> {
    let payload = Eat {
        nonce,
        identity,
        exporter,
        model: "probe".to_owned(),
        os_version: "1.0".to_owned(),
        attestation: AttestationLevel::Software,
        profile,
        boot: None,
        vault_generation: None,
        layers: None,
        memory_locked: None,
    }
    .to_cbor();
    let signature = signer.sign(&cose::to_be_signed(cose::CosePurpose::Challenge, &payload)).unwrap();
    cose::assemble(&payload, signature)
}

/// A connection to the gateway after TLS, one message at a time, by somebody who does not keep the rules.
pub struct Intruder {
    /// The channel binding of this connection.
    pub exporter: [u8; 32],
    tls: TlsStream<TcpStream>,
    frames: FrameDecoder,
    pending: Vec<u8>,
}

impl Intruder {
    /// Connects with the TLS key and certificate stolen from this device.
    pub async fn with_tls_keys_of(product: &Product, roots: &RootsBundle, gateway: SocketAddr) -> Intruder {
        let config = client(&product.credential(), roots, product.profile);
        Intruder::connect(config, gateway).await.unwrap()
    }

    /// Connects.
    ///
    /// # Errors
    /// TLS failed.
    pub async fn connect(config: Arc<ClientConfig>, gateway: SocketAddr) -> std::io::Result<Intruder> {
        let tcp = TcpStream::connect(gateway).await?;
        let tls = TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), tcp).await?;
        let exporter = exporter(tls.get_ref().1).unwrap();
        Ok(Intruder { exporter, tls, frames: FrameDecoder::new(LIMITS.frame), pending: Vec::new() })
    }

    /// Sends these bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // A gateway that has closed already shows when it is read.
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &ToServer) {
        self.send_bytes(&frame(message)).await;
    }

    /// Says to be this device; the nonce of the challenge.
    pub async fn challenge(&mut self, identity: SpkiHash) -> [u8; 32] {
        self.send(&ToServer::Hello { version: PROTOCOL_VERSION, identity }).await;
        match self.recv().await {
            Ok(Some(ToDevice::Challenge { nonce })) => nonce,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a proof; why it is refused. Panics when it is welcome.
    pub async fn refused(&mut self, cose: Vec<u8>) -> Refusal {
        self.send(&ToServer::Proof { cose }).await;
        match self.recv().await {
            Ok(Some(ToDevice::Refused { reason, .. })) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// The next message; none when the gateway closed.
    ///
    /// # Errors
    /// What TLS said, an alert for example.
    pub async fn recv(&mut self) -> std::io::Result<Option<ToDevice>> {
        let received = timeout(PATIENCE, async {
            loop {
                let mut input = self.pending.as_slice();
                let frame = self.frames.next(&mut input).unwrap().map(std::borrow::Cow::into_owned);
                self.pending = input.to_vec();
                if let Some(body) = frame {
                    return Ok(Some(decode_message(&body, &LIMITS).unwrap()));
                }
                let mut buffer = [0; 4096];
                match self.tls.read(&mut buffer).await? {
                    0 => return Ok(None),
                    length => self.pending.extend_from_slice(&buffer[..length]),
                }
            }
        });
        received.await.expect("an answer or the end must come")
    }
}

/// A message as it goes over the wire.
pub fn frame<M: protocol::codec::Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(message, &mut bytes);
    bytes
}

/// What a false gateway says, whatever it hears.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Said right after TLS.
    pub first: Vec<u8>,
    /// Said when something was heard.
    pub then: Vec<u8>,
    /// Whether it closes after that, or waits for the other end to do so.
    pub closes: bool,
}

/// A server that is not the one it says it is.
pub struct FalseGateway {
    /// Where it listens.
    pub at: SocketAddr,
    heard: mpsc::Receiver<Result<Vec<u8>, String>>,
    task: JoinHandle<()>,
}

impl FalseGateway {
    /// Starts it with this TLS configuration.
    pub async fn start(config: Arc<ServerConfig>, script: Script) -> FalseGateway {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (hears, heard) = mpsc::channel(64);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let outcome = serve(Arc::clone(&config), tcp, &script).await;
                // Nobody may be interested any more.
                let _ = hears.send(outcome.map_err(|error| error.to_string())).await;
            }
        });
        FalseGateway { at, heard, task }
    }

    /// All that the next client said inside TLS until it closed, or how TLS failed.
    pub async fn heard(&mut self) -> Result<Vec<u8>, String> {
        timeout(PATIENCE, self.heard.recv()).await.expect("somebody must come").unwrap()
    }
}

impl Drop for FalseGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(config: Arc<ServerConfig>, tcp: TcpStream, script: &Script) -> std::io::Result<Vec<u8>> {
    let mut tls = TlsAcceptor::from(config).accept(tcp).await?;
    tls.write_all(&script.first).await?;
    tls.flush().await?;
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        // A client that turns away may do so with an alert or with a bare end; what counts is what it said before.
        let length = tls.read(&mut buffer).await.unwrap_or_default();
        if length == 0 {
            return Ok(heard);
        }
        if heard.is_empty() {
            let _ = tls.write_all(&script.then).await;
            let _ = tls.flush().await;
            if script.closes {
                let _ = tls.shutdown().await;
            }
        }
        heard.extend_from_slice(&buffer[..length]);
    }
}

/// A man in the middle with the TLS keys of both ends: he ends the device's TLS connection, opens his own to the gateway, and hands every
/// byte on.
pub struct Relay {
    /// Where devices find him.
    pub at: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts it between `facing_device` and the gateway.
    pub async fn start(
        facing_device: Arc<ServerConfig>,
        facing_gateway: Arc<ClientConfig>,
        gateway: SocketAddr,
    ) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, connector) =
                    (TlsAcceptor::from(Arc::clone(&facing_device)), TlsConnector::from(Arc::clone(&facing_gateway)));
                tokio::spawn(async move {
                    let mut device = acceptor.accept(tcp).await?;
                    let tcp = TcpStream::connect(gateway).await?;
                    let mut gateway = connector.connect(ServerName::try_from(NAME).unwrap(), tcp).await?;
                    copy_bidirectional(&mut device, &mut gateway).await
                });
            }
        });
        Relay { at, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
