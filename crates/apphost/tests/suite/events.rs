//! The event loop: order, `this`, timers, idle, errors and restarts.

use crate::pair::{agent, agent_logs, device, device_logs, device_with};
use vouch_apphost::{Input, InputRefused, Limits, NotSent, Turn, WakeReason};

#[test]
fn timers_fire_in_due_order_and_equal_ones_in_the_order_set() {
    let mut end = device(
        r#"imp.wakeup(0.2, @() server.log("c"));
           imp.wakeup(0.1, @() server.log("a"));
           imp.wakeup(0.1, @() server.log("b"));
           imp.wakeup(0.095, @() server.log("rounded up to a tenth"));
           server.log("main");"#,
    );
    end.pass(90);
    assert_eq!(end.logs, ["main"]);
    end.pass(10);
    assert_eq!(end.logs, ["main", "a", "b", "rounded up to a tenth"]);
    end.pass(100);
    assert_eq!(end.logs.last().map(String::as_str), Some("c"));
    assert_eq!(end.app.poll_timeout(), None);
}

#[test]
fn wakeup_zero_and_onidle_run_when_nothing_else_is_to_do() {
    let mut end = device(
        r#"imp.onidle(@() server.log("idle"));
           imp.wakeup(0, @() server.log("zero"));
           agent.on("x", function(value) { server.log("message " + value); });
           server.log("main");"#,
    );
    end.input(Input::Message { name: "x".into(), value: vec![0x01], to_handle: false });
    end.settle();
    assert_eq!(end.logs, ["main", "message 1", "idle", "zero"]);
}

#[test]
fn a_cancelled_timer_does_not_fire_and_a_fired_one_can_be_cancelled() {
    let mut end = device(
        r#"local fired = imp.wakeup(0.01, @() server.log("fired"));
           local never = imp.wakeup(0.02, @() server.log("never"));
           imp.wakeup(0.01, function() { imp.cancelwakeup(never); imp.cancelwakeup(fired); imp.cancelwakeup(never); });"#,
    );
    end.pass(1_000);
    assert_eq!(end.logs, ["fired"]);
    assert_eq!(end.failed, None);
}

#[test]
fn named_timers_belong_to_agents_and_an_inactive_name_throws() {
    let logs = agent_logs(
        r#"imp.wakeup(1, @() null, "watchdog");
           imp.cancelwakeup("watchdog");
           try { imp.cancelwakeup("watchdog"); } catch (e) { server.log("thrown"); }"#,
    );
    assert_eq!(logs, ["thrown"]);
}

#[test]
fn there_are_no_timers_beyond_the_limit() {
    let source = r#"local n = 0; while (imp.wakeup(10, @() null) != null) n++; server.log(n);"#;
    let mut end = device_with(source, Limits { timers: 5, ..Limits::device() }, WakeReason::PowerOn);
    end.settle();
    assert_eq!(end.logs, ["5"]);
}

#[test]
fn callbacks_see_root_as_this_unless_bound() {
    let mut end = device(
        r#"x <- "root";
           class A { x = "bound"; }
           function show(v) { server.log(this.x); }
           agent.on("free", show);
           agent.on("bound", show.bindenv(A()));"#,
    );
    for name in ["free", "bound"] {
        end.input(Input::Message { name: name.into(), value: vec![0xf6], to_handle: false });
    }
    end.settle();
    assert_eq!(end.logs, ["root", "bound"]);
}

#[test]
fn an_uncaught_error_is_logged_with_its_stack_and_ends_the_app() {
    let mut end =
        device("function inner() {\n  local t = {};\n  t.missing();\n}\nfunction outer() {\n  inner();\n}\nouter();");
    assert_eq!(end.settle(), Turn::Ended);
    assert_eq!(end.failed.as_deref(), Some("the index 'missing' does not exist"));
    assert_eq!(
        end.logs,
        [
            "! ERROR: the index 'missing' does not exist",
            "! ERROR:   in inner device_code:3",
            "! ERROR:   from outer device_code:6",
            "! ERROR:   from main device_code:8"
        ]
    );
    assert!(matches!(end.app.input(Input::Connected, end.now), Err(InputRefused::Ended(_))));
    assert_eq!(end.app.poll_timeout(), None);
}

#[test]
fn a_thrown_value_that_is_no_string_is_shown_as_text() {
    let mut end = device("throw 42;");
    end.settle();
    assert_eq!(end.failed.as_deref(), Some("42"));
}

#[test]
fn an_error_in_a_callback_says_where() {
    let mut end = device("imp.wakeup(1, function() {\n  throw \"later\";\n});");
    end.pass(1_000);
    assert_eq!(end.failed.as_deref(), Some("later"));
    assert_eq!(end.logs, ["! ERROR: later", "! ERROR:   in unknown device_code:2"]);
}

#[test]
fn the_wake_reason_is_what_the_host_says() {
    let source = "server.log(hardware.wakereason() == WAKEREASON_SQUIRREL_ERROR); server.log(hardware.wakereason());";
    let mut end = device_with(source, Limits::device(), WakeReason::AppError);
    end.settle();
    assert_eq!(end.logs, ["true", "5"]);
}

#[test]
fn a_restart_is_asked_of_the_host_after_the_event() {
    let mut end = device(r#"server.restart(); server.log("still here"); imp.wakeup(0, @() server.log("never"));"#);
    assert_eq!(end.settle(), Turn::Ended);
    assert!(end.restart);
    assert_eq!(end.logs, ["still here"]);
}

#[test]
fn the_queue_refuses_when_full_and_has_room_again() {
    let mut end = device_with(
        r#"agent.on("x", function(value) { server.log(value); });"#,
        Limits { queue: 3, ..Limits::device() },
        WakeReason::PowerOn,
    );
    let message = || Input::Message { name: "x".into(), value: vec![0x07], to_handle: false };
    for _ in 0..3 {
        assert!(end.app.has_room());
        end.app.input(message(), end.now).expect("below the limit");
    }
    assert!(!end.app.has_room());
    assert!(matches!(end.app.input(message(), end.now), Err(InputRefused::Full(Input::Message { .. }))));
    end.settle();
    assert!(end.app.has_room());
    assert_eq!(end.logs, ["7", "7", "7"]);
}

#[test]
fn a_message_that_nobody_listens_to_is_dropped() {
    let mut end = device("");
    end.input(Input::Message { name: "x".into(), value: vec![0x07], to_handle: false });
    assert_eq!(end.settle(), Turn::Idle);
    assert_eq!(end.failed, None);
}

#[test]
fn send_returns_zero_or_why_not() {
    let source = r#"server.log(agent.send("a", 1));"#;
    assert_eq!(device_logs(source), ["0"]);
    let mut end = device(source);
    end.send_answer = Err(NotSent::TimedOut);
    end.settle();
    assert_eq!(end.logs, ["2"]);
    let mut end = device(&format!("imp.wakeup(1, function() {{ {source} server.log(server.isconnected()); }});"));
    end.settle();
    end.input(Input::Disconnected);
    end.pass(1_000);
    assert_eq!(end.logs, ["1", "false"]);
    assert!(end.sent.is_empty(), "an offline app asks nobody");
}

#[test]
fn log_takes_any_value() {
    assert_eq!(
        device_logs(
            r#"server.log(1); server.log(1.5); server.log(true); server.log("text"); server.error("bad");
               class A { function _tostring() { return "by hand"; } }
               server.log(A());"#
        ),
        ["1", "1.5", "true", "text", "! bad", "by hand"]
    );
}

#[test]
fn a_log_line_is_cut_at_its_limit() {
    let cut = |bytes: usize| {
        let mut end = device(&format!(r#"local s = ""; for (local i = 0; i < {bytes}; i++) s += "x"; server.log(s);"#));
        end.settle();
        end.logs[0].len()
    };
    assert_eq!(cut(4096), 4096);
    assert_eq!(cut(4097), 4096);
}

#[test]
fn what_the_imp_says_about_itself() {
    assert_eq!(
        device_logs(
            r#"server.log(hardware.getdeviceid());
               server.log(imp.getsoftwareversion());
               server.log(imp.environment() == ENVIRONMENT_MODULE);
               server.log(typeof hardware.millis() + " " + typeof hardware.micros());
               local free = imp.getmemoryfree(); local kept = array(1000); server.log(free - imp.getmemoryfree() > 7900); kept[0] = 1;
               server.log(server.isconnected());"#
        ),
        ["0123456789abcdef", "test 1", "true", "integer integer", "true", "true"]
    );
}

#[test]
fn millis_follow_the_hosts_clock() {
    let mut end = device(
        "local a = hardware.millis(), b = hardware.micros();
        imp.wakeup(1.25, function() { server.log(hardware.millis() - a); server.log(hardware.micros() - b); });",
    );
    end.pass(2_000);
    assert_eq!(end.logs, ["1250", "1250000"]);
}

#[test]
fn the_agent_hears_of_its_device_coming_and_going() {
    let mut end = agent(
        r#"device.onconnect(@() server.log("here " + device.isconnected()));
           device.ondisconnect(@() server.log("gone " + device.isconnected()));"#,
    );
    end.input(Input::Connected);
    end.input(Input::Connected);
    end.settle();
    end.input(Input::Disconnected);
    end.settle();
    assert_eq!(end.logs, ["here true", "gone false"]);
}

#[test]
fn a_message_is_handled_once_its_handler_has_returned() {
    let mut end = agent(
        r#"device.on("slow", function(value) { server.save({ n = value }); server.log("saved"); });
           device.on("quick", @(value) null);
           device.on("again", @(value) server.restart());"#,
    );
    end.settle();
    let message =
        |name: &str, value: &[u8]| Input::Message { name: name.into(), value: value.to_vec(), to_handle: true };
    end.save_answer = None;
    end.input(message("slow", &[0x01]));
    end.input(message("quick", &[0x01]));
    end.settle();
    assert!(end.handled.is_empty(), "the handler waits for the disk");
    end.input(Input::Saved(Ok(())));
    end.settle();
    assert_eq!(end.handled, [true, true]);
    end.input(Input::Message { name: "quick".into(), value: vec![0x01], to_handle: false });
    end.settle();
    assert_eq!(end.handled.len(), 2, "told only of those that are to be handled");
    end.input(message("again", &[0x01]));
    end.input(message("quick", &[0x01]));
    end.settle();
    assert_eq!((end.handled.len(), end.restart), (3, true));
}

#[test]
fn a_message_that_nobody_listens_to_or_that_breaks_its_handler_is_not_handled() {
    let mut end = agent(r#"device.on("bad", @(value) value.nothing);"#);
    end.settle();
    let message =
        |name: &str, value: &[u8]| Input::Message { name: name.into(), value: value.to_vec(), to_handle: true };
    end.input(message("unknown", &[0x01]));
    end.input(message("bad", &[0xff]));
    end.settle();
    assert_eq!(end.handled, [false, false], "nobody listens, and no value");
    end.input(message("bad", &[0x01]));
    end.settle();
    assert!(end.failed.is_some());
    assert_eq!(end.handled.len(), 2);
}
