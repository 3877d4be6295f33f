//! What the commands say: results for scripts, errors with a place and a next step.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Server, loopback, output, vouch};

/// Runs a command that must fail, and returns what it wrote to standard error.
fn error(mut command: Command) -> String {
    let result = command.output().unwrap();
    assert!(!result.status.success(), "{command:?} succeeded");
    String::from_utf8(result.stderr).unwrap()
}

#[test]
fn a_compile_error_names_file_row_and_column_and_shows_the_line_with_a_caret() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let (device, agent) = (root.path().join("device.nut"), root.path().join("agent.nut"));
    fs::write(&device, "local x = 1;\n\tlocal y = ;\n").unwrap();
    fs::write(&agent, "server.log(\"fine\");\n").unwrap();
    let mut deploy = server.command(&["deploy", "--device"]);
    deploy.arg(&device).arg("--agent").arg(&agent);
    let text = error(deploy);
    let place = format!("{}:2:12: ", device.display());
    assert!(text.contains(&place), "{text}");
    assert!(text.contains("\n  \tlocal y = ;\n  \t          ^"), "{text}");
    assert!(text.contains("nothing was deployed"), "{text}");
}

#[test]
fn a_token_may_come_by_standard_input_and_serves_once() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let token = output(server.command(&["enrolment-token"]));
    let provision = |name: &str| {
        let mut command = vouch();
        command.args(["--json", "device", "provision", "--server", "vouch.test", "--address", here]);
        command
            .args(["--keys", "danger-software", "--model", "m", "--token-file", "-", "--dir"])
            .arg(root.path().join(name));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let first = provision("one");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let enrolled: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(enrolled["device_id"].as_str().unwrap().len(), 16);
    let second = provision("two");
    assert!(!second.status.success());
    assert!(!root.path().join("two").exists(), "no half device is left");
    let all = [first.stdout, first.stderr, second.stdout, second.stderr].concat();
    let secret = token.trim().split('.').nth(1).unwrap();
    assert!(!String::from_utf8_lossy(&all).contains(secret), "the token's secret was printed");
}

#[test]
fn errors_name_the_next_step() {
    let root = tempfile::tempdir().unwrap();
    let mut nowhere = vouch();
    nowhere.args(["device", "list", "--login-file"]).arg(root.path().join("none"));
    assert!(error(nowhere).contains("run `vouch login` first"));
    let mut no_server = vouch();
    no_server.args(["serve", "--dir"]).arg(root.path().join("none"));
    assert!(error(no_server).contains("make one with `vouch init`"));
    let mut no_device = vouch();
    no_device.args(["device", "run", "--dir"]).arg(root.path());
    assert!(error(no_device).contains("make one with `vouch device provision`"));
    let mut clear = vouch();
    clear.args(["login", "--user", "x", "--central", "http://central.example", "--password-file", "/dev/null"]);
    assert!(error(clear).contains("holds no password"));
}

#[test]
fn a_wrong_password_is_refused_and_changes_nothing() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let wrong = root.path().join("wrong");
    fs::write(&wrong, "not the password\n").unwrap();
    let before = fs::read(server.dir.join("login.json")).unwrap();
    let mut login = server.command(&["login", "--user", "admin", "--central", &format!("http://{}", server.http)]);
    login.arg("--password-file").arg(&wrong);
    assert!(error(login).contains("Invalid Credentials"));
    assert_eq!(fs::read(server.dir.join("login.json")).unwrap(), before);
}

#[test]
fn the_login_file_is_for_its_owner_alone() {
    let here = &loopback();
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let mode = fs::metadata(server.dir.join("login.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
