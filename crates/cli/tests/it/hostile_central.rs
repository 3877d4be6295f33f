//! What the command does with a central that is hostile, broken or gone, and what it tells it at all.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::support::{output, vouch};

/// A central that gives prepared answers and notes what it is asked.
struct FalseCentral {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FalseCentral {
    /// `answers`: status and body for each method and path; anything else is not found.
    fn start(answers: &[(&str, u16, String)]) -> FalseCentral {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers: BTreeMap<String, (u16, String)> =
            answers.iter().map(|(what, status, body)| ((*what).to_owned(), (*status, body.clone()))).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let what = request(&connection);
                let (status, body) = answers.get(&what).cloned().unwrap_or((404, String::new()));
                notes.lock().unwrap().push(what);
                // A client that has heard enough closes; that is its right.
                let _ = write!(&connection, "HTTP/1.1 {status} x\r\nConnection: close\r\n\r\n{body}");
            }
        });
        FalseCentral { address, asked }
    }

    /// A central at which one is logged in.
    fn logged_in(folder: &Path, answers: &[(&str, u16, String)]) -> FalseCentral {
        let central = FalseCentral::start(answers);
        let login =
            json!({ "central": format!("http://{}", central.address), "access_token": "a", "refresh_token": "r" });
        let file = folder.join("login.json");
        fs::write(&file, login.to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        central
    }

    fn was_asked(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == what).count()
    }
}

/// Reads a request with its body; returns its method and path without the query.
fn request(connection: &TcpStream) -> String {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let mut words = head.split([' ', '?']);
    format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

fn with_login(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = vouch();
    command.args(arguments).env("VOUCH_LOGIN_FILE", folder.join("login.json")).current_dir(folder);
    command
}

/// Runs a command that must fail in an orderly way; returns all that it printed.
fn failure(mut command: Command) -> String {
    let result = command.output().unwrap();
    assert_eq!(result.status.code(), Some(1), "{command:?}");
    String::from_utf8([result.stdout, result.stderr].concat()).unwrap()
}

fn list(entries: Value) -> String {
    json!({ "data": entries, "links": {} }).to_string()
}

fn login_to(folder: &Path, central: &str) -> Command {
    fs::write(folder.join("password"), "secret\n").unwrap();
    with_login(folder, &["login", "--user", "u", "--password-file", "password", "--central", central])
}

#[test]
fn a_text_of_central_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let error = json!({ "errors": [{ "title": "No", "detail": "x\u{9b}2J\rforged\u{202e}\u{1b}]52;c;cm0=\u{7}" }] });
    let central = FalseCentral::logged_in(folder.path(), &[("GET /v5/devices", 403, error.to_string())]);
    for arguments in [&["device", "list"][..], &["--json", "device", "list"]] {
        let text = failure(with_login(folder.path(), arguments));
        assert!(text.contains("forged"), "{text:?}");
        assert!(!text.contains(['\u{9b}', '\r', '\u{202e}', '\u{1b}', '\u{7}']), "{text:?}");
    }
    assert_eq!(central.was_asked("GET /v5/devices"), 2);
}

#[test]
fn an_https_address_is_asked_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let central = format!("https://{}", listener.local_addr().unwrap());
    let first_byte = thread::spawn(move || {
        let mut first = [0];
        listener.accept().unwrap().0.read_exact(&mut first).map(|()| first[0])
    });
    let text = failure(login_to(folder.path(), &central));
    assert!(text.contains("does not answer"), "{text}");
    const HANDSHAKE: u8 = 22;
    assert_eq!(first_byte.join().unwrap().unwrap(), HANDSHAKE);
}

#[test]
fn a_login_that_others_may_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let central = FalseCentral::logged_in(folder.path(), &[]);
    fs::set_permissions(folder.path().join("login.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let text = failure(with_login(folder.path(), &["device", "list"]));
    assert!(text.contains("chmod 600"), "{text}");
    assert!(central.asked.lock().unwrap().is_empty());
}

#[test]
fn a_login_with_authorities_of_its_own_works_from_every_folder() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = json!({ "access_token": "a", "refresh_token": "r" }).to_string();
    let central = FalseCentral::start(&[("POST /v5/auth", 200, tokens), ("GET /v5/devices", 200, list(json!([])))]);
    fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n").unwrap();
    let mut login = login_to(folder.path(), &format!("http://{}", central.address));
    login.args(["--central-ca", "ca.pem"]);
    output(login);
    let mut elsewhere = with_login(folder.path(), &["device", "list"]);
    elsewhere.current_dir("/");
    assert!(output(elsewhere).contains("no device yet"));
}

#[test]
fn a_token_is_made_only_when_there_is_a_file_for_it_and_the_file_only_stays_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let group = list(json!([{ "id": "g", "type": "devicegroup", "attributes": { "name": "default" } }]));
    let central = FalseCentral::logged_in(folder.path(), &[("GET /v5/devicegroups", 200, group)]);
    let token = folder.path().join("token");
    let text = failure(with_login(folder.path(), &["enrolment-token", "--out", "token"]));
    assert!(text.contains("404"), "{text}");
    assert!(!token.exists(), "an empty file was left");
    fs::write(&token, "mine").unwrap();
    assert_eq!(central.was_asked("POST /v5/enrolment_tokens"), 1);
    let text = failure(with_login(folder.path(), &["enrolment-token", "--out", "token"]));
    assert!(text.contains("does it exist already?"), "{text}");
    assert_eq!(central.was_asked("POST /v5/enrolment_tokens"), 1);
    assert_eq!(fs::read(&token).unwrap(), b"mine");
}

#[test]
fn logs_end_when_nobody_reads_them_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let device = json!({ "data": { "id": "d", "type": "device", "attributes": {} } }).to_string();
    let event = format!("event: message\ndata: {}\n\n", json!({ "ts": "t", "type": "server.log", "msg": "m" }));
    let _central = FalseCentral::logged_in(
        folder.path(),
        &[
            ("GET /v5/devices/d", 200, device),
            ("POST /v5/logstream", 201, json!({ "data": { "id": "s" } }).to_string()),
            ("PUT /v5/logstream/s/d", 204, String::new()),
            ("GET /v5/logstream/s", 200, event.repeat(10_000)),
        ],
    );
    let mut logs = with_login(folder.path(), &["logs", "d", "--follow", "-n", "0"]);
    let mut child = logs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("server.log"), "{line}");
    let result = child.wait_with_output().unwrap();
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
}
