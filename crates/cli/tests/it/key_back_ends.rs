//! Devices and a server whose keys are in a TPM or a PKCS#11 token, as a person sets them up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use keys::pkcs11::SoftHsm;
use keys::tpm2::SoftTpm;
use serde_json::Value;

use crate::boot::end;
use crate::fault_proxy::FaultProxy;
use crate::support::{Server, Watched, loopback, output, soft_hsm, vouch, with_image};
use crate::tinyproxy::Tinyproxy;
use crate::verified_boot::{IN_THE_IMAGE, none_is_on_the_disk};

/// What names a software TPM whose storage is sealed to two registers.
pub(crate) fn spec(tpm: &SoftTpm) -> String {
    format!("tpm2:{};pcrs=0,7", tpm.tcti())
}

/// A SoftHSM with one token, and what names it.
struct Token {
    hsm: SoftHsm,
    spec: String,
}

impl Token {
    fn new(dir: &Path) -> Token {
        let (hsm, pin) = (soft_hsm(dir), dir.join("pin"));
        fs::write(&pin, "user-1234\n").unwrap();
        fs::set_permissions(&pin, PermissionsExt::from_mode(0o600)).unwrap();
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "vouch", "--so-pin", "so-12345678", "--pin", "user-1234"]);
        let token = Token { spec: hsm.opened_token("vouch", &pin), hsm };
        output(token.on(init));
        token
    }

    /// The files of objects on the token.
    fn files(&self) -> usize {
        let token = fs::read_dir(self.hsm.tokens()).unwrap().next().unwrap().unwrap().path();
        let names = fs::read_dir(token).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".object") && name != "token.object").count()
    }

    fn on(&self, mut command: Command) -> Command {
        command.env(SoftHsm::CONFIGURED_BY, self.hsm.configuration());
        command
    }
}

#[test]
fn a_device_lives_on_a_tpm_and_waits_for_it_when_it_is_gone() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let mut tpm = SoftTpm::start(&root.path().join("tpm")).unwrap();
    let server = Server::start(root.path(), &[here]);
    for profile in ["modern", "classic"] {
        let dir = root.path().join(profile);
        output(server.provision_command(&dir, &spec(&tpm), profile, &["--address", here]));
        no_key_in_a_file(&dir.join("keys"));
        server.run_device_with(&dir, &["--danger-no-sandbox"]).event("welcomed");
    }
    let run = |more: &[&str]| {
        let mut run = vouch();
        run.args(["device", "run", "--dir"]).arg(root.path().join("modern")).args(more);
        let ended = run.output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    let locked_down = run(&[]);
    assert!(locked_down.contains("vouch device boot"), "{locked_down}");
    tpm.stop();
    let gone = run(&["--danger-no-sandbox"]);
    assert!(gone.contains("does not answer"), "{gone}");
    tpm.start_again().unwrap();
    server.run_device_with(&root.path().join("modern"), &["--danger-no-sandbox"]).event("welcomed");
}

#[test]
fn a_device_whose_tpm_is_taken_away_while_it_runs_says_so_and_is_back_with_it() {
    let (here, there, root) = (loopback(), loopback(), tempfile::tempdir().unwrap());
    let mut tpm = SoftTpm::start(&root.path().join("tpm")).unwrap();
    let mut server = Server::start(root.path(), &[&here]);
    let gateway = |address: &str| format!("{address}:31314").parse().unwrap();
    let wire = FaultProxy::start(gateway(&there), gateway(&here));
    let dir = root.path().join("device");
    let mut provision = server.provision_command(&dir, &spec(&tpm), "modern", &["--address", &there]);
    provision.args(with_image());
    output(provision);
    let mut device = server.boot_device(&dir, &["--retry-max", "1"]);
    device.event("welcomed");

    // The session of TLS is resumed, which its key has no part in: the identity key is the one that is missed.
    tpm.stop();
    wire.break_now();
    let missed = device.wait("the identity key to be missed", |event| event["result"]["is"] == "login_broken");
    let why = missed["result"]["why"].as_str().unwrap();
    assert!(why.contains("the identity key does not sign") && why.contains("does not answer"), "{missed}");
    tpm.start_again().unwrap();
    device.event("welcomed");

    // A server that was started anew resumes nothing: the TLS key is missed.
    tpm.stop();
    server.restart_gracelessly();
    let missed = device.wait("the TLS key to be missed", |event| event.to_string().contains("does not answer"));
    assert_eq!(missed["event"], "attempt", "{missed}");
    tpm.start_again().unwrap();
    device.event("welcomed");
    end(device);
    // Nothing ended meanwhile, and nothing was lost.
    let mut diary = vouch();
    diary.args(["device", "diary", "--dir"]).arg(&dir);
    assert!(output(diary).contains("the identity key does not sign"));
}

#[test]
fn the_board_file_names_the_registers_that_storage_is_sealed_to() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let tpm = SoftTpm::start(&root.path().join("tpm")).unwrap();
    let server = Server::start(root.path(), &[here]);
    let (board, dir) = (root.path().join("board.toml"), root.path().join("device"));
    let text = "[security]\npcrs = { value = [0, 2, 4], source = \"measured boot guide\" }\n";
    fs::write(&board, text).unwrap();
    let place = ["--address", here, "--board", board.to_str().unwrap()];
    let other = server.provision_command(&dir, &spec(&tpm), "modern", &place).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("pcrs=0,7 are not the registers 0,2,4"), "{said}");
    assert!(!dir.exists());

    let keys = format!("tpm2:{}", tpm.tcti());
    output(server.provision_command(&dir, &keys, "modern", &place));
    assert_eq!(fs::read_to_string(dir.join("keys/keystore")).unwrap(), format!("{keys};pcrs=0,2,4\n"));
    assert_eq!(fs::read_to_string(dir.join("board.toml")).unwrap(), text);
    let mut status = vouch();
    status.args(["--json", "device", "status", "--dir"]).arg(&dir);
    let status: Value = serde_json::from_str(&output(status)).unwrap();
    assert_eq!(status["board"]["pcrs"]["value"], serde_json::json!([0, 2, 4]));
    assert_eq!(status["keys"]["stand_in"], true);
}

#[test]
fn a_device_lives_on_a_token() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let server = Server::start(root.path(), &[here]);
    let dir = root.path().join("device");
    output(token.on(server.provision_command(&dir, &token.spec, "modern", &["--address", here])));
    no_key_in_a_file(&dir.join("keys"));
    let mut status = vouch();
    status.args(["--json", "device", "status", "--dir"]).arg(&dir);
    let keys = serde_json::from_str::<Value>(&output(token.on(status))).unwrap()["keys"].clone();
    assert_eq!((&keys["level"], &keys["stand_in"]), (&"secure element".into(), &true.into()));
    assert!(keys["meaning"].as_str().unwrap().contains("in SoftHSM, a token in software"), "{keys}");
    let mut run = vouch();
    run.args(["--json", "device", "run", "--danger-no-sandbox", "--dir"]).arg(&dir);
    Watched::start("device", token.on(run)).event("welcomed");
}

#[test]
fn a_device_that_was_not_enrolled_leaves_no_keys_on_its_token() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let server = Server::start(root.path(), &[here]);
    // Nobody listens there.
    let nowhere = ["--address", &loopback()];
    let provision = server.provision_command(&root.path().join("device"), &token.spec, "modern", &nowhere);
    let refused = token.on(provision).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("was not reached"), "{said}");
    assert_eq!(token.files(), 0, "keys are left on the token");
}

#[test]
fn a_server_that_was_not_made_leaves_no_keys_in_its_token() {
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let init = |dir: &Path, names: usize| {
        let mut init = vouch();
        init.args(["init", "--keys", &token.spec, "--dir"]).arg(dir);
        for number in 0..names {
            init.args(["--name", &format!("name-{number}.test")]);
        }
        let refused = token.on(init).output().unwrap();
        assert!(!refused.status.success());
        assert_eq!(token.files(), 0, "keys are left: {}", String::from_utf8_lossy(&refused.stderr));
    };
    // More names than a certificate has room for: some keys are there by then.
    init(&root.path().join("server"), 33);
    // All is made, and cannot take its place.
    let link = root.path().join("link");
    std::os::unix::fs::symlink(root.path().join("nowhere"), &link).unwrap();
    init(&link, 1);
}

#[test]
fn a_server_serves_with_keys_in_a_token() {
    let here = &loopback();
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let mut server = Server::start_in_token(root.path(), &[here], &token.spec, &token.hsm);
    no_key_in_a_file(&server.dir.join("pki"));
    assert!(token.files() > 0);
    for profile in ["modern", "classic"] {
        let dir = root.path().join(profile);
        server.provision(&dir, profile, &["--address", here]);
        server.run_device(&dir).event("welcomed");
    }
    // The keys of the next roots are there already, and those that follow are born there too.
    server.process.kill();
    let rotate = |more: &[&str]| {
        let mut rotate = vouch();
        rotate.args(["--json", "rotate-roots", "--dir"]).arg(&server.dir).args(more);
        token.on(rotate)
    };
    let before = token.files();
    let refused = rotate(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("--keys"), "{said}");
    assert_eq!(token.files(), before);
    output(rotate(&["--keys", &token.spec]));
    no_key_in_a_file(&server.dir.join("pki"));
    assert!(token.files() > before);
    server.restart();
    for profile in ["modern", "classic"] {
        server.run_device(&root.path().join(profile)).event("welcomed");
    }
}

#[test]
fn operators_keys_are_not_made_in_a_tpm() {
    let root = tempfile::tempdir().unwrap();
    let mut init = vouch();
    init.args(["init", "--name", "vouch.test", "--keys", "tpm2:device:/dev/tpmrm0", "--dir"])
        .arg(root.path().join("s"));
    let refused = init.output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("PKCS#11 token"));
}

/// Provisions a device with everything that it may store, boots it, and looks for all of that in the raw bytes of its folder.
fn no_plaintext(root: &Path, keys: &str, on: &dyn Fn(Command) -> Command) {
    let (here, proxy) = (loopback(), loopback());
    let server = Server::start(root, &[&here]);
    let tinyproxy = Tinyproxy::start(&proxy, "BasicAuth proxy-clerk a-proxy-password\n");
    let (device, agent, password, dir) =
        (root.join("device.nut"), root.join("agent.nut"), root.join("password"), root.join("device"));
    fs::write(&device, "imp.setuserconfiguration(\"a word of its own\"); server.log(\"a word of the device app\");")
        .unwrap();
    fs::write(&agent, "").unwrap();
    server.deploy_files(&device, &agent);
    fs::write(&password, "a-proxy-password").unwrap();
    fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let place = format!("{proxy}:{}", tinyproxy.port);
    let through =
        ["--proxy", &place, "--proxy-user", "proxy-clerk", "--proxy-password-file", password.to_str().unwrap()];
    let mut provision = server.provision_command(&dir, keys, "modern", &[&["--address", &here], &through[..]].concat());
    provision.args(with_image());
    output(on(provision));
    let boot = || {
        let mut boot = vouch();
        boot.args(["--json", "device", "boot", "--retry-max", "1", "--dir"]).arg(&dir);
        Watched::start("boot", on(boot))
    };
    let mut device = boot();
    device.event("welcomed");
    device.wait("the app's word", |event| event["text"] == "a word of the device app");
    end(device);
    let mut network = vouch();
    network.args(["device", "network", "--static", "192.0.2.77/24", "--gateway", "192.0.2.1", "--dns", "192.0.2.53"]);
    network.arg("--dir").arg(&dir);
    output(on(network));
    let words: [&[u8]; 13] = [
        IN_THE_IMAGE,
        b"a word of the device app",
        b"a word of its own",
        b"vouch.test",
        b"test-1",
        b"danger-l1-only",
        b"a-proxy-password",
        b"proxy-clerk",
        proxy.as_bytes(),
        b"192.0.2.77",
        b"192.0.2.53",
        b"user-1234",
        b"so-12345678",
    ];
    none_is_on_the_disk(&dir, &words);
    // Its next start tries that network.
    let mut device = boot();
    device.wait("an attempt", |event| event["event"] == "attempt");
    end(device);
    none_is_on_the_disk(&dir, &words);
    let mut status = vouch();
    status.args(["--json", "device", "status", "--dir"]).arg(&dir);
    let status: Value = serde_json::from_str(&output(on(status))).unwrap();
    assert_eq!((&status["boot"]["verified"], &status["keys"]["stand_in"]), (&true.into(), &true.into()));
}

#[test]
fn a_device_booted_with_its_keys_in_a_tpm_leaves_no_plaintext_on_its_disk() {
    let root = tempfile::tempdir().unwrap();
    let tpm = SoftTpm::start(&root.path().join("tpm")).unwrap();
    no_plaintext(root.path(), &spec(&tpm), &|command| command);
}

#[test]
fn a_device_booted_with_its_keys_in_a_token_leaves_no_plaintext_on_its_disk() {
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    no_plaintext(root.path(), &token.spec, &|command| token.on(command));
}

fn no_key_in_a_file(folder: &Path) {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(files.all(|name| !name.ends_with(".key")), "a key is in a file");
}
