//! A release from the ceremony to a device that demands it: provisioned from the bundle, updated over the air, its settings kept.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::boot::end;
use crate::ceremony::{Room, words};
use crate::fault_proxy::FaultProxy;
use crate::support::{PATIENCE, Server, Watched, loopback, os_image, output, vouch};

const CUSTODIANS: [&str; 3] = ["ada", "ben", "cleo"];
/// It says which settings of its own it finds, and leaves some.
const APP: &str = r#"
local found = imp.getuserconfiguration();
server.log("found " + (found == null ? "nothing" : found.tostring()));
imp.setuserconfiguration("a setting of its own");
"#;
const OTHER: &str = r#"server.log("nobody approved me");"#;

pub(crate) struct Bench {
    pub(crate) server: Server,
    /// Where devices dial.
    address: String,
    /// Where their keys are.
    pub(crate) keys: String,
    pub(crate) room: Room,
    root: tempfile::TempDir,
}

impl Bench {
    /// A server, and a maker who has held the founding ceremony.
    pub(crate) fn new() -> Bench {
        let (address, root) = (loopback(), tempfile::tempdir().unwrap());
        let server = Server::start(root.path(), &[&address]);
        let room = Room::beside_server(root.path(), &CUSTODIANS);
        room.found(&CUSTODIANS, "2");
        room.run(&["ceremony", "anchors", "--dir", "ceremony", "--model", "till-1", "--out", "anchors"]);
        fs::copy(os_image(), root.path().join("image")).unwrap();
        Bench { server, address, keys: "danger-software".into(), room, root }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn value(&self, arguments: &[&str]) -> Value {
        let printed = output(self.server.command(&[&["--json"], arguments].concat()));
        serde_json::from_str(printed.lines().last().unwrap_or("null")).unwrap()
    }

    /// Two of three custodians make a release of this version, and it is uploaded.
    pub(crate) fn release(&self, version: &str, more: &[&str]) {
        let (out, bundle) = (format!("release-{version}"), self.path(&format!("{version}.vouchos")));
        self.room.build_with(version, &out, more);
        for name in ["ada", "cleo"] {
            self.room.run(&words(&self.room.approve(name, &out, None)));
        }
        self.room.run(&words(&self.room.sign(&out, &["ben", "cleo"])));
        self.room.run(&["release", "assemble", &out, "--ceremony", "ceremony", "--out", &bundle]);
        output(self.server.command(&["release", "upload", &bundle]));
    }

    pub(crate) fn provision(&self, dir: &str) -> Command {
        fs::write(self.path("token"), output(self.server.command(&["enrolment-token"]))).unwrap();
        let mut command = vouch();
        command.args(["--json", "device", "provision", "--server", "vouch.test", "--address", &self.address]);
        command.args(["--model", "till-1", "--keys", &self.keys, "--token-file", &self.path("token")]);
        command.args(["--anchors", &self.path("anchors"), "--image", &self.path("1.0.0.vouchos")]);
        command.args(["--dir", &self.path(dir)]);
        command
    }

    pub(crate) fn boot(&self) -> Watched {
        self.server.boot_device(Path::new(&self.path("device")), &["--trial", "60", "--retry-max", "1"])
    }

    pub(crate) fn roll_out(&self, version: &str) -> String {
        let begun = self.value(&["rollout", "start", version, "--phases", "100%"]);
        begun["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the fleet's owner sees one device that runs this version, and no other.
    pub(crate) fn wait_for_skew(&self, version: &str) {
        let expected = json!([{ "model": "till-1", "os_version": version, "devices": 1 }]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let skew = self.value(&["fleet", "skew"]);
            if skew["versions"] == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{skew}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_device_that_demands_custodians_is_provisioned_from_a_bundle_and_updated_over_the_air_and_keeps_its_settings() {
    let bench = Bench::new();
    bench.release("1.0.0", &[]);

    // Without a roll-out the server gives neither proof nor key: it says what to do, and nothing is left.
    let refused = bench.provision("device").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("vouch rollout start 1.0.0"), "{said}");
    let left: Vec<_> = fs::read_dir(bench.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("device")), "{left:?}");
    let stranded = bench.value(&["device", "list"]);
    let id = stranded[0]["id"].as_str().unwrap();
    assert!(said.contains(&format!("vouch device delete {id}")), "{said}");
    output(bench.server.command(&["device", "unassign", id]));
    output(bench.server.command(&["device", "delete", id]));

    bench.roll_out("1.0.0");
    let provisioned: Value = serde_json::from_str(&output(bench.provision("device"))).unwrap();
    let (device, agent) = (bench.path("device.nut"), bench.path("agent.nut"));
    fs::write(&device, APP).unwrap();
    fs::write(&agent, "").unwrap();
    bench.server.deploy_files(Path::new(&device), Path::new(&agent));
    // The server's role approves it, which the device demands.
    let mut device = bench.boot();
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["layers"]), (&json!("1.0.0"), &json!("l1+l2")));
    device.event("welcomed");
    device.wait("the first start of the app", |event| event.to_string().contains("found nothing"));
    bench.wait_for_skew("1.0.0");
    let proved = bench.value(&["device", "list"])[0]["attributes"].clone();
    assert_eq!((&proved["demanded_layers"], &proved["memory_locked"]), (&json!("l1-and-l2"), &json!(true)));
    let mut status = vouch();
    status.args(["--json", "device", "status", "--dir", &bench.path("device")]);
    let status: Value = serde_json::from_str(&output(status)).unwrap();
    assert_eq!(status["boot"]["layers"], "l1+l2");

    bench.release("1.1.0", &[]);
    let rollout = bench.roll_out("1.1.0");
    let booting = device.wait("the update", |event| event["event"] == "booting");
    assert_eq!((&booting["version"], &booting["trying"]), (&json!("1.1.0"), &json!(true)));
    // The stored app starts before the server is reached.
    device.wait("the app with its settings", |event| event.to_string().contains("found a setting of its own"));
    device.event("welcomed");
    output(bench.server.command(&["rollout", "show", &rollout, "--follow"]));
    let shown = bench.value(&["rollout", "show", &rollout]);
    assert_eq!((&shown["attributes"]["confirmed"], &shown["attributes"]["failed"]), (&json!(1), &json!(0)));
    bench.wait_for_skew("1.1.0");
    // One content key at its birth and one for the update, the newest first.
    let keys = bench.value(&["device", "show", provisioned["device_id"].as_str().unwrap()])["key_releases"].clone();
    let images: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["image_sha256"].as_str().unwrap()).collect();
    assert_eq!(images.first(), booting["manifest_sha256"].as_str().as_ref(), "{keys} {booting}");
    assert!(images.len() > 1 && images[1] != images[0], "{keys}");
    end(device);

    let mut device = bench.boot();
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["trying"]), (&json!("1.1.0"), &json!(false)));
    device.event("welcomed");
    end(device);
    assert_eq!(bench.value(&["device", "list"])[0]["id"], provisioned["device_id"]);
}

#[test]
fn a_download_goes_on_after_a_cut_at_any_byte_and_after_the_death_of_the_device_where_it_was_durable() {
    // Odd ones: within a record of TLS, and within a piece of the image.
    const CUTS: [u64; 4] = [1, 1_000_003, 1_234_567, 1_500_001];
    const MIB: u64 = 1024 * 1024;
    let mut bench = Bench::new();
    let gateway = |address: &str| format!("{address}:31314").parse().unwrap();
    let there = loopback();
    let wire = FaultProxy::start(gateway(&there), gateway(&bench.address));
    bench.address = there;
    bench.release("1.0.0", &[]);
    bench.roll_out("1.0.0");
    output(bench.provision("device"));
    let mut device = bench.boot();
    device.event("welcomed");
    bench.release("1.1.0", &[]);
    let began = wire.delivered();
    wire.break_after(&CUTS);
    let rollout = bench.roll_out("1.1.0");
    wire.broken();
    device.kill();
    let came = wire.delivered() - began;
    assert_eq!(came, CUTS.iter().sum::<u64>());

    wire.mend();
    let mut device = bench.boot();
    let booting = device.wait("the update", |event| event["trying"] == true);
    assert_eq!(booting["version"], "1.1.0");
    device.event("welcomed");
    output(bench.server.command(&["rollout", "show", &rollout, "--follow"]));
    end(device);
    let (length, rest) = (fs::metadata(os_image()).unwrap().len(), wire.delivered() - began - came);
    // What is not the image: handshakes, what proves it, pieces that a cut tore.
    let beside = MIB / 2;
    assert!(came + rest < length + MIB + beside, "{came} and {rest} bytes for an image of {length}");
    assert!(came + rest >= length, "{came} and {rest} bytes for an image of {length}");
}

#[test]
fn attack_an_app_that_is_deployed_and_that_its_owners_quorum_has_not_approved_is_not_run() {
    let mut bench = Bench::new();
    bench.release("1.0.0", &[]);
    bench.roll_out("1.0.0");
    let provisioned: Value = serde_json::from_str(&output(bench.provision("device"))).unwrap();
    let id = provisioned["device_id"].as_str().unwrap();
    let path = |name: &str, code: &str| {
        fs::write(bench.path(name), code).unwrap();
        bench.path(name)
    };
    let (device, other, agent) = (path("device.nut", APP), path("other.nut", OTHER), path("agent.nut", ""));
    bench.server.deploy_files(Path::new(&device), Path::new(&agent));
    bench.value(&["group", "create", "elsewhere"]);
    bench.value(&["deploy", "--group", "elsewhere", "--device", &other, "--agent", &agent]);
    let mut device = bench.boot();
    device.wait("the first start of the app", |event| event.to_string().contains("found nothing"));

    // From now on the owner's people approve apps, and they have approved none; the server signs no app of this owner any more.
    let owner = bench.value(&["product", "list"])[0]["relationships"]["owner"]["id"].as_str().unwrap().to_owned();
    let keys = ["ben", "cleo"].map(|name| bench.room.run(&["release", "app", "key", &bench.room.card(name)]));
    let keys: Vec<_> = keys.iter().map(|key| key["spki"].clone()).collect();
    let owners = json!([{ "owner": owner, "threshold": 2, "keys": keys }]);
    bench.room.file("owners.json", owners.to_string().as_bytes());
    bench.release("1.1.0", &["--app-owners", "owners.json"]);
    bench.value(&["device", "move", id, "--group", "elsewhere"]);
    let refused = device.event("app_unusable");
    assert!(refused["why"].as_str().unwrap().contains("not approved"), "{refused}");
    let fetched = |device: &Watched| {
        device
            .seen()
            .iter()
            .filter(|event| event["event"] == "app_downloaded" && event["sha256"] == refused["sha256"])
            .count()
    };
    assert_eq!(fetched(&device), 1);
    // Offered once more in this session, it is not fetched again. The device hears of its app before it hears that it is to start anew.
    for group in ["default", "elsewhere"] {
        bench.value(&["device", "move", id, "--group", group]);
        bench.value(&["device", "restart", id]);
        device.event("app_started");
    }
    assert_eq!(fetched(&device), 1);
    // In the next session it is, once: it may have been approved since.
    bench.server.restart_gracelessly();
    assert_eq!(device.event("app_unusable")["sha256"], refused["sha256"]);
    assert_eq!(fetched(&device), 2);
    end(device);

    // The app that is stored was approved in its time: it starts before the server is reached, and goes on.
    let mut device = bench.boot();
    device.wait("the stored app", |event| event.to_string().contains("found a setting of its own"));
    let follow = bench.server.command(&["--json", "logs", id, "--limit", "100", "--follow"]);
    Watched::start("logs", follow).wait("the reason", |line| {
        assert!(!line.to_string().contains("nobody approved me"), "{line}");
        line.to_string().contains("cannot be run")
    });
    end(device);
}

#[test]
fn attack_a_bundle_whose_image_has_no_approval_of_the_anchors_custodians_makes_no_device() {
    let bench = Bench::new();
    bench.release("1.0.0", &[]);
    bench.roll_out("1.0.0");
    // The anchors of another maker: other custodians, another release key, the same product and model.
    let other = Room::new(&CUSTODIANS);
    other.found(&CUSTODIANS, "2");
    other.run(&["ceremony", "anchors", "--dir", "ceremony", "--model", "till-1", "--out", "anchors"]);
    fs::copy(other.dir.join("anchors"), bench.path("anchors")).unwrap();
    let refused = bench.provision("device").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not installed"), "{said}");
    assert!(!Path::new(&bench.path("device")).exists());
}

/// Attack: whoever has stolen all files of the server runs a server of their own with them, after the custodians named new online keys.
#[test]
fn attack_stolen_online_keys_bring_nothing_to_a_device_that_has_seen_their_successors() {
    let mut bench = Bench::new();
    bench.release("1.0.0", &[]);
    bench.roll_out("1.0.0");
    output(bench.provision("device"));
    let file = |bench: &Bench, name: &str, code: &str| {
        fs::write(bench.path(name), code).unwrap();
        bench.path(name)
    };
    let deploy = |bench: &Bench, code: &str| {
        let (device, agent) = (file(bench, "device.nut", code), file(bench, "agent.nut", ""));
        bench.server.deploy_files(Path::new(&device), Path::new(&agent));
    };
    let kept = bench.path("kept");
    let log = |bench: &Bench, roots: &[u32]| {
        let central = format!("http://{}", bench.server.http);
        let roots: Vec<_> =
            roots.iter().map(|number| bench.path(&format!("ceremony/roots/{number}.root.json"))).collect();
        let mut arguments = vec!["release", "log", &central, "--checkpoint", &kept];
        roots.iter().for_each(|root| arguments.extend(["--root", root]));
        bench.value(&arguments)
    };
    assert_eq!(log(&bench, &[1])["size"], 1);
    deploy(&bench, APP);
    let mut device = bench.boot();
    device.wait("the first start of the app", |event| event.to_string().contains("found nothing"));
    bench.server.process.kill();
    let copied = Command::new("cp").arg("-a").args([bench.path("server"), bench.path("stolen")]).status().unwrap();
    assert!(copied.success());

    bench.room.run(&["release", "server-keys", "--dir", "server", "--new", "--out", "server-keys.json"]);
    bench.server.restart();
    let hsm = bench.room.hsm.token("hsm");
    let cards = ["ada", "ben"].map(|name| bench.room.card(name));
    let mut rotate =
        vec!["ceremony", "rotate", "--dir", "ceremony", "--hsm", &hsm, "--server-keys", "server-keys.json"];
    cards.iter().for_each(|card| rotate.extend(["--custodian", card]));
    bench.room.run(&rotate);
    // Until a release brings the new root, the server goes on with what the devices know.
    deploy(&bench, r#"server.log("under the old keys");"#);
    device.wait("the second app", |event| event.to_string().contains("under the old keys"));
    bench.release("1.1.0", &[]);
    bench.roll_out("1.1.0");
    device.wait("the update", |event| event["event"] == "booting" && event["version"] == "1.1.0");
    device.event("welcomed");
    bench.wait_for_skew("1.1.0");
    deploy(&bench, r#"server.log("under the new keys");"#);
    device.wait("the third app", |event| event.to_string().contains("under the new keys"));
    let log = log(&bench, &[1, 2]);
    assert_eq!((&log["size"], &log["consistent_with_size"]), (&json!(2), &json!(1)), "one log, under the next key");
    end(device);

    // On the same addresses, with the same names and keys for TLS.
    bench.server.process.kill();
    bench.server.dir = bench.root.path().join("stolen");
    bench.server.restart();
    deploy(&bench, OTHER);
    let mut device = bench.boot();
    device.wait("the stored app", |event| event.to_string().contains("under the new keys"));
    let refused = device.event("app_unusable");
    let why = refused["why"].as_str().unwrap();
    assert!(why.contains("timestamp") && why.contains("threshold"), "for its signature, not for its age: {why}");
    end(device);
}
