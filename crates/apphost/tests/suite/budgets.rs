//! A hostile app ends itself and nobody else.

use crate::pair::{End, agent_with, device, device_with};
use vouch_apphost::{Input, Limits, Turn, WakeReason};

fn limited(source: &str, limits: Limits) -> End {
    device_with(source, limits, WakeReason::PowerOn)
}

#[test]
fn an_endless_loop_ends_at_its_budget_in_slices() {
    let limits = Limits { event: 1_000_000, slice: 10_000, ..Limits::device() };
    let mut end = limited("try { while (true) {} } catch (e) { server.log(\"caught\"); }", limits);
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.failed.is_some());
    assert!(end.turns >= 50, "{} turns: others must get theirs in between", end.turns);
    assert!(!end.logs.iter().any(|line| line == "caught"), "a budget cannot be caught");
}

#[test]
fn the_budget_is_per_event() {
    let limits = Limits { event: 100_000, ..Limits::device() };
    let work = "for (local i = 0; i < 20000; i++) {}";
    let mut end =
        limited(&format!("local n = 0; function f() {{ {work} if (n++ < 50) imp.wakeup(0.01, f); }} f();"), limits);
    end.pass(10_000);
    assert_eq!(end.failed, None);
}

#[test]
fn a_memory_bomb_ends_at_its_budget() {
    let mut end =
        device("local hoard = []; try { while (true) hoard.push(array(100)); } catch (e) { server.log(\"caught\"); }");
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.failed.as_deref().is_some_and(|error| error.contains("memory")), "{:?}", end.failed);
    assert!(!end.logs.iter().any(|line| line == "caught"));
}

#[test]
fn endless_recursion_ends_cleanly() {
    let mut end = device("function f() { return 1 + f(); } f();");
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.failed.is_some());
}

#[test]
fn a_neighbour_does_not_notice() {
    let mut bad = device("while (true) {}");
    let mut good = device("local n = 0; function tick() { n++; server.log(n); imp.wakeup(0.01, tick); } tick();");
    for _ in 0..100 {
        bad.app.run(bad.now);
        good.pass(10);
    }
    assert!(good.logs.len() >= 100);
    assert_eq!(bad.settle(), Turn::Ended);
    assert_eq!(good.failed, None);
}

#[test]
fn a_hostile_message_fills_nothing() {
    let mut end = limited("agent.on(\"x\", function(v) { server.log(\"got it\"); });", Limits::device());
    let bombs: [&[u8]; 8] = [
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff],
        &[0x81; 10_000],
        &[0x01, 0x02],
        &[],
        &[0xa1, 0x01, 0x02],
        &[0xff],
    ];
    for bomb in bombs {
        end.input(Input::Message { name: "x".into(), value: bomb.to_vec(), to_handle: false });
        end.settle();
    }
    assert_eq!(end.failed, None);
    assert!(!end.logs.iter().any(|line| line == "got it"));
    assert_eq!(end.logs.len(), bombs.len(), "each is logged: {:?}", end.logs);
}

#[test]
fn a_message_larger_than_the_memory_ends_only_its_receiver() {
    let source = "device.on(\"x\", function(v) { server.log(\"got it\"); });";
    let mut end = agent_with(source, Limits { memory_bytes: 128 * 1024, ..Limits::agent() }, None);
    end.settle();
    let mut value = vec![0x9a, 0x00, 0x03, 0x00, 0x00];
    value.extend(std::iter::repeat_n(0x01, 0x30000));
    end.input(Input::Message { name: "x".into(), value, to_handle: false });
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.failed.as_deref().is_some_and(|error| error.contains("memory")), "{:?}", end.failed);
}

#[test]
fn code_runs_on_its_own_end_only_and_needs_some_memory() {
    use crate::pair::{code, start};
    use vouch_apphost::{App, End as Place, Side, StartError};

    let side = || Side::Device(crate::pair::device_info());
    let refused = |place, limits| App::new(&code("x", "", place), side(), limits, WakeReason::PowerOn, start()).err();
    assert_eq!(refused(Place::Agent, Limits::device()), Some(StartError::OtherEnd));
    assert_eq!(
        refused(Place::Device, Limits { memory_bytes: 100, ..Limits::device() }),
        Some(StartError::NoMemory(100))
    );
    assert_eq!(refused(Place::Device, Limits::device()), None);
}

#[test]
fn damaged_images_are_refused() {
    use vouch_apphost::{Code, End as Place};
    for bytes in [&b""[..], b"x", &[0; 64]] {
        assert!(Code::from_image(bytes, Place::Device).is_err());
    }
}
