//! An operator, its devices, and TLS handshakes between them in memory.

use std::{
    io::{self, Read},
    sync::{Arc, LazyLock},
    time::Duration,
};

use keys::{
    pki::{AuthorityKind, CertDer, Credential, Csr, OperatorPki, RootsBundle, ServerName},
    profile::Profile,
    public::DeviceId,
    purpose::KeyPurpose,
    signer::Signer,
    time::{Now, SetClock, TimeProvider},
    tls::{
        HelloRefused, Kind, SeenServer, ServerTls, ServerTlsMaterial, SessionMaterial, TrafficSecrets, client_session,
    },
};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, server::Acceptor};

/// 2026-01-01T00:00:00Z: everything is made then.
pub(crate) const START_S: i64 = 1_767_225_600;
/// How long the certificates of these tests are valid, in seconds.
pub(crate) const LIFETIME_S: i64 = 10_000;
pub(crate) const NAME: &str = "gateway.example";

pub(crate) fn at(unix_s: i64) -> Now {
    Now { mono_ms: 0, unix_ms: unix_s * 1000 }
}

pub(crate) fn clock(unix_s: i64) -> Arc<dyn TimeProvider> {
    Arc::new(SetClock::new(unix_s * 1000))
}

pub(crate) fn name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

/// An operator with its gateway and one device in each profile.
pub(crate) struct Operator {
    pub(crate) pki: OperatorPki,
    devices: [Credential; 2],
}

/// The operator under test.
pub(crate) static OURS: LazyLock<Operator> = LazyLock::new(|| Operator::new("ours"));
/// Another operator, or a public CA: same server name, other roots.
pub(crate) static FOREIGN: LazyLock<Operator> = LazyLock::new(|| Operator::new("foreign"));

impl Operator {
    fn new(title: &str) -> Operator {
        let mut pki = OperatorPki::create(title, &[name()], at(START_S)).unwrap();
        let gateway = Profile::ALL.map(|profile| {
            let key = Signer::generate(KeyPurpose::gateway_tls(profile)).unwrap();
            let root = pki.server_roots.iter().find(|root| root.profile() == profile).unwrap();
            let lifetime = Duration::from_secs(LIFETIME_S as u64);
            let leaf = root.issue_server(&[name()], key.public(), at(START_S), lifetime).unwrap();
            Credential::new(key, vec![leaf]).unwrap()
        });
        pki.serving.gateway = gateway;
        let devices = Profile::ALL.map(|profile| {
            let key = Signer::generate(KeyPurpose::device_tls(profile)).unwrap();
            let csr = Csr::parse_and_verify(&Csr::create(&key).unwrap()).unwrap();
            let lifetime = Duration::from_secs(LIFETIME_S as u64);
            let root = pki.serving.device_authority(profile);
            assert_eq!(root.kind(), AuthorityKind::Device);
            let leaf = root.issue_device(&csr, DeviceId([7; 8]), at(START_S), lifetime).unwrap();
            Credential::new(key, vec![leaf]).unwrap()
        });
        Operator { pki, devices }
    }

    pub(crate) fn device(&self, profile: Profile) -> &Credential {
        self.devices.iter().find(|device| device.key().purpose() == KeyPurpose::device_tls(profile)).unwrap()
    }

    pub(crate) fn roots(&self) -> &RootsBundle {
        &self.pki.serving.server_roots
    }

    /// The gateway, whose clock stands at this second.
    pub(crate) fn gateway_at(&self, unix_s: i64) -> ServerTls {
        ServerTls::new(ServerTlsMaterial { pki: &self.pki.serving, time: clock(unix_s) }).unwrap()
    }

    pub(crate) fn gateway(&self) -> ServerTls {
        self.gateway_at(START_S)
    }

    /// This operator's device, whose clock stands at this second.
    pub(crate) fn client_at(&self, profile: Profile, unix_s: i64) -> Arc<ClientConfig> {
        self.client_seeing(profile, unix_s, Arc::default())
    }

    pub(crate) fn client(&self, profile: Profile) -> Arc<ClientConfig> {
        self.client_at(profile, START_S)
    }

    pub(crate) fn client_seeing(&self, profile: Profile, unix_s: i64, seen: Arc<SeenServer>) -> Arc<ClientConfig> {
        let roots = self.roots();
        let credential = self.device(profile);
        client_session(SessionMaterial { profile, roots, credential, time: clock(unix_s), seen }).unwrap()
    }
}

/// A finished handshake.
pub(crate) struct Connected {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    pub(crate) kind: Option<Kind>,
    pub(crate) secrets: Arc<TrafficSecrets>,
}

impl Connected {
    /// Moves what is left (tickets) to the client.
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            flow(&mut self.server, &mut self.client).unwrap();
            flow(&mut self.client, &mut self.server).unwrap();
        }
    }
}

/// Where a handshake ended.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No configuration was chosen for the ClientHello.
    Hello(HelloRefused),
    /// The client ended it.
    Client(rustls::Error),
    /// The server ended it.
    Server(rustls::Error),
}

/// What answers a ClientHello.
pub(crate) enum Answering<'a> {
    Gateway(&'a ServerTls),
    Config(Arc<ServerConfig>),
}

pub(crate) fn connect(client: &Arc<ClientConfig>, gateway: &ServerTls) -> Result<Connected, Refused> {
    connect_to(client, Answering::Gateway(gateway), name())
}

pub(crate) fn connect_to(
    client: &Arc<ClientConfig>,
    answering: Answering<'_>,
    name: ServerName<'static>,
) -> Result<Connected, Refused> {
    let mut client = ClientConnection::new(Arc::clone(client), name).map_err(Refused::Client)?;
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    let (kind, server, secrets) = accept(&hello, answering)?;
    let mut connected = Connected { client, server, kind, secrets };
    for _ in 0..8 {
        flow(&mut connected.server, &mut connected.client).map_err(Refused::Client)?;
        flow(&mut connected.client, &mut connected.server).map_err(Refused::Server)?;
    }
    assert!(!connected.client.is_handshaking() && !connected.server.is_handshaking(), "the handshake got stuck");
    connected.settle();
    Ok(connected)
}

/// Gives a whole ClientHello to a server.
pub(crate) fn accept(
    hello: &[u8],
    answering: Answering<'_>,
) -> Result<(Option<Kind>, ServerConnection, Arc<TrafficSecrets>), Refused> {
    let mut acceptor = Acceptor::default();
    let mut bytes = hello;
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).unwrap();
    }
    let accepted = acceptor.accept().map_err(|(error, _)| Refused::Server(error))?.expect("a whole ClientHello");
    let (kind, config) = match answering {
        Answering::Gateway(tls) => {
            let (kind, config) = tls.choose(&accepted.client_hello()).map_err(Refused::Hello)?;
            (Some(kind), config)
        }
        Answering::Config(config) => (None, config),
    };
    let (config, secrets) = TrafficSecrets::of(&config);
    let server = accepted.into_connection(config).map_err(|(error, _)| Refused::Server(error))?;
    Ok((kind, server, secrets))
}

/// Moves all waiting bytes from one end to the other.
fn flow<A, B>(
    from: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<A>>,
    to: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<B>>,
) -> Result<(), rustls::Error>
where
    A: rustls::SideData,
    B: rustls::SideData,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    // Reading to the end keeps the connection's buffer empty.
    match to.reader().read(&mut [0; 64]) {
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        Ok(count) => assert_eq!(count, 0),
    }
    Ok(())
}

/// The chain of a connection's peer.
pub(crate) fn chain(connection: &rustls::CommonState) -> Option<&[CertDer]> {
    connection.peer_certificates()
}
