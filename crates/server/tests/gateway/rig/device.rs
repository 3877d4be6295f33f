//! A device: its keys, and the two connections it makes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;

use keys::pki::{CertDer, Credential, Csr, RootsBundle, ServerName};
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use keys::time::FloorClock;
use keys::tls::{
    SeenServer, SessionMaterial, check_deferred_server, client_session, danger_client_enrolment, exporter,
};
use protocol::eat::AttestationLevel;
use protocol::enrol::{DeviceEnrolment, DeviceEnrolmentConfig, DeviceEnrolmentEvent, EnrolmentToken};
use protocol::error::ProtocolError;
use protocol::limits::LIMITS;
use protocol::reason::EnrolRefusal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use super::{NAME, now};

pub(crate) struct TestDevice {
    pub(crate) profile: Profile,
    pub(crate) identity: Arc<Signer>,
    pub(crate) key_agreement: Signer,
    pub(crate) tls_key: Option<Signer>,
    pub(crate) roots: RootsBundle,
    pub(crate) config: Option<Arc<ClientConfig>>,
    /// What it says of its keys, its vault and its boot.
    pub(crate) attestation: AttestationLevel,
    pub(crate) vault: Option<NonZeroU64>,
    pub(crate) boot: Option<[u8; 32]>,
}

#[derive(Debug)]
pub(crate) enum EnrolFailed {
    Refused(EnrolRefusal),
    Broken(ProtocolError),
    FalseServer,
    Tls(std::io::Error),
}

impl TestDevice {
    pub(crate) fn born(profile: Profile, roots: RootsBundle) -> Self {
        let generate = |purpose| Signer::generate(purpose).unwrap();
        Self {
            profile,
            identity: Arc::new(generate(KeyPurpose::DeviceIdentity)),
            key_agreement: generate(KeyPurpose::DeviceKeyAgreement),
            tls_key: Some(generate(KeyPurpose::device_tls(profile))),
            roots,
            config: None,
            attestation: AttestationLevel::Software,
            vault: None,
            boot: None,
        }
    }

    pub(crate) fn spki(&self) -> SpkiHash {
        self.identity.public().spki_hash()
    }

    /// Becomes a device with this certificate for its TLS key.
    pub(crate) fn certified(&mut self, chain: Vec<CertDer>) {
        let credential = Credential::new(self.tls_key.take().unwrap(), chain).unwrap();
        self.config = Some(
            client_session(SessionMaterial {
                profile: self.profile,
                roots: &self.roots,
                credential: &credential,
                time: Arc::new(FloorClock::default()),
                seen: Arc::default(),
            })
            .unwrap(),
        );
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        Csr::create(self.tls_key.as_ref().unwrap()).unwrap()
    }

    pub(crate) async fn enrol(&mut self, addr: SocketAddr, token: &EnrolmentToken) -> Result<(), EnrolFailed> {
        let signer = self.identity.clone();
        self.enrol_as(addr, token, &signer, None).await
    }

    /// Enrols with a request signed by `signer`, made for the connection with this exporter if one is given.
    pub(crate) async fn enrol_as(
        &mut self,
        addr: SocketAddr,
        token: &EnrolmentToken,
        signer: &Signer,
        other_exporter: Option<[u8; 32]>,
    ) -> Result<(), EnrolFailed> {
        let seen = Arc::<SeenServer>::default();
        let config = danger_client_enrolment(self.profile, Arc::new(FloorClock::default()), seen).unwrap();
        let mut tls = connect(config, addr, LOCALHOST).await.map_err(EnrolFailed::Tls)?;
        let exporter = other_exporter.unwrap_or(exporter(tls.get_ref().1).unwrap());
        let mut machine = DeviceEnrolment::new(
            DeviceEnrolmentConfig {
                token: token.clone(),
                exporter,
                profile: self.profile,
                identity: self.identity.public().clone(),
                key_agreement: self.key_agreement.public().clone(),
                csr: self.csr(),
                model: "test".to_owned(),
                attestation: self.attestation,
                limits: LIMITS,
            },
            now(),
        );
        let mut buffer = vec![0; 16_384];
        loop {
            while let Some(event) = machine.poll_event() {
                match event {
                    DeviceEnrolmentEvent::CheckServer(roots) => {
                        let name = ServerName::try_from(NAME).unwrap();
                        let chain = tls.get_ref().1.peer_certificates();
                        check_deferred_server(&roots, self.profile, &name, chain, now())
                            .map_err(|_| EnrolFailed::FalseServer)?;
                        machine.proceed(now());
                    }
                    DeviceEnrolmentEvent::Sign(request) => {
                        let signature = signer.sign(&request.to_be_signed()).unwrap();
                        machine.signature(signature, now());
                    }
                    DeviceEnrolmentEvent::Enrolled(enrolled) => {
                        self.certified(enrolled.tls_chain.into_iter().map(CertDer::from).collect());
                        return Ok(());
                    }
                    DeviceEnrolmentEvent::Refused(reason) => return Err(EnrolFailed::Refused(reason)),
                    DeviceEnrolmentEvent::Broken(error) => return Err(EnrolFailed::Broken(error)),
                }
            }
            if let Some(bytes) = machine.poll_transmit() {
                tls.write_all(&bytes).await.map_err(EnrolFailed::Tls)?;
                tls.flush().await.map_err(EnrolFailed::Tls)?;
            }
            match tls.read(&mut buffer).await {
                Ok(0) => machine.handle_eof(),
                Ok(length) => machine.handle_bytes(&buffer[..length], now()),
                Err(error) => return Err(EnrolFailed::Tls(error)),
            }
        }
    }
}

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A TCP connection from this address.
pub(crate) async fn tcp_from(addr: SocketAddr, from: IpAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let tcp = socket.connect(addr).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// A TLS connection from this address.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    addr: SocketAddr,
    from: IpAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = tcp_from(addr, from).await;
    TlsConnector::from(config).connect(ServerName::try_from(NAME).unwrap(), tcp).await
}
