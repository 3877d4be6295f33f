//! The server is killed and the network is cut, again and again, under load: what was acknowledged is there, and nothing comes twice.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fault_proxy::FaultProxy;
use crate::support::{PATIENCE, Server, Watched, http, loopback, output};

const KILLS: usize = 20;
const CUTS: usize = 20;
/// The longest page that central gives.
const LINES_MAX: usize = 500;
/// A silent connection is given up after five seconds.
const SERVE: &[&str] = &["--keepalive", "2", "--log", "error"];
const RETRY: &[&str] = &["--retry-max", "3"];
/// A cut that TCP survives.
const SHORT_CUT: Duration = Duration::from_millis(800);
/// A cut that neither end of a session waits for.
const LONG_CUT: Duration = Duration::from_secs(7);

/// A server, a wire to it that can be cut, and devices at the other end of the wire.
struct Site {
    server: Server,
    wire: FaultProxy,
    devices: Vec<(String, Watched)>,
}

impl Site {
    fn new(root: &Path, devices: usize, deploy: impl FnOnce(&Server)) -> Site {
        let (here, there) = (loopback(), loopback());
        let server = Server::start_with(root, &[&format!("31314={here}:31314")], SERVE);
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 31314);
        let wire = FaultProxy::start(address(&there), address(&here));
        deploy(&server);
        let devices = (0..devices).map(|number| {
            let dir = root.join(format!("device-{number}"));
            let enrolled = server.provision(&dir, "modern", &["--address", &there]);
            (enrolled["device_id"].as_str().unwrap().to_owned(), server.run_device_with(&dir, RETRY))
        });
        let devices = devices.collect();
        Site { server, wire, devices }
    }

    /// The URLs of the devices' agents.
    fn agents(&self) -> Vec<String> {
        self.devices.iter().map(|(id, _)| self.server.agent_url(id)).collect()
    }

    /// Kills the server in the midst of its work and starts it again.
    fn kill(&mut self) {
        self.server.process.kill();
        self.server.restart();
    }

    /// Central's answer to a logged-in GET.
    fn central(&self, path: &str) -> Value {
        let login: Value = serde_json::from_slice(&fs::read(self.server.dir.join("login.json")).unwrap()).unwrap();
        let mut command = Command::new("curl");
        command.args(["-s", "-g", "-m", "20", "--noproxy", "*", "-H"]);
        command.arg(format!("Authorization: Bearer {}", login["access_token"].as_str().unwrap()));
        command.arg(format!("http://{}/v5{path}", self.server.http));
        serde_json::from_str(&output(command)).unwrap()
    }

    /// The lines of a device's log that begin with `prefix`, oldest first, with their times of day in milliseconds.
    fn lines(&self, device: &str, prefix: &str) -> Vec<(String, i64)> {
        // One page, since new lines move what later pages hold.
        let answer = self.central(&format!("/devices/{device}/logs?page[number]=1&page[size]={LINES_MAX}"));
        let rows = answer["data"].as_array().unwrap();
        assert!(rows.len() < LINES_MAX, "too many lines for one page");
        let ours = rows.iter().rev().filter(|row| row["msg"].as_str().unwrap().starts_with(prefix));
        ours.map(|row| (row["msg"].as_str().unwrap().to_owned(), of_day(row["ts"].as_str().unwrap()))).collect()
    }
}

/// The milliseconds of the day in `2026-01-31T23:59:59.999Z`.
fn of_day(time: &str) -> i64 {
    let number = |from: usize, to: usize| time[from..to].parse::<i64>().unwrap();
    ((number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1000 + number(20, 23)
}

/// Asks again and again until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn ok(method: &str, url: &str, body: &str) -> Option<String> {
    // curl fails while nobody listens.
    let (status, answer) = std::panic::catch_unwind(|| http(method, url, body)).ok()?;
    (status == 200).then_some(answer)
}

fn state(agent: &str) -> Value {
    until("answer of the agent", || serde_json::from_str(&ok("GET", agent, "")?).ok())
}

fn seen(agent: &str) -> u64 {
    state(agent)["seen"].as_u64().unwrap()
}

#[test]
fn datalogger_has_no_gaps_after_twenty_kills_and_twenty_cuts() {
    let root = tempfile::tempdir().unwrap();
    let mut site = Site::new(root.path(), 3, |server| server.deploy("datalogger"));
    let agents = site.agents();
    let catches_up = || {
        for agent in &agents {
            let before = seen(agent);
            until("record after a fault", || (seen(agent) > before).then_some(()));
        }
    };
    catches_up();
    for _ in 0..KILLS {
        site.kill();
        catches_up();
    }
    for cut in 0..CUTS {
        site.wire.cut(if cut % 5 == 0 { LONG_CUT } else { SHORT_CUT });
        catches_up();
    }
    for (agent, (id, device)) in agents.iter().zip(&mut site.devices) {
        let state = state(agent);
        let count = |name: &str| state[name].as_u64().unwrap();
        assert_eq!(count("gaps"), 0, "{id}: {state}");
        assert_eq!(count("received"), count("seen"), "{id}: {state}");
        assert_eq!(count("sum"), count("seen") * (count("seen") - 1) / 2, "{id}: {state}");
        device.catch_up();
        let events = device.seen();
        assert_eq!(events.iter().filter(|event| event["event"] == "app_started").count(), 1, "{id}");
        let dropped = |event: &&Value| event["text"].as_str().is_some_and(|text| text.contains("dropped"));
        assert!(!events.iter().any(|event| dropped(&event)), "{id} dropped a record");
        // Killed twenty times and cut off four times for longer than it waits.
        let ended = events.iter().filter(|event| event["event"] == "disconnected").count();
        assert!(ended >= KILLS + CUTS / 5, "{id}: only {ended} sessions ended");
    }
}

const TELLER: &str = r#"
local start = time(), n = 0;
function line() {
    server.log("life LIFE " + start + " line " + n++);
    imp.wakeup(0.25, line);
}
line();
"#;

const SAVER: &str = r#"
state <- server.load();
if (!("value" in state)) state.value <- "";
http.onrequest(function(request, response) {
    if (request.method == "PUT") {
        state.value = request.body;
        server.save(state);
    }
    response.send(200, state.value);
});
"#;

#[test]
fn no_acknowledged_save_deploy_or_log_line_is_lost_and_each_line_comes_once_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let (device_file, agent_file) = (root.path().join("device.nut"), root.path().join("agent.nut"));
    fs::write(&device_file, TELLER.replace("LIFE", "first")).unwrap();
    fs::write(&agent_file, SAVER).unwrap();
    let mut site = Site::new(root.path(), 1, |server| server.deploy_files(&device_file, &agent_file));
    let agent = site.agents().remove(0);
    let mut deployed = Vec::new();
    let mut life = "first".to_owned();
    for round in 0..6 {
        let device = &mut site.devices[0].1;
        device.event("welcomed");
        device.wait("a line", |event| event["text"].as_str().is_some_and(|text| text.contains(&life)));
        if round % 3 == 2 {
            life = format!("number {round}");
            fs::write(&device_file, TELLER.replace("LIFE", &life)).unwrap();
            let mut deploy = site.server.command(&["--json", "deploy", "--device"]);
            deploy.arg(&device_file).arg("--agent").arg(&agent_file);
            let answer: Value = serde_json::from_str(&output(deploy)).unwrap();
            deployed.push(answer["deployment"].as_str().unwrap().to_owned());
        }
        let value = format!("value {round}");
        until("acknowledged save", || ok("PUT", &agent, &value));
        site.kill();
        assert_eq!(until("answer of the agent", || ok("GET", &agent, "")), value);
        for id in &deployed {
            let found = site.central(&format!("/deployments/{id}"));
            assert_eq!(found["data"]["id"], **id, "{found}");
        }
        if round % 3 == 0 {
            site.devices[0].1.event("welcomed");
            site.wire.cut(LONG_CUT);
        }
    }
    let (id, device) = &mut site.devices[0];
    let id = id.clone();
    device.event("welcomed");
    device.wait("a line", |event| event["text"].as_str().is_some_and(|text| text.contains(&life)));
    let last = device.wait("a line", |event| event["event"] == "app_log");
    let last = last["text"].as_str().unwrap().to_owned();
    let told: Vec<(String, i64)> = device
        .seen()
        .iter()
        .filter(|event| event["event"] == "app_log")
        .map(|event| (event["text"].as_str().unwrap().to_owned(), event["unix_ms"].as_i64().unwrap() % 86_400_000))
        .collect();
    let kept = until("last line in the log", || {
        let lines = site.lines(&id, "life ");
        lines.iter().any(|(text, _)| *text == last).then_some(lines)
    });
    let kept = &kept[..told.len().min(kept.len())];
    assert_eq!(kept, told, "each line once, in order, with its own time");
    let mut lives: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, _) in kept {
        let (life, number) = text.split_once(" line ").unwrap();
        let next = lives.entry(life).or_default();
        assert_eq!(number.parse(), Ok(*next), "{text}");
        *next += 1;
    }
    assert!(lives.len() > deployed.len(), "the app starts again with each deployment: {lives:?}");
}
