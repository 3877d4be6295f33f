//! A thousand connections from one address that go no further than they have to, while a real device from another address logs in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use keys::profile::Profile;
use keys::tls::ServerName;
use server::gateway::{GatewayEventKind, GatewayLimits};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::ClientConnection;
use vouch_tests::attacker::client;
use vouch_tests::product::Product;
use vouch_tests::site::{NAME, Operator, Site};

const CROWD: usize = 1_000;
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A site whose deadlines are far beyond the test, so that only the shares of each address help the device.
async fn patient_site() -> Site {
    let long = Duration::from_secs(600);
    let limits = GatewayLimits {
        hello_deadline: long,
        flight_deadline: long,
        handshake_deadline: long,
        waiting_deadline: long,
        ..GatewayLimits::default()
    };
    Site::with(Operator::Ours, Ipv4Addr::new(127, 77, 0, 1), limits).await
}

async fn crowd(site: &Site, first_words: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((ATTACKER, 0))).unwrap();
        let mut tcp = socket.connect(site.gateway()).await.unwrap();
        tcp.write_all(first_words).await.unwrap();
        crowd.push(tcp);
    }
    crowd
}

fn client_hello(site: &Site, product: &Product) -> Vec<u8> {
    let config = client(&product.credential(), &site.pki().server_roots, product.profile);
    let mut connection = ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// The real device dials, from its own address, and is welcome long before any deadline of the crowd.
async fn logs_in_soon(site: &mut Site, product: &Product) {
    // The crowd before has left more behind than is kept.
    site.events = site.events.resubscribe();
    let mut device = product.run();
    device.welcomed().await;
    let from = loop {
        let event = site.events.recv().await.unwrap();
        if matches!(event.what, GatewayEventKind::Welcomed { .. }) {
            break event.peer.ip();
        }
    };
    assert_ne!(from, IpAddr::from(ATTACKER));
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_that_send_nothing_keep_no_device_out() {
    let mut site = patient_site().await;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let crowd = crowd(&site, &[]).await;
        site.until(|counters| counters.lobby() == CROWD as u64).await;
        logs_in_soon(&mut site, &product).await;
        assert_eq!(site.counters.lobby(), CROWD as u64, "the crowd is still there");
        drop(crowd);
        site.until(|counters| counters.connections() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_with_half_a_client_hello_keep_no_device_out() {
    let mut site = patient_site().await;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let hello = client_hello(&site, &product);
        let crowd = crowd(&site, &hello[..hello.len() / 2]).await;
        site.until(|counters| counters.lobby() == CROWD as u64).await;
        assert_eq!(site.counters.door(), 0, "half a ClientHello does not come to the door");
        logs_in_soon(&mut site, &product).await;
        drop(crowd);
        site.until(|counters| counters.connections() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_that_stop_after_the_servers_flight_keep_no_device_out() {
    let mut site = patient_site().await;
    for profile in Profile::ALL {
        let product = Product::provision(&site, profile).await;
        let hello = client_hello(&site, &product);
        let crowd = crowd(&site, &hello).await;
        let share = GatewayLimits::default().door_per_source as u64;
        site.until(|counters| counters.door() == share && counters.waiting() == CROWD as u64 - share).await;
        logs_in_soon(&mut site, &product).await;
        drop(crowd);
        site.until(|counters| counters.connections() == 0).await;
    }
}
