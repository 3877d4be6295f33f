//! The TLS roots of a server are replaced, and devices follow by what the custodians signed.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::boot::end;
use crate::over_the_air::Bench;
use crate::support::{Server, Watched, output};

/// The roots that the server goes by, as its statement for the ceremony has them.
fn tls_roots(bench: &Bench) -> Value {
    bench.room.run(&["release", "server-keys", "--dir", "server", "--out", "server-keys.json"]);
    let statement: Value = serde_json::from_slice(&fs::read(bench.path("server-keys.json")).unwrap()).unwrap();
    statement["tls_roots"].clone()
}

/// Stops the server, brings its next roots into use, and starts it again.
pub(crate) fn rotate(bench: &mut Bench) -> Value {
    bench.server.process.kill();
    let rotated = bench.room.run(&["rotate-roots", "--dir", "server"]);
    bench.server.restart();
    rotated
}

/// The custodians sign a root with the TLS roots that the server has now, and it is uploaded with the release that is there.
pub(crate) fn sign_and_upload(bench: &Bench) {
    let before = tls_roots(bench);
    let hsm = bench.room.hsm.token("hsm");
    let [ada, ben] = ["ada", "ben"].map(|name| bench.room.card(name));
    let rotate = ["ceremony", "rotate", "--dir", "ceremony", "--hsm", &hsm, "--server-keys", "server-keys.json"];
    bench.room.run(&[&rotate[..], &["--custodian", &ada, "--custodian", &ben]].concat());
    assert_eq!(before, tls_roots(bench));
    let bundle = bench.path("again.vouchos");
    bench.room.run(&["release", "assemble", "release-1.0.0", "--ceremony", "ceremony", "--out", &bundle]);
    output(bench.server.command(&["release", "upload", &bundle]));
}

fn boot(server: &Server, dir: &str) -> Watched {
    server.boot_device(Path::new(dir), &["--trial", "60", "--retry-max", "1"])
}

#[test]
fn a_device_follows_its_server_from_root_to_root_by_what_the_custodians_signed_and_one_that_missed_it_does_not() {
    let mut bench = Bench::new();
    bench.release("1.0.0", &[]);
    bench.roll_out("1.0.0");
    let provisioned: Value = serde_json::from_str(&output(bench.provision("device"))).unwrap();
    output(bench.provision("missing"));
    let mut device = bench.boot();
    let first = device.event("tls")["server_spki_sha256"].clone();
    device.event("welcomed");

    // The next root: every device trusts it since it was made.
    let rotated = rotate(&mut bench);
    assert_eq!(rotated["root_version"], 1);
    let second = device.event("tls")["server_spki_sha256"].clone();
    assert_ne!(first, second);
    device.event("welcomed");
    // The one after it no device knows yet.
    let refused = bench.room.refused(&["rotate-roots", "--dir", "server"]);
    assert!(refused.contains("no device could connect") && refused.contains("version 1"), "{refused}");
    sign_and_upload(&bench);
    // There is nothing to install, and the session goes on.
    let learned = device.event("root_learned");
    assert_eq!(learned["version"], 2);

    let rotated = rotate(&mut bench);
    assert_eq!(rotated["root_version"], 2);
    assert_ne!(learned["tls_roots_sha256"], rotated["roots_sha256"]);
    let third = device.event("tls")["server_spki_sha256"].clone();
    assert!(third != first && third != second);
    device.event("welcomed");
    sign_and_upload(&bench);
    let learned = device.event("root_learned");
    assert_eq!((&learned["version"], &learned["tls_roots_sha256"]), (&json!(3), &rotated["roots_sha256"]));
    end(device);
    // The loader's pin is that of the factory's anchors, from which those roots follow.
    let pin = provisioned["boot_pin"].as_str().unwrap();
    let mut device = bench.server.boot_device(Path::new(&bench.path("device")), &["--retry-max", "1", "--pin", pin]);
    assert_eq!(device.event("booting")["pinned"], true);
    device.event("welcomed");
    end(device);

    // This one was switched off all the time: it trusts the first two roots and nothing else.
    let mut missing = boot(&bench.server, &bench.path("missing"));
    let attempt = missing.wait("a refused server", |event| event["event"] == "attempt");
    assert_eq!(attempt["result"]["is"], "tls_certificate", "{attempt}");
    assert!(!missing.seen().iter().any(|event| event["event"] == "welcomed"));
    end(missing);
}
