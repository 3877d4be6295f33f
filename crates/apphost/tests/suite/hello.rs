//! `examples/hello`, unmodified, on both ends.

use crate::pair::Pair;
use vouch_apphost::Input;

const DEVICE: &str = include_str!("../../../../examples/hello/device.nut");
const AGENT: &str = include_str!("../../../../examples/hello/agent.nut");

#[test]
fn the_device_says_who_it_is_and_counts_every_second() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.pass(2_500);
    assert_eq!(pair.device.logs, ["device 0123456789abcdef started, wake reason 0", "tick 1", "tick 2", "tick 3"]);
    assert_eq!(pair.device.failed, None);
}

#[test]
fn the_agent_logs_its_url_and_each_tick_with_the_free_memory() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.pass(1_000);
    assert_eq!(pair.agent.logs[0], "agent at http://server/agent/abc");
    for (line, count) in pair.agent.logs[1..].iter().zip(1..) {
        let free: u32 = line
            .strip_prefix(&format!("tick {count}, "))
            .and_then(|rest| rest.strip_suffix(" bytes free"))
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{line}"));
        assert!(free > 100_000 && free < 1024 * 1024, "{free}");
    }
    assert_eq!(pair.agent.logs.len(), 3);
}

#[test]
fn its_url_answers_with_the_last_tick() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.pass(3_000);
    for (id, path) in [(1, ""), (2, "/")] {
        let response = pair.http(id, path, b"");
        assert_eq!(response.status, 200);
        assert_eq!(response.headers, [("Content-Type".to_owned(), "application/json".to_owned())]);
        let value: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(value["connected"], true);
        assert_eq!(value["last"]["count"], 4);
    }
}

#[test]
fn echo_goes_to_the_device_and_back() {
    let mut pair = Pair::new(DEVICE, AGENT);
    let response = pair.http(7, "/echo", "grüezi".as_bytes());
    assert_eq!((response.status, response.body.as_slice()), (200, "grüezi".as_bytes()));
}

#[test]
fn echo_says_503_while_the_device_is_offline() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.agent.input(Input::Disconnected);
    let response = pair.http(7, "/echo", b"x");
    assert_eq!((response.status, response.body.as_slice()), (503, &b"device is offline"[..]));
}

#[test]
fn an_unknown_path_is_404() {
    let mut pair = Pair::new(DEVICE, AGENT);
    let response = pair.http(7, "/nowhere", b"");
    assert_eq!((response.status, response.body.as_slice()), (404, &b"no such path: /nowhere"[..]));
}

#[test]
fn the_device_goes_on_counting_offline() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.device.input(Input::Disconnected);
    pair.pass(5_000);
    assert_eq!(pair.device.logs.last().map(String::as_str), Some("tick 6"));
    assert_eq!(pair.agent.logs.len(), 2, "the first tick went, the others found no session");
}
