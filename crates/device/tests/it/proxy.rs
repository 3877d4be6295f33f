//! Proxies: a real one with and without a password, and false ones of each kind.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keys::keystore::KeystoreSpec;
use keys::profile::Profile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use vouch_device::ProvisionError;
use vouch_device::config::{DeviceConfig, ProxyConfig, ProxyCredentials};
use vouch_device::connect::attempt::{Attempt, AttemptResult};
use vouch_device::connect::diary::Diary;
use vouch_device::folder::Folder;
use vouch_device::limits::Limits;
use vouch_device::{ProvisionOptions, provision};
use zeroize::Zeroizing;

use crate::connect::{attempts_until_welcome, closed_port};
use crate::server::{QUICK, Running, TestServer, config, ports};
use crate::tinyproxy::Tinyproxy;

/// A proxy that answers each CONNECT with these bytes and keeps the connection open.
async fn fake(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(answer).await;
            open.push(client);
        }
    });
    (port, task)
}

fn through(proxy_port: u16, server: &TestServer, credentials: Option<(&str, &str)>) -> DeviceConfig {
    let mut config = config(server.address.port(), Profile::Modern);
    // The proxy finds this name by itself.
    config.server = "localhost".to_owned();
    config.address = None;
    config.proxy = Some(ProxyConfig {
        host: "127.0.0.1".to_owned(),
        port: proxy_port,
        credentials: credentials.map(|(user, password)| ProxyCredentials {
            user: user.to_owned(),
            password: Zeroizing::new(password.to_owned()),
        }),
    });
    config
}

/// The attempts of a provisioning that does not reach the server.
async fn failed_attempts(server: &TestServer, config: DeviceConfig, limits: Limits) -> Vec<Attempt> {
    let dir = tempfile::tempdir().unwrap();
    let options = ProvisionOptions {
        dir: dir.path().join("d"),
        config,
        token: server.token(),
        keys: KeystoreSpec::DangerSoftware,
        factory: Default::default(),
        limits,
    };
    match provision(options, &vouch_device::events::Observer::nobody()).await {
        Err(ProvisionError::NotReached(attempts)) => attempts.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_real_proxy_is_used_for_enrolment_and_session() {
    let server = TestServer::start().await;
    let proxy = Tinyproxy::start("127.0.0.1", "");
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("d");
    server.provision_with(&device, through(proxy.port, &server, None)).await.unwrap();
    let mut device = Running::start(&device, QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    let report = attempts[0].proxy.clone().unwrap();
    assert_eq!((report.status, report.credentials), (Some(200), false));
    assert_eq!(attempts[0].address, Some(SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port))));
    assert_eq!(attempts[0].rule_port, Some(31314));
    device.stop().await;
}

#[tokio::test]
async fn a_real_proxy_with_a_password_lets_only_the_right_one_through() {
    let server = TestServer::start().await;
    let proxy = Tinyproxy::start("127.0.0.1", "BasicAuth factory geheim\n");
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("d");
    let right = Some(("factory", "geheim"));
    server.provision_with(&device, through(proxy.port, &server, right)).await.unwrap();
    let mut running = Running::start(&device, QUICK);
    let attempts = attempts_until_welcome(&mut running).await;
    assert!(attempts[0].proxy.as_ref().unwrap().credentials);
    running.stop().await;
    let diary = Diary::stored(&Folder::open(&device).unwrap().store).unwrap();
    assert!(!diary.is_empty() && !format!("{diary:?}").contains("geheim"));
    for wrong in [None, Some(("factory", "falsch"))] {
        let attempts = failed_attempts(&server, through(proxy.port, &server, wrong), QUICK).await;
        assert!(
            matches!(
                attempts[0].result,
                AttemptResult::ProxyWantsCredentials | AttemptResult::ProxyRefused { status: 401 }
            ),
            "{:?}",
            attempts[0].result
        );
    }
}

#[tokio::test]
async fn a_port_that_the_proxy_forbids_is_passed_to_the_next() {
    let server = TestServer::start().await;
    let allowed = server.address.port();
    let proxy = Tinyproxy::start("127.0.0.1", &format!("ConnectPort {allowed}\n"));
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("d");
    let mut config = through(proxy.port, &server, None);
    config.ports = ports([closed_port(), allowed, allowed]);
    server.provision_with(&device, config).await.unwrap();
    let mut device = Running::start(&device, QUICK);
    let attempts = attempts_until_welcome(&mut device).await;
    assert_eq!(attempts[0].result, AttemptResult::ProxyRefused { status: 403 });
    assert_eq!(attempts[1].rule_port, Some(993));
    device.stop().await;
}

#[tokio::test]
async fn each_false_proxy_has_its_own_result_and_the_server_never_hears_of_it() {
    let server = TestServer::start().await;
    let impatient = Limits { proxy_wait: Duration::from_millis(200), ..QUICK };
    type Expected = fn(&AttemptResult) -> bool;
    let cases: [(&[u8], Expected); 5] = [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", |result| {
            *result == AttemptResult::ProxyWantsCredentials
        }),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", |result| *result == AttemptResult::ProxyRefused { status: 502 }),
        (b"SSH-2.0-OpenSSH_9.9\r\n", |result| matches!(result, AttemptResult::ProxyNotHttp { .. })),
        (b"", |result| *result == AttemptResult::ProxySilent { waited_ms: 200 }),
        (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x00\x00", |result| *result == AttemptResult::ProxyTalksFirst),
    ];
    for (answer, expected) in cases {
        let (port, task) = fake(answer).await;
        let limits = if answer.is_empty() { impatient } else { QUICK };
        let attempts = failed_attempts(&server, through(port, &server, None), limits).await;
        let rule_ports: Vec<_> = attempts.iter().map(|attempt| attempt.rule_port.unwrap()).collect();
        assert_eq!(rule_ports, [31314, 993, 443]);
        assert!(attempts.iter().all(|attempt| expected(&attempt.result)), "{:?}", attempts[0].result);
        task.abort();
    }
}

#[tokio::test]
async fn with_a_proxy_the_servers_name_is_never_looked_up_and_never_dialled() {
    let server = TestServer::start().await;
    let name_server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (port, task) = fake(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    let mut config = through(port, &server, None);
    config.server = "iot.test".to_owned();
    config.dns = vec![name_server.local_addr().unwrap()];
    let attempts = failed_attempts(&server, config, QUICK).await;
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert!(attempts.iter().all(|attempt| attempt.address == Some(proxy) && attempt.lookup.is_none()));
    assert!(name_server.try_recv(&mut [0; 16]).is_err(), "a name server was asked");
    task.abort();
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_tried_once_a_round() {
    let server = TestServer::start().await;
    let attempts = failed_attempts(&server, through(closed_port(), &server, None), QUICK).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].result, AttemptResult::TcpRefused);
}
