//! Security epochs on a device with a hardware counter: when it is stepped, what it refuses, and how a step that was cut ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keys::keystore::Keystore;
use keys::tpm2::SoftTpm;

use crate::boot::end;
use crate::key_back_ends::spec;
use crate::over_the_air::Bench as Custodians;
use crate::rotation::{rotate, sign_and_upload};
use crate::support::{Watched, os_image, output, vouch};
use crate::verified_boot::Bench;

/// A device whose counter is in a software TPM.
struct Counted {
    bench: Bench,
    tpm: SoftTpm,
    root: tempfile::TempDir,
}

impl Counted {
    fn new() -> Counted {
        let root = tempfile::tempdir().unwrap();
        let tpm = SoftTpm::start(&root.path().join("tpm")).unwrap();
        Counted { bench: Bench::with_keys(&spec(&tpm), &[]), tpm, root }
    }

    /// Installs an update of this version and epoch that is the OS image.
    fn update(&self, version: &str, security_epoch: u32) {
        self.bench.install(version, security_epoch, &fs::read(os_image()).unwrap());
    }

    fn boot(&self) -> Watched {
        self.bench.server.boot_device(&self.bench.dir(), &["--trial", "60", "--retry-max", "1"])
    }

    /// Boots until the server welcomes the device, and ends it.
    fn session(&self) {
        let mut device = self.boot();
        device.event("welcomed");
        end(device);
    }

    fn counter(&self) -> u64 {
        counter(&self.bench.dir())
    }

    fn refused(&self) -> String {
        refused(&self.bench.dir())
    }

    fn vault(&self) -> PathBuf {
        self.bench.dir().join("vault")
    }

    /// A copy of a folder under this name.
    fn keep(&self, folder: &Path, name: &str) -> PathBuf {
        let kept = self.root.path().join(name);
        put(folder, &kept);
        kept
    }

    /// A copy of what the TPM holds.
    fn keep_tpm(&mut self) -> PathBuf {
        self.tpm.stop();
        let kept = self.keep(&self.root.path().join("tpm"), "kept-tpm");
        self.tpm.start_again().unwrap();
        kept
    }

    /// A TPM cannot be set back; the software one can, which makes of an ended step one that was cut.
    fn put_tpm(&mut self, kept: &Path) {
        self.tpm.stop();
        put(kept, &self.root.path().join("tpm"));
        self.tpm.start_again().unwrap();
    }
}

fn counter(device: &Path) -> u64 {
    Keystore::open(&device.join("keys")).unwrap().counter().unwrap().unwrap()
}

/// What `vouch device boot` says when it refuses to start the device.
fn refused(device: &Path) -> String {
    let mut boot = vouch();
    let refused = boot.args(["device", "boot", "--dir"]).arg(device).output().unwrap();
    assert!(!refused.status.success());
    String::from_utf8(refused.stderr).unwrap()
}

/// Puts a folder in the place of another.
fn put(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    output(copy);
}

#[test]
fn a_security_epoch_steps_the_counter_once_its_image_has_proved_itself_and_an_older_vault_is_refused() {
    let mut device = Counted::new();
    let began = device.counter();
    device.session();
    let old = device.keep(&device.vault(), "old-vault");
    device.update("1.1.0", 1);

    device.bench.server.process.kill();
    let mut trying = device.boot();
    assert_eq!(trying.event("booting")["trying"], true);
    trying.event("waiting");
    assert_eq!(device.counter(), began, "an image on trial steps nothing");
    device.bench.server.restart();
    trying.event("welcomed");
    assert_eq!(device.counter(), began + 1);
    end(trying);
    device.session();
    assert_eq!(device.counter(), began + 1, "once");

    let newest = device.keep(&device.vault(), "newest-vault");
    put(&old, &device.vault());
    let refused = device.refused();
    let (vault, counter) = (format!("the vault is from epoch {began}"), format!("stands at {}", began + 1));
    assert!(refused.contains(&vault) && refused.contains(&counter), "{refused}");
    assert!(refused.contains("an old vault was put back"), "{refused}");
    put(&newest, &device.vault());
    device.session();
}

#[test]
fn an_image_that_is_given_up_steps_no_counter() {
    let device = Counted::new();
    let began = device.counter();
    device.bench.install("1.1.0", 1, &fs::read("/bin/false").unwrap());
    let mut booted = device.boot();
    let fell_back = booted.wait("the old image", |event| event["version"] == "1.0.0");
    assert!(fell_back["fell_back"].is_string(), "{fell_back}");
    booted.event("welcomed");
    end(booted);
    assert_eq!(device.counter(), began);
}

#[test]
fn a_cut_before_the_counters_step_is_ended_by_the_next_start_and_a_counter_set_back_further_is_refused() {
    let mut device = Counted::new();
    let began = device.counter();
    let before = device.keep_tpm();
    device.update("1.1.0", 1);
    device.session();
    assert_eq!(device.counter(), began + 1);

    device.put_tpm(&before);
    assert_eq!(device.counter(), began, "the vault is one step ahead");
    device.bench.server.process.kill();
    let mut booted = device.boot();
    booted.event("booting");
    assert_eq!(device.counter(), began + 1, "at the start, before any session");
    end(booted);
    device.bench.server.restart();
    device.session();
    assert_eq!(device.counter(), began + 1);

    device.update("1.2.0", 2);
    device.session();
    assert_eq!(device.counter(), began + 2);
    device.put_tpm(&before);
    let refused = device.refused();
    assert!(refused.contains("it was set back or changed"), "{refused}");
}

#[test]
fn an_owner_whose_quorum_is_seen_and_a_newer_root_step_the_counter_and_an_older_vault_is_refused() {
    let tpm_dir = tempfile::tempdir().unwrap();
    let tpm = SoftTpm::start(tpm_dir.path()).unwrap();
    let mut bench = Custodians::new();
    bench.keys = spec(&tpm);
    let owner = bench.value(&["product", "list"])[0]["relationships"]["owner"]["id"].as_str().unwrap().to_owned();
    let keys = ["ben", "cleo"].map(|name| bench.room.run(&["release", "app", "key", &bench.room.card(name)]));
    let keys: Vec<_> = keys.iter().map(|key| key["spki"].clone()).collect();
    let owners = serde_json::json!([{ "owner": owner, "threshold": 2, "keys": keys }]);
    bench.room.file("owners.json", owners.to_string().as_bytes());
    bench.release("1.0.0", &["--app-owners", "owners.json"]);
    bench.roll_out("1.0.0");
    output(bench.provision("device"));
    let dir = PathBuf::from(bench.path("device"));
    // The first session steps the counter for the epoch of the factory's image.
    let mut device = bench.boot();
    device.event("welcomed");
    end(device);
    let began = counter(&dir);
    let old = tpm_dir.path().join("old-vault");
    put(&dir.join("vault"), &old);
    let mut device = bench.boot();
    device.event("welcomed");
    assert_eq!(counter(&dir), began);

    bench.room.file("device.nut", b"server.log(\"approved\");");
    bench.room.file("agent.nut", b"");
    bench.room.run(&["release", "app", "draft", "--owner", &owner, "--device", "device.nut", "--out", "apps.json"]);
    for name in ["ben", "cleo"] {
        bench.room.run(&["release", "app", "approve", "apps.json", "--yes", "--card", &bench.room.card(name)]);
    }
    let [code, agent, approval] = ["device.nut", "agent.nut", "apps.json"].map(|name| bench.path(name));
    output(bench.server.command(&["deploy", "--device", &code, "--agent", &agent, "--approval", &approval]));
    device.event("app_started");
    assert_eq!(counter(&dir), began + 1, "the device is an owner's now");

    rotate(&mut bench);
    device.event("welcomed");
    sign_and_upload(&bench);
    device.event("root_learned");
    assert_eq!(counter(&dir), began + 2, "a newer root may have revoked keys");
    end(device);
    let mut device = bench.boot();
    device.event("welcomed");
    assert_eq!(counter(&dir), began + 2, "once");
    end(device);
    put(&old, &dir.join("vault"));
    assert!(refused(&dir).contains("an old vault was put back"));
}
