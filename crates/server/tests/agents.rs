//! Agents on a real store and bus, without devices or sockets: sessions are played by the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use keys::public::SpkiHash;
use keys::secret::Secret;
use keys::signer::Signer;
use keys::{profile::Profile, purpose::KeyPurpose};
use squirrel::{CompileOptions, Source, compile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::Service;
use vouch_server::agents::{self, AgentLimits, Agents};
use vouch_server::bus::{
    AgentControl, AppMessage, Bus, DeviceMessage, SessionInbox, SessionTicket, StreamEvent, StreamReader, ToSession,
};
use vouch_server::fleet::{
    AccountId, AgentId, AgentIdSecret, AgentUrls, DeploymentId, EnvVars, GroupId, GroupType, LogEntry, LogType,
    NewDeployment, NewDevice,
};
use vouch_server::store::{NewToken, Store};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const HELLO: &str = include_str!("../../../examples/hello/agent.nut");

struct World {
    dir: tempfile::TempDir,
    store: Store,
    bus: Bus,
    _journal: JoinHandle<()>,
    account: AccountId,
    group: GroupId,
    devices: Vec<(SpkiHash, AgentId)>,
    limits: AgentLimits,
    agents: Option<Agents>,
    router: Router,
}

fn quick() -> AgentLimits {
    let app = apphost::Limits { event: 5_000_000, ..apphost::Limits::agent() };
    AgentLimits { app, response_deadline: Duration::from_secs(10), ..AgentLimits::default() }
}

fn agent_ids() -> AgentIdSecret {
    AgentIdSecret::new(Secret::new(vec![7; AgentIdSecret::BYTES]))
}

impl World {
    /// A fleet of `devices` in one group that runs `source`; its agents are started.
    async fn new(source: &str, devices: usize, limits: AgentLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store_limits = vouch_server::LIMITS;
        let store = Store::create(dir.path(), agent_ids(), &store_limits).await.unwrap();
        let (journal, task) = store.journal();
        let journal_task = tokio::spawn(task.run());
        let bus = Bus::new(&store_limits, journal);
        let account = store.create_account(&"maker".parse().unwrap(), "maker@example.com", "").await.unwrap();
        let product = store.create_product(account, account, "product", "").await.unwrap().id;
        let group = store
            .create_group(GroupType::Development, product, account, "group", "", &EnvVars::default())
            .await
            .unwrap()
            .id;
        let router = agents::router(bus.clone(), &limits);
        let devices_wanted = devices;
        let (devices, agents) = (Vec::new(), None);
        let mut world =
            Self { dir, store, bus, _journal: journal_task, account, group, devices, limits, agents, router };
        world.enrol(devices_wanted).await;
        world.deploy(source).await;
        world.start();
        world
    }

    async fn enrol(&mut self, count: usize) {
        let secret_sha256 = [9; 32];
        let id = vouch_server::fleet::TokenId::new([1; 9]);
        let new = NewToken {
            id,
            secret_sha256,
            owner: self.account,
            group: Some(self.group),
            uses: u32::try_from(count).unwrap(),
            minutes: 5,
        };
        self.store.create_enrolment_token(&new).await.unwrap();
        for number in 0..count {
            let identity = Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone();
            let mut tls = [0; 32];
            tls[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let device = NewDevice {
                identity: Arc::new(identity),
                key_agreement_spki: vec![1],
                tls_spki: SpkiHash(tls),
                profile: Profile::Modern,
                model: "test".to_owned(),
                attestation: keys::keystore::AttestationLevel::Software,
            };
            let login = self.store.redeem_token(&id, &secret_sha256, 1, device).await.unwrap();
            self.devices.push((login.spki, login.agent));
        }
    }

    async fn deploy(&self, source: &str) {
        let image = compile(&[Source { name: "agent_code", text: source.as_bytes() }], &CompileOptions::default());
        let image = image.unwrap_or_else(|error| panic!("{}", error.with_caret())).to_image();
        let new = NewDeployment {
            id: DeploymentId::random(),
            group: self.group,
            creator: self.account,
            notes: Default::default(),
            origin: None,
            device_code: String::new(),
            agent_code: source.to_owned(),
            device_image: image.clone(),
            agent_image: image,
        };
        self.store.create_deployment(&new).await.unwrap();
    }

    fn start(&mut self) {
        let urls = AgentUrls::new("http://server");
        self.agents = Some(Agents::start(self.store.clone(), self.bus.clone(), urls, self.limits.clone()).unwrap());
    }

    /// Stops everything and starts it on the same folder, as a new process would.
    async fn reopen(mut self) -> Self {
        self.agents.take().unwrap().stop().await;
        self.bus.journal().flush().await;
        self.store.close().await;
        self.store = Store::open(self.dir.path(), agent_ids(), &vouch_server::LIMITS).await.unwrap();
        let (journal, task) = self.store.journal();
        self._journal = tokio::spawn(task.run());
        self.bus = Bus::new(&vouch_server::LIMITS, journal);
        self.router = agents::router(self.bus.clone(), &self.limits);
        self.start();
        self
    }

    async fn get(&self, device: usize, path: &str) -> (StatusCode, String) {
        self.post(device, path, Vec::new()).await
    }

    async fn post(&self, device: usize, path: &str, body: Vec<u8>) -> (StatusCode, String) {
        ask(self.router.clone(), self.devices[device].1, path, body).await
    }

    /// Asks until the answer has this status: agents start and restart on their own time.
    async fn get_until(&self, device: usize, path: &str, status: StatusCode) -> String {
        let asking = async {
            loop {
                let (found, body) = self.get(device, path).await;
                if found == status {
                    return body;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {status}"))
    }

    fn connect(&self, device: usize) -> (SessionTicket, SessionInbox) {
        self.bus.attach(self.devices[device].0, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn follow(&self, device: usize) -> StreamReader {
        let id = self.bus.streams().open(self.account);
        let reader = self.bus.streams().read(&id).unwrap();
        assert!(self.bus.streams().subscribe(&id, self.account, self.devices[device].0));
        reader
    }

    async fn control(&self, device: usize, order: fn(SpkiHash) -> AgentControl) {
        self.bus.control_agents(order(self.devices[device].0)).await;
    }
}

async fn ask(mut router: Router, agent: AgentId, path: &str, body: Vec<u8>) -> (StatusCode, String) {
    let request = Request::post(format!("/agent/{agent}{path}")).body(Body::from(body)).unwrap();
    let response = timeout(PATIENCE, router.call(request)).await.unwrap().unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 4 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The next line of the log that is not of the gateway.
async fn line(reader: &mut StreamReader) -> (LogType, String) {
    loop {
        match timeout(PATIENCE, reader.next()).await.expect("a line").expect("still the reader") {
            StreamEvent::Message(entry) => return (entry.kind, entry.text.to_string()),
            StreamEvent::Subscribed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn to_device(inbox: &mut SessionInbox) -> AppMessage {
    match timeout(PATIENCE, inbox.recv()).await.expect("a message").expect("an open session") {
        ToSession::App(message) => *message,
        other => panic!("{other:?}"),
    }
}

fn message(name: &str, value: &[u8]) -> Box<DeviceMessage> {
    Box::new(DeviceMessage { message: AppMessage { name: name.to_owned(), value: value.to_vec() }, to_handle: None })
}

#[tokio::test]
async fn hello_answers_its_url_and_talks_to_its_device() {
    let world = World::new(HELLO, 1, quick()).await;
    let body = world.get_until(0, "/", StatusCode::OK).await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&json["connected"], &json["last"]), (&serde_json::Value::Bool(false), &serde_json::Value::Null));
    assert_eq!(world.get(0, "/nowhere").await, (StatusCode::NOT_FOUND, "no such path: /nowhere".to_owned()));
    assert_eq!(world.post(0, "/echo", b"x".to_vec()).await.0, StatusCode::SERVICE_UNAVAILABLE);

    let (device, agent) = world.devices[0];
    let (_ticket, mut inbox) = world.connect(0);
    // {"count": 3, "free": 9}
    let tick = [0xa2, 0x65, b'c', b'o', b'u', b'n', b't', 0x03, 0x64, b'f', b'r', b'e', b'e', 0x09];
    world.bus.try_to_agent(&device, message("tick", &tick)).unwrap();
    let asking = tokio::spawn(ask(world.router.clone(), agent, "/echo", "grüezi".into()));
    let echo = to_device(&mut inbox).await;
    assert_eq!(echo.name, "echo");
    world.bus.try_to_agent(&device, message("echoed", &echo.value)).unwrap();
    assert_eq!(asking.await.unwrap(), (StatusCode::OK, "grüezi".to_owned()));
    let json: serde_json::Value = serde_json::from_str(&world.get(0, "").await.1).unwrap();
    assert_eq!((&json["connected"], &json["last"]["count"]), (&true.into(), &3.into()));
}

#[tokio::test]
async fn unknown_agents_are_404() {
    let world = World::new(HELLO, 1, quick()).await;
    let other = agent_ids().agent_id(SpkiHash([3; 32]), world.account);
    assert_eq!(ask(world.router.clone(), other, "/", Vec::new()).await.0, StatusCode::NOT_FOUND);
    let mut router = world.router.clone();
    for path in ["/agent/x", "/agent/abcdefghijk%2F", "/agent/"] {
        let response = router.call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_status_line_comes_before_the_apps_own() {
    let world = World::new(HELLO, 1, quick()).await;
    world.get_until(0, "/", StatusCode::OK).await;
    let mut reader = world.follow(0);
    world.control(0, AgentControl::Reload).await;
    assert_eq!(line(&mut reader).await, (LogType::Status, "Agent restarted: reload.".to_owned()));
    let url = format!("agent at http://server/agent/{}", world.devices[0].1);
    assert_eq!(line(&mut reader).await, (LogType::AgentLog, url));
}

#[tokio::test]
async fn an_acknowledged_save_is_there_after_a_restart() {
    let source = r#"http.onrequest(function(request, response) {
        local data = server.load();
        if (request.path == "/save") { data.n <- ("n" in data) ? data.n + 1 : 1; server.save(data); }
        response.send(200, "" + (("n" in data) ? data.n : 0));
    });"#;
    let world = World::new(source, 1, quick()).await;
    assert_eq!(world.get_until(0, "/save", StatusCode::OK).await, "1");
    assert_eq!(world.get(0, "/save").await.1, "2");
    let state = world.store.agent_state(world.devices[0].1).await.unwrap().unwrap();
    assert_eq!((state.version, state.bytes.as_slice()), (2, &br#"{"n":2}"#[..]));
    let world = world.reopen().await;
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "2");
    assert_eq!(world.get(0, "/save").await.1, "3");
}

#[tokio::test]
async fn a_crash_is_502_then_503_then_it_runs_again() {
    let source = r#"http.onrequest(function(request, response) {
        if (request.path == "/crash") throw "on purpose";
        response.send(200, "fine");
    });"#;
    let world = World::new(source, 1, quick()).await;
    world.get_until(0, "/", StatusCode::OK).await;
    let mut reader = world.follow(0);
    assert_eq!(world.get(0, "/crash").await.0, StatusCode::BAD_GATEWAY);
    assert_eq!(line(&mut reader).await, (LogType::AgentError, "ERROR: on purpose".to_owned()));
    assert_eq!(world.get(0, "/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "fine");
    loop {
        match line(&mut reader).await {
            (LogType::AgentError, _) => {}
            other => break assert_eq!(other, (LogType::Status, "Agent restarted: error.".to_owned())),
        }
    }
}

#[tokio::test]
async fn an_app_that_always_fails_is_restarted_ever_more_slowly() {
    let world = World::new("throw \"always\";", 1, quick()).await;
    let mut reader = world.follow(0);
    let mut starts = Vec::new();
    while starts.len() < 3 {
        // By the clock of the agent: how late a busy machine hears of a start does not count.
        if let StreamEvent::Message(LogEntry { kind: LogType::Status, at_ms, .. }) =
            timeout(PATIENCE, reader.next()).await.expect("a line").expect("still the reader")
        {
            starts.push(at_ms);
        }
    }
    let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] >= 990 && gaps[1] >= 1_990, "{gaps:?}");
}

#[tokio::test]
async fn agents_in_endless_loops_delay_nobody() {
    let source = r#"http.onrequest(function(request, response) {
        if (request.path == "/loop") while (true) {}
        if (request.path == "/eat") { local hoard = []; while (true) hoard.push(array(100)); }
        response.send(200, "fine");
    });"#;
    let world = World::new(source, 12, quick()).await;
    for device in 0..12 {
        world.get_until(device, "/", StatusCode::OK).await;
    }
    let bad: Vec<_> = (1..12)
        .map(|number| {
            let path = if number % 2 == 0 { "/loop" } else { "/eat" };
            tokio::spawn(ask(world.router.clone(), world.devices[number].1, path, Vec::new()))
        })
        .collect();
    for _ in 0..20 {
        let answered = timeout(Duration::from_secs(2), world.get(0, "/")).await.expect("no delay by neighbours");
        assert_eq!(answered.0, StatusCode::OK);
    }
    for asking in bad {
        assert_eq!(asking.await.unwrap().0, StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn a_new_deployment_replaces_the_code_and_stop_ends_the_agent() {
    let answers = |text: &str| format!("http.onrequest(function(q, r) {{ r.send(200, \"{text}\"); }});");
    let world = World::new(&answers("old"), 1, quick()).await;
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "old");
    world.deploy(&answers("new")).await;
    assert_eq!(world.get(0, "/").await.1, "old", "a deployment alone restarts nothing");
    world.control(0, AgentControl::Reload).await;
    let renewed = async { while world.get(0, "/").await.1 != "new" {} };
    timeout(PATIENCE, renewed).await.unwrap();
    world.control(0, AgentControl::Stop).await;
    world.get_until(0, "/", StatusCode::NOT_FOUND).await;
    world.control(0, AgentControl::Reload).await;
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "new");
}

#[tokio::test]
async fn no_answer_in_time_is_504_and_too_many_are_503() {
    let limits = AgentLimits { response_deadline: Duration::from_millis(300), requests_per_agent: 2, ..quick() };
    let world =
        World::new("http.onrequest(function(q, r) { if (q.path == \"/\") r.send(200, \"\"); });", 1, limits).await;
    world.get_until(0, "/", StatusCode::OK).await;
    let asks = [(); 3].map(|()| world.get(0, "/never"));
    let [a, b, c] = asks;
    let (a, b, c) = tokio::join!(a, b, c);
    let mut found = [a.0, b.0, c.0];
    found.sort_unstable();
    assert_eq!(found, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::GATEWAY_TIMEOUT]);
    // Their places are free again; with so short a deadline a slow machine may need a second try.
    world.get_until(0, "/", StatusCode::OK).await;
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let limits = AgentLimits { body_bytes: 1000, ..quick() };
    let world = World::new("http.onrequest(function(q, r) { r.send(200, \"\" + q.body.len()); });", 1, limits).await;
    world.get_until(0, "/", StatusCode::OK).await;
    assert_eq!(world.post(0, "/", vec![b'x'; 1000]).await, (StatusCode::OK, "1000".to_owned()));
    assert_eq!(world.post(0, "/", vec![b'x'; 1001]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_device_that_does_not_read_holds_up_only_its_own_agent() {
    let source = r#"http.onrequest(function(request, response) {
        if (request.path == "/flood") { local n = 0; while (device.send("x", n) == 0) n++; server.log("gave up after " + n); }
        response.send(200, "fine");
    });"#;
    let world = World::new(source, 2, AgentLimits { send_wait: Duration::from_millis(200), ..quick() }).await;
    world.get_until(0, "/", StatusCode::OK).await;
    world.get_until(1, "/", StatusCode::OK).await;
    let (_ticket, _unread) = world.connect(0);
    let mut reader = world.follow(0);
    let flood = tokio::spawn(ask(world.router.clone(), world.devices[0].1, "/flood", Vec::new()));
    assert_eq!(timeout(Duration::from_secs(2), world.get(1, "/")).await.unwrap().0, StatusCode::OK);
    assert_eq!(flood.await.unwrap().0, StatusCode::OK);
    assert_eq!(line(&mut reader).await.1, format!("gave up after {}", vouch_server::LIMITS.session_inbox));
}

#[tokio::test]
async fn timers_run_and_connections_are_told() {
    let source = r#"device.onconnect(@() server.log("connected"));
        device.ondisconnect(@() server.log("gone"));
        http.onrequest(function(q, r) { imp.wakeup(0.05, @() r.send(200, "later")); });"#;
    let world = World::new(source, 1, quick()).await;
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "later");
    let mut reader = world.follow(0);
    let session = world.connect(0);
    assert_eq!(line(&mut reader).await.1, "connected");
    drop(session);
    assert_eq!(line(&mut reader).await.1, "gone");
}

#[tokio::test]
async fn one_bus_has_one_set_of_agents() {
    let world = World::new(HELLO, 1, quick()).await;
    assert!(Agents::start(world.store.clone(), world.bus.clone(), AgentUrls::new("x"), quick()).is_err());
}

#[tokio::test]
async fn an_agent_that_floods_the_log_slows_itself_down() {
    let source = "http.onrequest(function(q, r) { for (local i = 0; i < 25; i++) server.log(i); r.send(200, \"\"); });";
    let world = World::new(source, 1, AgentLimits { log_lines_per_second: 10, ..quick() }).await;
    world.get_until(0, "/", StatusCode::OK).await;
    let mut reader = world.follow(0);
    let begin = std::time::Instant::now();
    assert_eq!(world.get(0, "/").await.0, StatusCode::OK);
    for number in 0..25 {
        assert_eq!(line(&mut reader).await, (LogType::AgentLog, number.to_string()));
    }
    assert!(begin.elapsed() >= Duration::from_millis(1_500), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn hundreds_of_agents_share_two_threads() {
    const COUNT: usize = 300;
    let world = World::new(HELLO, COUNT, quick()).await;
    for device in 0..COUNT {
        world.get_until(device, "/", StatusCode::OK).await;
    }
    let asks =
        (0..COUNT).map(|device| tokio::spawn(ask(world.router.clone(), world.devices[device].1, "/", Vec::new())));
    for asking in asks.collect::<Vec<_>>() {
        assert_eq!(asking.await.unwrap().0, StatusCode::OK);
    }
    assert_eq!(world.bus.agents(), COUNT);
}

/// A web server on loopback that gives each connection the same answer, or none; its port, and what it was asked.
async fn web(answer: Option<Vec<u8>>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, questions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let _ = asked.send(String::from_utf8(head).unwrap());
            match &answer {
                // A client that has read enough closes first.
                Some(answer) => drop(stream.write_all(answer).await),
                None => silent.push(stream),
            }
        }
    });
    (port, questions)
}

/// An agent that asks `url` when it is asked, and tells what came back.
fn asking(url: &str) -> String {
    format!(
        r#"http.onrequest(function(q, r) {{
               http.get("{url}", {{ "X-From": "agent" }}).sendasync(function(a) {{
                   r.send(200, a.statuscode + " " + a.body.len() + " " + ("x-a" in a.headers ? a.headers["x-a"] : "-"));
               }}, null, q.path == "/quick" ? 0.2 : 100);
           }});"#
    )
}

fn reaching() -> AgentLimits {
    AgentLimits { danger_private_addresses: true, ..quick() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_asks_a_server_and_is_told_the_answer() {
    let (port, mut questions) =
        web(Some(b"HTTP/1.1 299 Fine\r\nX-A: 7\r\nContent-Length: 3\r\n\r\nabc".to_vec())).await;
    let world = World::new(&asking(&format!("http://127.0.0.1:{port}/p?q=1")), 1, reaching()).await;
    assert_eq!(world.get_until(0, "/", StatusCode::OK).await, "299 3 7");
    let asked = questions.recv().await.unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get /p?q=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{asked}");
    assert!(asked.contains("x-from: agent\r\n"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_do_not_reach_the_operators_own_network() {
    let (port, mut questions) = web(Some(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433"] {
        let world = World::new(&asking(&format!("http://{host}:{port}/")), 1, quick()).await;
        let told = world.get_until(0, "/", StatusCode::OK).await;
        assert!(told == "7 0 -" || told == "6 0 -", "{host}: {told}");
    }
    assert!(questions.try_recv().is_err(), "somebody was reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_server_sends_is_bounded() {
    let limit = quick().app.http_body_bytes;
    let body = |length: usize| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        answer
    };
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(100_000)].concat();
    for (answer, told) in [
        (body(limit), format!("200 {limit} -")),
        (body(limit + 1), "63 0 -".to_owned()),
        (endless, "56 0 -".to_owned()),
        (b"nonsense\r\n\r\n".to_vec(), "56 0 -".to_owned()),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut".to_vec(), "56 0 -".to_owned()),
    ] {
        let (port, _questions) = web(Some(answer)).await;
        let world = World::new(&asking(&format!("http://127.0.0.1:{port}/")), 1, reaching()).await;
        assert_eq!(world.get_until(0, "/", StatusCode::OK).await, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let (port, _questions) = web(None).await;
    let world = World::new(&asking(&format!("http://127.0.0.1:{port}/")), 1, reaching()).await;
    assert_eq!(world.get_until(0, "/quick", StatusCode::OK).await, "28 0 -");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_taken_for_one_with() {
    let (port, _questions) = web(Some(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())).await;
    let world = World::new(&asking(&format!("https://127.0.0.1:{port}/")), 1, reaching()).await;
    let told = timeout(PATIENCE, world.get_until(0, "/quick", StatusCode::OK)).await.unwrap();
    assert!(told == "35 0 -" || told == "28 0 -", "no TLS there: {told}");
}
