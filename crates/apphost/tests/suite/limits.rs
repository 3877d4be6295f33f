//! Each limit of an app, on both of its sides.

use crate::pair::{End, agent_with, device_with};
use vouch_apphost::{Input, Limits, Output, Turn, WakeReason};

fn device(source: &str, limits: Limits) -> End {
    let mut end = device_with(source, limits, WakeReason::PowerOn);
    end.settle();
    assert_eq!(end.failed, None);
    end
}

#[test]
fn names_that_an_app_listens_to() {
    let listen = |count: usize| {
        let source = format!(
            r#"try {{ for (local i = 0; i < {count}; i++) agent.on("n" + i, @(v) null); server.log("taken"); }}
               catch (e) {{ server.log("thrown"); }}
               agent.on("n0", null); agent.on("again", @(v) null); server.log("room");"#
        );
        device(&source, Limits { handlers: 3, ..Limits::device() }).logs
    };
    assert_eq!(listen(3), ["taken", "room"]);
    assert_eq!(listen(4), ["thrown", "room"]);
}

#[test]
fn the_length_of_a_name() {
    let limits = || Limits { name_bytes: 5, ..Limits::device() };
    for (name, taken) in [("12345", true), ("123456", false)] {
        let logs = device(
            &format!(
                r#"try {{ agent.on("{name}", @(v) null); server.log("on"); }} catch (e) {{}}
                   try {{ agent.send("{name}", 1); server.log("sent"); }} catch (e) {{}}"#
            ),
            limits(),
        )
        .logs;
        assert_eq!(logs.len(), if taken { 2 } else { 0 }, "{name}");
    }
}

#[test]
fn functions_that_wait_for_idleness() {
    for (count, taken) in [(4, true), (5, false)] {
        let source = format!(
            r#"try {{ for (local i = 0; i < {count}; i++) imp.onidle(@() null); server.log("taken"); }} catch (e) {{ server.log("thrown"); }}"#
        );
        let logs = device(&source, Limits { timers: 4, ..Limits::device() }).logs;
        assert_eq!(logs, [if taken { "taken" } else { "thrown" }]);
    }
}

#[test]
fn a_script_waits_while_the_host_does_not_take_its_outputs() {
    for limits in [Limits { outputs: 5, ..Limits::device() }, Limits { output_bytes: 5, ..Limits::device() }] {
        let mut end = device_with("for (local i = 0; i < 100; i++) server.log(\"x\");", limits, WakeReason::PowerOn);
        for _ in 0..10 {
            assert_eq!(end.app.run(end.now), Turn::More);
        }
        let taken: Vec<Output> = std::iter::from_fn(|| end.app.poll_output()).collect();
        assert_eq!(taken.len(), 5);
        end.settle();
        assert_eq!(end.logs.len(), 95);
    }
}

#[test]
fn the_body_and_the_headers_of_an_answer() {
    let answer = |body: usize, header: usize| {
        let limits = Limits { http_body_bytes: 8, http_header_bytes: 8, ..Limits::agent() };
        let (body, header) = ("b".repeat(body), "h".repeat(header));
        let source = format!(
            r#"http.onrequest(function(q, r) {{
                   try {{ r.header("x", "{header}"); }} catch (e) {{ server.log("header"); }}
                   try {{ r.send(200, "{body}"); }} catch (e) {{ server.log("body"); r.send(500, ""); }}
               }});"#
        );
        let mut end = agent_with(&source, limits, None);
        end.request(1, "GET", "/", b"");
        end.settle();
        (end.responses[0].status, end.responses[0].headers.len(), end.logs)
    };
    assert_eq!(answer(8, 7), (200, 1, vec![]));
    assert_eq!(answer(9, 8), (500, 0, vec!["header".to_owned(), "body".to_owned()]));
}

#[test]
fn the_depth_of_a_message() {
    for (depth, taken) in [(vouch_apphost::limits::NESTING, true), (vouch_apphost::limits::NESTING + 1, false)] {
        let build = format!("local v = []; for (local i = 1; i < {depth}; i++) v = [v];");
        let logs = device(
            &format!("{build} try {{ agent.send(\"x\", v); server.log(\"sent\"); }} catch (e) {{}}"),
            Limits::device(),
        )
        .logs;
        assert_eq!(logs.len(), usize::from(taken), "sending {depth}");

        let mut end = device("agent.on(\"x\", @(v) server.log(\"got\"));", Limits::device());
        let mut value = vec![0x81; depth - 1];
        value.push(0x80);
        end.input(Input::Message { name: "x".into(), value, to_handle: false });
        end.settle();
        assert_eq!(end.logs[0] == "got", taken, "receiving {depth}");
    }
}

#[test]
fn a_script_that_only_calls_its_host_has_slices_too() {
    let mut end = device_with(
        "while (true) hardware.millis();",
        Limits { event: 100_000, ..Limits::device() },
        WakeReason::PowerOn,
    );
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.turns > 10, "{}", end.turns);
}
