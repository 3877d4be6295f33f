//! The simulated board, and time that passes while an app sleeps.

use crate::pair::{End, device, device_as, device_info, device_logs};
use vouch_apphost::{Bench, DeviceInfo, Input, Limits, Turn, WakeReason};

/// A device app, and the board it runs on.
fn on_a_bench(source: &str) -> (End, Bench) {
    let board = Bench::default();
    let info = DeviceInfo { board: Box::new(board.clone()), ..device_info() };
    (device_as(source, Limits::device(), WakeReason::PowerOn, info), board)
}

fn show(end: &mut End, board: &Bench, level: f32) {
    board.show("pin1", Some(level)).expect("a pin");
    end.input(Input::BoardMoved);
    end.settle();
}

#[test]
fn an_analog_pin_reads_its_share_of_the_supply() {
    let source = "hardware.pinA.configure(ANALOG_IN); server.log(hardware.pinA.read());
                  server.log(hardware.voltage()); server.log(hardware.lightlevel());";
    let (mut end, board) = on_a_bench(source);
    board.supply_with(3.0, 12_345);
    board.show("pinA", Some(0.5)).expect("a pin");
    end.settle();
    assert_eq!(end.logs, ["32768", "3", "12345"]);
}

#[test]
fn a_digital_input_calls_back_when_it_changes_and_only_then() {
    let (mut end, board) = on_a_bench(
        "local pin = hardware.pin1; pin.configure(DIGITAL_IN_PULLUP, function() { server.log(pin.read()); });
         server.log(pin.read());",
    );
    end.settle();
    for level in [0.6, 0.4, 0.1, 0.9] {
        show(&mut end, &board, level);
    }
    assert_eq!(end.logs, ["1", "0", "1"]);
}

#[test]
fn outputs_are_driven_by_the_app_alone() {
    let (mut end, board) = on_a_bench(
        "hardware.pin1.configure(DIGITAL_OUT, 1); hardware.pin2.configure(ANALOG_OUT); hardware.pin2.write(0.25);
         hardware.pin5.configure(PWM_OUT, 0.02, 0.1); hardware.pin7.configure(DIGITAL_OUT); hardware.pin7.write(5);",
    );
    end.settle();
    show(&mut end, &board, 0.0);
    let levels = ["pin1", "pin2", "pin5", "pin7"].map(|pin| board.level_of(pin).expect("a pin"));
    assert_eq!(levels, [1.0, 0.25, 0.1, 1.0]);
    assert_eq!(end.failed, None);
}

#[test]
fn a_pin_used_for_what_it_is_not_configured_for_throws() {
    for (source, error) in [
        ("hardware.pin1.read();", "pin1 is not configured"),
        ("hardware.pin1.configure(DIGITAL_IN); hardware.pin1.write(1);", "pin.write: pin1 is not an output"),
        ("hardware.pin1.configure(99);", "pin.configure: there is no such mode"),
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

#[test]
fn what_the_board_does_not_have_throws_and_i2c_says_why() {
    for (source, error) in [
        ("hardware.i2c89.configure(CLOCK_SPEED_100_KHZ);", "i2c.configure: the board has no i2c89"),
        ("hardware.spi257.configure(MSB_FIRST, 1000);", "spi.configure: the board has no spi257"),
        ("hardware.uart57.configure(9600, 8, PARITY_NONE, 1, 0);", "uart.configure: the board has no uart57"),
        ("hardware.spiflash.enable();", "spiflash.enable: the board has no flash memory"),
        ("hardware.spiflash.read(0, 1);", "spiflash.read: spiflash is not enabled"),
        ("hardware.uart57.write(1);", "uart57 is not configured"),
        ("hardware.spi257.write(\"x\");", "spi257 is not configured"),
        ("hardware.sampler.start();", "sampler.start: it is not configured"),
    ] {
        let mut end = device(source);
        end.settle();
        assert_eq!(end.failed.as_deref(), Some(error), "{source}");
    }
    let logs = device_logs(
        "local i2c = hardware.i2c89; server.log(i2c.read(0x90, \"\\x00\", 2) == null);
         server.log(i2c.readerror() + \" \" + i2c.write(0x90, \"x\"));",
    );
    assert_eq!(logs, ["true", "-13 -13"]);
}

#[test]
fn the_sampler_fills_its_buffers_in_time_and_in_turn() {
    let (mut end, board) = on_a_bench(
        "local s = hardware.sampler; count <- 0;
         s.configure(hardware.pin1, 100, [blob(20), blob(20)], function(buffer, length) {
             server.log(length + \" \" + buffer.readn('w') + \" \" + buffer.len());
             if (++count == 3) s.stop();
         });
         s.start();",
    );
    board.show("pin1", Some(1.0)).expect("a pin");
    end.pass(99);
    assert!(end.logs.is_empty());
    end.pass(1);
    assert_eq!(end.logs, ["20 65535 20"]);
    end.pass(10_000);
    assert_eq!((end.logs.len(), end.failed), (3, None));
}
