//! A whole server: made, started, stopped, started again on what it kept.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use protocol::facts::PORTS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vouch_server::gateway::{GatewayLimits, Listen};
use vouch_server::{FIRST_ACCOUNT, InitOptions, KEEPALIVE_S, LIMITS, Server, ServerConfig, StartError, Troubles, init};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

fn config(dir: &Path) -> ServerConfig {
    ServerConfig {
        dir: dir.to_owned(),
        listen: PORTS.map(|rule_port| Listen { rule_port, addr: SocketAddr::from((LOOPBACK, 0)) }).to_vec(),
        http: SocketAddr::from((LOOPBACK, 0)),
        public_url: None,
        keepalive_s: KEEPALIVE_S,
        danger_agents_private_addresses: false,
        gateway: GatewayLimits::default(),
        limits: LIMITS,
        troubles: Troubles::new(&LIMITS),
    }
}

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_on_what_init_made_stops_in_time_and_starts_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("server");
    assert!(matches!(Server::start(config(&dir)).await, Err(StartError::NoServer(_))));
    let options = InitOptions {
        dir: dir.clone(),
        names: vec!["server.example".to_owned()],
        operator: "Test".to_owned(),
        account: FIRST_ACCOUNT.to_owned(),
        password: None,
        token: None,
    };
    init(options, &LIMITS).await.unwrap();
    for _ in 0..2 {
        let running = Server::start(config(&dir)).await.unwrap();
        assert_eq!(running.listens().iter().map(|listen| listen.rule_port).collect::<Vec<_>>(), PORTS);
        assert!(get(running.http(), "/health").await.starts_with("HTTP/1.1 200"));
        assert!(get(running.http(), "/v5/devices").await.starts_with("HTTP/1.1 401"));
        assert!(get(running.http(), "/agent/AAAAAAAAAAAA").await.starts_with("HTTP/1.1 404"));
        let http = running.http();
        // A connection that is open and silent does not hold the end up.
        let _idle = TcpStream::connect(http).await.unwrap();
        timeout(PATIENCE, running.stop()).await.expect("stopped in time");
        assert!(TcpStream::connect(http).await.is_err(), "nothing listens any more");
    }
}
