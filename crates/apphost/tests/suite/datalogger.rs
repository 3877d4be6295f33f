//! `examples/datalogger`, unmodified, on both ends: nothing is lost on the way, whatever the connection does.

use crate::pair::Pair;
use vouch_apphost::Input;

const DEVICE: &str = include_str!("../../../../examples/datalogger/device.nut");
const AGENT: &str = include_str!("../../../../examples/datalogger/agent.nut");

fn state(pair: &mut Pair, id: u64) -> serde_json::Value {
    serde_json::from_slice(&pair.http(id, "/", b"").body).expect("JSON")
}

fn connect(pair: &mut Pair, connected: bool) {
    for end in [&mut pair.agent, &mut pair.device] {
        end.input(if connected { Input::Connected } else { Input::Disconnected });
    }
    pair.exchange();
}

#[test]
fn every_record_is_counted_once_though_one_is_sent_twice_at_the_start() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.pass(20_000);
    let state = state(&mut pair, 1);
    assert_eq!(state["received"], 101);
    // The first record goes out before the agent says that it is connected, and again then.
    assert_eq!((&state["gaps"], &state["repeats"]), (&0.into(), &1.into()));
    assert_eq!(state["sum"], (0..=100).sum::<i32>());
}

#[test]
fn records_made_offline_follow_when_the_session_is_back() {
    let mut pair = Pair::new(DEVICE, AGENT);
    for round in 0..3 {
        pair.pass(1_000);
        let before = state(&mut pair, 2 * round)["received"].clone();
        connect(&mut pair, false);
        pair.pass(10_000);
        assert_eq!(state(&mut pair, 2 * round + 1)["received"], before);
        connect(&mut pair, true);
    }
    pair.pass(1_000);
    let state = state(&mut pair, 9);
    assert_eq!(state["gaps"], 0);
    assert_eq!(state["received"], 1 + 34 * 5);
    assert_eq!((&pair.device.failed, &pair.agent.failed), (&None, &None));
}

#[test]
fn a_full_queue_drops_the_oldest_and_the_agent_sees_the_gap() {
    let mut pair = Pair::new(DEVICE, AGENT);
    pair.pass(1_000);
    connect(&mut pair, false);
    pair.pass(50_000);
    assert_eq!(pair.device.logs.len(), 50);
    assert!(pair.device.logs.iter().all(|line| line == "! queue full, oldest record dropped"));
    connect(&mut pair, true);
    pair.pass(1_000);
    assert_eq!(state(&mut pair, 1)["gaps"], 50);
}
