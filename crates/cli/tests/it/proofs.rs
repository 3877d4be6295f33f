//! What is demanded of devices beyond their key, and how a person lets one in again: the commands, and what a refused device says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::boot::end;
use crate::support::{Server, Watched, loopback, output};

/// The longest pause of these devices between two attempts.
const RETRY: &[&str] = &["--retry-max", "1"];

struct Bench {
    server: Server,
    address: String,
    root: tempfile::TempDir,
    /// The device's.
    id: String,
}

impl Bench {
    fn new() -> Bench {
        let (address, root) = (loopback(), tempfile::tempdir().unwrap());
        let server = Server::start(root.path(), &[&address]);
        let device = server.provision(&root.path().join("device"), "modern", &["--address", &address]);
        Bench { server, address, root, id: device["device_id"].as_str().unwrap().to_owned() }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("device")
    }

    fn run(&self) -> Watched {
        self.server.run_device_with(&self.dir(), RETRY)
    }

    /// The kinds of the alarms that the server shows.
    fn alarms(&self) -> Vec<String> {
        let status: Value = serde_json::from_str(&output(self.server.command(&["--json", "status"]))).unwrap();
        let alarms = status["alarms"].as_array().unwrap().iter();
        alarms
            .filter(|alarm| alarm["device_id"] == *self.id)
            .map(|alarm| alarm["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let result = self.server.command(arguments).output().unwrap();
        assert!(!result.status.success(), "{arguments:?}");
        String::from_utf8(result.stderr).unwrap()
    }
}

/// Waits until the device was refused for this reason twice, having come back by itself after a pause within its bound.
fn refused_and_back(device: &mut Watched, reason: &str) {
    for _ in 0..2 {
        let refused = device.event("refused");
        assert!(refused["reason"].as_str().unwrap().contains(reason), "{refused}");
        assert!(refused["retry_after_ms"].is_null(), "the server leaves the pause to the device: {refused}");
        let waiting = device.event("waiting");
        assert!(waiting["why"].as_str().unwrap().contains(reason), "{waiting}");
        assert!(waiting["ms"].as_u64().unwrap() <= 1_000, "{waiting}");
    }
}

fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    output(copy);
}

#[test]
fn a_device_whose_vault_was_put_back_waits_until_a_person_accepts_it() {
    let bench = Bench::new();
    let old = bench.root.path().join("old");
    copy(&bench.dir(), &old);
    // What the first session wrote is proved by the second.
    for _ in 0..2 {
        let mut device = bench.run();
        device.event("welcomed");
        end(device);
    }
    assert!(
        bench.refused(&["device", "accept-older-vault", &bench.id]).contains("error"),
        "there is nothing to accept"
    );
    std::fs::remove_dir_all(bench.dir()).unwrap();
    copy(&old, &bench.dir());

    let mut device = bench.run();
    refused_and_back(&mut device, "older than one it had before");
    assert_eq!(bench.alarms(), ["vault-fell"]);
    let shown = output(bench.server.command(&["device", "show", &bench.id]));
    assert!(shown.contains(&format!("vouch device accept-older-vault {}", bench.id)), "{shown}");
    // Looking away is not accepting.
    output(bench.server.command(&["device", "dismiss-alarms", &bench.id]));
    refused_and_back(&mut device, "older than one it had before");

    let accepted = output(bench.server.command(&["--json", "device", "accept-older-vault", &bench.id]));
    assert_eq!(serde_json::from_str::<Value>(&accepted).unwrap()["accepted"], true);
    device.event("welcomed");
    assert!(bench.alarms().is_empty());
    end(device);
}

#[test]
fn a_device_whose_keys_live_where_its_group_does_not_want_them_is_told_so_and_comes_back_when_it_does() {
    let bench = Bench::new();
    let mut device = bench.run();
    device.event("welcomed");
    let wrong = bench.refused(&["group", "set", "default", "--attestation", "hardwear"]);
    assert!(wrong.contains("possible values: any, hardware, tpm, secure-element"), "{wrong}");
    assert!(bench.refused(&["group", "set", "nowhere", "--attestation", "tpm"]).contains("nowhere"));

    let set = output(bench.server.command(&["--json", "group", "set", "default", "--attestation", "tpm"]));
    assert_eq!(serde_json::from_str::<Value>(&set).unwrap()["attributes"]["attestation"], "tpm");
    device.event("disconnected");
    refused_and_back(&mut device, "keys do not live where its group demands it");
    assert_eq!(bench.alarms(), ["attestation-too-low"]);
    let other = bench.root.path().join("other");
    let place = ["--address", &bench.address];
    let enrolled = bench.server.provision_command(&other, "danger-software", "modern", &place).output().unwrap();
    assert!(String::from_utf8_lossy(&enrolled.stderr).contains("see --keys"), "{enrolled:?}");

    output(bench.server.command(&["group", "set", "default", "--attestation", "any"]));
    device.event("welcomed");
    output(bench.server.command(&["device", "dismiss-alarms", &bench.id]));
    assert!(bench.alarms().is_empty());
    end(device);
}
