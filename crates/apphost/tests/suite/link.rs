//! `server` on a device: connecting, disconnecting, shutting down.

use crate::pair::{device, device_logs};
use vouch_apphost::{Input, ShutdownReason, Turn};

#[test]
fn connect_answers_when_there_is_a_session_or_when_the_time_is_up() {
    let mut end = device(r#"server.connect(@(result) server.log(result == SERVER_CONNECTED)); server.log("main");"#);
    end.settle();
    assert_eq!(end.logs, ["main", "true"]);

    let source = r#"agent.on("go", function(_) { server.connect(function(result) { server.log(result); }, 5); });"#;
    let go = || Input::Message { name: "go".into(), value: vec![0xf6] };
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
