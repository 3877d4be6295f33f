//! The client over loopback, as the suite drives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use keys::hashes::sha256;
use keys::metadata;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::author::{Draft, OnlineRole, snapshot, timestamp};
use release::root::{key_id, key_object};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far in the future; the client uses the system's clock.
const LATER: i64 = 4_000_000_000;
const TARGET: &[u8] = b"a target";

/// A repository behind HTTP on loopback, and the folders of a client.
struct Site {
    key: Signer,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    url: String,
    dir: TempDir,
}

impl Site {
    fn new() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (served, seen) = (Arc::clone(&files), Arc::clone(&asked));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                let body = served.lock().unwrap().get(&path).cloned();
                seen.lock().unwrap().push(path);
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.unwrap_or_default();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                connection.write_all(&[head.as_bytes(), &body].concat()).unwrap();
            }
        });
        let key = Signer::generate(KeyPurpose::AppApproval).unwrap();
        let site = Site { key, files, asked, url, dir: tempfile::tempdir().unwrap() };
        for folder in ["metadata", "targets"] {
            fs::create_dir(site.path(folder)).unwrap();
        }
        site.put("1.root.json", site.signed(site.root(1, "2090-01-01T00:00:00Z")));
        site.publish(1, "2090-01-01T00:00:00Z");
        fs::write(site.path("root"), site.signed(site.root(1, "2090-01-01T00:00:00Z"))).unwrap();
        site
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, file: Vec<u8>) {
        self.files.lock().unwrap().insert(name.to_owned(), file);
    }

    fn signed(&self, signed: Value) -> Vec<u8> {
        let file = json!({ "signed": signed, "signatures": [] }).to_string();
        self.sign(Draft::from_json(file.as_bytes()).unwrap())
    }

    fn sign(&self, mut draft: Draft) -> Vec<u8> {
        let signature = metadata::sign(&self.key, draft.to_be_signed()).unwrap();
        draft.sign_der(self.key.public(), &signature).unwrap();
        draft.to_json()
    }

    fn root(&self, version: u64, expires: &str) -> Value {
        let id = key_id(self.key.public()).unwrap();
        let role = json!({ "keyids": [id.clone()], "threshold": 1 });
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": expires,
            "consistent_snapshot": true, "keys": { id: key_object(self.key.public()) },
            "roles": { "root": role, "targets": role, "snapshot": role, "timestamp": role },
        })
    }

    /// Publishes this version of all roles below the root.
    fn publish(&self, version: u64, expires: &str) {
        let hash = const_hex::encode(sha256(TARGET));
        let targets = self.signed(json!({
            "_type": "targets", "spec_version": "1.0.31", "version": version, "expires": expires,
            "targets": { "folder/file": { "length": TARGET.len(), "hashes": { "sha256": hash } } },
        }));
        let roles = [OnlineRole { name: "targets", version, file: &targets }];
        let snapshot = self.sign(snapshot(version, LATER, &roles).unwrap());
        let timestamp = self.sign(timestamp(version, LATER, version, &snapshot).unwrap());
        self.put(&format!("{version}.targets.json"), targets);
        self.put(&format!("{version}.snapshot.json"), snapshot);
        self.put("timestamp.json", timestamp);
        self.put(&format!("folder/{hash}.file"), TARGET.to_vec());
    }

    /// Publishes version 1 with roles of these names under the targets, which list nothing.
    fn delegate(&self, names: &[&str]) {
        let id = key_id(self.key.public()).unwrap();
        let role = |name: &&str| json!({ "name": name, "keyids": [id.clone()], "threshold": 1, "paths": ["*"], "terminating": false });
        let targets = |delegations: Value| {
            let mut targets = json!({
                "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2090-01-01T00:00:00Z", "targets": {},
            });
            targets.as_object_mut().unwrap().extend(delegations.as_object().unwrap().clone());
            self.signed(targets)
        };
        let (top, below) = (
            targets(json!({ "delegations": {
                "keys": { id.clone(): key_object(self.key.public()) },
                "roles": names.iter().map(role).collect::<Vec<_>>(),
            }})),
            targets(json!({})),
        );
        let mut roles = vec![OnlineRole { name: "targets", version: 1, file: &top }];
        for name in names {
            roles.push(OnlineRole { name, version: 1, file: &below });
            self.put(&format!("1.{}.json", name.replace('/', "%2F")), below.clone());
        }
        let snapshot = self.sign(snapshot(1, LATER, &roles).unwrap());
        self.put("timestamp.json", self.sign(timestamp(1, LATER, 1, &snapshot).unwrap()));
        self.put("1.snapshot.json", snapshot);
        self.put("1.targets.json", top);
    }

    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new(env!("CARGO_BIN_EXE_tuf-conformance-client"))
            .args(["--metadata-dir".as_ref(), self.path("metadata").as_os_str()])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(text) }
    }

    fn init(&self) {
        self.run(&["init", self.path("root").to_str().unwrap()]).unwrap();
    }

    fn refresh(&self) -> Result<(), String> {
        self.run(&["--metadata-url", &self.url, "refresh"])
    }

    fn download(&self, name: &str) -> Result<(), String> {
        let folder = self.path("targets");
        let (url, folder) = (&self.url, folder.to_str().unwrap());
        self.run(&[
            "--metadata-url",
            url,
            "--target-base-url",
            url,
            "--target-name",
            name,
            "--target-dir",
            folder,
            "download",
        ])
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn metadata_are_kept_under_names_without_versions() {
    let site = Site::new();
    assert!(site.refresh().is_err(), "nothing is trusted yet");
    site.init();
    assert_eq!(site.refresh(), Ok(()));
    let expected = ["root.json", "snapshot.json", "targets.json", "timestamp.json"];
    assert_eq!(names(&site.path("metadata")), expected);
    site.put("2.root.json", site.signed(site.root(2, "2090-01-01T00:00:00Z")));
    assert_eq!(site.refresh(), Ok(()));
    let root: Value = serde_json::from_slice(&fs::read(site.path("metadata/root.json")).unwrap()).unwrap();
    assert_eq!(root["signed"]["version"], 2);
}

#[test]
fn delegated_roles_are_kept_whatever_their_names() {
    let site = Site::new();
    site.delegate(&["../role", "7"]);
    site.init();
    assert!(site.download("other").unwrap_err().contains("no role lists"));
    let expected = ["..%2Frole.json", "7.json", "root.json", "snapshot.json", "targets.json", "timestamp.json"];
    assert_eq!(names(&site.path("metadata")), expected);
    assert_eq!(names(site.dir.path()), ["metadata", "root", "targets"]);
}

#[test]
fn a_target_is_fetched_once_and_only_as_approved() {
    let site = Site::new();
    site.init();
    assert_eq!(site.download("folder/file"), Ok(()));
    assert_eq!(fs::read(site.path("targets/folder/file")).unwrap(), TARGET);
    let fetched = || site.asked.lock().unwrap().iter().filter(|path| path.starts_with("folder/")).count();
    assert_eq!(site.download("folder/file"), Ok(()));
    assert_eq!(fetched(), 1, "an unchanged target is not fetched again");
    assert!(site.download("other").unwrap_err().contains("no role lists"));

    fs::remove_file(site.path("targets/folder/file")).unwrap();
    site.put(&format!("folder/{}.file", const_hex::encode(sha256(TARGET))), b"b target".to_vec());
    assert!(site.download("folder/file").unwrap_err().contains("not the target"));
    assert!(!site.path("targets/folder/file").exists());
}

#[test]
fn rollback_expiry_and_a_foreign_key_are_refused() {
    let site = Site::new();
    site.init();
    let first = site.files.lock().unwrap().clone();
    site.publish(2, "2090-01-01T00:00:00Z");
    assert_eq!(site.refresh(), Ok(()));
    site.files.lock().unwrap().extend(first);
    assert!(site.refresh().unwrap_err().contains("rollback"));

    site.publish(3, "2020-01-01T00:00:00Z");
    assert!(site.refresh().unwrap_err().contains("expired"));

    site.publish(4, "2090-01-01T00:00:00Z");
    let other = Site::new();
    let theirs = other.files.lock().unwrap()["timestamp.json"].clone();
    site.put("timestamp.json", theirs);
    assert!(site.refresh().unwrap_err().contains("threshold"));
    site.publish(4, "2090-01-01T00:00:00Z");
    assert_eq!(site.refresh(), Ok(()));
}
