//! Devices that boot the OS image from an encrypted slot: what runs, what lies on the disk, and the way back from a bad image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use device::boot::{BOOT_FOLDER, BootFolder, FACTORY_ANCHORS_FILE, Pin};
use device::limits::LIMITS;
use device::storage::FolderDisk;
use keys::keystore::{Keystore, KeystoreSpec};
use keys::release_key::DangerSoftwareReleaseKey;
use release::anchors::{Anchors, Layers, ReleaseKeySlot};
use release::floors::Floors;
use rustix::process::{Resource, getrlimit};
use serde_json::Value;

use crate::boot::{child_of, end, status};
use crate::fixture;
use crate::support::{Server, Watched, factory, loopback, os_image, output, vouch, with_image};
use crate::tinyproxy::Tinyproxy;

/// Words that stand in the program's read-only data, and nowhere else on a disk.
pub(crate) const IN_THE_IMAGE: &[u8] = b"no server name; give a host name such as";

/// `hardware.wakereason()` of an app that is started with its device, and with a new OS image that has still to prove itself.
const POWER_ON: u64 = 0;
const NEW_FIRMWARE: u64 = 6;

/// Bytes: what Linux gives ordinary processes; room for an image, and not for all that a process reserves.
const HARD_LIMIT: u64 = 8 * 1024 * 1024;

/// A server, and a device that boots the OS image.
pub(crate) struct Bench {
    pub(crate) server: Server,
    address: String,
    root: tempfile::TempDir,
    /// The device's.
    id: String,
}

impl Bench {
    fn new(more: &[&str]) -> Bench {
        Bench::with_keys("danger-software", more)
    }

    /// The same with the device's keys in this back end.
    pub(crate) fn with_keys(keys: &str, more: &[&str]) -> Bench {
        let (address, root) = (loopback(), tempfile::tempdir().unwrap());
        let server = Server::start(root.path(), &[&address]);
        let mut provision = server.provision_command(&root.path().join("device"), keys, "modern", more);
        provision.args(["--address", &address]).args(with_image());
        let device: Value = serde_json::from_str(&output(provision)).unwrap();
        Bench { server, address, root, id: device["device_id"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("device")
    }

    fn boot(&self) -> Watched {
        self.boot_with(&[])
    }

    fn boot_with(&self, more: &[&str]) -> Watched {
        self.server.boot_device(&self.dir(), &[&["--retry-max", "1"], more].concat())
    }

    /// What the server knows of the device's last proof, as it shows it.
    fn proved(&self) -> Value {
        let list = output(self.server.command(&["--json", "device", "list"]));
        serde_json::from_str::<Value>(&list).unwrap()[0]["attributes"].clone()
    }

    /// What the device says of itself.
    fn status(&self) -> Value {
        let mut status = vouch();
        status.args(["--json", "device", "status", "--dir"]).arg(self.dir());
        serde_json::from_str(&output(status)).unwrap()
    }

    /// Deploys an app for the device that consists of this source.
    fn deploy(&self, source: &str) {
        let (device, agent) = (self.root.path().join("device.nut"), self.root.path().join("agent.nut"));
        std::fs::write(&device, source).unwrap();
        std::fs::write(&agent, "").unwrap();
        self.server.deploy_files(&device, &agent);
    }

    /// Installs an image while the device is off, as its parent does for its child.
    pub(crate) fn install(&self, version: &str, security_epoch: u32, program: &[u8]) {
        let root = Keystore::open(&self.dir().join("keys")).unwrap().storage_root().unwrap();
        let image = fixture::image(version, security_epoch, program);
        let mut boot = BootFolder::open(FolderDisk::new(&self.dir().join(BOOT_FOLDER)), &root, &LIMITS).unwrap();
        boot.install(&Floors::NONE, image.source()).unwrap();
    }
}

/// Every file below a folder with its bytes.
fn files(below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Looks for words in the raw bytes of every file below a folder, but for the maker's anchors, which are public and lie there as they are.
pub(crate) fn none_is_on_the_disk(below: &Path, words: &[&[u8]]) {
    let anchors = std::fs::read(factory().join("anchors")).unwrap();
    for (path, bytes) in files(below).into_iter().filter(|(_, bytes)| *bytes != anchors) {
        for word in words {
            assert!(!holds(&bytes, word), "{} holds {:?} in clear", path.display(), String::from_utf8_lossy(word));
        }
    }
}

/// The OS image with another label for the channel binding: it starts, and no server takes its proof.
fn binds_to_another_channel() -> Vec<u8> {
    const LABEL: &[u8] = b"EXPORTER-Channel-Binding";
    let mut program = std::fs::read(os_image()).unwrap();
    let found = program.windows(LABEL.len()).enumerate().filter(|(_, word)| *word == LABEL);
    let places: Vec<_> = found.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        program[at] = b'X';
    }
    program
}

#[test]
fn a_device_boots_its_image_from_sealed_and_locked_memory_and_no_plaintext_is_on_its_disk() {
    let bench = Bench::new(&[]);
    bench.deploy("server.log(\"a word of the device app\"); imp.setuserconfiguration(\"a word of its own\");");
    let mut device = bench.boot();
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["layers"]), (&"1.0.0".into(), &"danger-l1-only".into()));
    let started = device.event("started");
    assert_eq!(started["booted"]["manifest_sha256"], booting["manifest_sha256"]);
    assert_eq!(started["booted"]["danger_unlocked_memory"], false);
    device.event("app_started");
    device.wait("the app's word", |event| event.to_string().contains("a word of the device app"));

    let (parent, child) = (device.pid(), child_of(device.pid()));
    let program = std::fs::read_link(format!("/proc/{child}/exe")).unwrap();
    assert!(program.to_str().unwrap().starts_with("/memfd:vouch-os"), "{program:?}");
    let kilobytes = |pid, field| status(pid, field).trim_end_matches(" kB").trim().parse::<u64>().unwrap();
    let size = std::fs::metadata(os_image()).unwrap().len();
    assert!(kilobytes(parent, "VmLck") * 1024 >= size, "the parent keeps the image locked");
    end(device);
    assert_eq!(bench.status()["boot"]["layers"], "danger-l1-only");
    assert!(bench.status()["boot"]["meaning"].as_str().unwrap().contains("demanded: danger-l1-only"));
    let proved = bench.proved();
    assert_eq!((&proved["demanded_layers"], &proved["memory_locked"]), (&"danger-l1-only".into(), &true.into()));

    assert!(holds(&std::fs::read(os_image()).unwrap(), IN_THE_IMAGE), "the word is one of the image");
    let words: [&[u8]; 6] =
        [IN_THE_IMAGE, b"a word of the device app", b"a word of its own", b"vouch.test", b"31314", b"danger-l1-only"];
    none_is_on_the_disk(&bench.dir(), &words);
}

#[test]
fn the_longest_pause_between_attempts_holds_below_a_parent() {
    const ROUNDS: usize = 8;
    let mut bench = Bench::new(&[]);
    bench.server.process.kill();
    let mut device = bench.boot();
    // By the usual bound, pauses of up to two minutes would be among so many.
    for _ in 0..ROUNDS {
        let pause = device.event("waiting")["ms"].as_u64().unwrap();
        assert!(pause <= 1_000, "{pause} ms");
    }
    end(device);
}

#[test]
fn a_proxy_that_the_app_sets_is_dialled_by_a_new_process() {
    let bench = Bench::new(&[]);
    let there = loopback();
    let proxy = Tinyproxy::start(&there, "BasicAuth clerk a-proxy-password\n");
    let app = r#"imp.setproxy(PROXY_TYPE_HTTP, "THERE", PORT, "clerk", "a-proxy-password");
        server.log("the proxy is kept");
        server.disconnect();
        imp.wakeup(2, function() { server.connect(function(result) {}); });"#;
    bench.deploy(&app.replace("THERE", &there).replace("PORT", &proxy.port.to_string()));
    let mut device = bench.boot();
    let direct = device.event("attempt");
    assert!(direct["proxy"].is_null() && direct["result"]["is"] == "welcomed", "{direct}");
    device.wait("the proxy to be kept", |event| event["text"] == "the proxy is kept");
    device.event("ended");
    device.event("booting");
    // The app sets it again at each start, which changes nothing.
    device.wait("the proxy to be kept", |event| event["text"] == "the proxy is kept");
    let attempt = device.event("attempt");
    assert_eq!(
        (&attempt["proxy"]["port"], &attempt["proxy"]["credentials"]),
        (&proxy.port.into(), &true.into()),
        "{attempt}"
    );
    assert_eq!(attempt["result"]["is"], "welcomed", "{attempt}");
    for _ in 0..2 {
        device.event("welcomed");
    }
    assert_eq!(device.seen().iter().filter(|event| event["event"] == "booting").count(), 2);
    end(device);
    drop(proxy);
    none_is_on_the_disk(&bench.dir(), &[b"a-proxy-password", b"clerk", there.as_bytes()]);
}

#[test]
fn attack_the_image_without_its_parent_has_no_keys() {
    let bench = Bench::new(&[]);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(os_image());
        command.args(["device", "run", "--dir"]).arg(bench.dir()).args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    };
    let result = run(&["--below-parent"]);
    assert!(!result.status.success());
    assert!(String::from_utf8_lossy(&result.stderr).contains("vouch device boot"), "{result:?}");
    // Whoever takes the keys' folder away, as a chip does, leaves it nothing to sign with.
    std::fs::rename(bench.dir().join("keys"), bench.root.path().join("away")).unwrap();
    let result = run(&[]);
    assert!(!result.status.success());
    assert!(String::from_utf8_lossy(&result.stderr).contains("keys"), "{result:?}");
}

#[test]
fn an_image_that_boots_and_cannot_connect_is_given_up_and_the_server_hears_why() {
    let bench = Bench::new(&[]);
    bench.install("1.1.0", 0, &binds_to_another_channel());
    let mut device = bench.boot_with(&["--trial", "8"]);
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["trying"]), (&"1.1.0".into(), &true.into()));
    let why = device.event("given_up")["why"].as_str().unwrap().to_owned();
    assert_eq!(why, "it did not reach the server within 8 s");
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["trying"]), (&"1.0.0".into(), &false.into()));
    device.event("welcomed");
    end(device);
    // Once is enough: the bad image is not tried again.
    let mut device = bench.boot();
    assert_eq!(device.event("booting")["version"], "1.0.0");
    device.event("welcomed");
    let mut log = bench.server.command(&["--json", "logs", &bench.id, "--follow"]);
    log.stdin(Stdio::null());
    let told = Watched::start("logs", log).wait("the reason", |line| line.to_string().contains("was given up"));
    assert_eq!(told["msg"], format!("a new OS image was given up and this device is back on 1.0.0: {why}"));
    end(device);
}

#[test]
fn an_image_that_crashes_has_its_starts_and_the_old_one_comes_back() {
    let bench = Bench::new(&[]);
    bench.install("1.1.0", 0, &std::fs::read("/bin/false").unwrap());
    let mut device = bench.boot();
    for _ in 0..LIMITS.image_starts {
        assert_eq!(device.event("booting")["version"], "1.1.0");
    }
    let booting = device.event("booting");
    assert_eq!(booting["version"], "1.0.0");
    assert_eq!(booting["fell_back"], "it did not reach the server in 3 starts");
    device.event("welcomed");
    end(device);
}

#[test]
fn a_good_update_is_confirmed_by_its_session_and_nothing_older_boots_afterwards() {
    let bench = Bench::new(&[]);
    let folder = bench.dir().join(BOOT_FOLDER);
    let kept = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(folder.join(".")).arg(kept.path());
    output(copy);
    bench.deploy("server.log(\"here\");");
    let app_started = |device: &mut Watched| device.event("app_started")["wake_reason"].as_u64().unwrap();
    let mut device = bench.boot();
    assert_eq!(app_started(&mut device), POWER_ON);
    end(device);
    bench.install("1.1.0", 0, &std::fs::read(os_image()).unwrap());
    let mut device = bench.boot();
    assert_eq!(app_started(&mut device), NEW_FIRMWARE);
    device.event("welcomed");
    end(device);
    let mut device = bench.boot();
    let booting = device.event("booting");
    assert_eq!((&booting["version"], &booting["trying"]), (&"1.1.0".into(), &false.into()));
    assert_eq!(app_started(&mut device), POWER_ON);
    end(device);
    // The whole boot folder of before, set back by somebody who has the disk.
    std::fs::remove_dir_all(&folder).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(kept.path()).arg(&folder);
    output(copy);
    let mut boot = Command::new(env!("CARGO_BIN_EXE_vouch"));
    let refused = boot.args(["device", "boot", "--dir"]).arg(bench.dir()).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("1.0.0 is older than 1.1.0"), "{refused:?}");
}

#[test]
fn a_diskless_device_fetches_its_app_at_each_start_and_its_folder_stays_as_it_was() {
    let bench = Bench::new(&["--diskless"]);
    bench.deploy("server.log(\"here\");");
    let before = files(&bench.dir());
    for _ in 0..2 {
        let mut device = bench.boot();
        device.event("welcomed");
        device.event("app_started");
        end(device);
        assert_eq!(files(&bench.dir()), before);
    }
    let mut network = Command::new(env!("CARGO_BIN_EXE_vouch"));
    network.args(["device", "proxy", "--set", "127.0.0.1:3128", "--dir"]).arg(bench.dir());
    let refused = network.output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("diskless"), "{refused:?}");
}

#[test]
fn without_privileges_memory_is_locked_up_to_the_hard_limit_and_the_child_says_what_that_limit_lacks() {
    let bench = Bench::new(&[]);
    let most = getrlimit(Resource::Memlock).maximum.unwrap_or(HARD_LIMIT).min(HARD_LIMIT);
    assert!(
        most > std::fs::metadata(os_image()).unwrap().len(),
        "the hard limit ({most} bytes) has no room for the image"
    );
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set",
        "-all,+setpcap",
        "--inh-caps",
        "-all",
        "prlimit",
        &format!("--memlock=65536:{most}"),
    ]);
    command.args([env!("CARGO_BIN_EXE_vouch"), "--json", "device", "boot", "--dir"]).arg(bench.dir());
    let mut device = Watched::start("limited", command);
    let told = device.event("memory_not_locked")["why"].as_str().unwrap().to_owned();
    let raised = format!("the limit RLIMIT_MEMLOCK is {} KiB", most / 1024);
    assert!(told.contains(&raised), "{told}");
    // The image itself fits, which it would not below the limit that the process was started with.
    assert_eq!(device.event("started")["booted"]["danger_unlocked_memory"], false);
    let locked_down = device.event("locked_down").to_string();
    assert!(locked_down.contains(&raised), "{locked_down}");
    device.event("welcomed");
    end(device);
}

#[test]
fn memory_that_is_not_locked_is_refused_unless_danger_is_said_and_shown() {
    let bench = Bench::new(&[]);
    // As an ordinary user with no allowance of locked memory sees it.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all,+setpcap", "--inh-caps", "-all", "prlimit", "--memlock=0:0"]);
    command.args([env!("CARGO_BIN_EXE_vouch"), "--json", "device", "boot", "--dir"]).arg(bench.dir());
    let unlocked = |more: &[&str]| {
        let mut unlocked = Command::new(command.get_program());
        unlocked.args(command.get_args()).args(more);
        unlocked
    };
    let refused = unlocked(&[]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--danger-unlocked-memory"), "{refused:?}");
    assert_eq!(bench.proved()["memory_locked"], Value::Null);
    let mut device = Watched::start("unlocked", unlocked(&["--danger-unlocked-memory"]));
    assert_eq!(device.event("started")["booted"]["danger_unlocked_memory"], true);
    device.event("welcomed");
    assert_eq!(bench.proved()["memory_locked"], false);
    end(device);
    let mut device = bench.boot();
    device.event("welcomed");
    assert_eq!(bench.proved()["memory_locked"], true);
    end(device);
}

/// A maker's line of somebody else: anchors with a key of their own, and an image that it signed.
fn foreign_factory(dir: &Path) -> Vec<OsString> {
    let key = DangerSoftwareReleaseKey::generate().unwrap();
    let slot = ReleaseKeySlot { key: key.public().clone(), revoked: false };
    let anchors = Anchors::new("test".into(), "test-1".into(), vec![slot], Layers::DangerL1Only).unwrap();
    let image = fixture::image_by(&key, "1.0.0", 0, &std::fs::read(os_image()).unwrap());
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    write("anchors", &anchors.to_cbor());
    write("os.vouchos", &image.sealed);
    write("os.vouchos.manifest", &image.manifest);
    write("content-key", const_hex::encode(image.content_key.expose()).as_bytes());
    let options = [("--anchors", "anchors"), ("--image", "os.vouchos"), ("--content-key-file", "content-key")];
    options.into_iter().flat_map(|(option, name)| [option.into(), dir.join(name).into()]).collect()
}

#[test]
fn attack_a_folder_that_was_replaced_by_another_devices_is_not_booted_by_a_loader_that_was_told_which_to_boot() {
    let bench = Bench::new(&[]);
    let mut shown = vouch();
    shown.args(["--json", "device", "status", "--dir"]).arg(bench.dir());
    let shown: Value = serde_json::from_str(&output(shown)).unwrap();
    let pin = shown["boot"]["pin"].as_str().unwrap().to_owned();
    let boot = |pin: &str| bench.server.boot_device(&bench.dir(), &["--retry-max", "1", "--pin", pin]);
    let mut device = boot(&pin);
    assert_eq!(device.event("booting")["pinned"], true);
    device.event("welcomed");
    end(device);
    let mut believing = bench.boot();
    assert_eq!(believing.event("booting")["pinned"], false);
    end(believing);
    let refused = |pin: &str| {
        let mut command = vouch();
        command.args(["device", "boot", "--dir"]).arg(bench.dir()).args(["--pin", pin]);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The same anchors, and keys in files where the loader expects a TPM.
    let tpm: KeystoreSpec = "tpm2:device:/dev/tpmrm0;pcrs=0,2,4,7".parse().unwrap();
    let said = refused(&Pin::of(&tpm, &fixture::anchors()).to_string());
    assert!(said.contains("its keys are in danger-software") && said.contains("Nothing was unsealed"), "{said}");
    assert!(said.contains(&pin), "it says what would be right: {said}");
    assert!(refused("sha256:1234").contains("64 hex digits"));

    // A device of somebody else in its place, whole and sound, with anchors of their own.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = bench.root.path().join("other");
    let mut provision =
        bench.server.provision_command(&other, "danger-software", "modern", &["--address", &bench.address]);
    provision.args(foreign_factory(elsewhere.path()));
    let provisioned: Value = serde_json::from_str(&output(provision)).unwrap();
    assert_ne!(provisioned["boot_pin"], pin);
    let own = bench.root.path().join("own");
    std::fs::rename(bench.dir(), &own).unwrap();
    std::fs::rename(&other, bench.dir()).unwrap();
    assert!(refused(&pin).contains("a device that this loader is not to boot"));
    // With the true device's own word of its anchors and its back end laid over it.
    let anchors = Path::new(BOOT_FOLDER).join(FACTORY_ANCHORS_FILE);
    std::fs::copy(own.join(&anchors), bench.dir().join(&anchors)).unwrap();
    assert!(refused(&pin).contains("do not follow from the factory's anchors"));
    std::fs::remove_file(bench.dir().join(&anchors)).unwrap();
    assert!(refused(&pin).contains("provision it again"));
}
