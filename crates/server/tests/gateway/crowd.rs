//! A crowd of connections that go no further than they have to, while a device logs in from elsewhere.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::rig::device::{TestDevice, tcp_from};
use crate::rig::link::Link;
use crate::rig::{NAME, PATIENCE, Rig};
use keys::pki::ServerName;
use keys::profile::Profile;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConnection;
use vouch_server::gateway::{GatewayLimits, Turned};
use vouch_server::limits::LIMITS;

const CROWD: usize = 1_000;
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Deadlines far beyond the test, so that only the shares help the device.
fn patient() -> GatewayLimits {
    let long = Duration::from_secs(600);
    GatewayLimits {
        hello_deadline: long,
        flight_deadline: long,
        handshake_deadline: long,
        waiting_deadline: long,
        ..GatewayLimits::default()
    }
}

async fn crowd(rig: &Rig, first_words: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut tcp = tcp_from(rig.addr(), ATTACKER).await;
        tcp.write_all(first_words).await.unwrap();
        crowd.push(tcp);
    }
    crowd
}

fn client_hello(device: &TestDevice) -> Vec<u8> {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = ClientConnection::new(Arc::clone(device.config.as_ref().unwrap()), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Long before any deadline of the crowd.
async fn logs_in_soon(rig: &Rig, device: &TestDevice) {
    let login = Link::login_from(device, rig.addr(), ELSEWHERE, device.identity.clone());
    let login = timeout(PATIENCE, login).await.expect("the crowd is in the way");
    assert!(login.is_ok(), "{:?}", login.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_send_nothing_keep_no_device_out() {
    let rig = Rig::with(patient(), LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    let crowd = crowd(&rig, &[]).await;
    rig.until(|counters| counters.lobby() == CROWD as u64).await;
    logs_in_soon(&rig, &device).await;
    assert_eq!(rig.counters.lobby(), CROWD as u64, "the crowd is still there");
    drop(crowd);
    rig.until(|counters| counters.lobby() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_send_half_a_client_hello_keep_no_device_out() {
    let rig = Rig::with(patient(), LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    let hello = client_hello(&device);
    let crowd = crowd(&rig, &hello[..hello.len() / 2]).await;
    rig.until(|counters| counters.lobby() == CROWD as u64).await;
    assert_eq!(rig.counters.door(), 0, "half a ClientHello does not come to the door");
    logs_in_soon(&rig, &device).await;
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_stop_after_the_servers_flight_keep_no_device_out() {
    for profile in Profile::ALL {
        let rig = Rig::with(patient(), LIMITS, 60).await;
        let device = rig.device(profile).await;
        let share = GatewayLimits::default().door_per_source as u64;
        let crowd = crowd(&rig, &client_hello(&device)).await;
        rig.until(|counters| counters.door() == share && counters.waiting() == CROWD as u64 - share).await;
        logs_in_soon(&rig, &device).await;
        drop(crowd);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_is_out_after_the_deadline_of_its_stage() {
    // Whoever sends its ClientHello at once is in time, on a slow machine too.
    let (hello_deadline, flight_deadline) = (Duration::from_secs(1), Duration::from_millis(200));
    let limits = GatewayLimits { hello_deadline, flight_deadline, ..GatewayLimits::default() };
    let rig = Rig::with(limits, LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    let hello = client_hello(&device);
    let mut nothing = tcp_from(rig.addr(), ATTACKER).await;
    let mut half = tcp_from(rig.addr(), ATTACKER).await;
    half.write_all(&hello[..hello.len() / 2]).await.unwrap();
    rig.until(|counters| counters.turned(Turned::HelloDeadline) == 2).await;
    let mut whole = tcp_from(rig.addr(), ATTACKER).await;
    whole.write_all(&hello).await.unwrap();
    rig.until(|counters| counters.turned(Turned::FlightDeadline) == 1).await;
    rig.until(|counters| counters.connections() == 0).await;
    for gone in [&mut nothing, &mut half, &mut whole] {
        gone.shutdown().await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_trickles_its_handshake_is_out_after_the_whole_deadline() {
    let limits = GatewayLimits {
        handshake_deadline: Duration::from_millis(300),
        flight_deadline: Duration::from_secs(600),
        ..GatewayLimits::default()
    };
    let rig = Rig::with(limits, LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    let mut tcp = tcp_from(rig.addr(), ATTACKER).await;
    tcp.write_all(&client_hello(&device)).await.unwrap();
    rig.until(|counters| counters.turned(Turned::HandshakeDeadline) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lobby_drops_a_sources_oldest_and_a_full_queue_at_the_door_refuses() {
    let limits = GatewayLimits {
        lobby: 10,
        lobby_per_source: 10,
        door_per_source: 1,
        waiting: 5,
        waiting_per_source: 5,
        ..patient()
    };
    let rig = Rig::with(limits, LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    let mut idle = Vec::new();
    for _ in 0..15 {
        idle.push(tcp_from(rig.addr(), ATTACKER).await);
    }
    rig.until(|counters| counters.lobby() == 10 && counters.turned(Turned::Evicted) == 5).await;
    drop(idle);
    rig.until(|counters| counters.lobby() == 0).await;
    let hello = client_hello(&device);
    let mut eager = Vec::new();
    for _ in 0..10 {
        let mut tcp = tcp_from(rig.addr(), ATTACKER).await;
        tcp.write_all(&hello).await.unwrap();
        eager.push(tcp);
    }
    rig.until(|counters| counters.door() == 1 && counters.waiting() == 5 && counters.turned(Turned::DoorFull) == 4)
        .await;
    logs_in_soon(&rig, &device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_in_all_and_who_says_nothing_makes_room_first() {
    let limits = GatewayLimits { connections: 3, door_per_source: 1, ..patient() };
    let rig = Rig::with(limits, LIMITS, 60).await;
    let device = rig.device(Profile::Modern).await;
    rig.until(|counters| counters.connections() == 0).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(tcp_from(rig.addr(), ATTACKER).await);
    }
    rig.until(|counters| counters.lobby() == 3).await;
    logs_in_soon(&rig, &device).await;
    rig.until(|counters| counters.turned(Turned::Evicted) == 1 && counters.connections() == 2).await;
    let hello = client_hello(&device);
    let mut eager = Vec::new();
    for _ in 0..3 {
        let mut tcp = tcp_from(rig.addr(), ATTACKER).await;
        tcp.write_all(&hello).await.unwrap();
        eager.push(tcp);
    }
    rig.until(|counters| counters.turned(Turned::Evicted) == 3 && counters.waiting() == 2).await;
    assert_eq!((counters_of(&rig), rig.counters.turned(Turned::TooMany)), ((1, 3), 0));
    let more = tcp_from(rig.addr(), ATTACKER).await;
    rig.until(|counters| counters.turned(Turned::TooMany) == 1 && counters.connections() == 3).await;
    drop((silent, eager, more));
}

/// Who is inside the door, and all connections.
fn counters_of(rig: &Rig) -> (u64, u64) {
    (rig.counters.door(), rig.counters.connections())
}
