//! `examples/thermostat`, unmodified, on both ends, with a sensor and a relay on a simulated board.

use crate::pair::{Pair, agent, agent_with, device_as, device_info};
use serde_json::{Value, json};
use vouch_apphost::{Bench, DeviceInfo, Input, Limits, ShutdownReason, WakeReason};

const DEVICE: &str = include_str!("../../../../examples/thermostat/device.nut");
const AGENT: &str = include_str!("../../../../examples/thermostat/agent.nut");

/// The sensor's level at a temperature: 10 mV per degree, 500 mV at zero, of 3.3 V.
fn level(celsius: f32) -> Option<f32> {
    Some((0.5 + celsius / 100.0) / 3.3)
}

/// Both ends, and the board with the sensor and the relay.
struct House {
    pair: Pair,
    board: Bench,
}

fn house_at(celsius: f32, stored: Option<Vec<u8>>) -> House {
    let board = Bench::default();
    board.show("pin1", level(celsius)).expect("a pin");
    let info = DeviceInfo { board: Box::new(board.clone()), user_configuration: stored, ..device_info() };
    House { pair: Pair::of(device_as(DEVICE, Limits::device(), WakeReason::PowerOn, info), agent(AGENT)), board }
}

fn pair_at(celsius: f32, stored: Option<Vec<u8>>) -> Pair {
    house_at(celsius, stored).pair
}

impl House {
    fn relay(&self) -> f32 {
        self.board.level_of("pin2").expect("a pin")
    }
}

fn ask(pair: &mut Pair, id: u64, method: &str, path: &str, body: &str) -> (u16, Value) {
    let response = pair.http_as(id, method, path, body.as_bytes());
    assert!(response.headers.contains(&("Cache-Control".to_owned(), "no-store".to_owned())));
    (response.status, serde_json::from_slice(&response.body).expect("JSON"))
}

fn no_errors(pair: &Pair) {
    assert_eq!(
        (&pair.device.failed, &pair.agent.failed),
        (&None, &None),
        "{:?} {:?}",
        pair.device.logs,
        pair.agent.logs
    );
}

#[test]
fn it_heats_below_the_target_and_stops_above() {
    let mut house = house_at(15.0, None);
    house.pair.pass(2_000);
    assert_eq!(house.relay(), 1.0);
    house.board.show("pin1", level(25.0)).expect("a pin");
    house.pair.pass(10_000);
    assert_eq!(house.relay(), 0.0);
    no_errors(&house.pair);
}

#[test]
fn the_agent_tells_the_latest_reading_and_the_history() {
    let mut pair = pair_at(21.5, None);
    pair.pass(10_000);
    assert_eq!(pair.agent.logs, [r#"device settings: { "target": 20.0, "mode": 2 }"#]);
    let (status, told) = ask(&mut pair, 1, "GET", "/status", "");
    assert_eq!((status, &told["connected"], &told["settings"]), (200, &json!(true), &json!({})));
    let temperature = told["latest"]["temperature"].as_f64().expect("a number");
    assert!((temperature - 21.5).abs() < 0.05, "{temperature}");
    let (status, history) = ask(&mut pair, 2, "GET", "/history/3", "");
    assert_eq!((status, history.as_array().map(Vec::len)), (200, Some(3)));
    no_errors(&pair);
}

#[test]
fn settings_go_to_the_device_which_keeps_them_over_a_restart() {
    let mut house = house_at(22.0, None);
    let pair = &mut house.pair;
    pair.pass(1_000);
    assert_eq!(house.relay(), 0.0);
    let pair = &mut house.pair;
    let (status, settings) = ask(pair, 1, "PUT", "/settings", r#"{"target": 25}"#);
    assert_eq!((status, settings), (202, json!({"target": 25.0})));
    pair.pass(1_000);
    assert_eq!(house.relay(), 1.0);
    let stored = house.pair.device.user_configurations.last().cloned().expect("a user configuration");
    assert_eq!(stored.len(), 5);

    let mut again = house_at(22.0, Some(stored));
    again.pair.pass(1_000);
    assert_eq!(again.relay(), 1.0, "its target is 25 degrees still");
    no_errors(&again.pair);
}

#[test]
fn wrong_settings_and_paths_are_refused() {
    let mut pair = pair_at(20.0, None);
    for (id, body, error) in [
        (1, r#"{"target": 31}"#, "bad value for target: 31"),
        (2, r#"{"colour": 1}"#, "unknown setting: colour"),
        (3, r#"{"mode": 2.5}"#, "bad value for mode: 2.5"),
    ] {
        assert_eq!(ask(&mut pair, id, "PUT", "/settings", body), (400, json!({ "error": error })));
    }
    assert_eq!(ask(&mut pair, 4, "PUT", "/settings", "{").0, 400);
    let (status, told) = ask(&mut pair, 5, "DELETE", "/settings", "");
    assert_eq!((status, told), (404, json!({"error": "not found", "path": "/settings"})));
    no_errors(&pair);
}

#[test]
fn it_switches_the_relay_off_before_it_makes_room() {
    let mut house = house_at(10.0, None);
    house.pair.pass(1_000);
    assert_eq!(house.relay(), 1.0);
    house.pair.device.input(Input::Shutdown(ShutdownReason::NewApp));
    house.pair.device.settle();
    assert_eq!(house.pair.device.logs, ["shutting down for reason 1"]);
    assert!(house.pair.device.restart);
    assert_eq!(house.relay(), 0.0);
}

#[test]
fn the_watchdog_speaks_after_thirty_silent_seconds() {
    let mut pair = pair_at(20.0, None);
    pair.pass(5_000);
    pair.device.input(Input::Disconnected);
    pair.agent.input(Input::Disconnected);
    pair.pass(28_000);
    assert_eq!(pair.agent.logs.len(), 1);
    pair.pass(3_000);
    assert_eq!(pair.agent.logs.last().map(String::as_str), Some("! no reading for 30 s, device offline"));
}

#[test]
fn the_agent_finds_its_history_after_a_restart() {
    let mut pair = pair_at(20.0, None);
    pair.pass(4_000);
    let saved = pair.agent.saves.last().cloned();
    let mut again = agent_with(AGENT, Limits::agent(), saved);
    again.settle();
    again.request(1, "GET", "/history/100", b"");
    again.settle();
    let history: Value = serde_json::from_slice(&again.responses[0].body).expect("JSON");
    assert_eq!(history.as_array().map(Vec::len), Some(2), "one every two seconds");
}
