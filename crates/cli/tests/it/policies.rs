//! How apps and servers take leave of each other: acknowledged messages, restarts when an app is ready.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Server, Watched, answered, loopback, output};

fn deploy(server: &Server, root: &Path, device: &str, agent: &str, more: &[&str]) {
    let (device_file, agent_file) = (root.join("device.nut"), root.join("agent.nut"));
    fs::write(&device_file, device).unwrap();
    fs::write(&agent_file, agent).unwrap();
    let mut command = server.command(&["deploy", "--device"]);
    command.arg(device_file).arg("--agent").arg(agent_file).args(more);
    output(command);
}

fn logged(device: &mut Watched, text: &str) {
    device.wait(text, |event: &Value| event["text"].as_str() == Some(text));
}

#[test]
fn a_message_under_wait_for_ack_is_sent_once_the_agents_handler_has_returned() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(root.path(), &[here]);
    // Each save waits for the disk, so that the handler is at work for long.
    let agent = r#"
        device.on("kept", function(value) { for (local n = 1; n <= 100; n++) server.save({ count = n }); });
        device.on("broken", function(value) { value.nothing(); });
        http.onrequest(function(request, response) { response.send(200, http.jsonencode(server.load())); });
    "#;
    let device = r#"
        server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_FOR_ACK, 30);
        local kept = agent.send("kept", 7), unheard = agent.send("unheard", 7), broken = agent.send("broken", 7);
        server.log(format("kept %d, unheard %d, broken %d", kept, unheard, broken));
        server.log("connected " + server.isconnected() + ", not handled is " + SEND_ERROR_NOT_HANDLED);
    "#;
    deploy(&server, root.path(), device, agent, &[]);
    let dir = root.path().join("device");
    let enrolled = server.provision(&dir, "modern", &["--address", here]);
    let mut device = server.run_device(&dir);
    logged(&mut device, "kept 0, unheard 5, broken 5");
    logged(&mut device, "connected true, not handled is 5");
    // What the handler did stands, whatever happens after the acknowledgement.
    server.restart_gracelessly();
    let state = answered("GET", &server.agent_url(enrolled["device_id"].as_str().unwrap()), "");
    assert_eq!(state, r#"{ "count": 100 }"#);
}

#[test]
fn a_restart_when_ready_waits_until_the_app_that_runs_has_tidied_up() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let polite = r#"
        server.log("first runs");
        function tidy() {
            agent.send("tidy", 1);
            imp.wakeup(1, tidy);
        }
        server.onshutdown(function(reason) {
            server.log("asked " + (reason == SHUTDOWN_NEWSQUIRREL));
            tidy();
        });
        agent.on("tidied", function(value) {
            server.log("tidied");
            server.restart();
        });
    "#;
    let agent = r#"device.on("tidy", function(value) { device.send("tidied", 1); });"#;
    deploy(&server, root.path(), polite, agent, &[]);
    let dir = root.path().join("device");
    let enrolled = server.provision(&dir, "modern", &["--address", here]);
    let mut device = server.run_device(&dir);
    logged(&mut device, "first runs");
    deploy(&server, root.path(), &polite.replace("first", "second"), agent, &["--when-ready"]);
    for text in ["asked true", "tidied", "second runs"] {
        logged(&mut device, text);
    }
    // The same for one device, on the deployment that it runs.
    output(server.command(&["device", "restart", "--when-ready", enrolled["device_id"].as_str().unwrap()]));
    for text in ["asked true", "tidied", "second runs"] {
        logged(&mut device, text);
    }
    // Without it nobody is asked.
    deploy(&server, root.path(), r#"server.log("third runs");"#, agent, &[]);
    logged(&mut device, "third runs");
    assert_eq!(device.seen().iter().filter(|event| event["text"] == "asked true").count(), 2);
}
