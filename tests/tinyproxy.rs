//! A real HTTP proxy on loopback, stopped when dropped.
#![allow(unreachable_pub, reason = "it is part of the tests of several crates")]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take until it listens; only a failing test waits that long.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// tinyproxy at work.
#[derive(Debug)]
pub struct Tinyproxy {
    /// The port on which it listens.
    pub port: u16,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Tinyproxy {
    /// Starts it on a free port of this address, with these lines added to its configuration.
    pub fn start(address: &str, more: &str) -> Tinyproxy {
        let deadline = Instant::now() + STARTS_WITHIN;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tinyproxy.conf");
        let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let text = format!("Port {port}\nListen {address}\nTimeout 60\nMaxClients 20\n{more}");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("tinyproxy");
        command.args(["-d", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("tinyproxy is installed (scripts/setup test)");
        let mut proxy = Tinyproxy { port, child, _dir: dir };
        // Its port is the only sign of life that it gives.
        while TcpStream::connect((address, port)).is_err() {
            assert!(proxy.child.try_wait().unwrap().is_none(), "tinyproxy has ended: is port {port} taken?");
            assert!(Instant::now() < deadline, "tinyproxy does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        proxy
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
