//! Sessions and agents on the bus: who replaces whom, who hears of it, and what happens when somebody does not listen.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::net::IpAddr;
use std::time::Duration;

use apphost::HttpRequest;
use keys::public::SpkiHash;
use keys::secret::Secret;
use protocol::reason::CloseReason;
use tokio::sync::oneshot;
use tokio::time::timeout;
use vouch_server::bus::{AppMessage, Bus, Delivery, DeviceMessage, Full, HttpCall, ToAgent, ToSession, Unhandled};
use vouch_server::fleet::{AccountId, AgentId, AgentIdSecret};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::store::Store;

const PATIENCE: Duration = Duration::from_secs(20);
const DEVICE: SpkiHash = SpkiHash([1; 32]);
const OTHER: SpkiHash = SpkiHash([2; 32]);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn bus(limits: Limits) -> (Bus, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path(), secret(), &limits).await.unwrap();
    let (journal, task) = store.journal();
    tokio::spawn(task.run());
    (Bus::new(&limits, journal), dir)
}

fn secret() -> AgentIdSecret {
    AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]))
}

fn agent_id(device: SpkiHash) -> AgentId {
    secret().agent_id(device, AccountId::random())
}

fn message(name: &str) -> Box<AppMessage> {
    Box::new(AppMessage { name: name.to_owned(), value: vec![0xf6] })
}

fn of_device(name: &str) -> Box<DeviceMessage> {
    Box::new(DeviceMessage { message: *message(name), to_handle: None })
}

#[tokio::test]
async fn a_newer_session_replaces_the_older_whose_ticket_then_ends_nothing() {
    let (bus, _dir) = bus(LIMITS).await;
    let (old_ticket, mut old) = bus.attach(DEVICE, PEER);
    let (_new_ticket, mut new) = bus.attach(DEVICE, PEER);
    assert_eq!(timeout(PATIENCE, old.recv()).await.unwrap(), Err(CloseReason::Replaced));
    assert_eq!(timeout(PATIENCE, old.ended()).await.unwrap(), CloseReason::Replaced);
    drop(old_ticket);
    assert!(bus.is_connected(&DEVICE));
    assert_eq!(bus.connected(), 1);
    assert_eq!(bus.to_session(&DEVICE, message("hello")), Ok(Delivery::Queued));
    assert_eq!(timeout(PATIENCE, new.recv()).await.unwrap(), Ok(ToSession::App(message("hello"))));
}

#[tokio::test]
async fn a_dropped_ticket_means_offline() {
    let (bus, _dir) = bus(LIMITS).await;
    let (ticket, _inbox) = bus.attach(DEVICE, PEER);
    assert!(bus.is_connected(&DEVICE));
    drop(ticket);
    assert!(!bus.is_connected(&DEVICE));
    assert_eq!(bus.to_session(&DEVICE, message("hello")), Ok(Delivery::Offline));
    assert!(!timeout(PATIENCE, bus.send_to_session(&DEVICE, message("hello"))).await.unwrap());
}

#[tokio::test]
async fn revoking_overtakes_what_is_queued_and_counts_as_a_change() {
    let (bus, _dir) = bus(LIMITS).await;
    let (_ticket, mut inbox) = bus.attach(DEVICE, PEER);
    assert_eq!(bus.to_session(&DEVICE, message("hello")), Ok(Delivery::Queued));
    let before = bus.changes();
    bus.close_session(&DEVICE, CloseReason::Revoked);
    assert_ne!(bus.changes(), before);
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Err(CloseReason::Revoked));
    assert!(!bus.is_connected(&DEVICE));
}

#[tokio::test]
async fn a_login_under_way_learns_of_a_revocation_that_found_no_session() {
    let (bus, _dir) = bus(LIMITS).await;
    let before = bus.changes();
    bus.close_session(&DEVICE, CloseReason::Revoked);
    let (_ticket, _inbox) = bus.attach(DEVICE, PEER);
    assert_ne!(bus.changes(), before);
}

#[tokio::test]
async fn a_session_that_does_not_listen_holds_its_bound_and_delays_nobody_else() {
    let (bus, _dir) = bus(Limits { session_inbox: 3, ..LIMITS }).await;
    let (_deaf, mut deaf) = bus.attach(DEVICE, PEER);
    let (_ticket, mut inbox) = bus.attach(OTHER, PEER);
    for _ in 0..3 {
        assert_eq!(bus.to_session(&DEVICE, message("m")), Ok(Delivery::Queued));
    }
    assert_eq!(bus.to_session(&DEVICE, message("m")), Err(Full(message("m"))));
    let waiting = tokio::spawn(bus.send_to_session(&DEVICE, message("last")));
    for _ in 0..1_000 {
        bus.restart_app(&DEVICE);
        bus.app_changed(&DEVICE);
    }
    assert_eq!(bus.to_session(&OTHER, message("n")), Ok(Delivery::Queued));
    assert_eq!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Ok(ToSession::App(message("n"))));
    for _ in 0..3 {
        assert_eq!(timeout(PATIENCE, deaf.recv()).await.unwrap(), Ok(ToSession::App(message("m"))));
    }
    // The restart was kept, once; what waited for room comes after it.
    assert_eq!(timeout(PATIENCE, deaf.recv()).await.unwrap(), Ok(ToSession::Restart));
    assert_eq!(timeout(PATIENCE, deaf.recv()).await.unwrap(), Ok(ToSession::App(message("last"))));
    assert!(waiting.await.unwrap());
    assert_eq!(deaf.try_recv(), Ok(None));
}

#[tokio::test]
async fn an_agent_hears_of_its_device_in_order() {
    let (bus, _dir) = bus(LIMITS).await;
    let (_agent, mut inbox) = bus.register_agent(DEVICE, agent_id(DEVICE));
    let (first, _first_inbox) = bus.attach(DEVICE, PEER);
    bus.try_to_agent(&DEVICE, of_device("hello")).unwrap();
    let (second, _second_inbox) = bus.attach(DEVICE, PEER);
    drop(first);
    drop(second);
    let mut heard = Vec::new();
    while let Some(event) = inbox.try_recv() {
        heard.push(match event {
            ToAgent::DeviceConnected => "connected",
            ToAgent::DeviceDisconnected => "disconnected",
            ToAgent::Message(_) => "message",
            ToAgent::Http(_) => "http",
        });
    }
    assert_eq!(heard, ["connected", "message", "disconnected", "connected", "disconnected"]);
}

#[tokio::test]
async fn an_agent_that_does_not_listen_holds_its_bound_whatever_its_device_does() {
    let (bus, _dir) = bus(Limits { agent_inbox: 2, ..LIMITS }).await;
    let (_agent, mut inbox) = bus.register_agent(DEVICE, agent_id(DEVICE));
    bus.try_to_agent(&DEVICE, of_device("m")).unwrap();
    bus.try_to_agent(&DEVICE, of_device("m")).unwrap();
    for _ in 0..1_000 {
        drop(bus.attach(DEVICE, PEER));
    }
    let (_ticket, _session) = bus.attach(DEVICE, PEER);
    assert!(matches!(bus.try_to_agent(&DEVICE, of_device("m")), Err(Full(back)) if back.message.name == "m"));
    let mut last = None;
    let mut count = 0;
    while let Some(event) = inbox.try_recv() {
        last = Some(event);
        count += 1;
    }
    assert_eq!(count, 3);
    assert!(matches!(last, Some(ToAgent::DeviceConnected)), "the last word is true");
}

#[tokio::test]
async fn a_newer_agent_replaces_the_older_whose_ticket_then_ends_nothing() {
    let (bus, _dir) = bus(LIMITS).await;
    let id = agent_id(DEVICE);
    let (old, mut old_inbox) = bus.register_agent(DEVICE, id);
    let (_new, mut inbox) = bus.register_agent(DEVICE, id);
    assert!(timeout(PATIENCE, old_inbox.recv()).await.unwrap().is_none());
    drop(old);
    assert!(bus.agent_runs(&DEVICE));
    bus.try_to_agent(&DEVICE, of_device("m")).unwrap();
    assert!(matches!(timeout(PATIENCE, inbox.recv()).await.unwrap(), Some(ToAgent::Message(_))));
}

#[tokio::test]
async fn a_request_finds_an_agent_by_its_id_while_it_runs() {
    let (bus, _dir) = bus(Limits { agent_inbox: 1, ..LIMITS }).await;
    let call = || {
        let (reply, answer) = oneshot::channel();
        let request = HttpRequest {
            id: 0,
            method: "GET".to_owned(),
            path: String::new(),
            query: vec![],
            headers: vec![],
            body: vec![],
        };
        (Box::new(HttpCall { request, reply }), answer)
    };
    let id = agent_id(DEVICE);
    assert!(bus.http(&id, call().0).is_none());
    let (ticket, mut inbox) = bus.register_agent(DEVICE, id);
    assert!(matches!(bus.http(&id, call().0), Some(Ok(()))));
    assert!(matches!(bus.http(&id, call().0), Some(Err(Full(_)))));
    assert!(matches!(inbox.try_recv(), Some(ToAgent::Http(_))));
    drop(ticket);
    assert!(bus.http(&id, call().0).is_none());
    assert!(!bus.agent_runs(&DEVICE));
}

#[test]
fn a_message_to_a_session_is_small() {
    assert!(size_of::<ToSession>() <= 24);
    assert!(size_of::<ToAgent>() <= 24);
}

#[tokio::test]
async fn a_message_that_is_lost_on_its_way_was_not_handled() {
    let (bus, _dir) = bus(LIMITS).await;
    let mut unhandled = Unhandled::default();
    let mut told = Vec::new();
    let send = |unhandled: &mut Unhandled| {
        let message = DeviceMessage { message: *message("m"), to_handle: Some(unhandled.one_more()) };
        bus.try_to_agent(&DEVICE, Box::new(message)).unwrap();
    };
    // No agent runs.
    send(&mut unhandled);
    unhandled.take(|next, handled| told.push((next, handled)));
    let (_agent, mut inbox) = bus.register_agent(DEVICE, agent_id(DEVICE));
    send(&mut unhandled);
    send(&mut unhandled);
    let Some(ToAgent::Message(message)) = inbox.try_recv() else { panic!("no message") };
    message.to_handle.unwrap().handled();
    // Another agent takes the place of this one, with a message in its inbox.
    let (_other, _inbox) = bus.register_agent(DEVICE, agent_id(DEVICE));
    timeout(PATIENCE, unhandled.told()).await.unwrap();
    unhandled.take(|next, handled| told.push((next, handled)));
    assert_eq!(told, [(1, false), (2, true), (3, false)]);
}
