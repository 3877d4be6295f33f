//! A small server for the tests, made of the same TLS configurations and protocol machines as the real one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keys::hashes::{random, sha256};
use keys::keystore::KeystoreSpec;
use keys::pki::{Csr, OperatorPki, ServerName, ServingPki, lifetime};
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::time::{FloorClock, Now};
use keys::tls::{Kind, Listener, ServerTls, ServerTlsMaterial, exporter, recheck_client};
use protocol::enrol::{
    Enrolled, EnrolmentToken, ServerEnrolment, ServerEnrolmentConfig, ServerEnrolmentEvent, TokenId, VerifiedRequest,
};
use protocol::message::AppRef;
use protocol::reason::{CloseReason, EnrolRefusal, Refusal, RestartReason};
use protocol::report::{AppState, DiaryEntry, LogLine};
use protocol::session::{
    ChallengeRecord, Greeting, KnownDevice, ServerEvent, ServerSession, ServerSessionConfig, Standing,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use vouch_device::config::DeviceConfig;
use vouch_device::connect::ports::PortMap;
use vouch_device::events::{DeviceEvent, Observer};
use vouch_device::limits::{LIMITS, Limits};
use vouch_device::{Opened, ProvisionError, ProvisionOptions, Provisioned, RunOptions, provision, run};
use zeroize::Zeroizing;

/// The name in the server's certificate.
pub(crate) const NAME: &str = "iot.test";
/// How long a test waits for what must happen, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The runtime's bounds with short pauses, so that tests need not wait for long ones.
pub(crate) const QUICK: Limits = Limits {
    backoff_first: Duration::from_millis(20),
    backoff_most: Duration::from_millis(50),
    backoff_revoked: Duration::from_millis(200),
    ..LIMITS
};

/// What the server saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Enrolled,
    /// A session was opened; the challenge as the server has it.
    Opened(Box<ChallengeRecord>),
    App(String, Vec<u8>),
    Logs(Vec<LogLine>),
    Diary(Vec<DiaryEntry>),
    State(AppState),
    WantApp(u32),
    Refused,
    /// The device closed TLS as it should be closed.
    SaidGoodbye,
    Gone,
}

/// What the server shall do in its open session.
pub(crate) enum Do {
    Send(String, Vec<u8>),
    /// Say what became of the app's messages with lower numbers.
    Handled(u64, bool),
    Restart,
    Close(CloseReason, Option<u32>),
    Offer(Vec<u8>),
    Remove,
    /// Cut the connection without a word.
    Cut,
}

/// What the server goes by; a test may change it at any time.
pub(crate) struct Rules {
    pub(crate) known: HashMap<SpkiHash, KnownDevice>,
    pub(crate) app: Option<Vec<u8>>,
    /// At most this many bytes of an app at once.
    pub(crate) chunk: usize,
    /// Send an app with one bit wrong.
    pub(crate) falsify: bool,
    pub(crate) keepalive_s: u32,
    pub(crate) unix_ms: Option<i64>,
    pub(crate) refuse_enrolment: Option<EnrolRefusal>,
    pub(crate) cut_after_request: bool,
    /// Refuse each login as busy, with this pause.
    pub(crate) busy_ms: Option<u32>,
    /// Sent in an enrolment instead of the server's own roots.
    pub(crate) false_roots: Option<Vec<u8>>,
    /// Close each connection before TLS.
    pub(crate) deaf: bool,
    /// Close each session right after TLS.
    pub(crate) mute: bool,
    /// Say that it keeps what the device reports.
    pub(crate) keeps: bool,
    /// Say nothing in a session.
    pub(crate) silent: bool,
}

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) rules: Arc<Mutex<Rules>>,
    pub(crate) roots_hash: [u8; 32],
    seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<Seen>>,
    orders: Arc<Mutex<Option<mpsc::UnboundedSender<Do>>>>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    pki: ServingPki,
    tls: ServerTls,
    rules: Arc<Mutex<Rules>>,
    seen: mpsc::UnboundedSender<Seen>,
    orders: Arc<Mutex<Option<mpsc::UnboundedSender<Do>>>>,
    began: Instant,
}

pub(crate) fn unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Keys of two operators for the same names, made once: RSA keys take their time.
static PKI: [OnceLock<tempfile::TempDir>; 2] = [OnceLock::new(), OnceLock::new()];

fn pki(operator: usize) -> ServingPki {
    let dir = PKI[operator].get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let now = Now { mono_ms: 0, unix_ms: unix_ms() };
        let names = [NAME, "localhost"].map(|name| ServerName::try_from(name).unwrap());
        OperatorPki::create("Test", &names, now).unwrap().save(dir.path()).unwrap();
        dir
    });
    ServingPki::load(dir.path()).unwrap()
}

/// The roots bundle of the operator that all servers but foreign ones belong to.
pub(crate) fn true_roots() -> Vec<u8> {
    pki(0).server_roots.to_cbor()
}

impl TestServer {
    pub(crate) async fn start() -> TestServer {
        TestServer::of(0).await
    }

    /// Another operator's server, for the same names.
    pub(crate) async fn foreign() -> TestServer {
        TestServer::of(1).await
    }

    async fn of(operator: usize) -> TestServer {
        let pki = pki(operator);
        let tls = ServerTls::new(ServerTlsMaterial { pki: &pki, time: Arc::new(FloorClock::new(0)) }).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let roots_hash = pki.server_roots.hash();
        let rules = Arc::new(Mutex::new(Rules {
            known: HashMap::new(),
            app: None,
            chunk: 64 * 1024,
            falsify: false,
            keepalive_s: 60,
            unix_ms: None,
            refuse_enrolment: None,
            cut_after_request: false,
            busy_ms: None,
            false_roots: None,
            deaf: false,
            mute: false,
            keeps: true,
            silent: false,
        }));
        let (tell, seen) = mpsc::unbounded_channel();
        let orders = Arc::new(Mutex::new(None));
        let shared = Arc::new(Shared {
            pki,
            tls,
            rules: Arc::clone(&rules),
            seen: tell,
            orders: Arc::clone(&orders),
            began: Instant::now(),
        });
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { shared.serve(tcp).await });
            }
        });
        TestServer { address, rules, roots_hash, seen: tokio::sync::Mutex::new(seen), orders, task }
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    pub(crate) fn token(&self) -> Zeroizing<String> {
        let token = EnrolmentToken::new(TokenId::new(random()), random(), self.roots_hash);
        Zeroizing::new(String::from_utf8(token.danger_expose().expose().to_vec()).unwrap())
    }

    pub(crate) fn config(&self, profile: Profile) -> DeviceConfig {
        config(self.address.port(), profile)
    }

    pub(crate) async fn provision(&self, dir: &Path, profile: Profile) -> Result<Provisioned, ProvisionError> {
        self.provision_with(dir, self.config(profile)).await
    }

    pub(crate) async fn provision_with(&self, dir: &Path, config: DeviceConfig) -> Result<Provisioned, ProvisionError> {
        let options = ProvisionOptions {
            dir: dir.to_owned(),
            config,
            token: self.token(),
            keys: KeystoreSpec::DangerSoftware,
            factory: Default::default(),
            limits: QUICK,
        };
        provision(options, &Observer::nobody()).await
    }

    /// What the server sees next.
    pub(crate) async fn next(&self) -> Seen {
        let mut seen = self.seen.lock().await;
        tokio::time::timeout(PATIENCE, seen.recv()).await.expect("the server saw nothing").unwrap()
    }

    /// The next thing seen for which `pick` gives something; others are passed over.
    pub(crate) async fn until<T>(&self, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn until_open(&self) {
        self.until(|seen| matches!(seen, Seen::Opened(_)).then_some(())).await;
    }

    /// Gives an order to the session that is open.
    pub(crate) fn order(&self, order: Do) {
        let orders = self.orders.lock().unwrap();
        assert!(orders.as_ref().expect("no session is open").send(order).is_ok());
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration whose three ports are all the one given.
pub(crate) fn config(port: u16, profile: Profile) -> DeviceConfig {
    DeviceConfig {
        server: NAME.to_owned(),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports: ports([port; 3]),
        proxy: None,
        dns: Vec::new(),
        model: "probe-1".to_owned(),
        profile,
    }
}

pub(crate) fn ports([first, second, third]: [u16; 3]) -> PortMap {
    format!("31314={first},993={second},443={third}").parse().unwrap()
}

/// A device that runs until this is dropped or stopped.
pub(crate) struct Running {
    pub(crate) events: mpsc::Receiver<DeviceEvent>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), vouch_device::RunError>>,
}

impl Running {
    pub(crate) fn start(dir: &Path, limits: Limits) -> Running {
        let (observer, events) = Observer::channel(&limits);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let device = Opened::open(dir, None, &limits).unwrap();
        let options = RunOptions { device, protections: None, parent: None, limits };
        let shutdown = async move { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(run(options, shutdown, observer));
        Running { events, stop, task }
    }

    /// The next event for which `pick` gives something; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(DeviceEvent) -> Option<T>) -> T {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("no such event came");
            if let Some(found) = pick(event.expect("the device ended")) {
                return found;
            }
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl Shared {
    fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        Now { mono_ms, unix_ms: self.rules.lock().unwrap().unix_ms.unwrap_or_else(unix_ms) }
    }

    async fn serve(&self, tcp: TcpStream) {
        if self.rules.lock().unwrap().deaf {
            return;
        }
        let Ok(start) = LazyConfigAcceptor::new(Default::default(), tcp).await else { return };
        let Ok((kind, config)) = self.tls.choose(&start.client_hello()) else { return };
        let Ok(stream) = start.into_stream(config).await else { return };
        match kind.listener {
            Listener::Enrolment => self.enrol(stream, kind).await,
            Listener::Session if self.rules.lock().unwrap().mute => {}
            Listener::Session if self.rules.lock().unwrap().silent => {
                let mut stream = stream;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
            Listener::Session => self.session(stream, kind).await,
        }
    }

    async fn enrol(&self, mut stream: TlsStream<TcpStream>, kind: Kind) {
        let config = ServerEnrolmentConfig {
            roots: self.rules.lock().unwrap().false_roots.clone().unwrap_or_else(|| self.pki.server_roots.to_cbor()),
            exporter: exporter(stream.get_ref().1).unwrap(),
            profile: kind.profile,
            limits: protocol::limits::LIMITS,
        };
        let mut machine = ServerEnrolment::new(config, self.now());
        let mut buffer = vec![0; 16 * 1024];
        loop {
            while let Some(event) = machine.poll_event() {
                match event {
                    ServerEnrolmentEvent::Redeem(request) => {
                        let (refuse, cut) = {
                            let rules = self.rules.lock().unwrap();
                            (rules.refuse_enrolment, rules.cut_after_request)
                        };
                        match refuse {
                            _ if cut => return,
                            Some(reason) => machine.refuse(reason),
                            None => machine.enrolled(self.redeem(&request)).unwrap(),
                        }
                    }
                    ServerEnrolmentEvent::Refused(_) | ServerEnrolmentEvent::Broken(_) => {}
                }
            }
            if let Some(bytes) = machine.poll_transmit() {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
            if machine.is_closed() {
                let _ = stream.shutdown().await;
                return;
            }
            match stream.read(&mut buffer).await {
                Ok(length) if length > 0 => machine.handle_bytes(&buffer[..length], self.now()),
                _ => machine.handle_eof(),
            }
        }
    }

    fn redeem(&self, request: &VerifiedRequest) -> Enrolled {
        let identity = request.identity.clone();
        let csr = Csr::parse_and_verify(&request.csr).unwrap();
        let until = lifetime(KeyPurpose::device_tls(request.profile));
        let authority = self.pki.device_authority(request.profile);
        let issued_at = Now { mono_ms: 0, unix_ms: unix_ms() };
        let certificate = authority.issue_device(&csr, identity.device_id(), issued_at, until).unwrap();
        let known = KnownDevice {
            identity: identity.clone(),
            tls_key: request.tls_key.spki_hash(),
            standing: Standing::Enrolled,
        };
        self.rules.lock().unwrap().known.insert(identity.spki_hash(), known);
        self.tell(Seen::Enrolled);
        Enrolled { unix_ms: self.now().unix_ms, device_id: identity.device_id(), tls_chain: vec![certificate.to_vec()] }
    }

    async fn session(&self, mut stream: TlsStream<TcpStream>, kind: Kind) {
        let connection = stream.get_ref().1;
        let peer = recheck_client(connection.peer_certificates(), kind.profile, self.now()).unwrap();
        let config = ServerSessionConfig {
            nonce: random(),
            exporter: exporter(connection).unwrap(),
            peer_tls_key: peer.public.spki_hash(),
            profile: kind.profile,
            limits: &protocol::limits::LIMITS,
        };
        let mut machine = ServerSession::new(config, self.now());
        let (orders, mut to_do) = mpsc::unbounded_channel();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            while let Some(event) = machine.poll_event() {
                self.act(&mut machine, event, &orders);
            }
            while let Some(bytes) = machine.poll_transmit() {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
            if machine.is_closed() {
                let _ = stream.shutdown().await;
                return;
            }
            let timer = Duration::from_millis(machine.poll_timeout().unwrap_or(u64::MAX / 4));
            let wait = timer.saturating_sub(self.began.elapsed());
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => machine.handle_bytes(&buffer[..length], self.now()),
                    end => {
                        if end.is_ok() {
                            self.tell(Seen::SaidGoodbye);
                        }
                        machine.handle_eof();
                    }
                },
                order = to_do.recv() => match order.unwrap() {
                    Do::Send(name, value) => machine.send_app(&name, &value).unwrap(),
                    Do::Handled(next, handled) => machine.app_handled(next, handled),
                    Do::Restart => machine.restart(RestartReason::Asked).unwrap(),
                    Do::Close(reason, pause) => machine.close(reason, pause),
                    Do::Offer(app) => {
                        machine.app_available(app_ref(&app)).unwrap();
                        self.rules.lock().unwrap().app = Some(app);
                    }
                    Do::Remove => {
                        self.rules.lock().unwrap().app = None;
                        machine.app_removed().unwrap();
                    }
                    Do::Cut => {
                        self.tell(Seen::Gone);
                        return;
                    }
                },
                () = tokio::time::sleep(wait) => machine.handle_timeout(self.now()),
            }
        }
    }

    fn act(&self, machine: &mut ServerSession, event: ServerEvent, orders: &mpsc::UnboundedSender<Do>) {
        let now = self.now();
        let rules = self.rules.lock().unwrap();
        match event {
            ServerEvent::Identify { .. } if rules.busy_ms.is_some() => machine.refuse(Refusal::Busy, rules.busy_ms),
            ServerEvent::Identify { identity } => machine.known(rules.known.get(&identity).cloned(), now),
            ServerEvent::Authenticated(device) => {
                let app = rules.app.as_deref().map(app_ref);
                let agent_url = Some("http://agents.test/agent/abc".to_owned());
                let greeting = Greeting { keepalive_s: rules.keepalive_s, app, agent_url };
                machine.welcome(&device, greeting, now).unwrap();
                *self.orders.lock().unwrap() = Some(orders.clone());
                self.tell(Seen::Opened(Box::new(device.get().record.clone())));
            }
            ServerEvent::Refused(_) => self.tell(Seen::Refused),
            ServerEvent::App { name, value, .. } => self.tell(Seen::App(name, value)),
            ServerEvent::Logs { first, lines, .. } => {
                if rules.keeps {
                    machine.logs_kept(first + lines.len() as u64);
                }
                self.tell(Seen::Logs(lines));
            }
            ServerEvent::Diary { first, entries, .. } => {
                if rules.keeps {
                    machine.diary_kept(first + entries.len() as u64);
                }
                self.tell(Seen::Diary(entries));
            }
            ServerEvent::AppState(state) => self.tell(Seen::State(state)),
            ServerEvent::Broken(_) => self.tell(Seen::Gone),
            ServerEvent::WantApp { sha256, offset } => {
                self.tell(Seen::WantApp(offset));
                let app = rules.app.as_ref().unwrap();
                let rest = &app[offset as usize..];
                let mut piece = rest[..rest.len().min(rules.chunk)].to_vec();
                if rules.falsify {
                    piece[0] ^= 1;
                }
                machine.send_chunk(sha256, offset, &piece).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    fn tell(&self, seen: Seen) {
        // The test may be over already.
        let _ = self.seen.send(seen);
    }
}

fn app_ref(app: &[u8]) -> AppRef {
    AppRef { sha256: sha256(app), len: u32::try_from(app.len()).unwrap() }
}

/// The image of a device app.
pub(crate) fn image(source: &str) -> Vec<u8> {
    let sources = [squirrel::Source { name: "device.nut", text: source.as_bytes() }];
    squirrel::compile(&sources, &squirrel::CompileOptions::default()).unwrap().to_image()
}
