//! Proxies: false ones of each kind, and a real one with and without a password, between the real device and the real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use device::config::{DeviceConfig, ProxyConfig, ProxyCredentials};
use device::connect::attempt::AttemptResult;
use device::limits::Limits;
use keys::profile::Profile;
use protocol::facts::PORTS;
use server::gateway::GatewayLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use vouch_tests::product::{AtWork, Product, QUICK};
use vouch_tests::site::{Operator, Site};
use vouch_tests::tinyproxy::Tinyproxy;
use zeroize::Zeroizing;

/// A proxy that answers each CONNECT with these bytes and keeps the connection open.
async fn false_proxy(answer: &'static [u8]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 2048]).await;
            let _ = client.write_all(answer).await;
            open.push(client);
        }
    });
    (port, task)
}

/// Runs a device behind this false proxy and returns what its attempts came to.
async fn behind(answer: &'static [u8]) -> Vec<AttemptResult> {
    let site = Site::start().await;
    let product = Product::provision(&site, Profile::Modern).await;
    let accepted = site.counters.accepted();
    let (port, task) = false_proxy(answer).await;
    product
        .change_config(|config| config.proxy = Some(ProxyConfig { host: "127.0.0.1".into(), port, credentials: None }));
    // Who waits for an answer that comes waits long enough.
    let proxy_wait = if answer.is_empty() { Duration::from_millis(200) } else { QUICK.proxy_wait };
    let mut device = product.run_with(Limits { proxy_wait, ..QUICK });
    let round = device.failed_round().await;
    assert_eq!(round.iter().map(|(rule_port, _)| *rule_port).collect::<Vec<_>>(), PORTS);
    assert_eq!(site.counters.accepted(), accepted, "the device does not go round its proxy");
    device.stop().await;
    task.abort();
    round.into_iter().map(|(_, result)| result).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_407_is_named() {
    let results = behind(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    assert!(results.iter().all(|result| *result == AttemptResult::ProxyWantsCredentials), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_502_is_named() {
    let results = behind(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    assert!(results.iter().all(|result| *result == AttemptResult::ProxyRefused { status: 502 }), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_garbage_is_named() {
    let results = behind(b"SSH-2.0-x\r\n").await;
    assert!(results.iter().all(|result| matches!(result, AttemptResult::ProxyNotHttp { .. })), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_nothing_is_given_up() {
    let results = behind(b"").await;
    assert!(results.iter().all(|result| *result == AttemptResult::ProxySilent { waited_ms: 200 }), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_speaks_in_the_servers_place_is_refused() {
    let results = behind(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x00\x00").await;
    assert!(results.iter().all(|result| *result == AttemptResult::ProxyTalksFirst), "{results:?}");
}

/// A device of this server that reaches it by its name through this proxy.
fn through(site: &Site, profile: Profile, port: u16, credentials: Option<(&str, &str)>) -> DeviceConfig {
    let credentials = credentials.map(|(user, password)| ProxyCredentials {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    });
    DeviceConfig {
        // The proxy finds this name by itself.
        server: "localhost".to_owned(),
        address: None,
        proxy: Some(ProxyConfig { host: "127.0.0.1".to_owned(), port, credentials }),
        ..site.device_config(profile)
    }
}

/// The proxy's answer and whether a password was offered, of the attempt that opened the session.
async fn welcomed_through(device: &mut AtWork) -> (Option<u16>, bool, Option<SocketAddr>) {
    device
        .until(|event| match event {
            device::events::DeviceEvent::Attempt(attempt) if attempt.result == AttemptResult::Welcomed => {
                let proxy = attempt.proxy.unwrap();
                Some((proxy.status, proxy.credentials, attempt.address))
            }
            _ => None,
        })
        .await
}

async fn enrols_and_logs_in_through(more: &str, credentials: Option<(&str, &str)>) {
    let site = Site::with(Operator::Ours, Ipv4Addr::LOCALHOST, GatewayLimits::default()).await;
    let proxy = Tinyproxy::start("127.0.0.1", more);
    for profile in Profile::ALL {
        let config = through(&site, profile, proxy.port, credentials);
        let product = Product::made(config, site.token(1).await).await;
        let mut device = product.run();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port));
        assert_eq!(welcomed_through(&mut device).await, (Some(200), credentials.is_some(), Some(at)));
        device.stop().await;
    }
    assert_eq!((site.counters.enrolments(), site.counters.logins()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_real_proxy_a_device_of_each_profile_enrols_and_logs_in() {
    enrols_and_logs_in_through("", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_real_proxy_with_a_password_a_device_of_each_profile_enrols_and_logs_in() {
    enrols_and_logs_in_through("BasicAuth factory geheim\n", Some(("factory", "geheim"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_lets_nobody_through_without_the_right_password() {
    let site = Site::with(Operator::Ours, Ipv4Addr::LOCALHOST, GatewayLimits::default()).await;
    let proxy = Tinyproxy::start("127.0.0.1", "BasicAuth factory geheim\n");
    for wrong in [None, Some(("factory", "falsch"))] {
        let product = Product::made(site.device_config(Profile::Modern), site.token(1).await).await;
        let accepted = site.counters.accepted();
        product.change_config(|config| {
            let credentials = wrong.map(|(user, password): (&str, &str)| ProxyCredentials {
                user: user.into(),
                password: Zeroizing::new(password.into()),
            });
            config.proxy = Some(ProxyConfig { host: "127.0.0.1".into(), port: proxy.port, credentials });
        });
        let mut device = product.run();
        for (_, result) in device.failed_round().await {
            // tinyproxy answers 401 where the standard asks for 407, when the password is wrong.
            let refused = [AttemptResult::ProxyWantsCredentials, AttemptResult::ProxyRefused { status: 401 }];
            assert!(refused.contains(&result), "{result:?}");
        }
        assert_eq!(site.counters.accepted(), accepted);
        device.stop().await;
    }
}
