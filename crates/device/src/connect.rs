//! Reaching the server: each address, each port of the rule in order, through the proxy if there is one, up to the end of TLS.

pub mod attempt;
pub mod backoff;
pub mod diary;
pub mod dns;
pub mod ports;
pub mod proxy;
pub mod wire;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keys::pki::CertificateFacts;
use keys::tls::{ClientConfig, Negotiated, SeenServer, ServerName, recheck_server};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::clock::DeviceClock;
use crate::config::{DeviceConfig, ProxyConfig};
use crate::connect::attempt::{
    Attempt, AttemptResult, CertificateReport, ConnectionPurpose, LookupReport, ProxyReport,
};
use crate::connect::dns::Resolver;
use crate::connect::ports::PortChoice;
use crate::connect::proxy::{TunnelError, is_close, millis, open_tunnel};
use crate::connect::wire::Wire;
use crate::events::{Sha256Hex, TlsFacts};
use crate::limits::Limits;

/// How connections of one purpose are secured.
#[derive(Clone, Debug)]
pub struct Security {
    /// What the connection is for.
    pub purpose: ConnectionPurpose,
    /// The TLS configuration of that purpose, made by `keys`.
    pub tls: Arc<ClientConfig>,
    /// Where the server's certificate shows up, also when it is refused.
    pub seen: Arc<SeenServer>,
    /// SHA-256 over this device's TLS key, where one is shown.
    pub client_spki_sha256: Option<Sha256Hex>,
}

/// Dials one server, and remembers which ports were silent.
#[derive(Debug)]
pub struct Dialer {
    config: DeviceConfig,
    limits: Limits,
    clock: Arc<DeviceClock>,
    security: Security,
    silent: HashSet<u16>,
    /// Which of the name servers is asked first.
    first_name_server: usize,
}

/// One place to dial: an address (the proxy's, if there is one) and a port of the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    address: IpAddr,
    choice: PortChoice,
}

/// The places of one round, in the order of the rule.
#[derive(Debug)]
pub struct Round {
    places: VecDeque<Place>,
    lookup: Option<LookupReport>,
}

/// A connection on which TLS has ended well. Nothing was said on it yet.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: TlsStream<Wire>,
    /// The attempt so far; its result is not known yet.
    pub attempt: Attempt,
    /// The server's certificate.
    pub server: CertificateFacts,
    /// The exporter value of this connection (RFC 9266).
    pub exporter: [u8; 32],
}

impl Dialer {
    /// A dialer for the server of this configuration.
    pub fn new(config: DeviceConfig, security: Security, clock: Arc<DeviceClock>, limits: Limits) -> Dialer {
        Dialer { config, limits, clock, security, silent: HashSet::new(), first_name_server: 0 }
    }

    /// Dials with these TLS roots and keys from now on.
    pub(crate) fn secure_with(&mut self, security: Security) {
        self.security = security;
    }

    /// Asks these name servers from now on.
    pub(crate) fn ask_name_servers(&mut self, dns: Vec<SocketAddr>) {
        self.config.dns = dns;
    }

    /// Whether the system's list of name servers is needed and cannot be read any more: somebody has put another file in its
    /// place, and this process was left the old one when it was locked down.
    pub(crate) fn has_lost_name_servers(&self) -> bool {
        let is_needed = self.config.dns.is_empty() && self.config.looks_up_names();
        is_needed
            && std::fs::File::open(dns::SYSTEM_SERVERS)
                .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What the diary says of the device's own network; nothing was dialled.
    pub(crate) fn network_note(&self, why: String) -> Attempt {
        self.attempt(None, None).ended(AttemptResult::Network { why }, self.clock.now())
    }

    /// The places to try from the beginning, or the attempt that already ended with the look-up.
    /// With a proxy only the proxy's own name is looked up.
    /// A round after one in which nobody was found to speak to begins with the next name server: the one before may lie.
    pub async fn round(&mut self) -> Result<Round, Box<Attempt>> {
        let host = self.config.dialled_host();
        let mut attempt = self.attempt(None, None);
        // The system's name servers may have changed since the last round.
        let resolver = Resolver::new(&self.config.dns, &self.limits).beginning_with(self.first_name_server);
        self.first_name_server = self.first_name_server.wrapping_add(1);
        let found = resolver.look_up(&host).await;
        if found.addresses.is_empty() {
            let why = found.report.as_ref().map(|report| report.failures.join("; ")).unwrap_or_default();
            attempt.lookup = found.report;
            return Err(Box::new(attempt.ended(AttemptResult::NameNotFound { name: host, why }, self.clock.now())));
        }
        let mut places = VecDeque::new();
        for address in found.addresses {
            places.extend(self.config.ports.in_order().map(|choice| Place { address, choice }));
        }
        Ok(Round { places, lookup: found.report })
    }

    /// One attempt at one place, up to the end of TLS.
    pub async fn dial(&mut self, place: &Place, round: &Round) -> Result<Box<Connection>, Box<Attempt>> {
        let mut attempt = self.attempt(Some(place), round.lookup.clone());
        let done = self.steps(place, &mut attempt).await;
        self.note_silence(place, done.as_ref().err());
        match done {
            Ok((stream, server, exporter)) => {
                self.first_name_server = 0;
                Ok(Box::new(Connection { stream, attempt, server, exporter }))
            }
            Err(result) => Err(Box::new(attempt.ended(result, self.clock.now()))),
        }
    }

    /// A new attempt. Until it has ended, `took_ms` holds the monotonic time of its beginning.
    fn attempt(&self, place: Option<&Place>, lookup: Option<LookupReport>) -> Attempt {
        let now = self.clock.now();
        Attempt {
            unix_ms: now.unix_ms,
            took_ms: now.mono_ms,
            purpose: self.security.purpose,
            server: self.config.server.clone(),
            lookup,
            proxy: self.config.proxy.as_ref().map(|proxy| ProxyReport {
                host: proxy.host.clone(),
                port: proxy.port,
                status: None,
                credentials: proxy.credentials.is_some(),
            }),
            address: place.map(|place| self.socket_address(place)),
            rule_port: place.map(|place| place.choice.rule_port),
            port: place.map(|place| place.choice.port),
            certificate: None,
            tls: None,
            result: AttemptResult::LoginBroken { why: "not ended".to_owned() },
        }
    }

    async fn steps(
        &self,
        place: &Place,
        attempt: &mut Attempt,
    ) -> Result<(TlsStream<Wire>, CertificateFacts, [u8; 32]), AttemptResult> {
        let mut tcp = self.connect(place).await?;
        if let Some(proxy) = &self.config.proxy {
            let opened = self.tunnel(&mut tcp, proxy, place).await;
            if let Some(report) = &mut attempt.proxy {
                report.status = match &opened {
                    Ok(status) => Some(*status),
                    Err(error) => error.status(),
                };
            }
            opened.map_err(TunnelError::into_result)?;
        }
        let handshake = self.handshake(tcp).await;
        attempt.certificate = self.security.seen.take().map(CertificateReport::from);
        let stream = handshake?;
        let connection = stream.get_ref().1;
        // A resumed session skips the verifier, so the dates and the profile are looked at each time.
        let peer = recheck_server(connection.peer_certificates(), self.config.profile, self.clock.now())
            .map_err(|error| AttemptResult::TlsCertificate { why: error.to_string() })?;
        let exporter =
            keys::tls::exporter(connection).map_err(|error| AttemptResult::TlsFailed { why: error.to_string() })?;
        let Negotiated { version, suite, group, resumed } = Negotiated::of(connection);
        attempt.certificate = Some(CertificateReport::from(peer.facts.clone()));
        attempt.tls = Some(TlsFacts {
            version: version.to_owned(),
            suite: suite.to_owned(),
            group: group.to_owned(),
            resumed,
            server_spki_sha256: Sha256Hex(*peer.public.spki_hash().as_bytes()),
            client_spki_sha256: self.security.client_spki_sha256,
        });
        Ok((stream, peer.facts, exporter))
    }

    async fn connect(&self, place: &Place) -> Result<TcpStream, AttemptResult> {
        let wait = if self.silent.contains(&place.choice.rule_port) {
            self.limits.tcp_wait_after_silence
        } else {
            self.limits.tcp_wait
        };
        match timeout(wait, TcpStream::connect(self.socket_address(place))).await {
            Ok(Ok(tcp)) => {
                // Messages are small and answered at once: Nagle's delay would double each round trip.
                let _ = tcp.set_nodelay(true);
                Ok(tcp)
            }
            Ok(Err(error)) => Err(tcp_result(&error, wait)),
            Err(_) => Err(AttemptResult::TcpNoAnswer { waited_ms: millis(wait) }),
        }
    }

    async fn tunnel(&self, tcp: &mut TcpStream, proxy: &ProxyConfig, place: &Place) -> Result<u16, TunnelError> {
        let host = self.config.address.map_or_else(|| self.config.server.clone(), |address| address.to_string());
        open_tunnel(tcp, &host, place.choice.port, proxy.credentials.as_ref(), &self.limits).await
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<Wire>, AttemptResult> {
        let name = ServerName::try_from(self.config.server.clone())
            .map_err(|error| AttemptResult::TlsFailed { why: error.to_string() })?;
        // What an earlier connection showed must not be taken for this one's.
        drop(self.security.seen.take());
        let connector = TlsConnector::from(Arc::clone(&self.security.tls));
        let connecting = connector.connect(name, Wire::new(tcp)).into_fallible();
        match timeout(self.limits.tls_wait, connecting).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().0.forget();
                Ok(stream)
            }
            Ok(Err((error, wire))) => Err(wire.http().unwrap_or_else(|| tls_result(&error))),
            Err(_) => Err(AttemptResult::TlsNoAnswer { waited_ms: millis(self.limits.tls_wait) }),
        }
    }

    fn socket_address(&self, place: &Place) -> SocketAddr {
        let port = self.config.proxy.as_ref().map_or(place.choice.port, |proxy| proxy.port);
        SocketAddr::new(place.address, port)
    }

    fn note_silence(&mut self, place: &Place, failure: Option<&AttemptResult>) {
        if failure.is_some_and(AttemptResult::is_silence) {
            self.silent.insert(place.choice.rule_port);
        } else {
            self.silent.remove(&place.choice.rule_port);
        }
    }
}

impl From<CertificateFacts> for CertificateReport {
    fn from(seen: CertificateFacts) -> CertificateReport {
        let spki_sha256 = Sha256Hex(*seen.spki_hash.as_bytes());
        CertificateReport { subject: seen.subject, issuer: seen.issuer, spki_sha256 }
    }
}

impl Round {
    /// The next place to try.
    pub fn next_place(&mut self) -> Option<Place> {
        self.places.pop_front()
    }

    /// Takes out what this attempt has shown to be pointless: a proxy that cannot be reached is the same for each port.
    pub fn learn(&mut self, attempt: &Attempt) {
        use AttemptResult::{TcpFailed, TcpNoAnswer, TcpRefused};
        let unreached = matches!(attempt.result, TcpFailed { .. } | TcpNoAnswer { .. } | TcpRefused);
        if let (true, Some(_), Some(address)) = (unreached, &attempt.proxy, attempt.address) {
            self.places.retain(|place| place.address != address.ip());
        }
    }
}

fn tcp_result(error: &io::Error, wait: Duration) -> AttemptResult {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => AttemptResult::TcpRefused,
        io::ErrorKind::TimedOut => AttemptResult::TcpNoAnswer { waited_ms: millis(wait) },
        _ => AttemptResult::TcpFailed { why: error.to_string() },
    }
}

/// What a broken TLS connection tells: in TLS 1.3 the server's verdict over our certificate comes after the handshake.
pub(crate) fn tls_result(error: &io::Error) -> AttemptResult {
    use tokio_rustls::rustls::Error;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(alert)) => AttemptResult::TlsAlert { alert: format!("{alert:?}") },
        Some(Error::InvalidCertificate(why)) => AttemptResult::TlsCertificate { why: why.to_string() },
        Some(other) => AttemptResult::TlsFailed { why: other.to_string() },
        None if is_close(error) => AttemptResult::TlsFailed { why: "the other end closed the connection".to_owned() },
        None => AttemptResult::TlsFailed { why: error.to_string() },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use keys::profile::Profile;

    impl Dialer {
        pub(crate) fn name_servers(&self) -> &[SocketAddr] {
            &self.config.dns
        }
    }

    /// A dialer that is never used to dial.
    pub(crate) fn dialer() -> Dialer {
        let (clock, seen) = (Arc::new(DeviceClock::new(0)), Arc::new(SeenServer::default()));
        let tls = keys::tls::danger_client_enrolment(Profile::Modern, clock.clone(), Arc::clone(&seen)).unwrap();
        let security = Security { purpose: ConnectionPurpose::Session, tls, seen, client_spki_sha256: None };
        let config = crate::store::tests::config();
        Dialer::new(config, security, clock, crate::limits::LIMITS)
    }
}
