//! The demonstration verifies what it shows, and notices when it is sabotaged.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::network::{in_own_namespaces, tool};
use crate::support::{os_image, vouch};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use device::config::DeviceConfig;
use device::folder::Folder;
use keys::cose::{self, CosePurpose};
use keys::pkcs11::SoftHsm;
use keys::public::PublicKey;
use serde_json::Value;

const CLAIMS: [&str; 5] = ["C02", "C04", "C05", "C06", "C09"];

/// What `vouch demo --once --json` printed last, and whether it ended well, on a machine without swtpm.
fn run(dir: &Path) -> (Value, bool) {
    let mut command = demo(dir);
    command.env("PATH", dir.join("nothing"));
    let (result, ended_well, _) = ended(command);
    (result, ended_well)
}

fn demo(dir: &Path) -> Command {
    let mut command = vouch();
    command.args(["--json", "demo", "--once", "--os-image"]).arg(os_image());
    // The folder as a person names it who is beside it.
    command.arg("--dir").arg(dir.file_name().unwrap()).current_dir(dir.parent().unwrap());
    command
}

/// The last line of standard output, of which every line must be JSON; whether it ended well; and what it told.
fn ended(mut command: Command) -> (Value, bool, String) {
    let result = command.output().unwrap();
    let text = String::from_utf8(result.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("standard output holds {line:?}: {error}"))
        })
        .filter(|line: &Value| line.get("steps").is_some())
        .collect();
    let told = String::from_utf8_lossy(&result.stderr).into_owned();
    assert_eq!(lines.len(), 1, "{text}\n{told}");
    (lines[0].clone(), result.status.success(), told)
}

fn step<'a>(result: &'a Value, claim: &str, device: &str) -> Option<&'a Value> {
    result["steps"].as_array()?.iter().find(|step| step["claim"] == claim && step["device"] == device)
}

/// A demonstration that was run once, shared by all tests, which work on copies of its folder.
fn once() -> &'static (tempfile::TempDir, Value, bool) {
    static ONCE: OnceLock<(tempfile::TempDir, Value, bool)> = OnceLock::new();
    ONCE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (result, ended_well) = run(&dir.path().join("demo"));
        (dir, result, ended_well)
    })
}

/// A copy of the run's folder on loopback addresses of its own.
fn copy(root: &Path, net: u8) -> PathBuf {
    let (original, _, _) = once();
    let dir = root.join("demo");
    let mut command = Command::new("cp");
    command.arg("-a").arg(original.path().join("demo")).arg(&dir);
    crate::support::output(command);
    let places: Value = serde_json::from_slice(&fs::read(dir.join("demo.json")).unwrap()).unwrap();
    let open = places["open"].as_str().unwrap();
    let old = open.rsplit_once('.').unwrap().0;
    let new = format!("127.200.{net}");
    let file = dir.join("demo.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&format!("{old}."), &format!("{new}."))).unwrap();
    for device in ["device-modern", "device-classic"] {
        change_config(&dir.join(device), |config| {
            let last = config.address.unwrap().to_string();
            let last = last.rsplit_once('.').unwrap().1;
            config.address = Some(format!("{new}.{last}").parse().unwrap());
        });
    }
    dir
}

fn change_config(dir: &Path, change: impl FnOnce(&mut DeviceConfig)) {
    let mut folder = Folder::open(dir).unwrap();
    let mut config = folder.config.clone();
    change(&mut config);
    folder.store_config(config).unwrap();
}

/// Runs a sabotaged copy; the claim must fail for that device, and the whole with it.
fn sabotaged(claim: &str, device: &str, net: u8, sabotage: impl FnOnce(&Path)) {
    let root = tempfile::tempdir().unwrap();
    let dir = copy(root.path(), net);
    sabotage(&dir);
    let (result, ended_well) = run(&dir);
    assert!(!ended_well, "the exit code must not be 0");
    assert_eq!(result["ok"], false, "{result:#}");
    let step = step(&result, claim, device).unwrap_or_else(|| panic!("no step {claim} for {device}: {result:#}"));
    assert_eq!(step["ok"], false, "{step:#}");
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap_or_else(|| panic!("{value} is no base64"))).unwrap()
}

#[test]
fn every_claim_is_verified_for_both_devices_and_an_outsider_can_check_the_challenge() {
    let (_, result, ended_well) = once();
    assert!(ended_well, "{result:#}");
    assert_eq!(result["ok"], true);
    for device in ["modern", "classic"] {
        for claim in CLAIMS {
            assert_eq!(step(result, claim, device).unwrap_or_else(|| panic!("{claim} {device}"))["ok"], true);
        }
        let measured = &step(result, "C06", device).unwrap()["measured"];
        let key = PublicKey::from_spki_der(&bytes(&measured["identity_spki"])).unwrap();
        assert_eq!(bytes(&measured["external_aad"]), b"vouch/challenge/1");
        let claims = cose::verify(CosePurpose::Challenge, &key, &bytes(&measured["eat"])).unwrap();
        let holds = |value: &[u8]| claims.windows(value.len()).any(|window| window == value);
        assert!(holds(&bytes(&measured["nonce"])) && holds(&bytes(&measured["exporter_server"])));
        assert_eq!(measured["replay_refused"], "NonceMismatch");
        assert_eq!(measured["without_identity_key_refused"], "BadSignature");
    }
    for device in ["modern", "classic"] {
        assert_eq!(result["keys"][device]["back_end"], "danger-software");
        assert!(result["keys"][device]["meaning"].as_str().unwrap().contains("swtpm is not installed"));
    }
    let update = &result["update"];
    assert_eq!((&update["version"], &update["settings_kept"]), (&"1.1.0".into(), &true.into()), "{update:#}");
    assert_eq!(update["skew_before"]["versions"][0]["os_version"], "1.0.0");
    assert_eq!(update["skew_after"]["versions"][0]["os_version"], "1.1.0");
    for device in ["modern", "classic"] {
        assert_eq!(result["boots"][device]["layers"], "l1+l2");
    }
    let attempts = |device: &str| step(result, "C02", device).unwrap()["measured"]["attempts"].clone();
    assert_eq!(attempts("modern").as_array().unwrap().len(), 1);
    assert_eq!(attempts("classic")[0]["result"], "tcp_refused");
    assert_eq!(attempts("classic")[1]["rule_port"], 993);
}

#[test]
fn with_swtpm_each_device_keeps_its_keys_in_a_tpm_and_proves_what_it_booted() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("demo");
    let (result, ended_well, _) = ended(demo(&dir));
    assert!(ended_well, "{result:#}");
    for device in ["modern", "classic"] {
        let back_end = result["keys"][device]["back_end"].as_str().unwrap();
        assert!(back_end.starts_with("tpm2:swtpm:host=127.0.0.1,port=") && back_end.ends_with(";pcrs=0,2,7"));
        let boot = step(&result, "boot", device).unwrap();
        assert_eq!(boot["ok"], true);
        assert_eq!(boot["measured"]["proved"], result["boots"][device]["manifest_sha256"]);
        let keys = fs::read_dir(dir.join(format!("device-{device}/keys"))).unwrap();
        assert!(keys.map(|entry| entry.unwrap().path()).all(|path| path.extension().is_none_or(|end| end != "key")));
        let port = back_end.split_once("port=").unwrap().1.trim_end_matches(";pcrs=0,2,7");
        assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_err(), "its TPM is still there");
    }
    assert_ne!(result["keys"]["modern"], result["keys"]["classic"]);
    // The devices of an earlier run come back with their TPMs.
    let (again, ended_well, _) = ended(demo(&dir));
    assert!(ended_well, "{again:#}");
    assert_eq!(again["keys"], result["keys"]);
}

#[test]
fn without_softhsm_there_is_no_ceremony_and_no_update_and_it_says_so() {
    in_own_namespaces("demo::without_softhsm_there_is_no_ceremony_and_no_update_and_it_says_so", || {
        let root = tempfile::tempdir().unwrap();
        // The folder of the library is an empty one in here.
        while let Some(hsm) = SoftHsm::find(root.path()) {
            tool(&format!("mount -t tmpfs none {}", hsm.library().parent().unwrap().display()));
        }
        tool("ip link set lo up");
        let dir = root.path().join("demo");
        let (result, ended_well, told) = ended(demo(&dir));
        assert!(ended_well, "{result:#}{told}");
        let says = "softhsm2 is not installed: no ceremony and no updates; one key in a file signs the OS image (danger-l1-only)";
        assert!(told.contains(says), "{told}");
        assert!(!told.contains("found a ceremony") && !told.contains("is built, approved"), "{told}");
        assert_eq!((&result["ok"], &result["update"]), (&true.into(), &Value::Null), "{result:#}");
        for device in ["modern", "classic"] {
            assert_eq!(result["boots"][device]["layers"], "danger-l1-only", "{result:#}");
            assert_eq!(step(&result, "boot", device).unwrap()["ok"], true);
            assert!(result["keys"][device]["back_end"].as_str().unwrap().starts_with("tpm2:"), "{result:#}");
        }
    });
}

#[test]
fn sabotage_of_the_port_order_is_noticed() {
    sabotaged("C02", "modern", 2, |dir| {
        change_config(&dir.join("device-modern"), |config| {
            // A fault in the network: what should be port 31314 leads to a closed port.
            let ports = config.ports.to_string();
            let others: Vec<&str> = ports.split(',').skip(1).collect();
            config.ports = format!("31314=9,{}", others.join(",")).parse().unwrap();
        });
    });
}

#[test]
fn sabotage_of_the_tls_profile_is_noticed() {
    sabotaged("C04", "modern", 4, |dir| {
        let (modern, classic, aside) = (dir.join("device-modern"), dir.join("device-classic"), dir.join("aside"));
        fs::rename(&modern, &aside).unwrap();
        fs::rename(&classic, &modern).unwrap();
        fs::rename(&aside, &classic).unwrap();
    });
}

#[test]
fn a_server_that_trusts_a_foreign_operators_devices_is_noticed() {
    sabotaged("C05", "modern", 5, |dir| {
        // The genuine server now takes the foreign operator's device root for its own.
        for entry in fs::read_dir(dir.join("foreign/server/pki")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with("device-root-modern") {
                fs::copy(entry.path(), dir.join("server/pki").join(entry.file_name())).unwrap();
            }
        }
    });
}

#[test]
fn a_device_without_its_identity_key_is_noticed() {
    sabotaged("C06", "modern", 6, |dir| {
        let key = "keys/device-identity.key";
        fs::copy(dir.join("foreign/intruder-modern").join(key), dir.join("device-modern").join(key)).unwrap();
    });
}

#[test]
fn an_app_that_was_altered_on_the_server_is_noticed() {
    sabotaged("C09", "modern", 9, |dir| {
        let mut command = Command::new("sqlite3");
        command.arg(dir.join("server/central.db"));
        command.arg("UPDATE images SET image = zeroblob(length(image)) WHERE sha256 IN (SELECT device_app_sha256 FROM deployments);");
        crate::support::output(command);
    });
}
