//! An application in an endless loop, or one that eats memory, ends itself and disturbs nobody else.

use std::fs;
use std::path::Path;

use crate::support::{Server, Watched, answered, loopback, output};

const LOOP_FOREVER: &str = "imp.wakeup(0.1, function() { while (true) {} });";
const EAT_MEMORY: &str = "imp.wakeup(0.1, function() { local all = []; while (true) all.append(array(1000, 7)); });";

fn deploy(server: &Server, root: &Path, device: &str, agent: &str) {
    fs::write(root.join("device.nut"), device).unwrap();
    fs::write(root.join("agent.nut"), agent).unwrap();
    server.deploy_files(&root.join("device.nut"), &root.join("agent.nut"));
}

fn run_one(server: &Server, root: &Path, name: &str, address: &str) -> (String, Watched) {
    let dir = root.join(name);
    let enrolled = server.provision(&dir, "modern", &["--address", address]);
    (enrolled["device_id"].as_str().unwrap().to_owned(), server.run_device(&dir))
}

/// Follows the log of a device until a line fits.
fn log_line(server: &Server, device: &str, fits: impl Fn(&str, &str) -> bool) {
    let mut follow = Watched::start("logs", server.command(&["--json", "logs", device, "--follow"]));
    follow.wait("log line", |entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        fits(text("type"), text("msg"))
    });
}

fn ends_itself_only(device: &str, agent: &str, failing: &str) {
    let address = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[address]);
    deploy(&server, root.path(), device, agent);
    let (hostile, mut running) = run_one(&server, root.path(), "hostile", address);
    running.event("welcomed");
    log_line(&server, &hostile, |kind, text| kind == failing && text.contains("ERROR"));
    // The server still answers, and its other half of the very same application still lives.
    let list = output(server.command(&["--json", "device", "list"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["attributes"]["device_online"], true, "the device stayed connected: {list}");
    server.deploy("hello");
    running
        .wait("the next application's first line", |event| event["text"].as_str().is_some_and(|text| text == "tick 1"));
    let url = list[0]["attributes"]["agent_url"].as_str().unwrap();
    assert_eq!(answered("POST", &format!("{url}/echo"), "still here"), "still here");
}

#[test]
fn a_device_app_in_an_endless_loop_fails_alone() {
    ends_itself_only(LOOP_FOREVER, "", "server.error");
}

#[test]
fn a_device_app_that_eats_memory_fails_alone() {
    ends_itself_only(EAT_MEMORY, "", "server.error");
}

#[test]
fn an_agent_in_an_endless_loop_fails_alone() {
    ends_itself_only("", LOOP_FOREVER, "agent.error");
}

#[test]
fn an_agent_that_eats_memory_fails_alone() {
    ends_itself_only("", EAT_MEMORY, "agent.error");
}
