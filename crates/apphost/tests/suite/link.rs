//! `server` on a device: connecting, disconnecting, shutting down.

use crate::pair::{End, device, device_as, device_info, device_logs};
use vouch_apphost::{DeviceInfo, Input, Limits, NotSent, ShutdownReason, Turn, Unreached, Until, WakeReason};

#[test]
fn connect_answers_when_there_is_a_session_or_when_the_time_is_up() {
    let mut end = device(r#"server.connect(@(result) server.log(result == SERVER_CONNECTED)); server.log("main");"#);
    end.settle();
    assert_eq!(end.logs, ["main", "true"]);

    let source = r#"agent.on("go", function(_) { server.connect(function(result) { server.log(result); }, 5); });"#;
    let go = || Input::Message { name: "go".into(), value: vec![0xf6], to_handle: false };
    let mut late = device(source);
    late.input(Input::Disconnected);
    late.input(go());
    late.pass(4_990);
    assert!(late.logs.is_empty());
    late.pass(10);
    assert_eq!(late.logs, ["4"]);
    late.pass(60_000);
    assert_eq!(late.logs.len(), 1, "answered once");

    let mut back = device(source);
    back.input(Input::Disconnected);
    back.input(go());
    back.pass(4_000);
    back.input(Input::Connected);
    back.settle();
    assert_eq!(back.logs, ["5"]);
}

#[test]
fn an_app_that_disconnected_sends_nothing_until_it_connects() {
    assert_eq!(
        device_logs(
            r#"server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_TIL_SENT, 10);
               server.disconnect();
               server.log(server.isconnected() + " " + agent.send("x", 1) + " " + server.flush(1));
               server.log(server.connect() == SERVER_CONNECTED);
               server.log(server.isconnected() + " " + agent.send("x", 1) + " " + server.flush(1));"#
        ),
        ["false 1 1", "true", "true 0 0"]
    );
}

#[test]
fn sending_connects_again_under_the_first_policy() {
    assert_eq!(
        device_logs(r#"server.disconnect(); server.log(agent.send("x", 1) + " " + server.isconnected());"#),
        ["0 true"]
    );
}

#[test]
fn an_unexpected_disconnect_is_told_with_a_reason_and_an_expected_one_is_not() {
    let source = r#"server.onunexpecteddisconnect(@(reason) server.log("lost " + (reason == NO_SERVER)));"#;
    let mut end = device(source);
    end.settle();
    end.input(Input::Disconnected);
    end.input(Input::Disconnected);
    end.settle();
    assert_eq!(end.logs, ["lost true"]);

    let mut own = device(&format!("{source} server.disconnect();"));
    own.settle();
    own.input(Input::Disconnected);
    own.settle();
    assert!(own.logs.is_empty());
}

#[test]
fn wrong_policies_are_refused() {
    for wrong in
        ["3, WAIT_TIL_SENT, 10", "RETURN_ON_ERROR, 2, 10", "RETURN_ON_ERROR, 0, -1", "RETURN_ON_ERROR, 0, null"]
    {
        let mut end = device(&format!("server.setsendtimeoutpolicy({wrong});"));
        end.settle();
        assert!(end.failed.is_some(), "{wrong}");
    }
}

#[test]
fn an_app_that_does_not_ask_ends_at_once_for_another() {
    let mut end = device(r#"imp.wakeup(1, @() server.log("never"));"#);
    end.settle();
    end.input(Input::Shutdown(ShutdownReason::Other));
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.restart);
    end.pass(2_000);
    assert!(end.logs.is_empty());
}

#[test]
fn an_app_that_asks_is_told_why_and_ends_when_it_is_ready() {
    let mut end = device(
        r#"server.onshutdown(function(reason) {
               server.log(reason == SHUTDOWN_NEWFIRMWARE);
               imp.wakeup(2, server.restart.bindenv(server));
           });"#,
    );
    end.settle();
    end.input(Input::Shutdown(ShutdownReason::NewOs));
    end.settle();
    assert_eq!((end.logs.len(), end.restart), (1, false));
    end.pass(2_000);
    assert_eq!((end.logs.as_slice(), end.restart), (&["true".to_owned()][..], true));
}

const SUSPEND: &str = "server.setsendtimeoutpolicy(SUSPEND_ON_ERROR, WAIT_TIL_SENT, 30);";
const RETURN: &str = "server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_TIL_SENT, 7);";
const KEEP: &str = "server.setsendtimeoutpolicy(RETURN_ON_ERROR_NO_DISCONNECT, WAIT_TIL_SENT, 0.5);";
const KEEP_ACKNOWLEDGED: &str = "server.setsendtimeoutpolicy(RETURN_ON_ERROR_NO_DISCONNECT, WAIT_FOR_ACK, 0.5);";
const TICK: &str = r#"function tick() { server.log("tick"); imp.wakeup(1, tick); } tick();"#;

fn offline(source: &str) -> End {
    let info = DeviceInfo { connected: false, ..device_info() };
    device_as(source, Limits::device(), WakeReason::PowerOn, info)
}

#[test]
fn an_app_that_chose_no_policy_goes_on_offline_and_is_told_at_once() {
    let mut end = device(&format!(
        r#"server.onunexpecteddisconnect(@(reason) server.log("lost " + agent.send("x", 1))); {TICK}"#
    ));
    end.settle();
    end.input(Input::Disconnected);
    end.pass(2_500);
    assert_eq!(end.logs, ["tick", "lost 1", "tick", "tick"]);
    assert!(end.wishes.is_empty(), "the host connects by itself");
}

#[test]
fn a_suspended_app_stands_still_until_there_is_a_session_again() {
    let mut end = device(&format!("{SUSPEND} {TICK}"));
    end.pass(1_500);
    end.input(Input::Disconnected);
    end.pass(59_990);
    assert_eq!(end.logs.len(), 2);
    end.input(Input::Connected);
    end.settle();
    assert_eq!(end.logs.len(), 3);
    assert_eq!(end.sleep, None);
}

#[test]
fn a_suspended_app_is_put_to_sleep_when_the_session_does_not_come_back() {
    let mut end = device(&format!("{SUSPEND} nv <- {{ n = 7 }}; {TICK}"));
    end.pass(500);
    end.input(Input::Disconnected);
    end.pass(60_000);
    let sleep = end.sleep.clone().expect("asleep");
    assert_eq!((end.logs.len(), sleep.until), (1, Until::Connected));
    let again = DeviceInfo { nv: sleep.nv, ..device_info() };
    let source = "server.log(nv.n + \" \" + (hardware.wakereason() == WAKEREASON_SNOOZE));";
    let mut again = device_as(source, Limits::device(), WakeReason::Snooze, again);
    again.settle();
    assert_eq!(again.logs, ["7 true"]);
}

#[test]
fn a_suspended_app_sends_again_what_a_lost_session_took_with_it() {
    let mut end = device(&format!(r#"{SUSPEND} server.log(agent.send("x", 1));"#));
    end.send_answer = Err(NotSent::Disconnected);
    end.app.input(Input::Disconnected, end.now).expect("taken");
    end.settle();
    assert!(end.logs.is_empty());
    end.send_answer = Ok(());
    end.input(Input::Connected);
    end.settle();
    assert_eq!((end.logs.as_slice(), end.sent.len()), (&["0".to_owned()][..], 1));
}

#[test]
fn a_suspended_app_connects_by_itself_when_it_sends() {
    let mut end = offline(&format!(r#"{SUSPEND} server.log(agent.send("x", 1)); server.log(server.isconnected());"#));
    end.settle();
    assert_eq!((end.logs.len(), end.wishes.as_slice()), (0, &[true][..]));
    end.input(Input::Connected);
    end.settle();
    assert_eq!(end.logs, ["0", "true"]);
}

#[test]
fn an_app_that_has_errors_returned_is_told_after_a_minute_and_connects_by_itself() {
    let source = format!(r#"{RETURN} server.onunexpecteddisconnect(@(reason) server.log("lost " + reason)); {TICK}"#);
    let mut end = device(&source);
    end.settle();
    end.input(Input::Disconnected);
    end.input(Input::Unreached(Unreached::NotResolved));
    end.pass(59_990);
    assert!(!end.logs.contains(&"lost 3".to_owned()));
    assert!(end.wishes.is_empty());
    end.pass(10);
    assert!(end.logs.contains(&"lost 3".to_owned()));
    assert_eq!(end.wishes, [false]);

    let mut dip = device(&source);
    dip.settle();
    dip.input(Input::Disconnected);
    dip.pass(59_000);
    dip.input(Input::Connected);
    dip.pass(60_000);
    assert!(dip.logs.iter().all(|line| line == "tick"), "a dip is hidden");
}

#[test]
fn a_message_that_finds_no_room_in_time_disconnects_or_does_not_as_the_policy_says() {
    let source = r#"server.onunexpecteddisconnect(@(reason) server.log("lost"));
                    server.log(agent.send("x", 1) + " " + server.isconnected());"#;
    for (policy, logs, wishes, wait) in [
        (RETURN, &["2 false", "lost"][..], &[false][..], (false, 7_000)),
        (KEEP, &["4 true"], &[], (false, 500)),
        (KEEP_ACKNOWLEDGED, &["2 true"], &[], (true, 500)),
        (SUSPEND, &["2 true"], &[], (false, 30_000)),
    ] {
        let mut end = device(&format!("{policy} {source}"));
        end.send_answer = Err(NotSent::TimedOut);
        end.settle();
        assert_eq!((&end.logs[..], &end.wishes[..], &end.waits[..]), (logs_of(logs).as_slice(), wishes, &[wait][..]));
    }
}

#[test]
fn a_message_that_no_handler_took_is_an_error_of_its_own_and_nothing_is_disconnected() {
    for policy in ["RETURN_ON_ERROR", "RETURN_ON_ERROR_NO_DISCONNECT", "SUSPEND_ON_ERROR"] {
        let mut end = device(&format!(
            r#"server.setsendtimeoutpolicy({policy}, WAIT_FOR_ACK, 5);
               local result = agent.send("x", 1);
               server.log((result == SEND_ERROR_NOT_HANDLED) + " " + server.isconnected());"#
        ));
        end.send_answer = Err(NotSent::NotHandled);
        end.settle();
        assert_eq!((&end.logs[..], &end.wishes[..]), (logs_of(&["true true"]).as_slice(), &[][..]), "{policy}");
    }
}

fn logs_of(logs: &[&str]) -> Vec<String> {
    logs.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn connecting_without_a_callback_waits_for_the_result() {
    let source = format!("{RETURN} server.log(server.connect(null, 5)); server.log(server.isconnected());");
    let mut end = offline(&source);
    end.pass(4_990);
    assert!(end.logs.is_empty());
    assert_eq!(end.wishes, [true]);
    end.input(Input::Connected);
    end.settle();
    assert_eq!(end.logs, ["5", "true"]);

    let mut late = offline(&source);
    late.input(Input::Unreached(Unreached::NoNetwork));
    late.pass(5_000);
    assert_eq!(late.logs, ["1", "false"]);
    assert_eq!(late.wishes, [true, false], "only server.connect looks for a session now");
}

#[test]
fn flush_waits_as_sending_does() {
    let mut end = device(&format!("{KEEP_ACKNOWLEDGED} server.log(server.flush(3)); server.log(server.flush());"));
    end.settle();
    assert_eq!(end.logs, ["0", "0"]);
    assert_eq!(end.waits, [(true, 3_000), (true, 500)]);
    let mut stuck = device("server.log(server.flush(3));");
    stuck.send_answer = Err(NotSent::TimedOut);
    stuck.settle();
    assert_eq!(stuck.logs, ["2"]);
}

#[test]
fn a_sleeping_app_is_over_until_its_time_and_keeps_nv() {
    for call in ["imp.deepsleepfor(2.5)", "server.sleepfor(2.5)"] {
        let mut end =
            device(&format!(r#"nv <- {{ n = 1 }}; imp.onidle(function() {{ {call}; server.log("never"); }});"#));
        assert_eq!(end.settle(), Turn::Ended);
        let sleep = end.sleep.clone().expect("asleep");
        assert_eq!((end.logs.len(), sleep.until), (0, Until::Time(2_500)));
        let info = DeviceInfo { nv: sleep.nv, connected: false, ..device_info() };
        let source = r#"server.log(nv.n + " " + hardware.wakereason() + " " + server.isconnected());
                        server.log(agent.send("x", 1));"#;
        let mut again = device_as(source, Limits::device(), WakeReason::Timer, info);
        again.settle();
        assert_eq!((again.logs.as_slice(), again.wishes.as_slice()), (&["1 1 false".to_owned()][..], &[true][..]));
        again.input(Input::Connected);
        again.settle();
        assert_eq!(again.logs[1], "0", "the first message connects");
    }
}

#[test]
fn a_sleep_is_no_longer_than_four_weeks_and_nv_no_larger_than_4096_bytes() {
    for (source, error) in [
        ("imp.deepsleepfor(2419200);", None),
        ("imp.deepsleepfor(2419456);", Some("imp.deepsleepfor: a device sleeps from 0 seconds to 28 days")),
        ("server.sleepfor(-1);", Some("server.sleepfor: a device sleeps from 0 seconds to 28 days")),
        ("nv <- { b = blob(4000) }; imp.deepsleepfor(1);", None),
        ("nv <- { b = blob(4096) }; imp.deepsleepfor(1);", Some("nv: ")),
        (
            "imp.deepsleepuntil(24, 0);",
            Some("imp.deepsleepuntil: an hour, a minute, a second and a weekday are expected"),
        ),
        ("server.sleepuntil(23, 59, 59, 6);", None),
    ] {
        let mut end = device(source);
        end.settle();
        let failed = end.failed.clone().unwrap_or_default();
        assert_eq!(end.sleep.is_some(), error.is_none(), "{source}: {failed}");
        assert!(error.is_none_or(|error| failed.starts_with(error)), "{source}: {failed}");
    }
}
