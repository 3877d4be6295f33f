//! A real HTTP proxy on loopback, stopped when dropped.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::PATIENCE;

/// tinyproxy at work.
pub struct Tinyproxy {
    /// The port of 127.0.0.1 on which it listens.
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

impl Tinyproxy {
    /// Starts it with these lines added to its configuration.
    pub async fn start(more: &str) -> Tinyproxy {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let path = dir.path().join("tinyproxy.conf");
        let text = format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 20\n{more}");
        std::fs::write(&path, text).unwrap();
        let child = Command::new("tinyproxy")
            .args(["-d", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs `tinyproxy`: install the package of that name");
        let proxy = Tinyproxy { port, child, _dir: dir };
        // Its port is the only sign of life that it gives.
        let up = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("tinyproxy listens");
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
