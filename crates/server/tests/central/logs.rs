//! Logs: history, streams byte for byte, and what a slow or forgotten reader costs.

use std::sync::Arc;
use std::time::Duration;

use keys::public::SpkiHash;
use serde_json::{Value, json};
use vouch_server::fleet::{LogEntry, LogType};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::store::{Attempts, ReportRing};

use crate::rig::{Events, Rig, id};

const AT_MS: i64 = 1_516_650_570_423;
const AT: &str = "2018-01-22T19:49:30.423Z";

fn line(device: SpkiHash, text: &str) -> LogEntry {
    LogEntry { device, at_ms: AT_MS, kind: LogType::ServerLog, production: false, text: text.into() }
}

async fn open(rig: &Rig, format: &str) -> (String, Events) {
    let stream = id(&rig.post("/v5/logstream", &Value::Null).await.expect(201));
    let events = Events::open(rig.addr, &format!("/v5/logstream/{stream}{format}")).await;
    (stream, events)
}

#[tokio::test]
async fn a_json_stream_has_exactly_the_documented_bytes() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    let made = rig.post("/v5/logstream", &Value::Null).await.expect(201).json();
    let stream = made["data"]["id"].as_str().unwrap();
    assert_eq!(made["data"]["type"], "logstream");
    assert_eq!(made["data"]["attributes"]["url"], format!("http://{}/v5/logstream/{stream}", rig.addr));
    // No authorization: the id is the capability.
    let mut events = Events::open(rig.addr, &format!("/v5/logstream/{stream}?format=json")).await;
    assert!(events.head.starts_with("http/1.1 200"), "{}", events.head);
    assert!(events.head.contains("content-type: text/event-stream\r\n"), "{}", events.head);
    assert_eq!(events.next().await.unwrap(), "event: state_change\ndata: {\"state\":\"opened\"}\n\n");
    rig.call("PUT", &format!("/v5/logstream/{stream}/{}", device.id), None).await.expect(204);
    let expected =
        format!("event: state_change\ndata: {{\"state\":\"subscribed\",\"device_id\":\"{}\"}}\n\n", device.id);
    assert_eq!(events.next().await.unwrap(), expected);
    rig.bus.log(line(device.spki, "a \"b\"\n\u{fc}")).await;
    let expected = format!(
        "event: message\ndata: {{\"device_id\":\"{}\",\"ts\":\"{AT}\",\"log_type\":\"development\",\"type\":\"server.log\",\
         \"msg\":\"a \\\"b\\\"\\n\u{fc}\"}}\n\n",
        device.id
    );
    assert_eq!(events.next().await.unwrap(), expected);
    rig.call("DELETE", &format!("/v5/logstream/{stream}/{}", device.id), None).await.expect(204);
    let expected =
        format!("event: state_change\ndata: {{\"state\":\"unsubscribed\",\"device_id\":\"{}\"}}\n\n", device.id);
    assert_eq!(events.next().await.unwrap(), expected);
    rig.bus.log(line(device.spki, "nobody hears this")).await;
    rig.stop();
    assert_eq!(events.next().await.unwrap(), "event: state_change\ndata: {\"state\":\"closed\"}\n\n");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_text_stream_has_exactly_the_documented_bytes() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    let (stream, mut events) = open(&rig, "").await;
    assert_eq!(events.next().await.unwrap(), "event: state_change\ndata: opened\n\n");
    rig.call("PUT", &format!("/v5/logstream/{stream}/{}", device.id), Some(&json!({}))).await.expect(204);
    assert_eq!(events.next().await.unwrap(), format!("event: state_change\ndata: {} subscribed\n\n", device.id));
    rig.bus.log(line(device.spki, "one\r\ntwo\n\nevent: x")).await;
    let head = format!("{} {AT} development server.log", device.id);
    assert_eq!(
        events.next().await.unwrap(),
        format!("event: message\ndata: {head} one\ndata: two\ndata: \ndata: event: x\n\n")
    );
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let rig = Rig::with(Limits { keep_alive: Duration::from_millis(50), ..LIMITS }).await;
    let (_, mut events) = open(&rig, "?format=json").await;
    events.next().await.unwrap();
    assert_eq!(events.next().await.unwrap(), ": keep-alive\n\n");
    assert_eq!(events.next().await.unwrap(), ": keep-alive\n\n");
}

#[tokio::test]
async fn a_reader_that_comes_back_is_opened_again_and_still_subscribed() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    let (stream, mut events) = open(&rig, "?format=json").await;
    rig.call("PUT", &format!("/v5/logstream/{stream}/{}", device.id), None).await.expect(204);
    assert!(events.next().await.unwrap().contains("opened"));
    assert!(events.next().await.unwrap().contains("subscribed"));
    drop(events);
    let mut again = Events::open(rig.addr, &format!("/v5/logstream/{stream}?format=json")).await;
    assert!(again.next().await.unwrap().contains("opened"));
    rig.bus.log(line(device.spki, "still here")).await;
    assert!(again.next().await.unwrap().contains("still here"));
}

#[tokio::test]
async fn a_second_reader_takes_over() {
    let rig = Rig::start().await;
    let (stream, mut first) = open(&rig, "?format=json").await;
    first.next().await.unwrap();
    let mut second = Events::open(rig.addr, &format!("/v5/logstream/{stream}?format=json")).await;
    assert!(second.next().await.unwrap().contains("opened"));
    assert_eq!(first.next().await, None);
}

#[tokio::test]
async fn a_stream_nobody_reads_ends_and_is_then_not_found() {
    let rig = Rig::with(Limits { stream_idle: Duration::ZERO, ..LIMITS }).await;
    let stream = id(&rig.post("/v5/logstream", &Value::Null).await.expect(201));
    rig.get(&format!("/v5/logstream/{stream}?format=json")).await.expect(404);
    let unknown = "0".repeat(64);
    for name in ["x", &unknown] {
        rig.get(&format!("/v5/logstream/{name}")).await.expect(404);
    }
    rig.get("/v5/logstream/x?format=xml").await.expect(400);
}

#[tokio::test]
async fn beyond_the_limits_the_oldest_makes_room() {
    let rig = Rig::with(Limits { streams_per_account: 2, devices_per_stream: 2, ..LIMITS }).await;
    let devices = [rig.enrol(None).await, rig.enrol(None).await, rig.enrol(None).await];
    let (_, mut oldest) = open(&rig, "?format=json").await;
    let (second, mut events) = open(&rig, "?format=json").await;
    assert!(oldest.next().await.unwrap().contains("opened"));
    let (_, _third) = open(&rig, "?format=json").await;
    assert!(oldest.next().await.unwrap().contains("closed"));
    assert_eq!(oldest.next().await, None);
    for device in &devices {
        rig.call("PUT", &format!("/v5/logstream/{second}/{}", device.id), None).await.expect(204);
    }
    let mut seen = String::new();
    for _ in 0..5 {
        seen += &events.next().await.unwrap();
    }
    assert!(seen.contains(&format!("\"unsubscribed\",\"device_id\":\"{}\"", devices[0].id)), "{seen}");
    for device in &devices {
        rig.bus.log(line(device.spki, "line")).await;
    }
    assert!(events.next().await.unwrap().contains(&devices[1].id.to_string()));
    assert!(events.next().await.unwrap().contains(&devices[2].id.to_string()));
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed_and_delays_nobody() {
    let rig = Rig::with(Limits { stream_queue: 3, ..LIMITS }).await;
    let device = rig.enrol(None).await;
    let stream = id(&rig.post("/v5/logstream", &Value::Null).await.expect(201));
    rig.call("PUT", &format!("/v5/logstream/{stream}/{}", device.id), None).await.expect(204);
    for number in 0..10 {
        rig.bus.log(line(device.spki, &format!("line {number}"))).await;
    }
    let mut events = Events::open(rig.addr, &format!("/v5/logstream/{stream}")).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(events.next().await.unwrap());
    }
    assert!(seen[2].contains("line 0") && seen[3].contains("line 1"), "{seen:?}");
    assert_eq!(seen[4], ": 8 lines were dropped, the reader was too slow\n\n");
    rig.bus.log(line(device.spki, "again")).await;
    assert!(events.next().await.unwrap().contains("again"));
}

#[tokio::test]
async fn history_is_newest_first_in_pages() {
    let rig = Rig::start().await;
    let device = rig.enrol(None).await;
    for number in 1..=20 {
        rig.bus.log(line(device.spki, &number.to_string())).await;
    }
    let path = format!("/v5/devices/{}/logs", device.id);
    let page = rig.get(&format!("{path}?page[number]=1&page[size]=4")).await.expect(200).json();
    let texts: Vec<_> = page["data"].as_array().unwrap().iter().map(|row| row["msg"].as_str().unwrap()).collect();
    assert_eq!(texts, ["20", "19", "18", "17"]);
    let row = json!({ "device_id": device.id.to_string(), "ts": AT, "log_type": "development", "type": "server.log", "msg": "20" });
    assert_eq!(page["data"][0], row, "a plain entry");
    let page = rig.get(&format!("{path}?page[number]=3&page[size]=5")).await.expect(200).json();
    let texts: Vec<_> = page["data"].as_array().unwrap().iter().map(|row| row["msg"].as_str().unwrap()).collect();
    assert_eq!(texts, ["10", "9", "8", "7", "6"]);
    assert!(rig.get(&path).await.json()["links"].get("next").is_none());
}

#[tokio::test]
async fn at_least_the_newest_lines_are_kept_and_not_for_ever_more() {
    let kept = 50;
    let rig = Rig::with(Limits { logs_kept: kept, ..LIMITS }).await;
    let (loud, quiet) = (rig.enrol(None).await, rig.enrol(None).await);
    rig.bus.log(line(quiet.spki, "precious")).await;
    for number in 0..1_000 {
        rig.bus.log(line(loud.spki, &number.to_string())).await;
    }
    let page = rig.get(&format!("/v5/devices/{}/logs?page[size]=500", loud.id)).await.expect(200).json();
    let rows = page["data"].as_array().unwrap();
    assert!(rows.len() >= kept as usize && rows.len() < 500, "{}", rows.len());
    assert_eq!(rows[0]["msg"], "999");
    let page = rig.get(&format!("/v5/devices/{}/logs", quiet.id)).await.expect(200).json();
    assert_eq!(page["data"][0]["msg"], "precious", "a loud neighbour pushes nothing out");
}

#[tokio::test]
async fn a_line_as_long_as_the_limit_is_whole_and_a_longer_one_is_cut_between_characters() {
    let rig = Rig::with(Limits { log_text_bytes: 10, ..LIMITS }).await;
    let device = rig.enrol(None).await;
    for text in ["0123456789", "0123456789a", "012345678\u{fc}"] {
        rig.bus.log(line(device.spki, text)).await;
    }
    let rows = rig.get(&format!("/v5/devices/{}/logs", device.id)).await.json();
    assert_eq!(
        [&rows["data"][0]["msg"], &rows["data"][1]["msg"], &rows["data"][2]["msg"]],
        ["012345678", "0123456789", "0123456789"]
    );
}

#[tokio::test]
async fn diaries_are_shown_newest_first_and_bounded() {
    let rig = Rig::with(Limits { diaries_kept: 3, diary_bytes: 100, ..LIMITS }).await;
    let device = rig.enrol(None).await;
    let ring = Arc::new(ReportRing::new(device.spki, [1; 8]));
    let attempt = |bytes: usize| format!("{{\"a\":{}1}}", " ".repeat(bytes - 7));
    let attempts = |first, entries: Vec<String>| Attempts { first, at_ms: AT_MS, entries };
    for number in 0..5 {
        rig.bus.journal().diary(&ring, attempts(number, vec![format!("{{\"attempt\":{number}}}")])).await;
    }
    rig.bus.journal().diary(&ring, attempts(5, vec![attempt(99)])).await;
    let shown = rig.get(&format!("/v5/devices/{}/diary", device.id)).await.expect(200).json();
    let expected: Vec<_> =
        [4, 3, 2].iter().map(|number| json!({ "ts": AT, "attempts": [{ "attempt": number }] })).collect();
    assert_eq!(shown["data"], json!(expected));
    // What is too long for one report is shared out; what was there before is passed over.
    rig.bus
        .journal()
        .diary(&ring, attempts(4, vec![attempt(40), attempt(40), attempt(98), attempt(48), attempt(49)]))
        .await;
    let shown = rig.get(&format!("/v5/devices/{}/diary", device.id)).await.expect(200).json();
    let counts: Vec<_> =
        shown["data"].as_array().unwrap().iter().map(|report| report["attempts"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [2, 1, 1]);
}
