//! A device's connection to the gateway after TLS, whole or one message at a time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keys::cose;
use keys::signer::Signer;
use keys::tls::exporter;
use protocol::codec::{decode_message, encode_frame};
use protocol::eat::{AttestationLevel, DemandedLayers, Eat};
use protocol::frame::FrameDecoder;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::reason::Refusal;
use protocol::session::{DeviceEvent, DeviceSession, DeviceSessionConfig, Welcomed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::device::{LOCALHOST, TestDevice, connect};
use super::{PATIENCE, now};

/// A session as a good device holds it.
pub(crate) struct Link {
    pub(crate) tls: TlsStream<TcpStream>,
    pub(crate) machine: DeviceSession,
    identity: Arc<Signer>,
    buffer: Vec<u8>,
}

/// What a device was told instead of a welcome.
#[derive(Debug)]
pub(crate) enum NotWelcome {
    Refused(Refusal),
    Broken(String),
}

impl Link {
    /// Logs in from 127.0.0.1.
    pub(crate) async fn login(device: &TestDevice, addr: SocketAddr) -> Result<(Self, Box<Welcomed>), NotWelcome> {
        Self::login_from(device, addr, LOCALHOST, device.identity.clone()).await
    }

    /// Logs in from this address, answering the challenge with `signer`.
    pub(crate) async fn login_from(
        device: &TestDevice,
        addr: SocketAddr,
        from: IpAddr,
        signer: Arc<Signer>,
    ) -> Result<(Self, Box<Welcomed>), NotWelcome> {
        let broken = |error: std::io::Error| NotWelcome::Broken(error.to_string());
        let tls = connect(device.config.clone().unwrap(), addr, from).await.map_err(broken)?;
        let config = DeviceSessionConfig {
            identity: device.identity.public().clone(),
            exporter: exporter(tls.get_ref().1).unwrap(),
            profile: device.profile,
            model: "test".to_owned(),
            os_version: "1.0.0".to_owned(),
            attestation: device.attestation,
            boot: device.boot,
            vault_generation: device.vault,
            layers: device.boot.map(|_| DemandedLayers::DangerL1Only),
            memory_locked: device.boot.map(|_| false),
            limits: LIMITS,
        };
        let machine = DeviceSession::new(config, now());
        let mut link = Self { tls, machine, identity: signer, buffer: vec![0; 64 * 1024] };
        match link.event().await {
            DeviceEvent::Welcomed(welcomed) => Ok((link, welcomed)),
            DeviceEvent::Refused { reason, .. } => Err(NotWelcome::Refused(reason)),
            DeviceEvent::Broken(error) => Err(NotWelcome::Broken(error.to_string())),
            other => panic!("{other:?}"),
        }
    }

    /// The next thing that happens; signatures are given on the way.
    pub(crate) async fn event(&mut self) -> DeviceEvent {
        timeout(PATIENCE, self.event_whenever()).await.expect("something must happen")
    }

    /// As [`Link::event`], without bound: it keeps the session alive.
    pub(crate) async fn event_whenever(&mut self) -> DeviceEvent {
        loop {
            match self.machine.poll_event() {
                Some(DeviceEvent::Sign(request)) => {
                    let signature = self.identity.sign(&request.to_be_signed()).unwrap();
                    self.machine.signature(signature, now());
                    continue;
                }
                Some(event) => return event,
                None => {}
            }
            self.flush().await;
            match self.tls.read(&mut self.buffer).await {
                Ok(0) | Err(_) => self.machine.handle_eof(),
                Ok(length) => self.machine.handle_bytes(&self.buffer[..length], now()),
            }
        }
    }

    /// Sends what waits; a connection that is gone shows when it is read.
    pub(crate) async fn flush(&mut self) {
        if let Some(bytes) = self.machine.poll_transmit() {
            let _ = self.tls.write_all(&bytes).await;
            let _ = self.tls.flush().await;
        }
    }

    pub(crate) async fn send_app(&mut self, name: &str, value: &[u8]) {
        self.machine.send_app(name, value).unwrap();
        self.flush().await;
    }
}

/// A session one message at a time, for those who do not keep the rules.
pub(crate) struct RawLink {
    pub(crate) tls: TlsStream<TcpStream>,
    pub(crate) exporter: [u8; 32],
    frames: FrameDecoder,
    pending: Vec<u8>,
}

impl RawLink {
    pub(crate) async fn connect(device: &TestDevice, addr: SocketAddr) -> std::io::Result<Self> {
        let tls = connect(device.config.clone().unwrap(), addr, LOCALHOST).await?;
        let exporter = exporter(tls.get_ref().1).unwrap();
        Ok(Self { tls, exporter, frames: FrameDecoder::new(LIMITS.frame), pending: Vec::new() })
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    pub(crate) async fn send(&mut self, message: &ToServer) {
        let mut bytes = Vec::new();
        encode_frame(message, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// The next message; none when the gateway closed.
    pub(crate) async fn recv(&mut self) -> Option<ToDevice> {
        timeout(PATIENCE, async {
            loop {
                let mut input = self.pending.as_slice();
                let frame = self.frames.next(&mut input).unwrap().map(std::borrow::Cow::into_owned);
                self.pending = input.to_vec();
                if let Some(body) = frame {
                    return Some(decode_message(&body, &LIMITS).unwrap());
                }
                let mut buffer = [0; 4096];
                match self.tls.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                }
            }
        })
        .await
        .expect("an answer or the end must come")
    }

    /// Hello, and the nonce of the challenge.
    pub(crate) async fn challenge(&mut self, device: &TestDevice) -> [u8; 32] {
        self.hello(device).await;
        match self.recv().await {
            Some(ToDevice::Challenge { nonce }) => nonce,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn hello(&mut self, device: &TestDevice) {
        self.send(&ToServer::Hello { version: protocol::facts::PROTOCOL_VERSION, identity: device.spki() }).await;
    }

    /// Why a proof is refused; none when it is welcome.
    pub(crate) async fn prove(&mut self, cose: Vec<u8>) -> Option<Refusal> {
        self.send(&ToServer::Proof { cose }).await;
        match self.recv().await {
            Some(ToDevice::Welcome(_)) => None,
            Some(ToDevice::Refused { reason, .. }) => Some(reason),
            other => panic!("{other:?}"),
        }
    }
}

/// An answer to a challenge, signed by `signer`.
pub(crate) fn answer(device: &TestDevice, signer: &Signer, nonce: [u8; 32], exporter: [u8; 32]) -> Vec<u8> {
    let payload = Eat {
        nonce,
        identity: device.spki(),
        exporter,
        model: "test".to_owned(),
        os_version: "1.0.0".to_owned(),
        attestation: AttestationLevel::Software,
        profile: device.profile,
        boot: None,
        vault_generation: None,
        layers: None,
        memory_locked: None,
    }
    .to_cbor();
    let signature = signer.sign(&cose::to_be_signed(cose::CosePurpose::Challenge, &payload)).unwrap();
    cose::assemble(&payload, signature)
}
