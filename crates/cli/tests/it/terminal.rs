//! Terminals: a password is asked for in silence, the terminal is left as it was, and one that stops reading stops nobody.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::support::{PATIENCE, Server, loopback, output, vouch};

/// A terminal and, at it, a login that waits for the password.
struct Asked {
    terminal: File,
    login: Child,
}

impl Asked {
    fn start() -> Asked {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let user: File = ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap().into();
        let terminal = File::from(controller);
        let mut command = vouch();
        // Port 1 is closed: after the password comes a failure, and no login file.
        command.args(["login", "--user", "u", "--central", "http://127.0.0.1:1"]);
        let mut login = command.stdin(user).stderr(Stdio::piped()).spawn().unwrap();
        let mut prompt = [0; 10];
        login.stderr.as_mut().unwrap().read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"Password: ");
        Asked { terminal, login }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn a_password_is_not_shown_and_the_terminal_is_as_before() {
    let mut asked = Asked::start();
    assert!(!asked.echoes(), "asked before the terminal was silent");
    (&asked.terminal).write_all(b"secret\n").unwrap();
    let status = asked.login.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    asked.login.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("does not answer"), "{said}");
    assert!(asked.echoes());
}

#[test]
fn a_login_that_is_interrupted_leaves_no_mute_terminal() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut asked = Asked::start();
        assert!(!asked.echoes());
        kill_process(Pid::from_child(&asked.login), signal).unwrap();
        let status = asked.login.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(asked.echoes(), "the terminal stays mute after {signal:?}");
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_that_stops_reading_stops_no_device() {
    let here = &loopback();
    /// More than a pipe holds, at a quarter of a kilobyte each.
    const LINES: u32 = 1000;
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(root.path(), &[here]);
    let (device, agent) = (root.path().join("device.nut"), root.path().join("agent.nut"));
    let words = "a".repeat(256);
    let app = "local n = 0; function tick() { for (local i = 0; i < 20; i++) server.log((n++) + \" WORDS\"); imp.wakeup(0.1, tick); } tick();";
    std::fs::write(&device, app.replace("WORDS", &words)).unwrap();
    std::fs::write(&agent, "").unwrap();
    server.deploy_files(&device, &agent);
    let dir = root.path().join("device");
    let id = server.provision(&dir, "modern", &["--address", here])["device_id"].as_str().unwrap().to_owned();
    let mut run = vouch();
    run.args(["device", "run", "--dir"]).arg(&dir);
    let mut run = Running(run.stdout(Stdio::piped()).spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let newest = || -> u32 {
        let line = output(server.command(&["logs", &id, "-n", "1"]));
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0)
    };
    while newest() < LINES {
        assert!(Instant::now() < deadline, "the device waits for the reader of its output");
        std::thread::sleep(Duration::from_millis(100));
    }
    kill_process(Pid::from_child(&run.0), Signal::TERM).unwrap();
    while run.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the device does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
}
