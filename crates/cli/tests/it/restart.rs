//! The server is killed without warning and started again: devices return by themselves, saved state is there.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Server, answered, loopback, output};
use serde_json::Value;

/// Counts what the device sends; a count is acknowledged only after it was saved.
const AGENT: &str = r#"
state <- server.load();
if (!("seen" in state)) state.seen <- 0;
device.on("count", function(n) {
    state.seen = n;
    server.save(state);
    device.send("saved", n);
});
http.onrequest(function(request, response) { response.send(200, http.jsonencode(state)); });
"#;

const DEVICE: &str = r#"
local n = 0;
agent.on("saved", function(upTo) { server.log("saved " + upTo); });
function count() {
    n++;
    agent.send("count", n);
    imp.wakeup(0.05, count);
}
count();
"#;

fn saved(event: &Value) -> Option<u64> {
    event["text"].as_str()?.strip_prefix("saved ")?.parse().ok()
}

fn seen(url: &str) -> u64 {
    serde_json::from_str::<Value>(&answered("GET", url, "")).unwrap()["seen"].as_u64().unwrap()
}

/// A server at this address, and the folder and the id of a device that counts.
fn counting(root: &Path, here: &str) -> (Server, PathBuf, String) {
    let server = Server::start(root, &[here]);
    let (device_file, agent_file, dir) = (root.join("device.nut"), root.join("agent.nut"), root.join("device"));
    fs::write(&device_file, DEVICE).unwrap();
    fs::write(&agent_file, AGENT).unwrap();
    server.deploy_files(&device_file, &agent_file);
    let enrolled = server.provision(&dir, "modern", &["--address", here]);
    let device_id = enrolled["device_id"].as_str().unwrap().to_owned();
    (server, dir, device_id)
}

#[test]
fn a_server_killed_with_sigkill_comes_back_with_what_it_acknowledged_and_its_devices_return() {
    let (here, root) = (&loopback(), tempfile::tempdir().unwrap());
    let (mut server, dir, device_id) = counting(root.path(), here);
    let mut device = server.run_device(&dir);

    for round in 1..=2 {
        let acknowledged = saved(&device.wait("an acknowledged count", |event| saved(event).is_some())).unwrap();
        server.process.kill();
        device.event("disconnected");
        server.restart();
        device.event("welcomed");
        let after = seen(&server.agent_url(&device_id));
        assert!(after >= acknowledged, "round {round}: {after} saved, but {acknowledged} was acknowledged");
        device.wait("a count after the restart", |event| saved(event).is_some_and(|count| count > acknowledged));
    }
    let restarts = device.seen().iter().filter(|event| event["event"] == "app_started").count();
    assert_eq!(restarts, 1, "the app went on running while the server was away");
}

#[test]
fn a_second_signal_cuts_a_drain_short_and_nothing_acknowledged_is_lost() {
    let (here, root) = (&loopback(), tempfile::tempdir().unwrap());
    let (mut server, dir, device_id) = counting(root.path(), here);
    let mut device = server.run_device_with(&dir, &["--retry-max", "1"]);
    device.wait("an acknowledged count", |event| saved(event) >= Some(5));

    // A device that neither goes nor closes: a first signal alone waits for it.
    device.signal("STOP");
    server.process.signal("TERM");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(format!("{here}:31314")).is_ok() {
        assert!(Instant::now() < deadline, "it listens while it drains");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), Some(1), "a drain that was not cut short ends with 0");

    device.signal("CONT");
    device.event("disconnected");
    let acknowledged = device.seen().iter().filter_map(saved).max().unwrap();
    server.restart();
    device.event("welcomed");
    let kept = seen(&server.agent_url(&device_id));
    assert!(kept >= acknowledged, "{kept} saved, but {acknowledged} was acknowledged");

    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), Some(0));
}

#[test]
fn revoking_ends_the_live_session_and_a_revoked_device_stays_out() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    server.deploy("hello");
    let dir = root.path().join("device");
    let enrolled = server.provision(&dir, "modern", &["--address", here]);
    let device_id = enrolled["device_id"].as_str().unwrap();
    let mut device = server.run_device(&dir);
    device.event("welcomed");
    output(server.command(&["device", "revoke", device_id]));
    let end = device.event("disconnected");
    assert!(end["why"].as_str().unwrap().contains("revoked"), "{end}");
    // A device that was told so comes back rarely; a restarted one asks at once, and hears it again.
    drop(device);
    let mut device = server.run_device(&dir);
    let refused = device.event("refused");
    assert!(refused["reason"].as_str().unwrap().contains("revoked"), "{refused}");
}
