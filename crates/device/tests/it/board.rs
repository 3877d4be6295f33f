//! The simulated board under a running device, and the thermostat on it.

use std::time::Duration;

use protocol::reason::CloseReason;
use vouch_device::board::levels::{Setting, set};
use vouch_device::events::DeviceEvent;
use vouch_device::limits::Limits;

use crate::server::{Do, QUICK, Running, Seen, TestServer, image};
use keys::profile::Profile;

const FAST: Limits = Limits { board_look: Duration::from_millis(10), ..QUICK };

struct Fixture {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn with_app(source: &str) -> Fixture {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
        server.rules().app = Some(image(source));
        Fixture { server, dir }
    }

    fn run(&self) -> Running {
        Running::start(&self.dir.path().join("d"), FAST)
    }

    fn pin(&self, pin: &str, value: Option<f32>) {
        set(&self.dir.path().join("d"), &Setting { pin: pin.to_owned(), value }).unwrap();
    }

    fn board(&self, text: &str) {
        std::fs::write(self.dir.path().join("d/board.toml"), text).unwrap();
    }
}

impl Running {
    async fn says(&mut self, wanted: &str) {
        self.until(|event| match event {
            DeviceEvent::AppLog { text, .. } => (text == wanted).then_some(()),
            DeviceEvent::AppFailed { error, .. } => panic!("waiting for {wanted:?}: {error}"),
            _ => None,
        })
        .await
    }

    async fn driven(&mut self, wanted: &str, level: f32) {
        self.until(|event| match event {
            DeviceEvent::Pin { pin, value, driven: true, .. } => (pin == wanted && value == level).then_some(()),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn the_thermostat_runs_as_it_is_and_feels_a_pin_that_is_set_while_it_runs() {
    let fixture = Fixture::with_app(include_str!("../../../../examples/thermostat/device.nut")).await;
    fixture.pin("pin1", Some(10.0));
    let mut device = fixture.run();
    device.driven("pin2", 1.0).await;
    let name = |seen| match seen {
        Seen::App(name, _) => Some(name),
        _ => None,
    };
    assert_eq!(fixture.server.until(name).await, "hello");
    assert_eq!(fixture.server.until(name).await, "reading");
    fixture.pin("pin1", Some(60.0));
    device.driven("pin2", 0.0).await;
    device.stop().await;
}

#[tokio::test]
async fn an_input_calls_back_when_it_is_set_and_falls_back_to_its_waveform() {
    let source = "hardware.pin7.configure(DIGITAL_IN, function() { server.log(\"now \" + hardware.pin7.read()); });
                  server.log(\"ready \" + hardware.pin7.read());";
    let fixture = Fixture::with_app(source).await;
    let mut device = fixture.run();
    device.says("ready 0").await;
    fixture.pin("pin7", Some(3.3));
    device.says("now 1").await;
    fixture.pin("pin7", None);
    device.says("now 0").await;
    fixture.pin("pin99", Some(1.0));
    device.until(|event| matches!(event, DeviceEvent::PinNotSet { .. }).then_some(())).await;
    device.stop().await;
}

#[tokio::test]
async fn buses_answer_from_the_boards_file() {
    let source = r#"
        local i2c = hardware.i2c89;
        i2c.configure(CLOCK_SPEED_100_KHZ);
        local read = i2c.read(0x90, "\x00", 2);
        server.log(format("i2c %d %d %d", read[0] & 0xff, read[1] & 0xff, i2c.readerror()));
        server.log(format("written %d", i2c.write(0x90, "\x00\x20")));
        server.log(format("again %d", i2c.read(0x90, "\x00", 1)[0]));
        server.log(format("nobody %d %s", i2c.write(0x92, "x"), (i2c.read(0x92, "x", 1) == null).tostring()));
        hardware.spi257.configure(MSB_FIRST | CLOCK_IDLE_LOW, 1000);
        server.log("spi " + hardware.spi257.writeread("abc"));
        hardware.spiflash.enable();
        hardware.spiflash.erasesector(4096);
        hardware.spiflash.write(4096, "kept");
        server.log("flash " + hardware.spiflash.read(4096, 4).tostring() + " " + hardware.spiflash.size());
        local uart = hardware.uart57;
        uart.configure(9600, 8, PARITY_NONE, 1, NO_CTSRTS, function() { server.log("uart " + uart.readstring()); });
        uart.write("echo");"#;
    let fixture = Fixture::with_app(source).await;
    let mut device = fixture.run();
    for wanted in
        ["i2c 21 128 0", "written 0", "again 32", "nobody -2 true", "spi abc", "flash kept 65536", "uart echo"]
    {
        device.says(wanted).await;
    }
    device.stop().await;
}

#[tokio::test]
async fn a_board_of_ones_own_is_read_and_a_wrong_one_is_refused() {
    let fixture = Fixture::with_app("hardware.pin1.configure(ANALOG_IN); server.log(hardware.pin1.read());").await;
    fixture.board("voltage = 5.0\npins.pin1.constant = 2.5\n");
    let mut device = fixture.run();
    device.says("32768").await;
    device.stop().await;
    fixture.board("pins.pin1.constant = \"x\"\n");
    let error = vouch_device::Opened::open(&fixture.dir.path().join("d"), None, &FAST);
    assert!(error.unwrap_err().to_string().contains("board.toml"));
}

#[tokio::test]
async fn a_sleeping_app_is_woken_by_its_time_and_by_its_pin() {
    let source = r#"
        if (!("nv" in getroottable())) nv <- { slept = 0 };
        server.log("wake " + hardware.wakereason() + " slept " + nv.slept);
        hardware.pin7.configure(DIGITAL_IN_WAKEUP);
        nv.slept++;
        if (nv.slept == 1) imp.onidle(@() imp.deepsleepfor(0.2));
        if (nv.slept == 2) imp.onidle(@() server.sleepfor(3600));
        if (nv.slept == 3) agent.send("awake", hardware.wakereason());"#;
    let fixture = Fixture::with_app(source).await;
    let mut device = fixture.run();
    device.says("wake 0 slept 0").await;
    device.until(|event| matches!(event, DeviceEvent::AppSleeps { ms: Some(200) }).then_some(())).await;
    device.says("wake 1 slept 1").await;
    device.until(|event| matches!(event, DeviceEvent::AppSleeps { ms: Some(3_600_000) }).then_some(())).await;
    fixture.pin("pin7", Some(3.3));
    device.says("wake 3 slept 2").await;
    let name = fixture.server.until(|seen| if let Seen::App(name, _) = seen { Some(name) } else { None }).await;
    assert_eq!(name, "awake", "the first message connects");
    device.stop().await;
}

#[tokio::test]
async fn an_app_connects_and_disconnects_as_it_says() {
    let source = r#"
        server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_TIL_SENT, 10);
        agent.on("go", function(_) {
            server.log("flushed " + server.flush(5));
            server.disconnect();
            server.log("offline " + server.isconnected() + " " + agent.send("lost", 1));
            imp.wakeup(0.3, function() { server.log("connected " + server.connect(null, 20)); agent.send("back", 1); });
        });
        agent.send("ready", 1);"#;
    let fixture = Fixture::with_app(source).await;
    let mut device = fixture.run();
    let name = |seen| match seen {
        Seen::App(name, _) => Some(name),
        _ => None,
    };
    assert_eq!(fixture.server.until(name).await, "ready");
    fixture.server.order(Do::Send("go".to_owned(), vec![0xf6]));
    device.says("flushed 0").await;
    device.says("offline false 1").await;
    let why = device.until(|event| if let DeviceEvent::Disconnected { why } = event { Some(why) } else { None }).await;
    assert!(why.contains("app"), "{why}");
    device.says("connected 5").await;
    assert_eq!(fixture.server.until(name).await, "back");
    device.stop().await;
}

#[tokio::test]
async fn a_new_app_waits_until_the_old_one_has_tidied_up() {
    let source = r#"
        server.onshutdown(function(reason) {
            server.log("asked " + reason);
            imp.wakeup(0.2, function() { server.log("ready"); server.restart(); });
        });
        server.log("first");"#;
    let fixture = Fixture::with_app(source).await;
    let mut device = fixture.run();
    device.says("first").await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Offer(image("server.log(\"second \" + hardware.wakereason());")));
    device.says("asked 1").await;
    device.says("ready").await;
    device.says("second 4").await;
    device.stop().await;
}

#[tokio::test]
async fn a_forced_restart_and_the_end_of_its_time_do_not_ask_the_app() {
    let deaf = "server.onshutdown(@(reason) server.log(\"asked\")); server.log(\"first\");";
    let fixture = Fixture::with_app(deaf).await;
    let mut device = fixture.run();
    device.says("first").await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Offer(image("server.log(\"second\");")));
    fixture.server.order(Do::Restart);
    device.says("second").await;
    device.stop().await;

    let fixture = Fixture::with_app(deaf).await;
    let limits = Limits { shutdown_wait: Duration::from_millis(100), ..FAST };
    let mut device = Running::start(&fixture.dir.path().join("d"), limits);
    device.says("first").await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Offer(image("server.log(\"second\");")));
    device.says("asked").await;
    device.says("second").await;
    fixture.server.order(Do::Close(CloseReason::Drain, Some(0)));
    device.stop().await;
}
