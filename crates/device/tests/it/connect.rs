//! Addresses, ports in the rule's order, silence and refusal, false servers: what is tried and what the diary says of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, RecordType};
use keys::profile::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use vouch_device::config::DeviceConfig;
use vouch_device::connect::attempt::{Attempt, AttemptResult};
use vouch_device::connect::diary::Diary;
use vouch_device::events::DeviceEvent;
use vouch_device::folder::Folder;
use vouch_device::limits::Limits;

use crate::dns::{FakeServer, record, reply};
use crate::server::{QUICK, Running, Seen, TestServer, ports};

/// A port at which nothing listens; it stays taken as long as the tests run, so that nobody else gets it.
pub(crate) fn closed_port() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}

/// A port whose packets are dropped: the queue of its listener is full and nobody takes from it.
struct DroppingPort {
    port: u16,
    _sockets: Vec<OwnedFd>,
}

impl DroppingPort {
    fn new() -> DroppingPort {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
        let socket = |flags| socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let listener = socket(SocketFlags::CLOEXEC);
        bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let mut sockets = vec![listener];
        for _ in 0..8 {
            let filler = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            // The first ones are queued, the others hang; none is refused.
            let _ = connect(&filler, &address);
            sockets.push(filler);
        }
        DroppingPort { port: address.port(), _sockets: sockets }
    }
}

/// The attempts of a running device up to the first welcome, that one included.
pub(crate) async fn attempts_until_welcome(device: &mut Running) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    device
        .until(|event| {
            let DeviceEvent::Attempt(attempt) = event else { return None };
            let welcomed = attempt.result == AttemptResult::Welcomed;
            attempts.push(*attempt);
            welcomed.then_some(())
        })
        .await;
    attempts
}

pub(crate) async fn next_attempt(device: &mut Running) -> Attempt {
    device.until(|event| if let DeviceEvent::Attempt(attempt) = event { Some(*attempt) } else { None }).await
}

/// A device of this server whose configuration file is changed before it runs.
async fn device_with_ports(server: &TestServer, map: [u16; 3]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    change_config(dir.path(), |config| config.ports = ports(map));
    dir
}

pub(crate) fn change_config(dir: &std::path::Path, change: impl FnOnce(&mut DeviceConfig)) {
    let mut folder = Folder::open(&dir.join("d")).unwrap();
    let mut config = folder.config.clone();
    change(&mut config);
    folder.store_config(config).unwrap();
}

fn rule_ports(attempts: &[Attempt]) -> Vec<u16> {
    attempts.iter().map(|attempt| attempt.rule_port.unwrap()).collect()
}

#[tokio::test]
async fn closed_ports_are_passed_in_the_rules_order() {
    let server = TestServer::start().await;
    let closed = [closed_port(), closed_port()];
    let dir = device_with_ports(&server, [closed[0], closed[1], server.address.port()]).await;
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    assert_eq!(rule_ports(&attempts), [31314, 993, 443]);
    assert_eq!(attempts[0].port, Some(closed[0]));
    assert_eq!(attempts[0].result, AttemptResult::TcpRefused);
    assert_eq!(attempts[1].result, AttemptResult::TcpRefused);
    assert_eq!(attempts[2].address, Some(server.address));
    device.stop().await;
}

#[tokio::test]
async fn a_dropped_port_costs_a_wait_that_is_shorter_the_next_time_and_each_round_begins_with_it() {
    let server = TestServer::start().await;
    let dropped = DroppingPort::new();
    let dir = device_with_ports(&server, [dropped.port, closed_port(), closed_port()]).await;
    let limits =
        Limits { tcp_wait: Duration::from_millis(300), tcp_wait_after_silence: Duration::from_millis(100), ..QUICK };
    let mut device = Running::start(&dir.path().join("d"), limits);
    let mut attempts = Vec::new();
    while attempts.len() < 6 {
        attempts.push(next_attempt(&mut device).await);
    }
    assert_eq!(rule_ports(&attempts), [31314, 993, 443, 31314, 993, 443]);
    assert_eq!(attempts[0].result, AttemptResult::TcpNoAnswer { waited_ms: 300 });
    assert_eq!(attempts[1].result, AttemptResult::TcpRefused);
    assert_eq!(attempts[3].result, AttemptResult::TcpNoAnswer { waited_ms: 100 });
    assert!(attempts[0].to_string().contains("no answer within 0.300 s (a firewall drops it?)"), "{}", attempts[0]);
    device.stop().await;
}

#[tokio::test]
async fn a_false_server_is_named_in_the_diary_and_the_next_port_is_tried() {
    let server = TestServer::start().await;
    let foreign = TestServer::foreign().await;
    let there = server.address.port();
    let dir = device_with_ports(&server, [foreign.address.port(), there, there]).await;
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    assert_eq!(rule_ports(&attempts), [31314, 993]);
    assert!(matches!(attempts[0].result, AttemptResult::TlsCertificate { .. }), "{:?}", attempts[0].result);
    let (seen, right) = (attempts[0].certificate.as_ref().unwrap(), attempts[1].certificate.as_ref().unwrap());
    assert_ne!(seen.spki_sha256, right.spki_sha256);
    assert!(!seen.subject.is_empty());
    assert!(attempts[0].tls.is_none());
    let sentence = attempts[0].to_string();
    for told in ["must be exempted", &seen.issuer, &seen.spki_sha256.to_string()] {
        assert!(sentence.contains(told), "{told} is missing: {sentence}");
    }
    device.stop().await;
}

/// Something on the way that answers every connection with these bytes.
async fn portal(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(answer).await;
        }
    });
    port
}

#[tokio::test]
async fn a_captive_portal_is_told_in_a_plain_sentence() {
    let server = TestServer::start().await;
    let redirects =
        portal(b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/login\r\nContent-Length: 0\r\n\r\n").await;
    let blocks = portal(b"HTTP/1.1 403 Forbidden\r\n\r\n<html>blocked</html>").await;
    let dir = device_with_ports(&server, [redirects, blocks, server.address.port()]).await;
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    let location = Some("http://portal.test/login".to_owned());
    assert_eq!(attempts[0].result, AttemptResult::HttpAnswered { status: 302, location });
    assert_eq!(attempts[1].result, AttemptResult::HttpAnswered { status: 403, location: None });
    let sentence = attempts[0].to_string();
    assert!(sentence.contains("(HTTP 302, leading to http://portal.test/login): a captive portal"), "{sentence}");
    device.stop().await;
}

#[tokio::test]
async fn a_name_server_that_leads_astray_is_passed_over_in_the_next_round() {
    let leading_to = |last: u8| {
        move |question: &hickory_proto::op::Message| {
            let (mut answer, query) = (reply(question), &question.queries[0]);
            if query.query_type() == RecordType::A {
                answer.add_answer(record(query.name(), RData::A(A::new(127, 0, 0, last))));
            }
            vec![answer.to_vec().unwrap()]
        }
    };
    let server = TestServer::start().await;
    // Nothing listens at 127.0.0.2; the server is at 127.0.0.1.
    let (liar, honest) = (FakeServer::start(leading_to(2)).await, FakeServer::start(leading_to(1)).await);
    let dir = device_with_ports(&server, [server.address.port(); 3]).await;
    change_config(dir.path(), |config| {
        config.dns = vec![liar.address, honest.address];
        config.address = None;
    });
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    let told: Vec<_> = attempts.iter().map(|attempt| attempt.lookup.as_ref().unwrap().servers[0]).collect();
    assert_eq!(told, [liar.address, liar.address, liar.address, honest.address]);
    device.stop().await;
}

#[tokio::test]
async fn a_server_that_swallows_tls_is_given_up() {
    let server = TestServer::start().await;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let there = server.address.port();
    let dir = device_with_ports(&server, [silent.local_addr().unwrap().port(), there, there]).await;
    let limits = Limits { tls_wait: Duration::from_millis(200), ..QUICK };
    let mut device = Running::start(&dir.path().join("d"), limits);
    let attempts = attempts_until_welcome(&mut device).await;
    assert_eq!(attempts[0].result, AttemptResult::TlsNoAnswer { waited_ms: 200 });
    device.stop().await;
}

#[tokio::test]
async fn a_connection_that_dies_before_the_verdict_sends_the_device_to_the_next_port() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    server.rules().mute = true;
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    for rule_port in [31314, 993, 443] {
        let attempt = next_attempt(&mut device).await;
        assert_eq!(attempt.rule_port, Some(rule_port));
        assert!(matches!(attempt.result, AttemptResult::LoginBroken { .. }), "{:?}", attempt.result);
    }
    server.rules().mute = false;
    assert!(!attempts_until_welcome(&mut device).await.is_empty());
    device.stop().await;
}

#[tokio::test]
async fn a_client_certificate_of_another_operator_gets_an_alert() {
    let (server, foreign) = (TestServer::start().await, TestServer::foreign().await);
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    foreign.provision(&dir.path().join("stranger"), Profile::Modern).await.unwrap();
    for name in ["device-tls-modern.key", "device-tls-modern.chain"] {
        let keys = |device: &str| dir.path().join(device).join("keys").join(name);
        std::fs::copy(keys("stranger"), keys("d")).unwrap();
    }
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let attempt = next_attempt(&mut device).await;
    assert!(matches!(attempt.result, AttemptResult::TlsAlert { .. }), "{:?}", attempt.result);
    device.stop().await;
}

#[tokio::test]
async fn the_servers_name_is_looked_up_with_the_configured_name_servers() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    let name_server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dns = name_server.local_addr().unwrap();
    change_config(dir.path(), |config| {
        config.dns = vec![dns];
        config.address = None;
    });
    let limits = Limits { dns_wait: Duration::from_millis(100), ..QUICK };
    let mut device = Running::start(&dir.path().join("d"), limits);
    let attempt = next_attempt(&mut device).await;
    assert!(matches!(attempt.result, AttemptResult::NameNotFound { .. }), "{:?}", attempt.result);
    assert_eq!(attempt.lookup.unwrap().servers, [dns]);
    let mut packet = [0; 512];
    let (length, _) = name_server.recv_from(&mut packet).await.unwrap();
    let question = hickory_proto::op::Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(question.queries[0].name().to_string(), "iot.test.");
    device.stop().await;
}

#[tokio::test]
async fn the_server_is_told_of_the_failures_before_the_success() {
    let server = TestServer::start().await;
    let there = server.address.port();
    let dir = device_with_ports(&server, [closed_port(), there, there]).await;
    let mut device = Running::start(&dir.path().join("d"), QUICK);
    let entries = server.until(|seen| if let Seen::Diary(entries) = seen { Some(entries) } else { None }).await;
    let told: Vec<_> = entries.iter().map(|entry| (entry.rule_port, entry.stage)).collect();
    use protocol::report::DiaryStage::{Open, Tcp};
    assert_eq!(told, [(Some(31314), Tcp), (Some(993), Open)]);
    assert!(entries[0].outcome.contains("refused"), "{}", entries[0].outcome);
    assert!(entries[1].certificate.is_some());
    device.until(|event| matches!(event, DeviceEvent::Welcomed(_)).then_some(())).await;
    device.stop().await;
    let folder = Folder::open(&dir.path().join("d")).unwrap();
    assert_eq!(Diary::stored(&folder.store).unwrap().len(), 2);
}

#[test]
fn the_runtime_never_binds_and_never_listens() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // A self-test tries what must be refused.
            if path.ends_with("self_test/attempts.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            looked_at += 1;
            for word in ["bind(", "listen(", "Listener", "accept("] {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                assert!(!code.into_iter().any(|line| line.contains(word)), "{}: {word}", path.display());
            }
        }
    }
    assert!(looked_at > 15);
}
