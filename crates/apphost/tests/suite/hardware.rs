//! The simulated board, and time that passes while an app sleeps.

use crate::pair::{device, device_as, device_info, device_logs};
use vouch_apphost::{Board, DeviceInfo, Input, Limits, Turn, WakeReason};

fn show(level: f32) -> Input {
    Input::Pin { name: "pin1".into(), level: Some(level) }
}

#[test]
fn an_analog_pin_reads_its_share_of_the_supply() {
    let mut board = Board::default();
    (board.voltage, board.light) = (3.0, 12_345);
    board.show("pinA", Some(0.5)).expect("a pin");
    let info = DeviceInfo { board, ..device_info() };
    let source = "hardware.pinA.configure(ANALOG_IN); server.log(hardware.pinA.read());
                  server.log(hardware.voltage()); server.log(hardware.lightlevel());";
    let mut end = device_as(source, Limits::device(), WakeReason::PowerOn, info);
    end.settle();
    assert_eq!(end.logs, ["32768", "3", "12345"]);
}

#[test]
fn a_digital_input_calls_back_when_it_changes_and_only_then() {
    let mut end = device(
        "local pin = hardware.pin1; pin.configure(DIGITAL_IN_PULLUP, function() { server.log(pin.read()); });
         server.log(pin.read());",
    );
    end.settle();
    for level in [0.6, 0.4, 0.1, 0.9] {
        end.input(show(level));
        end.settle();
    }
    assert_eq!(end.logs, ["1", "0", "1"]);
}

#[test]
fn outputs_are_driven_by_the_app_alone() {
    let mut end = device(
        "hardware.pin1.configure(DIGITAL_OUT, 1); hardware.pin2.configure(ANALOG_OUT); hardware.pin2.write(0.25);
         hardware.pin5.configure(PWM_OUT, 0.02, 0.1); hardware.pin7.configure(DIGITAL_OUT); hardware.pin7.write(5);",
    );
    end.settle();
    end.input(show(0.0));
    end.settle();
    let levels = ["pin1", "pin2", "pin5", "pin7"].map(|pin| end.app.board().level(pin).expect("a pin"));
    assert_eq!(levels, [1.0, 0.25, 0.1, 1.0]);
    assert_eq!(end.failed, None);
}

#[test]
fn a_pin_used_for_what_it_is_not_configured_for_throws() {
    for (source, error) in [
        ("hardware.pin1.read();", "pin1 is not configured"),
        ("hardware.pin1.configure(DIGITAL_IN); hardware.pin1.write(1);", "pin.write: pin1 is not an output"),
        ("hardware.pin1.configure(99);", "pin.configure: the simulated board has no such mode"),
        (
            "hardware.pin1.configure(DIGITAL_OUT); hardware.pin1.disable(); hardware.pin1.write(1);",
            "pin1 is not configured",
        ),
        ("hardware.pin1.configure.call({}, DIGITAL_OUT);", "a pin was expected"),
    ] {
        let mut end = device(source);
        end.settle();
        assert_eq!(end.failed.as_deref(), Some(error), "{source}");
    }
}

#[test]
fn a_level_on_a_pin_that_does_not_exist_is_nothing() {
    let mut end = device("");
    end.input(Input::Pin { name: "pin0".into(), level: Some(1.0) });
    assert_eq!(end.settle(), Turn::Idle);
}

#[test]
fn a_sleeping_app_does_nothing_until_its_time() {
    let mut end = device(
        r#"imp.wakeup(0.5, @() server.log("timer"));
           server.log("before"); local t = hardware.millis(); imp.sleep(1.5); server.log("after " + (hardware.millis() - t));"#,
    );
    assert_eq!(end.settle(), Turn::Waiting);
    end.pass(1_490);
    assert_eq!(end.logs, ["before"]);
    end.pass(10);
    assert_eq!(end.logs, ["before", "after 1500", "timer"]);
}

#[test]
fn pins_are_built_in_objects() {
    assert_eq!(device_logs("server.log(typeof hardware.pin1 + \" \" + type(hardware.pin1));"), ["pin meta"]);
}
