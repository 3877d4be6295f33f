//! A whole server as an operator starts it, and the operator's requests to its central.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use device::config::DeviceConfig;
use device::ports::PortMap;
use keys::pki::ServingPki;
use keys::profile::Profile;
use keys::secret::Secret;
use keys::time::FloorClock;
use keys::tls::{ServerTls, ServerTlsMaterial};
use protocol::facts::PORTS;
use serde_json::{Value, json};
use server::gateway::{GatewayCounters, GatewayEvent, GatewayEventKind, GatewayLimits, Listen, Turned};
use server::init::PKI_FOLDER;
use server::store::DATABASE_FILE;
use server::{FIRST_ACCOUNT, InitOptions, KEEPALIVE_S, LIMITS, Running, Server, ServerConfig, Troubles, init};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::PATIENCE;

/// The server's name that all devices of all operators are told: a false server can claim it too.
pub const NAME: &str = "gateway.test";
const PASSWORD: &str = "correct horse battery";

/// Whose keys a server has. Both operators use the same server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The operator under attack.
    Ours,
    /// Somebody else with a server of the same make.
    Theirs,
}

/// A server at work.
pub struct Site {
    /// Its address; each site has its own.
    pub ip: Ipv4Addr,
    /// What its gateway counts.
    pub counters: Arc<GatewayCounters>,
    /// What happens at its gateway, from the start on.
    pub events: broadcast::Receiver<Arc<GatewayEvent>>,
    running: Running,
    bearer: String,
    dir: TempDir,
}

impl Site {
    /// Our server.
    pub async fn start() -> Site {
        Site::of(Operator::Ours).await
    }

    /// A server of this operator.
    pub async fn of(operator: Operator) -> Site {
        Site::with(operator, own_address(), GatewayLimits::default()).await
    }

    /// A server of this operator, on this address, with these limits.
    pub async fn with(operator: Operator, ip: Ipv4Addr, gateway: GatewayLimits) -> Site {
        let dir = tempfile::tempdir().unwrap();
        operator.unpack(dir.path());
        let config = ServerConfig {
            dir: dir.path().to_owned(),
            listen: PORTS.map(|rule_port| Listen { rule_port, addr: SocketAddr::from((ip, 0)) }).to_vec(),
            http: SocketAddr::from((ip, 0)),
            public_url: None,
            keepalive_s: KEEPALIVE_S,
            danger_agents_private_addresses: false,
            gateway,
            limits: LIMITS,
            troubles: Troubles::new(&LIMITS),
        };
        let running = Server::start(config).await.unwrap();
        let (counters, events) = (running.counters(), running.events().subscribe());
        let mut site = Site { ip, counters, events, running, bearer: String::new(), dir };
        let login = site.ask("POST", "/v5/auth", &json!({ "id": FIRST_ACCOUNT, "password": PASSWORD })).await;
        site.bearer = login["access_token"].as_str().unwrap().to_owned();
        site
    }

    /// Where its gateway listens for the first port of the rule.
    pub fn gateway(&self) -> SocketAddr {
        self.running.listens()[0].addr
    }

    /// Its ports, as devices are told.
    pub fn ports(&self) -> PortMap {
        let entries = self.running.listens().into_iter().map(|at| format!("{}={}", at.rule_port, at.addr.port()));
        entries.collect::<Vec<_>>().join(",").parse().unwrap()
    }

    /// What a device of this server is told.
    pub fn device_config(&self, profile: Profile) -> DeviceConfig {
        DeviceConfig {
            server: NAME.to_owned(),
            address: Some(self.ip.into()),
            ports: self.ports(),
            proxy: None,
            dns: Vec::new(),
            model: "probe".to_owned(),
            profile,
        }
    }

    /// The operator's serving keys, as a thief finds them on the server's disk.
    pub fn pki(&self) -> ServingPki {
        ServingPki::load(&self.pki_folder()).unwrap()
    }

    /// Where those keys are.
    pub fn pki_folder(&self) -> PathBuf {
        self.dir.path().join(PKI_FOLDER)
    }

    /// The gateway's TLS configurations, made of those keys.
    pub fn tls(&self) -> ServerTls {
        ServerTls::new(ServerTlsMaterial { pki: &self.pki(), time: Arc::new(FloorClock::default()) }).unwrap()
    }

    /// An enrolment token for this many devices, which come into the first device group.
    pub async fn token(&self, uses: u32) -> Zeroizing<String> {
        let body = json!({ "data": {
            "type": "enrolment_token",
            "attributes": { "uses": uses, "minutes": 60 },
            "relationships": { "devicegroup": self.group().await },
        }});
        let made = self.ask("POST", "/v5/enrolment_tokens", &body).await;
        Zeroizing::new(made["data"]["attributes"]["token"].as_str().unwrap().to_owned())
    }

    /// Lets the hour of every enrolment token be over: the server reads the system's clock, so its records are set back.
    pub fn expire_tokens(&self) {
        let done = Command::new("sqlite3")
            .arg(self.dir.path().join(DATABASE_FILE))
            .args([".timeout 10000", "UPDATE enrolment_tokens SET expires_ms = created_ms"])
            .status()
            .expect("this test needs `sqlite3`: install the package of that name");
        assert!(done.success());
    }

    /// Revokes a device, as `vouch device revoke` does.
    pub async fn revoke(&self, device_id: &str) {
        self.ask("POST", &format!("/v5/devices/{device_id}/revoke"), &Value::Null).await;
    }

    /// Asks a device to start its app again.
    pub async fn restart(&self, device_id: &str) {
        self.ask("POST", &format!("/v5/devices/{device_id}/restart"), &Value::Null).await;
    }

    /// Deploys a device app to the first device group.
    pub async fn deploy(&self, device_code: &str) {
        let body = json!({ "data": {
            "type": "deployment",
            "attributes": { "device_code": device_code, "agent_code": "" },
            "relationships": { "devicegroup": self.group().await },
        }});
        self.ask("POST", "/v5/deployments", &body).await;
    }

    async fn group(&self) -> Value {
        let groups = self.ask("GET", "/v5/devicegroups", &Value::Null).await;
        json!({ "type": groups["data"][0]["type"], "id": groups["data"][0]["id"] })
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let addr = self.running.http();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.bearer,
            body.len()
        );
        let mut answer = String::new();
        let asked = async {
            let mut tcp = TcpStream::connect(addr).await.unwrap();
            tcp.write_all(request.as_bytes()).await.unwrap();
            tcp.read_to_string(&mut answer).await.unwrap();
        };
        timeout(PATIENCE, asked).await.expect("central answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
        if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() }
    }

    /// The next event for which `pick` has a value; others are skipped.
    pub async fn event<T>(&mut self, mut pick: impl FnMut(&GatewayEventKind) -> Option<T>) -> T {
        let picked = async {
            loop {
                if let Some(picked) = pick(&self.events.recv().await.unwrap().what) {
                    return picked;
                }
            }
        };
        timeout(PATIENCE, picked).await.expect("the event must come")
    }

    /// Why the next connection is turned away.
    pub async fn turned(&mut self) -> (Turned, String) {
        self.event(|what| match what {
            GatewayEventKind::Turned { reason, detail } => Some((*reason, detail.clone())),
            _ => None,
        })
        .await
    }

    /// Waits until this holds of the counters.
    pub async fn until(&self, enough: impl Fn(&GatewayCounters) -> bool) {
        let waited = timeout(PATIENCE, self.counters.wait_for(enough)).await;
        waited.unwrap_or_else(|_| panic!("never so: {:?}", self.counters));
    }
}

impl Operator {
    /// A server's folder as it is after `vouch init`. Made once for each operator: RSA keys take their time to be born.
    fn files(self) -> &'static BTreeMap<PathBuf, Vec<u8>> {
        static FILES: [OnceLock<BTreeMap<PathBuf, Vec<u8>>>; 2] = [const { OnceLock::new() }; 2];
        FILES[self as usize].get_or_init(|| {
            let made = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(self.init())
            });
            made.join().unwrap()
        })
    }

    async fn init(self) -> BTreeMap<PathBuf, Vec<u8>> {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("server");
        let options = InitOptions {
            dir: dir.clone(),
            names: vec![NAME.to_owned(), "localhost".to_owned()],
            operator: format!("{self:?}"),
            account: FIRST_ACCOUNT.to_owned(),
            password: Some(Secret::from(PASSWORD.to_owned())),
            token: None,
        };
        init(options, &LIMITS).await.unwrap();
        let mut files = BTreeMap::new();
        for folder in [dir.clone(), dir.join(PKI_FOLDER)] {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
                files.insert(path.strip_prefix(&dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
        files
    }

    fn unpack(self, dir: &Path) {
        fs::DirBuilder::new().mode(0o700).create(dir.join(PKI_FOLDER)).unwrap();
        for (path, bytes) in self.files() {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(path));
            file.unwrap().write_all(bytes).unwrap();
        }
    }
}

/// An address of 127.0.0.0/8 that no other site of this process has.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}
