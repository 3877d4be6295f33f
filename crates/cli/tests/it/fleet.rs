//! A person with a fleet: products, groups, moved devices, what a device is doing and why it is not there.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Server, loopback, output};

fn text(server: &Server, arguments: &[&str]) -> String {
    output(server.command(arguments))
}

fn value(server: &Server, arguments: &[&str]) -> Value {
    let shown = text(server, &[&["--json"], arguments].concat());
    serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {shown}"))
}

/// What a command that must fail says.
fn refused(mut command: Command) -> String {
    let result = command.output().unwrap();
    assert!(!result.status.success(), "{command:?} succeeded");
    String::from_utf8(result.stderr).unwrap()
}

#[test]
fn products_and_groups_are_made_named_and_deleted_by_name() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let made = value(&server, &["product", "create", "Till & scale", "--description", "in shops"]);
    assert_eq!(made["attributes"]["name"], "Till & scale");
    let group = value(&server, &["group", "create", "berlin", "--product", "Till & scale", "--type", "production"]);
    assert_eq!(group["type"], "production_devicegroup");
    let listed = text(&server, &["group", "list", "--product", "Till & scale"]);
    assert!(listed.contains("berlin") && listed.contains("production") && listed.contains("Till & scale"), "{listed}");
    let twice = refused(server.command(&["group", "create", "berlin", "--product", "Till & scale"]));
    assert!(twice.contains("Devicegroups must have unique names"), "{twice}");
    let early = refused(server.command(&["product", "delete", "Till & scale"]));
    assert!(early.contains("Cannot delete a product with associated devicegroups"), "{early}");
    text(&server, &["group", "rename", "berlin", "munich"]);
    let vars = value(&server, &["group", "env", "munich", "limit=21.5", "city=munich"]);
    assert_eq!(vars, json!({ "limit": 21.5, "city": "munich" }));
    assert_eq!(value(&server, &["group", "env", "munich", "--remove", "city"]), json!({ "limit": 21.5 }));
    assert!(refused(server.command(&["group", "env", "munich", "--remove", "city"])).contains("limit=21.5"));
    text(&server, &["group", "restart", "munich"]);
    text(&server, &["group", "delete", "munich"]);
    text(&server, &["product", "rename", "Till & scale", "till"]);
    text(&server, &["product", "delete", "till"]);
    let gone = refused(server.command(&["product", "delete", "till"]));
    assert!(gone.contains("`vouch product list` shows all"), "{gone}");
}

#[test]
fn a_device_is_named_moved_shown_and_forgotten() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let dir = root.path().join("device");
    let enrolled = server.provision(&dir, "modern", &["--address", here]);
    let id = enrolled["device_id"].as_str().unwrap();
    let new = text(&server, &["device", "show", id]);
    assert!(new.contains("It has not connected since it was enrolled"), "{new}");
    assert!(text(&server, &["device", "list"]).contains("never seen"));
    text(&server, &["device", "rename", id, "front desk"]);
    let product = value(&server, &["product", "create", "other"]);
    text(&server, &["group", "create", "shelf", "--product", product["id"].as_str().unwrap()]);
    text(&server, &["device", "move", "front desk", "--group", "shelf"]);
    let shown = text(&server, &["device", "show", "front desk"]);
    assert!(shown.contains("shelf (development)") && shown.contains("Nothing is deployed"), "{shown}");
    assert_eq!(value(&server, &["device", "list", "--group", "shelf"]).as_array().unwrap().len(), 1);
    assert_eq!(value(&server, &["device", "list", "--online"]), json!([]));
    let assigned = refused(server.command(&["device", "delete", id]));
    assert!(assigned.contains("unassign it first"), "{assigned}");
    text(&server, &["device", "unassign", id]);
    assert_eq!(value(&server, &["device", "list", "--unassigned"]).as_array().unwrap().len(), 1);
    text(&server, &["device", "move", id, "--group", "shelf"]);
    text(&server, &["device", "delete", id, "--force"]);
    let gone = refused(server.command(&["device", "show", id]));
    assert!(gone.contains("`vouch device list` shows all"), "{gone}");
    let watched = refused(server.command(&["device", "list", "--watch"]));
    assert!(watched.contains("--json"), "{watched}");
}

#[test]
fn a_running_device_is_seen_its_log_is_searched_and_its_way_is_told() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path(), &[&format!("993={here}:993")]);
    server.deploy("hello");
    let dir = root.path().join("device");
    let enrolled = server.provision(&dir, "classic", &["--address", here]);
    let id = enrolled["device_id"].as_str().unwrap().to_owned();
    let mut device = server.run_device(&dir);
    device.wait("a tick", |event| event["text"] == "tick 3");
    let mut follow = server.command(&["--json", "logs", &id, "--follow", "--limit", "0", "--search", "TICK"]);
    follow.stdin(std::process::Stdio::null());
    let mut following = crate::support::Watched::start("logs", follow);
    let line = following.wait("a line", |_| true);
    assert!(line["msg"].as_str().unwrap().starts_with("tick "), "{line}");

    let listed = text(&server, &["device", "list"]);
    for part in ["online", "127.0.0.1", "classic", "test-1"] {
        assert!(part == "test-1" || listed.contains(part), "{part} is not in {listed}");
    }
    let shown = text(&server, &["device", "show", &id]);
    assert!(shown.contains("It is connected from"), "{shown}");
    assert!(shown.contains("Its last way in was TCP 993. Before that failed: port 31314: refused"), "{shown}");
    let found = text(&server, &["--json", "logs", &id, "--search", "TICK 2", "--since", "1h", "--type", "server.log"]);
    let found: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found[0]["msg"], "tick 2");
    assert_eq!(text(&server, &["logs", &id, "--until", "1h"]), "");
    assert_eq!(text(&server, &["logs", &id, "--limit", "2"]).lines().count(), 2);
    let never = refused(server.command(&["logs", &id, "--since", "yesterday"]));
    assert!(never.contains("such as 30m or 2h"), "{never}");

    let status = value(&server, &["status"]);
    assert_eq!(status["devices"]["online"], 1);
    assert_eq!((&status["agents_running"], &status["gateway"]["sessions"]), (&json!(1), &json!(1)));
    assert_eq!(status["listeners"], json!([{ "rule_port": 993, "address": format!("{here}:993") }]));
    let read = text(&server, &["status"]);
    assert!(read.contains("1 of 1 connected") && read.contains(&format!("993 at {here}:993")), "{read}");

    text(&server, &["device", "revoke", &id]);
    device.wait("the end of the session", |event| event["event"] == "disconnected" || event["event"] == "refused");
    let shown = text(&server, &["device", "show", &id]);
    assert!(shown.contains("the server refuses it for ever"), "{shown}");
    server.process.kill();
    assert!(refused(server.command(&["status"])).contains("is `vouch serve` running?"));
}

#[test]
fn a_deploy_makes_the_one_before_it_deletable() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    server.deploy("hello");
    server.deploy("thermostat");
    let listed = value(&server, &["deployment", "list"]);
    let id = |place: usize| listed[place]["id"].as_str().unwrap().to_owned();
    let shown = text(&server, &["deployment", "list"]);
    let states: Vec<_> = shown.lines().skip(1).map(|line| line.contains(" current ")).collect();
    assert_eq!(states, [true, false], "{shown}");
    let kept = refused(server.command(&["deployment", "delete", &id(0)]));
    assert!(kept.contains("minimum supported deployment"), "{kept}");
    text(&server, &["deployment", "delete", &id(1)]);
    assert_eq!(value(&server, &["deployment", "list"]).as_array().unwrap().len(), 1);
}
