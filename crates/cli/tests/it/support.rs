//! A server and devices as a person runs them: processes of the `vouch` binary, watched by their JSON lines.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use keys::pkcs11::SoftHsm;
use serde_json::Value;

use crate::fixture;

/// How long a test waits for an event before it fails; generous, since the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn vouch() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vouch"))
}

/// The OS image, built by the first test that asks for it.
pub(crate) fn os_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut build = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/os-image"));
        // All that it needs is here already, and a test reaches no network.
        build.env("CARGO", env!("CARGO")).env("CARGO_NET_OFFLINE", "true");
        PathBuf::from(output(build).trim_end())
    })
}

/// What a maker's line has: anchors, an encrypted OS image of version 1.0.0, its manifest, and the content key.
pub(crate) fn factory() -> &'static Path {
    static FACTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FACTORY.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let image = fixture::image("1.0.0", 0, &std::fs::read(os_image()).unwrap());
        std::fs::write(dir.path().join("anchors"), fixture::anchors().to_cbor()).unwrap();
        std::fs::write(dir.path().join("os.vouchos"), &image.sealed).unwrap();
        std::fs::write(dir.path().join("os.vouchos.manifest"), &image.manifest).unwrap();
        std::fs::write(dir.path().join("content-key"), const_hex::encode(image.content_key.expose())).unwrap();
        dir
    });
    made.path()
}

/// What gives a device that image when it is provisioned.
pub(crate) fn with_image() -> Vec<OsString> {
    let options = [("--anchors", "anchors"), ("--image", "os.vouchos"), ("--content-key-file", "content-key")];
    options.into_iter().flat_map(|(option, name)| [option.into(), factory().join(name).into()]).collect()
}

/// A loopback address that is this caller's alone: no other test has it and, as far as process ids differ, no other run of them.
pub(crate) fn loopback() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    format!("127.{}.{low}.{}", 128 | (high & 0x3f), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A SoftHSM without tokens in this folder.
pub(crate) fn soft_hsm(dir: &Path) -> SoftHsm {
    let hsm = SoftHsm::find(dir).expect("SoftHSM is installed (scripts/setup test)");
    hsm.make().unwrap();
    hsm
}

/// Runs a command to its end and returns its standard output; fails the test when it fails.
pub(crate) fn output(mut command: Command) -> String {
    let result = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [told, errors] = [&result.stdout, &result.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(result.status.success(), "{command:?} failed: {errors}{told}");
    String::from_utf8(result.stdout).unwrap()
}

/// A running process whose standard output is one JSON object a line. It is killed when it goes out of scope.
pub(crate) struct Watched {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
    name: String,
}

impl Watched {
    pub(crate) fn start(name: &str, mut command: Command) -> Watched {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (to, lines) = channel();
        let out = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if to.send(value).is_err() {
                    return;
                }
            }
        });
        Watched { child, lines, seen: Vec::new(), name: name.to_owned() }
    }

    /// Waits for the next line that fits, and returns it. Lines before it are kept in `seen`.
    pub(crate) fn wait(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(value) => {
                    self.seen.push(value.clone());
                    if fits(&value) {
                        return value;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{}: no {what} in {PATIENCE:?}; seen:\n{}", self.name, self.story())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let mut errors = String::new();
                    let _ = self.child.wait();
                    self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut errors));
                    panic!("{}: ended before {what}; seen:\n{}\n{errors}", self.name, self.story())
                }
            }
        }
    }

    /// Waits for an event by its name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait(name, |value| value["event"] == name)
    }

    /// Takes what has come without waiting.
    pub(crate) fn catch_up(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// Everything seen so far.
    pub(crate) fn seen(&self) -> &[Value] {
        &self.seen
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of a process that was asked to end; what it still says is read, so that it does not wait.
    pub(crate) fn ended(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < deadline, "{}: does not end", self.name);
        self.child.wait().unwrap();
    }

    /// Waits as [`Self::ended`] does; its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.ended();
        self.child.wait().unwrap().code()
    }

    /// Sends a signal and does not wait.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Sends a signal until the process has ended by it: a first SIGSEGV only takes the handler away that tells of stack overflows.
    pub(crate) fn killed_by(&mut self, signal: &str) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{}: {signal} does not end it", self.name);
            let pid = self.pid().to_string();
            let _ = Command::new("kill").args(["-s", signal, &pid]).stderr(Stdio::null()).status();
            thread::sleep(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
        }
    }

    /// Kills without warning, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn story(&self) -> String {
        self.seen.iter().map(|value| format!("{value}\n")).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server folder, its process and a login.
pub(crate) struct Server {
    pub(crate) process: Watched,
    pub(crate) dir: PathBuf,
    pub(crate) http: String,
    wrapper: Vec<String>,
    gateway: Vec<String>,
    options: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Server {
    /// Makes a server whose gateway listens as `gateway` says, and logs in.
    pub(crate) fn start(root: &Path, gateway: &[&str]) -> Server {
        Server::start_with(root, gateway, &[])
    }

    /// The same with more options of `vouch serve`.
    pub(crate) fn start_with(root: &Path, gateway: &[&str], options: &[&str]) -> Server {
        Server::made(root, gateway, options, &[], &[])
    }

    /// A server whose keys are in a token of this SoftHSM.
    pub(crate) fn start_in_token(root: &Path, gateway: &[&str], token: &str, hsm: &SoftHsm) -> Server {
        Server::made(root, gateway, &[], &["--keys", token], &[(SoftHsm::CONFIGURED_BY, &hsm.configuration())])
    }

    fn made(
        root: &Path,
        gateway: &[&str],
        options: &[&str],
        init_options: &[&str],
        environment: &[(&'static str, &Path)],
    ) -> Server {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.to_path_buf())).collect();
        let dir = root.join("server");
        let mut init = vouch();
        init.args(["init", "--name", "vouch.test", "--dir"]).arg(&dir).args(init_options).envs(environment.clone());
        output(init);
        let gateway: Vec<String> = gateway.iter().map(|&address| address.to_owned()).collect();
        let (process, http) = serve(&dir, &gateway, &format!("{}:0", loopback()), &options, &environment);
        let server = Server { process, dir, http, wrapper: Vec::new(), gateway, options, environment };
        let mut login = server.command(&["login", "--user", "admin"]);
        login.arg("--central").arg(format!("http://{}", server.http));
        login.arg("--password-file").arg(server.dir.join("first-password"));
        output(login);
        server
    }

    /// Kills the server and starts it again.
    pub(crate) fn restart_gracelessly(&mut self) {
        self.process.kill();
        self.restart();
    }

    /// Starts the killed server again on the same addresses.
    pub(crate) fn restart(&mut self) {
        let (process, http) = serve(&self.dir, &self.gateway, &self.http, &self.options, &self.environment);
        self.process = process;
        self.http = http;
    }

    /// A command that uses this server's login.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = vouch();
        command.args(arguments).env("VOUCH_LOGIN_FILE", self.dir.join("login.json"));
        command
    }

    /// From now on devices are started through these words, such as `nsenter ...`.
    pub(crate) fn run_devices_through(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
    }

    /// Enrols a device in a new folder.
    pub(crate) fn provision(&self, dir: &Path, profile: &str, more: &[&str]) -> Value {
        serde_json::from_str(&output(self.provision_command(dir, "danger-software", profile, more))).unwrap()
    }

    /// What enrols a device whose keys are in this back end.
    pub(crate) fn provision_command(&self, dir: &Path, keys: &str, profile: &str, more: &[&str]) -> Command {
        let token = output(self.command(&["enrolment-token"]));
        let token_file = dir.with_extension("token");
        std::fs::write(&token_file, token).unwrap();
        let mut command = self.device_command();
        command.args([
            "--json",
            "device",
            "provision",
            "--server",
            "vouch.test",
            "--model",
            "test-1",
            "--keys",
            keys,
            "--profile",
            profile,
        ]);
        command.arg("--token-file").arg(&token_file).arg("--dir").arg(dir).args(more);
        command
    }

    /// Enrols a device in a new folder that boots the OS image.
    pub(crate) fn provision_to_boot(&self, dir: &Path, profile: &str, more: &[&str]) -> Value {
        let mut command = self.provision_command(dir, "danger-software", profile, more);
        command.args(with_image());
        serde_json::from_str(&output(command)).unwrap()
    }

    /// Boots the device in a folder.
    pub(crate) fn boot_device(&self, dir: &Path, more: &[&str]) -> Watched {
        let mut command = self.device_command();
        command.args(["--json", "device", "boot", "--dir"]).arg(dir).args(more);
        Watched::start("boot", command)
    }

    /// Runs the device in a folder.
    pub(crate) fn run_device(&self, dir: &Path) -> Watched {
        self.run_device_with(dir, &[])
    }

    /// The same with more options.
    pub(crate) fn run_device_with(&self, dir: &Path, more: &[&str]) -> Watched {
        let mut command = self.device_command();
        command.args(["--json", "device", "run", "--dir"]).arg(dir).args(more);
        Watched::start("device", command)
    }

    /// Deploys the two halves of an application of `examples/`.
    pub(crate) fn deploy(&self, example: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(example);
        self.deploy_files(&folder.join("device.nut"), &folder.join("agent.nut"));
    }

    /// Deploys two source files.
    pub(crate) fn deploy_files(&self, device: &Path, agent: &Path) {
        let mut command = self.command(&["deploy", "--device"]);
        command.arg(device).arg("--agent").arg(agent);
        output(command);
    }

    /// The URL of a device's agent.
    pub(crate) fn agent_url(&self, device: &str) -> String {
        let list: Value = serde_json::from_str(&output(self.command(&["--json", "device", "list"]))).unwrap();
        let entry = list.as_array().unwrap().iter().find(|entry| entry["id"] == device).unwrap();
        entry["attributes"]["agent_url"].as_str().unwrap().to_owned()
    }

    fn device_command(&self) -> Command {
        let Some((first, rest)) = self.wrapper.split_first() else { return vouch() };
        let mut command = Command::new(first);
        command.args(rest).arg(env!("CARGO_BIN_EXE_vouch"));
        command
    }
}

fn serve(
    dir: &Path,
    gateway: &[String],
    http: &str,
    options: &[String],
    environment: &[(&'static str, PathBuf)],
) -> (Watched, String) {
    let mut command = vouch();
    command.envs(environment.iter().cloned());
    command.args(["--json", "serve", "--http", http, "--dir"]).arg(dir).args(options);
    for address in gateway {
        command.args(["--gateway", address]);
    }
    let mut process = Watched::start("server", command);
    let serving = process.event("serving");
    (process, serving["http"].as_str().unwrap().to_owned())
}

/// What an agent answers with status 200: after a deployment or a start of the server it is not there at once.
pub(crate) fn answered(method: &str, url: &str, body: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = http(method, url, body);
        if status == 200 {
            return answer;
        }
        assert!(Instant::now() < deadline, "{method} {url}: {status} {answer}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An HTTP request to an agent or to central: status and body.
pub(crate) fn http(method: &str, url: &str, body: &str) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args([
        "-s",
        "-m",
        "20",
        "--noproxy",
        "*",
        "-X",
        method,
        "-w",
        "\n%{http_code}",
        "--data-binary",
        body,
        url,
    ]);
    let text = output(command);
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}
