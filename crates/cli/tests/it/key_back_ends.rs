//! Devices and a server whose keys are in a TPM or a PKCS#11 token, as a person sets them up.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Server, Watched, output, vouch};

const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A software TPM on loopback.
struct SoftTpm {
    state: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl SoftTpm {
    fn start(state: &Path) -> SoftTpm {
        fs::create_dir_all(state).unwrap();
        let mut tpm = SoftTpm { state: state.to_owned(), port: 0, process: None };
        for _ in 0..20 {
            tpm.port = free_pair();
            if tpm.run() {
                return tpm;
            }
        }
        panic!("swtpm does not start");
    }

    fn run(&mut self) -> bool {
        let server = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", self.state.display())])
            .args(["--server", &server(self.port), "--ctrl", &server(self.port + 1)])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed (scripts/setup test)");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
            // The second port: a connection to the first would be the one that it serves.
            if TcpStream::connect(("127.0.0.1", self.port + 1)).is_ok() {
                self.process = Some(process);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = process.kill();
        process.wait().unwrap();
        false
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn spec(&self) -> String {
        format!("tpm2:swtpm:host=127.0.0.1,port={};pcrs=0,7", self.port)
    }
}

impl Drop for SoftTpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two free ports beside each other: commands and control.
fn free_pair() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(next) = port.checked_add(1)
            && TcpListener::bind(("127.0.0.1", next)).is_ok()
        {
            return port;
        }
    }
}

/// A SoftHSM with one token, and what names it.
struct Token {
    conf: PathBuf,
    spec: String,
}

impl Token {
    fn new(dir: &Path) -> Token {
        let (tokens, conf, pin) = (dir.join("tokens"), dir.join("softhsm2.conf"), dir.join("pin"));
        fs::create_dir_all(&tokens).unwrap();
        fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
        fs::write(&pin, "user-1234\n").unwrap();
        fs::set_permissions(&pin, PermissionsExt::from_mode(0o600)).unwrap();
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "vouch", "--so-pin", "so-12345678", "--pin", "user-1234"]);
        init.env("SOFTHSM2_CONF", &conf);
        output(init);
        Token { conf, spec: format!("pkcs11:{LIBRARY};token=vouch;pin-file={}", pin.display()) }
    }

    /// The files of objects on the token.
    fn files(&self) -> usize {
        let token = fs::read_dir(self.conf.with_file_name("tokens")).unwrap().next().unwrap().unwrap().path();
        let names = fs::read_dir(token).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".object") && name != "token.object").count()
    }

    fn on(&self, mut command: Command) -> Command {
        command.env("SOFTHSM2_CONF", &self.conf);
        command
    }
}

#[test]
fn a_device_lives_on_a_tpm_and_waits_for_it_when_it_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let mut tpm = SoftTpm::start(&root.path().join("tpm"));
    let server = Server::start(root.path(), &["127.70.61.1"]);
    for profile in ["modern", "classic"] {
        let dir = root.path().join(profile);
        output(server.provision_command(&dir, &tpm.spec(), profile, &["--address", "127.70.61.1"]));
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
    assert!(tpm.run(), "swtpm does not start again");
    server.run_device_with(&root.path().join("modern"), &["--danger-no-sandbox"]).event("welcomed");
}

#[test]
fn a_device_lives_on_a_token() {
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let server = Server::start(root.path(), &["127.70.62.1"]);
    let dir = root.path().join("device");
    output(token.on(server.provision_command(&dir, &token.spec, "modern", &["--address", "127.70.62.1"])));
    no_key_in_a_file(&dir.join("keys"));
    let mut run = vouch();
    run.args(["--json", "device", "run", "--danger-no-sandbox", "--dir"]).arg(&dir);
    Watched::start("device", token.on(run)).event("welcomed");
}

#[test]
fn a_device_that_was_not_enrolled_leaves_no_keys_on_its_token() {
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let server = Server::start(root.path(), &["127.70.63.1"]);
    // Nobody listens there.
    let nowhere = ["--address", "127.70.63.2"];
    let provision = server.provision_command(&root.path().join("device"), &token.spec, "modern", &nowhere);
    let refused = token.on(provision).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("was not reached"), "{said}");
    assert_eq!(token.files(), 0, "keys are left on the token");
}

#[test]
fn a_server_serves_with_keys_in_a_token() {
    let root = tempfile::tempdir().unwrap();
    let token = Token::new(root.path());
    let server = Server::start_in_token(root.path(), &["127.70.64.1"], &token.spec, &token.conf);
    no_key_in_a_file(&server.dir.join("pki"));
    assert!(token.files() > 0);
    for profile in ["modern", "classic"] {
        let dir = root.path().join(profile);
        server.provision(&dir, profile, &["--address", "127.70.64.1"]);
        server.run_device(&dir).event("welcomed");
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

fn no_key_in_a_file(folder: &Path) {
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(files.all(|name| !name.ends_with(".key")), "a key is in a file");
}
