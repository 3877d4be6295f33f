//! What a device reports: acknowledged once it is durable, stored once, and never acknowledged when it could not be stored.

use std::sync::Arc;

use keys::profile::Profile;
use keys::public::SpkiHash;
use protocol::reason::CloseReason;
use protocol::report::{DiaryEntry, DiaryStage, LogLevel, LogLine};
use protocol::session::DeviceEvent;
use vouch_server::bus::{StreamEvent, StreamReader};
use vouch_server::fleet::{LogEntry, LogType};
use vouch_server::store::{LogFilter, Page, ReportRing};

use crate::rig::Rig;
use crate::rig::device::TestDevice;
use crate::rig::link::Link;

const RING: [u8; 8] = [1; 8];
const PAGE: Page = Page { number: 1, size: 100 };

fn lines(numbers: std::ops::Range<i64>) -> Vec<LogLine> {
    numbers.map(|number| LogLine::new(number, LogLevel::Log, format!("line {number}"))).collect()
}

fn attempt(unix_ms: i64) -> DiaryEntry {
    DiaryEntry {
        unix_ms,
        took_ms: 1,
        stage: DiaryStage::Tcp,
        outcome: "refused".to_owned(),
        address: None,
        rule_port: None,
        port: None,
        certificate: None,
    }
}

async fn login(rig: &Rig, device: &TestDevice) -> Link {
    Link::login(device, rig.addr()).await.unwrap().0
}

/// Sends lines and waits until the server says what it keeps.
async fn kept(link: &mut Link, ring: [u8; 8], first: u64, lines: &[LogLine]) -> u64 {
    assert_eq!(link.machine.send_logs(ring, first, lines).unwrap(), lines.len());
    match link.event().await {
        DeviceEvent::LogsKept(next) => next,
        other => panic!("{other:?}"),
    }
}

/// What is in the device's log, without the server's own lines about connections.
async fn stored(rig: &Rig, device: SpkiHash) -> Vec<String> {
    let logs = rig.store.logs(device, &LogFilter::default(), PAGE).await.unwrap();
    let ours = |entry: &&LogEntry| !entry.text.starts_with("Device ");
    logs.items.iter().rev().filter(ours).map(|entry| entry.text.to_string()).collect()
}

async fn streamed(reader: &mut StreamReader, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let Some(StreamEvent::Message(entry)) = reader.next().await
            && !entry.text.starts_with("Device ")
        {
            seen.push(entry.text.to_string());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_acknowledged_when_they_are_stored_and_those_sent_again_are_stored_once() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let stream = rig.bus.streams().open(rig.owner);
    assert!(rig.bus.streams().subscribe(&stream, rig.owner, device.spki()));
    let mut reader = rig.bus.streams().read(&stream).unwrap();

    let mut link = login(&rig, &device).await;
    assert_eq!(kept(&mut link, RING, 0, &lines(0..2)).await, 2);
    assert_eq!(stored(&rig, device.spki()).await, ["line 0", "line 1"], "without waiting for the journal");
    drop(link);
    let mut link = login(&rig, &device).await;
    assert_eq!(kept(&mut link, RING, 0, &lines(0..2)).await, 2, "all of it was there");
    assert_eq!(kept(&mut link, RING, 1, &lines(1..4)).await, 4, "half of it was there");
    let all = ["line 0", "line 1", "line 2", "line 3"];
    assert_eq!(stored(&rig, device.spki()).await, all);
    assert_eq!(streamed(&mut reader, 4).await, all, "a stream has each line once as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_told_of_by_its_count_and_a_device_that_starts_again_counts_anew() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = login(&rig, &device).await;
    assert_eq!(kept(&mut link, RING, 0, &lines(0..1)).await, 1);
    assert_eq!(kept(&mut link, RING, 2, &lines(2..3)).await, 3);
    assert_eq!(kept(&mut link, RING, 13, &lines(13..14)).await, 14);
    assert_eq!(kept(&mut link, [2; 8], 0, &lines(100..101)).await, 1);
    assert_eq!(kept(&mut link, [3; 8], 5, &lines(200..201)).await, 6);
    let lost = "lost: the device had no room for more while it could not deliver them";
    let expected = [
        "line 0".to_owned(),
        format!("1 log line was {lost}"),
        "line 2".to_owned(),
        format!("10 log lines were {lost}"),
        "line 13".to_owned(),
        "line 100".to_owned(),
        format!("5 log lines were {lost}"),
        "line 200".to_owned(),
    ];
    assert_eq!(stored(&rig, device.spki()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_sent_again_are_stored_once() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = login(&rig, &device).await;
    for (first, entries, next) in
        [(0, vec![attempt(10), attempt(11)], 2), (1, vec![attempt(11), attempt(12)], 3), (0, vec![attempt(10)], 1)]
    {
        link.machine.send_diary(RING, first, &entries).unwrap();
        let event = link.event().await;
        assert!(matches!(event, DeviceEvent::DiaryKept(told) if told == next), "{event:?}");
    }
    let reports = rig.store.diaries(device.spki()).await.unwrap();
    let times: Vec<i64> = reports
        .iter()
        .rev()
        .flat_map(|report| serde_json::from_str::<Vec<serde_json::Value>>(&report.entries).unwrap())
        .map(|attempt| attempt["unix_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(times, [10, 11, 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_not_acknowledged_and_nothing_after_it_is() {
    let rig = Rig::start().await;
    let device = rig.device(Profile::Modern).await;
    let mut link = login(&rig, &device).await;
    assert_eq!(kept(&mut link, RING, 0, &lines(0..1)).await, 1);
    rig.store.close().await;
    link.machine.send_logs(RING, 1, &lines(1..3)).unwrap();
    let event = link.event().await;
    assert!(
        matches!(event, DeviceEvent::Closed { reason: CloseReason::Drain, come_back_after_ms: Some(_) }),
        "{event:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_the_rest_of_that_session_waits_for_the_next_one() {
    let rig = Rig::start().await;
    let line = |number: i64| LogEntry {
        device: SpkiHash([9; 32]),
        at_ms: number,
        kind: LogType::ServerLog,
        production: false,
        text: format!("line {number}").into(),
    };
    let (first, second) = (ReportRing::new(SpkiHash([9; 32]), RING), ReportRing::new(SpkiHash([9; 32]), RING));
    let (first, second) = (Arc::new(first), Arc::new(second));
    first.give_up();
    assert!(rig.bus.journal().reported(&first, 1, vec![line(1)]).await.await.is_err());
    assert!(rig.bus.journal().reported(&second, 0, vec![line(0), line(1)]).await.await.is_ok());
    assert_eq!(stored(&rig, SpkiHash([9; 32])).await, ["line 0", "line 1"], "in order, though 1 was offered first");
}
