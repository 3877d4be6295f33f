//! A running central without gateway and agents, and a client that can send anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keys::password;
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::Signer;
use protocol::enrol::EnrolmentToken;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vouch_server::api::listener::HttpListener;
use vouch_server::api::{Central, MEDIA_TYPE};
use vouch_server::bus::{AgentControl, Bus};
use vouch_server::fleet::{AgentIdSecret, DeviceLogin, NewDevice};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::repository::{ENTRIES_FILE, Repository};
use vouch_server::status::{GatewayNumbers, Listener, Troubles, Vitals};
use vouch_server::store::{RedeemError, Store};

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "correct horse";
/// When the server says that it was started.
const STARTED_MS: i64 = 1_516_650_570_423;
pub(crate) const ROOTS: [u8; 32] = [7; 32];

pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) repository: Repository,
    pub(crate) token: String,
    pub(crate) orders: mpsc::Receiver<AgentControl>,
    pub(crate) account: String,
    pub(crate) troubles: Troubles,
    stop: CancellationToken,
    pub(crate) dir: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// `title: detail` of the first error, as clients print it.
    pub(crate) fn error(&self) -> String {
        let error = &self.json()["errors"][0];
        assert_eq!(error["status"].as_str().unwrap(), self.status.to_string(), "{}", self.body);
        format!("{}: {}", error["title"].as_str().unwrap(), error["detail"].as_str().unwrap())
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(LIMITS).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::logged(limits, "").await
    }

    /// With these lines in the file of the transparency log.
    pub(crate) async fn logged(limits: Limits, entries: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let secret = AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]));
        let store = Store::create(dir.path(), secret, &limits).await.unwrap();
        let hash = password::hash(&Secret::from(PASSWORD.to_owned())).unwrap();
        let account = store.create_account(&USER.parse().unwrap(), "admin@example.com", &hash).await.unwrap();
        let (journal, task) = store.journal();
        tokio::spawn(task.run());
        let bus = Bus::new(&limits, journal);
        let orders = bus.take_agent_control().unwrap();
        let listener = HttpListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.addr();
        let troubles = Troubles::new(&limits);
        let vitals = Vitals {
            started_ms: STARTED_MS,
            http: addr,
            listeners: vec![Listener { rule_port: 443, address: "192.0.2.1:443".parse().unwrap() }],
            gateway: Arc::new(|| GatewayNumbers { logins: 7, ..GatewayNumbers::default() }),
            troubles: troubles.clone(),
        };
        let open =
            || Repository::open(dir.path(), store.clone(), "server.example", crate::releases::tls_roots(), &limits);
        let mut repository = open().await.unwrap();
        if !entries.is_empty() {
            std::fs::write(dir.path().join(ENTRIES_FILE), entries).unwrap();
            repository = open().await.unwrap();
        }
        let central = Central::new(
            store.clone(),
            bus.clone(),
            repository.clone(),
            &format!("http://{addr}"),
            ROOTS,
            vitals,
            &limits,
        );
        let stop = CancellationToken::new();
        tokio::spawn(listener.run(central.router(), limits, stop.clone()));
        let token = store.log_in(account).await.unwrap().access_token;
        Self { addr, store, bus, repository, token, orders, account: account.to_string(), troubles, stop, dir }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: {MEDIA_TYPE}\r\n", self.token);
        self.raw(method, path, &headers, body.as_bytes()).await
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        timeout(PATIENCE, request(self.addr, method, path, headers, body)).await.expect("an answer in time")
    }

    pub(crate) async fn product(&self, name: &str) -> String {
        let body = json!({ "data": { "type": "product", "attributes": { "name": name } } });
        id(&self.post("/v5/products", &body).await.expect(201))
    }

    pub(crate) async fn group(&self, product: &str, name: &str) -> String {
        let body = json!({ "data": {
            "type": "development_devicegroup",
            "attributes": { "name": name },
            "relationships": { "product": { "type": "product", "id": product } },
        }});
        id(&self.post("/v5/devicegroups", &body).await.expect(201))
    }

    pub(crate) async fn deploy(&self, group: &str, device: &str, agent: &str) -> Answer {
        let body = json!({ "data": {
            "type": "deployment",
            "attributes": { "device_code": device, "agent_code": agent },
            "relationships": { "devicegroup": { "type": "development_devicegroup", "id": group } },
        }});
        self.post("/v5/deployments", &body).await
    }

    pub(crate) async fn enrolment_token(&self, group: Option<&str>, uses: u32) -> EnrolmentToken {
        let group =
            group.map_or(json!({}), |id| json!({ "devicegroup": { "type": "development_devicegroup", "id": id } }));
        let body = json!({ "data": { "type": "enrolment_token", "attributes": { "uses": uses, "minutes": 5 }, "relationships": group } });
        let made = self.post("/v5/enrolment_tokens", &body).await.expect(201).json();
        EnrolmentToken::parse(made["data"]["attributes"]["token"].as_str().unwrap()).unwrap()
    }

    /// Enrols a new device as the gateway does after it has verified a request.
    pub(crate) async fn enrol(&self, group: Option<&str>) -> DeviceLogin {
        let token = self.enrolment_token(group, 1).await;
        self.redeem(&token, new_device()).await.unwrap()
    }

    pub(crate) async fn redeem(&self, token: &EnrolmentToken, device: NewDevice) -> Result<DeviceLogin, RedeemError> {
        self.store.redeem_token(&token.id(), &token.secret_sha256(), now_ms(), device).await
    }

    /// The next order to the agents' supervisor.
    pub(crate) async fn order(&mut self) -> AgentControl {
        timeout(PATIENCE, self.orders.recv()).await.expect("an order in time").expect("a bus")
    }

    pub(crate) fn stop(&self) {
        self.bus.streams().close_all();
        self.stop.cancel();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn id(answer: &Answer) -> String {
    answer.json()["data"]["id"].as_str().unwrap().to_owned()
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn new_device() -> NewDevice {
    let key = || Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone();
    NewDevice {
        identity: Arc::new(key()),
        key_agreement_spki: key().spki_der().to_vec(),
        tls_spki: SpkiHash([3; 32]),
        profile: Profile::Modern,
        model: "lamp".to_owned(),
        attestation: keys::keystore::AttestationLevel::Software,
    }
}

pub(crate) async fn request(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = tcp.write_all(body).await;
    let mut bytes = Vec::new();
    let _ = tcp.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A reader of server-sent events that keeps every byte.
pub(crate) struct Events {
    tcp: TcpStream,
    bytes: Vec<u8>,
    pub(crate) head: String,
}

impl Events {
    pub(crate) async fn open(addr: SocketAddr, path: &str) -> Self {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut events = Self { tcp, bytes: Vec::new(), head: String::new() };
        let end = events.until(b"\r\n\r\n").await.expect("a head");
        events.head = String::from_utf8(end).unwrap().to_ascii_lowercase();
        events
    }

    /// The next chunk, which is one event; `None` when the stream is over.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let size = self.until(b"\r\n").await?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        if size == 0 {
            return None;
        }
        while self.bytes.len() < size + 2 {
            self.read().await?;
        }
        let chunk = self.bytes.drain(..size).collect();
        self.bytes.drain(..2);
        Some(String::from_utf8(chunk).unwrap())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|window| window == end) {
                return Some(self.bytes.drain(..at + end.len()).collect());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let count = timeout(PATIENCE, self.tcp.read(&mut buffer)).await.expect("bytes in time").ok()?;
        self.bytes.extend_from_slice(&buffer[..count]);
        (count > 0).then_some(())
    }
}
