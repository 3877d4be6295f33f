//! Whole sessions: login, app, messages, logs, restarts, refusals and everything that happens while there is no session.

use std::path::PathBuf;

use keys::cose::{self, CosePurpose};
use keys::hashes::sha256;
use keys::profile::Profile;
use keys::public::PublicKey;
use protocol::eat::Eat;
use protocol::reason::CloseReason;
use protocol::report::{AppState, LogLevel, LogLine};
use protocol::session::Standing;
use vouch_device::connect::attempt::AttemptResult;
use vouch_device::events::{ChallengeRecord, DeviceEvent, TlsFacts, Welcomed};
use vouch_device::folder::Folder;
use vouch_device::limits::Limits;

use crate::connect::next_attempt;
use crate::server::{Do, QUICK, Running, Seen, TestServer, image, unix_ms};

const TICK: &str = "n <- 0; function tick() { n++; server.log(\"tick \" + n); imp.wakeup(0.05, tick); } tick();";

struct Fixture {
    server: TestServer,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new(profile: Profile) -> Fixture {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        server.provision(&dir.path().join("d"), profile).await.unwrap();
        Fixture { server, dir }
    }

    /// With an app of this source assigned.
    async fn with_app(source: &str) -> Fixture {
        let fixture = Fixture::new(Profile::Modern).await;
        fixture.server.rules().app = Some(image(source));
        fixture
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("d")
    }

    fn run(&self) -> Running {
        Running::start(&self.path(), QUICK)
    }

    fn stand(&self, standing: Standing) {
        self.server.rules().known.values_mut().for_each(|known| known.standing = standing);
    }
}

impl Running {
    async fn tls(&mut self) -> TlsFacts {
        self.until(|event| if let DeviceEvent::Tls(facts) = event { Some(facts) } else { None }).await
    }

    async fn challenge(&mut self) -> ChallengeRecord {
        self.until(|event| if let DeviceEvent::Challenge(record) = event { Some(record) } else { None }).await
    }

    async fn welcomed(&mut self) -> Welcomed {
        self.until(|event| if let DeviceEvent::Welcomed(welcome) = event { Some(welcome) } else { None }).await
    }

    async fn started(&mut self) -> ([u8; 32], u8) {
        self.until(|event| match event {
            DeviceEvent::AppStarted { sha256, wake_reason } => Some((sha256.0, wake_reason)),
            _ => None,
        })
        .await
    }

    async fn logged(&mut self, wanted: &str) -> i64 {
        self.until(|event| match event {
            DeviceEvent::AppLog { text, unix_ms, .. } if text.contains(wanted) => Some(unix_ms),
            _ => None,
        })
        .await
    }

    async fn waiting(&mut self) -> (u64, String) {
        self.until(|event| if let DeviceEvent::Waiting { ms, why } = event { Some((ms, why)) } else { None }).await
    }
}

impl TestServer {
    async fn line(&self, wanted: &str) -> LogLine {
        self.until(|seen| match seen {
            Seen::Logs(lines) => lines.into_iter().find(|line| line.text.contains(wanted)),
            _ => None,
        })
        .await
    }

    async fn state(&self, wanted: impl Fn(&AppState) -> bool) -> AppState {
        self.until(|seen| if let Seen::State(state) = seen { Some(state).filter(&wanted) } else { None }).await
    }
}

#[tokio::test]
async fn a_device_of_each_profile_proves_itself_and_both_ends_have_the_same_facts() {
    for (profile, version, suite) in [
        (Profile::Classic, "TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        (Profile::Modern, "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    ] {
        let fixture = Fixture::new(profile).await;
        let mut device = fixture.run();
        let facts = device.tls().await;
        assert_eq!((facts.version.as_str(), facts.suite.as_str(), facts.resumed), (version, suite, false));
        let record = device.challenge().await;
        let theirs =
            fixture.server.until(|seen| if let Seen::Opened(record) = seen { Some(record) } else { None }).await;
        assert_eq!(record.nonce.0, theirs.nonce);
        assert_eq!(record.exporter.0, theirs.exporter);
        assert_eq!(record.eat.0, theirs.eat_cose);
        let identity = PublicKey::from_spki_der(&record.identity_spki.0).unwrap();
        let claims = cose::verify(CosePurpose::Challenge, &identity, &record.eat.0).unwrap();
        let claims = Eat::from_cbor(&claims, &protocol::limits::LIMITS).unwrap();
        assert_eq!((&claims.nonce[..], &claims.exporter[..]), (&record.nonce.0[..], &record.exporter.0[..]));
        assert_eq!((claims.model.as_str(), claims.profile), ("probe-1", profile));
        assert_eq!(device.welcomed().await.device_id, identity.device_id().to_string());
        device.stop().await;
    }
}

#[tokio::test]
async fn a_modern_session_is_resumed_and_proves_itself_anew() {
    let fixture = Fixture::new(Profile::Modern).await;
    let mut device = fixture.run();
    assert!(!device.tls().await.resumed);
    let first = device.challenge().await;
    device.welcomed().await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Close(CloseReason::Drain, Some(0)));
    assert!(device.tls().await.resumed);
    let second = device.challenge().await;
    assert_ne!(first.nonce.0, second.nonce.0);
    assert_ne!(first.exporter.0, second.exporter.0);
    device.stop().await;
}

#[tokio::test]
async fn the_app_comes_over_the_session_in_pieces_and_runs() {
    let fixture = Fixture::with_app("server.log(\"hello from \" + hardware.getdeviceid());").await;
    let app = fixture.server.rules().app.clone().unwrap();
    fixture.server.rules().chunk = 50;
    let mut device = fixture.run();
    let (hash, bytes) = device
        .until(|event| match event {
            DeviceEvent::AppDownloaded { sha256, bytes } => Some((sha256.0, bytes)),
            _ => None,
        })
        .await;
    assert_eq!(hash, sha256(&app));
    assert_eq!(bytes, app.len() as u64);
    assert_eq!(device.started().await, (hash, 0));
    // Either may come first.
    let (mut line, mut state) = (None, None);
    let both = |seen| {
        match seen {
            Seen::Logs(lines) => line = lines.into_iter().find(|line| line.text.contains("hello from")).or(line.take()),
            Seen::State(told) if told.sha256 == Some(hash) => state = Some(told),
            _ => {}
        }
        line.clone().zip(state.clone())
    };
    let (line, state) = fixture.server.until(both).await;
    assert_eq!((line.level, state.error), (LogLevel::Log, None));
    let stored = std::fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(stored.into_iter().all(|name| !name.to_string_lossy().contains("app")));
    device.stop().await;
}

#[tokio::test]
async fn a_download_that_was_cut_off_goes_on_where_it_was() {
    let fixture = Fixture::with_app("server.log(\"whole\");").await;
    fixture.server.rules().chunk = 20;
    let mut device = fixture.run();
    let reached =
        fixture.server.until(|seen| if let Seen::WantApp(at) = seen { (at >= 40).then_some(at) } else { None }).await;
    fixture.server.order(Do::Cut);
    fixture.server.until_open().await;
    let next = fixture.server.until(|seen| if let Seen::WantApp(at) = seen { Some(at) } else { None }).await;
    assert!(next >= reached, "{next} after {reached}");
    device.logged("whole").await;
    device.stop().await;
}

#[tokio::test]
async fn a_falsified_app_is_thrown_away_and_the_one_that_runs_goes_on() {
    let fixture = Fixture::with_app(TICK).await;
    let mut device = fixture.run();
    device.logged("tick 1").await;
    fixture.server.until_open().await;
    fixture.server.rules().falsify = true;
    fixture.server.order(Do::Offer(image("server.log(\"evil\");")));
    device.until(|event| matches!(event, DeviceEvent::AppUnusable { .. }).then_some(())).await;
    device.logged("tick").await;
    device.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_app_are_reported_and_not_fetched_again() {
    let fixture = Fixture::new(Profile::Modern).await;
    fixture.server.rules().app = Some(b"this is no app".to_vec());
    let mut device = fixture.run();
    assert!(fixture.server.line("cannot be run").await.text.contains("cannot be run"));
    fixture.server.order(Do::Close(CloseReason::Drain, Some(0)));
    device.waiting().await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Offer(image("server.log(\"better\");")));
    let asked = fixture.server.until(|seen| if let Seen::WantApp(at) = seen { Some(at) } else { None }).await;
    assert_eq!(asked, 0);
    device.logged("better").await;
    device.stop().await;
}

#[tokio::test]
async fn a_new_app_replaces_the_old_one_and_a_removed_one_stops() {
    let fixture = Fixture::with_app(TICK).await;
    let mut device = fixture.run();
    device.logged("tick").await;
    let new = image("server.log(\"second, wake reason \" + hardware.wakereason());");
    fixture.server.order(Do::Offer(new.clone()));
    assert_eq!(device.started().await, (sha256(&new), 4));
    device.logged("second, wake reason 4").await;
    fixture.server.order(Do::Remove);
    device.until(|event| matches!(event, DeviceEvent::AppRemoved).then_some(())).await;
    fixture.server.state(|state| state.sha256.is_none()).await;
    device.stop().await;
}

#[tokio::test]
async fn a_restart_that_was_asked_for_happens() {
    let fixture = Fixture::with_app("server.log(\"wake \" + hardware.wakereason());").await;
    let mut device = fixture.run();
    device.logged("wake 0").await;
    fixture.server.order(Do::Restart);
    device.logged("wake 10").await;
    device.stop().await;
}

#[tokio::test]
async fn an_app_that_fails_starts_again_after_a_pause_and_the_server_is_told() {
    let fixture = Fixture::with_app(
        "server.log(\"wake \" + hardware.wakereason()); if (hardware.wakereason() == 0) throw \"broken\";",
    )
    .await;
    let mut device = fixture.run();
    let (error, pause) = device
        .until(|event| match event {
            DeviceEvent::AppFailed { error, restart_in_ms } => Some((error, restart_in_ms)),
            _ => None,
        })
        .await;
    assert!(error.contains("broken"), "{error}");
    assert!(pause > 0);
    device.logged("wake 5").await;
    let state = fixture.server.state(|state| state.error.is_some()).await;
    assert!(state.error.unwrap().contains("broken"));
    device.stop().await;
}

#[tokio::test]
async fn an_app_that_ran_out_of_memory_starts_again_and_is_told_so() {
    let fixture = Fixture::with_app(
        "local wake = hardware.wakereason(); server.log(\"wake \" + wake);
         if (wake == WAKEREASON_POWER_ON) { local all = []; while (true) all.push(blob(100000)); }",
    )
    .await;
    let mut device = fixture.run();
    device.logged("wake 0").await;
    device.logged("wake 2").await;
    device.stop().await;
}

#[tokio::test]
async fn an_endless_app_is_ended_and_the_session_lives_on() {
    let fixture = Fixture::with_app("while (true) {}").await;
    let mut device = fixture.run();
    device.until(|event| matches!(event, DeviceEvent::AppFailed { .. }).then_some(())).await;
    fixture.server.order(Do::Offer(image("server.log(\"still here\");")));
    device.logged("still here").await;
    device.stop().await;
}

#[tokio::test]
async fn messages_go_both_ways() {
    let fixture = Fixture::with_app(
        "agent.on(\"ask\", function(value) { agent.send(\"answer\", value); }); agent.send(\"ready\", 1);",
    )
    .await;
    let device = fixture.run();
    let value = fixture
        .server
        .until(|seen| match seen {
            Seen::App(name, value) => Some(value).filter(|_| name == "ready"),
            _ => None,
        })
        .await;
    fixture.server.order(Do::Send("ask".to_owned(), value.clone()));
    let answer = fixture
        .server
        .until(|seen| match seen {
            Seen::App(name, value) => Some(value).filter(|_| name == "answer"),
            _ => None,
        })
        .await;
    assert_eq!(answer, value);
    device.stop().await;
}

impl TestServer {
    async fn app_message(&self, wanted: &str) {
        self.until(|seen| matches!(seen, Seen::App(name, _) if name == wanted).then_some(())).await
    }
}

#[tokio::test]
async fn a_message_that_waits_for_its_acknowledgement_is_answered_by_what_became_of_it() {
    let fixture = Fixture::with_app(
        r#"server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_FOR_ACK, 30);
           local result = agent.send("first", 1);
           server.log("first " + result);
           result = agent.send("second", 1);
           server.log("second " + result + " " + server.isconnected());
           server.setsendtimeoutpolicy(RETURN_ON_ERROR_NO_DISCONNECT, WAIT_FOR_ACK, 0.05);
           result = agent.send("late", 1);
           server.log("late " + result + " " + server.isconnected());
           result = server.flush(0.05);
           server.log("flush " + result);
           result = server.flush(30);
           server.log("flush " + result);
           server.setsendtimeoutpolicy(RETURN_ON_ERROR, WAIT_FOR_ACK, 30);
           result = agent.send("lost", 1);
           server.log("lost " + result);"#,
    )
    .await;
    let mut device = fixture.run();
    fixture.server.app_message("first").await;
    fixture.server.order(Do::Handled(1, true));
    device.logged("first 0").await;
    fixture.server.app_message("second").await;
    fixture.server.order(Do::Handled(2, false));
    device.logged("second 5 true").await;
    device.logged("late 2 true").await;
    device.logged("flush 2").await;
    fixture.server.order(Do::Handled(3, true));
    device.logged("flush 0").await;
    fixture.server.app_message("lost").await;
    fixture.server.order(Do::Cut);
    device.logged("lost 3").await;
    device.stop().await;
}

#[tokio::test]
async fn the_app_goes_on_offline_and_its_lines_arrive_later_with_their_own_time() {
    let fixture = Fixture::with_app(TICK).await;
    let mut device = fixture.run();
    device.logged("tick 1").await;
    fixture.server.rules().deaf = true;
    fixture.server.order(Do::Cut);
    device.until(|event| matches!(event, DeviceEvent::Disconnected { .. }).then_some(())).await;
    let offline: String =
        device.until(|event| if let DeviceEvent::AppLog { text, .. } = event { Some(text) } else { None }).await;
    for _ in 0..3 {
        device.logged("tick").await;
    }
    let back_at = unix_ms();
    fixture.server.rules().deaf = false;
    let line = fixture.server.line(&offline).await;
    assert!(line.unix_ms <= back_at, "{} after {back_at}", line.unix_ms);
    device.stop().await;
}

#[tokio::test]
async fn lines_and_attempts_are_sent_again_until_the_server_keeps_them_and_then_no_more() {
    let fixture = Fixture::with_app(TICK).await;
    fixture.server.rules().keeps = false;
    let mut device = fixture.run();
    device.logged("tick 1").await;
    let line = fixture.server.line("tick 1").await;
    // Taken by a server that does not say that it keeps it: it may have been lost with that connection.
    fixture.server.order(Do::Cut);
    assert_eq!(fixture.server.line("tick 1").await, line);
    fixture.server.order(Do::Cut);
    fixture.server.rules().keeps = true;
    let entries = fixture.server.until(|seen| if let Seen::Diary(entries) = seen { Some(entries) } else { None }).await;
    assert_eq!(entries.len(), 3, "every attempt so far: {entries:?}");
    assert_eq!(fixture.server.line("tick 1").await, line);
    fixture.server.order(Do::Cut);
    let opened = |seen| matches!(seen, Seen::Opened(_)).then_some(());
    fixture.server.until(opened).await;
    let later = fixture.server.until(|seen| if let Seen::Logs(lines) = seen { Some(lines) } else { None }).await;
    assert!(later.iter().all(|line| line.text != "tick 1"), "{later:?}");
    device.stop().await;
}

#[tokio::test]
async fn a_revoked_device_keeps_asking_rarely_and_says_so() {
    let fixture = Fixture::new(Profile::Modern).await;
    let mut device = fixture.run();
    device.welcomed().await;
    fixture.server.until_open().await;
    fixture.stand(Standing::Revoked);
    fixture.server.order(Do::Close(CloseReason::Revoked, None));
    assert!(device.waiting().await.1.contains("revoked"));
    let refused =
        device.until(|event| if let DeviceEvent::Refused { reason, .. } = event { Some(reason) } else { None });
    assert!(refused.await.contains("revoked"));
    assert!(device.waiting().await.1.contains("revoked"));
    fixture.stand(Standing::Enrolled);
    device.welcomed().await;
    device.stop().await;
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    let fixture = Fixture::new(Profile::Modern).await;
    fixture.server.rules().busy_ms = Some(700);
    let mut device = fixture.run();
    let attempt = next_attempt(&mut device).await;
    assert!(matches!(attempt.result, AttemptResult::Refused { .. }));
    let (pause, _) = device.waiting().await;
    assert!((700..=900).contains(&pause), "{pause}");
    fixture.server.rules().busy_ms = None;
    device.welcomed().await;
    fixture.server.until_open().await;
    fixture.server.order(Do::Close(CloseReason::Drain, Some(300)));
    let (pause, why) = device.waiting().await;
    assert!((300..=400).contains(&pause), "{pause}");
    assert!(why.contains("empties"), "{why}");
    device.stop().await;
}

#[tokio::test]
async fn an_unknown_device_is_refused_and_tries_again() {
    let fixture = Fixture::new(Profile::Modern).await;
    let known = std::mem::take(&mut fixture.server.rules().known);
    let mut device = fixture.run();
    let attempt = next_attempt(&mut device).await;
    assert!(matches!(&attempt.result, AttemptResult::Refused { reason } if reason.contains("enrolled")));
    fixture.server.rules().known = known;
    device.welcomed().await;
    device.stop().await;
}

#[tokio::test]
async fn right_tls_keys_without_the_identity_key_get_nothing() {
    let fixture = Fixture::new(Profile::Modern).await;
    let stranger = fixture.dir.path().join("stranger");
    fixture.server.provision(&stranger, Profile::Modern).await.unwrap();
    let name = "keys/device-identity.key";
    std::fs::copy(stranger.join(name), fixture.path().join(name)).unwrap();
    let mut device = fixture.run();
    let attempt = next_attempt(&mut device).await;
    assert!(
        matches!(&attempt.result, AttemptResult::Refused { reason } if reason.contains("certificate")),
        "{attempt}"
    );
    device.stop().await;
}

#[tokio::test]
async fn session_time_raises_the_floor_for_good() {
    let fixture = Fixture::new(Profile::Modern).await;
    let tomorrow = unix_ms() + 24 * 3600 * 1000;
    fixture.server.rules().unix_ms = Some(tomorrow);
    let mut device = fixture.run();
    assert_eq!(device.welcomed().await.unix_ms, tomorrow);
    fixture.server.until_open().await;
    device.stop().await;
    fixture.server.rules().unix_ms = None;
    let mut device = fixture.run();
    let floor =
        device.until(|event| if let DeviceEvent::Started(started) = event { Some(started) } else { None }).await;
    assert_eq!(floor.time_floor_unix_ms, tomorrow);
    device.welcomed().await;
    device.stop().await;
    let mut device = fixture.run();
    let floor =
        device.until(|event| if let DeviceEvent::Started(started) = event { Some(started) } else { None }).await;
    assert_eq!(floor.time_floor_unix_ms, tomorrow);
    device.stop().await;
}

#[tokio::test]
async fn a_certificate_that_expired_before_the_floor_is_refused() {
    let fixture = Fixture::new(Profile::Modern).await;
    let far = unix_ms() + 30 * 365 * 24 * 3600 * 1000;
    Folder::open(&fixture.path()).unwrap().store_time_floor(far).unwrap();
    let mut device = fixture.run();
    let attempt = next_attempt(&mut device).await;
    assert!(matches!(attempt.result, AttemptResult::TlsCertificate { .. }), "{attempt}");
    device.stop().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_after_tls_is_given_up() {
    let fixture = Fixture::new(Profile::Modern).await;
    fixture.server.rules().silent = true;
    let mut device = fixture.run();
    let attempt = next_attempt(&mut device).await;
    assert!(
        matches!(&attempt.result, AttemptResult::LoginBroken { why } if why.contains("challenge")),
        "{:?}",
        attempt.result
    );
    device.stop().await;
}

#[tokio::test]
async fn a_flood_of_messages_is_answered_in_order_though_each_queue_is_short() {
    let fixture = Fixture::with_app("agent.on(\"echo\", function(value) { agent.send(\"echoed\", value); });").await;
    let device = Running::start(&fixture.path(), Limits { app_queue: 2, ..QUICK });
    fixture.server.state(|state| state.sha256.is_some()).await;
    // Integers as the app host encodes them: CBOR.
    let number = |n: u16| [&[0x19][..], &n.to_be_bytes()].concat();
    for n in 1000..1500 {
        fixture.server.order(Do::Send("echo".to_owned(), number(n)));
    }
    for n in 1000..1500 {
        let echoed = fixture.server.until(|seen| if let Seen::App(_, value) = seen { Some(value) } else { None }).await;
        assert_eq!(echoed, number(n));
    }
    device.stop().await;
}

#[tokio::test]
async fn the_hello_example_runs_as_it_is() {
    let fixture = Fixture::with_app(include_str!("../../../../examples/hello/device.nut")).await;
    let mut device = fixture.run();
    device.logged("started, wake reason 0").await;
    device.logged("tick 2").await;
    let ticked = fixture.server.until(|seen| if let Seen::App(name, _) = seen { Some(name) } else { None }).await;
    assert_eq!(ticked, "tick");
    device.stop().await;
}

#[tokio::test]
async fn a_short_bound_on_events_loses_some_and_says_so_but_never_stops_the_device() {
    let fixture = Fixture::with_app(TICK).await;
    let mut device = Running::start(&fixture.path(), Limits { events: 2, ..QUICK });
    fixture.server.line("tick 3").await;
    device.until(|event| matches!(event, DeviceEvent::Missed { count } if count > 0).then_some(())).await;
    device.stop().await;
}
