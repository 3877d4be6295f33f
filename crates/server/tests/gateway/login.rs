//! Devices enrol, log in, fetch their app, talk and are told things, over real connections.

use crate::rig::Rig;
use crate::rig::link::{Link, RawLink, answer};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keys::cose::{self, CosePurpose};
use keys::profile::Profile;
use keys::public::PublicKey;
use protocol::eat::Eat;
use protocol::limits::LIMITS;
use protocol::message::AppRef;
use protocol::reason::{CloseReason, RestartReason};
use protocol::report::{AppState, DiaryEntry, DiaryStage, LogLevel, LogLine};
use protocol::session::DeviceEvent;
use vouch_server::bus::{AppMessage, ToAgent};
use vouch_server::fleet::LogType;
use vouch_server::gateway::{GatewayEventKind, GatewayLimits};
use vouch_server::limits::LIMITS as SERVER_LIMITS;
use vouch_server::store::{LogFilter, Page};

const PAGE: Page = Page { number: 1, size: 100 };

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_each_profile_enrols_logs_in_and_fetches_its_app() {
    let mut rig = Rig::start().await;
    let image: Vec<u8> = (0..200_000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let sha256 = rig.deploy(image.clone()).await;
    for profile in Profile::ALL {
        let device = rig.device(profile).await;
        let (mut link, welcomed) = Link::login(&device, rig.addr()).await.unwrap();
        let app = AppRef { sha256, len: 200_000 };
        assert_eq!(welcomed.welcome.app, Some(app));
        assert!(welcomed.welcome.agent_url.unwrap().starts_with("http://central.test/agent/"));
        link.machine.want_app(app, None, crate::rig::now()).unwrap();
        match link.event().await {
            DeviceEvent::AppComplete { bytes, .. } => assert_eq!(bytes, image),
            other => panic!("{other:?}"),
        }
        let served = rig.event(|event| match &event.what {
            GatewayEventKind::AppServed { sha256, length, bytes, .. } => Some((sha256.clone(), *length, *bytes)),
            _ => None,
        });
        assert_eq!(served.await, (const_hex::encode(sha256), 200_000, 200_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_login_says_what_was_negotiated_and_verifies_again() {
    let mut rig = Rig::start().await;
    for (profile, version, suite, group) in [
        (Profile::Classic, "TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "X25519"),
        (Profile::Modern, "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768"),
    ] {
        let device = rig.device(profile).await;
        let (_link, welcomed) = Link::login(&device, rig.addr()).await.unwrap();
        let facts = rig.event(|event| match &event.what {
            GatewayEventKind::Handshake(facts) if facts.client_spki_sha256.is_some() => Some(facts.clone()),
            _ => None,
        });
        let facts = facts.await;
        assert_eq!((facts.version.as_str(), facts.suite.as_str(), facts.group.as_str()), (version, suite, group));
        assert_eq!(facts.alpn.as_deref(), Some("vouch/1"));
        assert_eq!(facts.server_spki_sha256, rig.pki.gateway(profile).spki_hash().to_string());
        let record = rig.event(|event| match &event.what {
            GatewayEventKind::Answered(record) => Some(record.clone()),
            _ => None,
        });
        let record = record.await;
        let key = PublicKey::from_spki_der(&BASE64_STANDARD.decode(&record.identity_spki).unwrap()).unwrap();
        let cose = BASE64_STANDARD.decode(&record.cose).unwrap();
        let eat = Eat::from_cbor(&cose::verify(CosePurpose::Challenge, &key, &cose).unwrap(), &LIMITS).unwrap();
        assert_eq!(record.refused, None);
        let encoded = (BASE64_STANDARD.encode(eat.nonce), BASE64_STANDARD.encode(eat.exporter));
        assert_eq!(encoded, (record.nonce, record.exporter));
        assert_eq!(eat.exporter, welcomed.record.exporter, "both ends have the same channel binding");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_listeners_behave_the_same_and_each_names_its_rule_port() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    for listen in rig.listens.clone() {
        let (_link, _) = Link::login(&device, listen.addr).await.unwrap();
        let rule_port = rig.event(|event| match &event.what {
            GatewayEventKind::Welcomed { .. } => Some(event.rule_port),
            _ => None,
        });
        assert_eq!(rule_port.await, listen.rule_port);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_what_became_of_messages_that_are_to_be_handled() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    // Nobody takes the first: no agent runs.
    link.machine.send_app_to_handle("up", &[0]).unwrap();
    assert!(matches!(link.event().await, DeviceEvent::AppHandled { next: 1, handled: false }));
    let (_ticket, mut inbox) = rig.bus.register_agent(device.spki(), agent);
    for number in 1..=LIMITS.unhandled {
        link.machine.send_app_to_handle("up", &number.to_be_bytes()).unwrap();
    }
    let last = LIMITS.unhandled + 1;
    let agent = tokio::spawn(async move {
        for _ in 1..last {
            let Some(ToAgent::Message(message)) = inbox.recv().await else { panic!("a message") };
            message.to_handle.unwrap().handled();
        }
    });
    let mut answered = 1;
    while answered < last {
        match link.event().await {
            DeviceEvent::AppHandled { next, handled: true } => answered = next,
            other => panic!("{other:?}"),
        }
    }
    agent.await.unwrap();
    assert_eq!(answered, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_in_order() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    let (_ticket, mut inbox) = rig.bus.register_agent(device.spki(), agent);
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceConnected)));
    let largest = vec![7; LIMITS.app_value];
    for number in 0..50u8 {
        link.machine.send_app("up", &[number]).unwrap();
    }
    link.send_app("large", &largest).await;
    for number in 0..50u8 {
        let Some(ToAgent::Message(message)) = inbox.recv().await else { panic!("a message") };
        assert_eq!((message.message.name.as_str(), message.message.value), ("up", vec![number]));
        rig.bus.to_session(&device.spki(), message_to_device("down", vec![number])).unwrap();
    }
    let Some(ToAgent::Message(message)) = inbox.recv().await else { panic!("the large message") };
    assert_eq!(message.message.value, largest);
    rig.bus.to_session(&device.spki(), message_to_device("large", largest.clone())).unwrap();
    for number in 0..50u8 {
        match link.event().await {
            DeviceEvent::App { name, value } => assert_eq!((name.as_str(), value), ("down", vec![number])),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(link.event().await, DeviceEvent::App { value, .. } if value == largest));
    drop(link);
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceDisconnected)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_and_a_restart_reach_a_connected_device() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Classic).await;
    let (mut link, welcomed) = Link::login(&device, rig.addr()).await.unwrap();
    assert_eq!(welcomed.welcome.app, None);
    let sha256 = rig.deploy(vec![5; 1000]).await;
    rig.bus.app_changed(&device.spki());
    let app = AppRef { sha256, len: 1000 };
    assert!(matches!(link.event().await, DeviceEvent::AppAvailable(available) if available == app));
    rig.bus.restart_app(&device.spki());
    assert!(matches!(link.event().await, DeviceEvent::Restart(RestartReason::Asked)));
    // Asking for an app that is not the one to run is answered with the one that is.
    link.machine.want_app(AppRef { sha256: [9; 32], len: 10 }, None, crate::rig::now()).unwrap();
    assert!(matches!(link.event().await, DeviceEvent::AppAvailable(available) if available == app));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_changes_nothing_until_it_has_proved_itself() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    let (_ticket, mut inbox) = rig.bus.register_agent(device.spki(), agent);
    let (mut first, _) = Link::login(&device, rig.addr()).await.unwrap();
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceConnected)));

    let mut second = RawLink::connect(&device, rig.addr()).await.unwrap();
    let nonce = second.challenge(&device).await;
    first.send_app("still", b"here").await;
    assert!(matches!(inbox.recv().await, Some(ToAgent::Message(message)) if message.message.name == "still"));
    assert_eq!(rig.counters.sessions(), 1);

    let proof = answer(&device, &device.identity, nonce, second.exporter);
    assert_eq!(second.prove(proof).await, None);
    assert!(matches!(first.event().await, DeviceEvent::Closed { reason: CloseReason::Replaced, .. }));
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceDisconnected)));
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceConnected)));
    rig.until(|counters| counters.sessions() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_device_reports_is_kept_with_its_own_time() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    let lines = [LogLine::new(1_000, LogLevel::Log, "one"), LogLine::new(2_000, LogLevel::Error, "two")];
    assert_eq!(link.machine.send_logs([1; 8], 0, &lines).unwrap(), 2);
    let diary = DiaryEntry {
        unix_ms: 3,
        took_ms: 4,
        stage: DiaryStage::Tcp,
        outcome: "refused".to_owned(),
        address: Some("192.0.2.1:31314".to_owned()),
        rule_port: Some(31_314),
        port: Some(31_314),
        certificate: None,
    };
    assert_eq!(link.machine.send_diary([2; 8], 0, &[diary]).unwrap(), 1);
    link.machine.app_state(AppState { sha256: None, wake_reason: 0, free_memory: 777, error: None }).unwrap();
    link.flush().await;
    drop(link);
    rig.until(|counters| counters.sessions() == 0).await;
    rig.bus.journal().flush().await;
    let logs = rig.store.logs(device.spki(), &LogFilter::default(), PAGE).await.unwrap();
    let logs: Vec<_> = logs.items.iter().rev().map(|entry| (entry.kind, &*entry.text, entry.at_ms)).collect();
    assert_eq!((logs[0].0, logs[0].1), (LogType::Status, "Device connected"));
    assert_eq!(logs[1..3], [(LogType::ServerLog, "one", 1_000), (LogType::ServerError, "two", 2_000)]);
    assert_eq!((logs[3].0, logs[3].1, logs.len()), (LogType::Status, "Device disconnected", 4));
    let diaries = rig.store.diaries(device.spki()).await.unwrap();
    assert!(diaries[0].entries.contains("192.0.2.1:31314"), "{}", diaries[0].entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_tells_devices_to_come_back_and_waits_for_them() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    let told = tokio::spawn(async move { link.event().await });
    rig.stop().await;
    match told.await.unwrap() {
        DeviceEvent::Closed { reason: CloseReason::Drain, come_back_after_ms: Some(_) } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.counters.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_gives_a_device_what_waits_and_takes_what_it_sent_before_it_heard_of_it() {
    let mut rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let agent = rig.store.device_login(device.spki()).await.unwrap().unwrap().agent;
    let (_ticket, mut inbox) = rig.bus.register_agent(device.spki(), agent);
    let (mut link, _) = Link::login(&device, rig.addr()).await.unwrap();
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceConnected)));
    let bus = rig.bus.clone();
    bus.to_session(&device.spki(), message_to_device("before", vec![1])).unwrap();
    let stopping = tokio::spawn(async move { rig.stop().await });
    // From here on the device is told to go, and does not know it yet.
    assert!(matches!(inbox.recv().await, Some(ToAgent::DeviceDisconnected)));
    link.send_app("late", &[2]).await;
    assert!(matches!(inbox.recv().await, Some(ToAgent::Message(message)) if message.message.name == "late"));
    assert!(matches!(link.event().await, DeviceEvent::App { name, .. } if name == "before"));
    assert!(matches!(link.event().await, DeviceEvent::Closed { reason: CloseReason::Drain, .. }));
    drop(link);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_devices_are_told_to_come_back_the_longer_is_the_time_they_are_spread_over() {
    const DEVICES: u32 = 8;
    let limits = GatewayLimits { come_back_per_second: 1, ..GatewayLimits::default() };
    let mut rig = Rig::with(limits, SERVER_LIMITS, 60).await;
    let mut links = Vec::new();
    for _ in 0..DEVICES {
        let device = rig.device(Profile::Modern).await;
        links.push(Link::login(&device, rig.addr()).await.unwrap().0);
    }
    let stopping = tokio::spawn(async move { rig.stop().await });
    let mut latest = 0;
    for mut link in links {
        let DeviceEvent::Closed { come_back_after_ms: Some(after), .. } = link.event().await else { panic!() };
        // The first one waits for an eighth of that time besides, until all have been told.
        assert!((2_000..2_000 + DEVICES * 1_000).contains(&after), "{after}");
        latest = latest.max(after);
    }
    assert!(latest > 3_000, "all of them within the time of one: {latest}");
    stopping.await.unwrap();
}

pub(crate) fn message_to_device(name: &str, value: Vec<u8>) -> Box<AppMessage> {
    Box::new(AppMessage { name: name.to_owned(), value })
}
