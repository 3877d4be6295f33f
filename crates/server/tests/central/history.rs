//! A log is searched by time, kind and text, page by page.

use keys::public::SpkiHash;
use serde_json::Value;
use vouch_server::fleet::{LogEntry, LogType};

use crate::rig::Rig;

/// 2026-01-31T08:00:00.000Z.
const EIGHT_MS: i64 = 1_769_846_400_000;

fn entry(device: SpkiHash, after_ms: i64, kind: LogType, text: &str) -> LogEntry {
    LogEntry { device, at_ms: EIGHT_MS + after_ms, kind, production: false, text: text.into() }
}

/// A device with five lines, one a second from eight o'clock on, the last written first.
async fn with_lines(rig: &Rig) -> String {
    let device = rig.enrol(None).await;
    for (second, kind, text) in [
        (4, LogType::ServerLog, "the last came first"),
        (0, LogType::Status, "Device connected"),
        (1, LogType::ServerLog, "Temperature 100% of 20_C!"),
        (2, LogType::ServerError, "the index 'temperature' does not exist"),
        (3, LogType::AgentLog, "temperature kept"),
    ] {
        rig.bus.log(entry(device.spki, second * 1_000, kind, text)).await;
    }
    format!("/v5/devices/{}/logs", device.id)
}

async fn texts(rig: &Rig, path: &str) -> Vec<String> {
    let rows = rig.get(path).await.expect(200).json();
    rows["data"].as_array().unwrap().iter().map(|row| row["msg"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_time_range_holds_its_first_moment_and_not_its_last() {
    let rig = Rig::start().await;
    let path = with_lines(&rig).await;
    let range = format!("{path}?filter[since]=2026-01-31T08:00:01.000Z&filter%5Buntil%5D=2026-01-31T08%3A00%3A03Z");
    assert_eq!(texts(&rig, &range).await, ["the index 'temperature' does not exist", "Temperature 100% of 20_C!"]);
    let later = format!("{path}?filter[since]=2026-01-31T08:00:01.001Z&filter[until]=2026-01-31T08:00:02.001Z");
    assert_eq!(texts(&rig, &later).await, ["the index 'temperature' does not exist"]);
    // Another zone, the same moment.
    let zone = format!("{path}?filter[since]=2026-01-31T09:00:04%2B01:00");
    assert_eq!(texts(&rig, &zone).await, ["the last came first"]);
    assert!(texts(&rig, &format!("{path}?filter[since]=2027-01-01T00:00:00Z")).await.is_empty());
}

#[tokio::test]
async fn a_search_finds_its_text_anywhere_and_nothing_in_it_is_a_pattern() {
    let rig = Rig::start().await;
    let path = with_lines(&rig).await;
    for (asked, count) in
        [("temperature", 3), ("TEMP", 3), ("100%25", 1), ("20_c!", 1), ("2__c", 0), ("%25", 1), ("'", 1), ("", 5)]
    {
        assert_eq!(texts(&rig, &format!("{path}?filter[text]={asked}")).await.len(), count, "{asked:?}");
    }
    let most = "x".repeat(200);
    assert!(texts(&rig, &format!("{path}?filter[text]={most}")).await.is_empty());
    rig.get(&format!("{path}?filter[text]={most}x")).await.expect(400);
}

#[tokio::test]
async fn kinds_are_told_apart_and_filters_hold_together() {
    let rig = Rig::start().await;
    let path = with_lines(&rig).await;
    assert_eq!(texts(&rig, &format!("{path}?filter[type]=status")).await, ["Device connected"]);
    assert!(texts(&rig, &format!("{path}?filter[type]=powerstate")).await.is_empty());
    let both = format!("{path}?filter[type]=server.log&filter[text]=temperature");
    assert_eq!(texts(&rig, &both).await, ["Temperature 100% of 20_C!"]);
}

#[tokio::test]
async fn pages_of_a_search_keep_the_search() {
    let rig = Rig::start().await;
    let path = with_lines(&rig).await;
    let first = rig.get(&format!("{path}?filter[text]=temperature&page[size]=2")).await.expect(200).json();
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let next = first["links"]["next"].as_str().unwrap().strip_prefix(&format!("http://{}", rig.addr)).unwrap();
    assert_eq!(texts(&rig, next).await, ["Temperature 100% of 20_C!"]);
    assert_eq!(rig.get(next).await.json()["links"]["next"], Value::Null);
}

#[tokio::test]
async fn what_is_no_time_and_no_filter_is_refused_and_says_what_is() {
    let rig = Rig::start().await;
    let path = with_lines(&rig).await;
    for bad in ["filter[since]=yesterday", "filter[until]=2026-01-31", "filter[since]=2026-01-31T08:00:00"] {
        let error = rig.get(&format!("{path}?{bad}")).await.expect(400).error();
        assert!(error.contains("is a time with a zone, such as 2026-"), "{bad}: {error}");
    }
    let error = rig.get(&format!("{path}?filter[colour]=red")).await.expect(400).error();
    assert!(error.contains("since, until, type, text"), "{error}");
}
