//! Releases against a server that runs: from the ceremony to the log that anybody reads, command by command.

use std::fs;

use serde_json::{Value, json};

use crate::ceremony::{Room, words};
use crate::support::{Watched, output, vouch};

/// A server of a ceremony, as a process, with a login.
pub(crate) struct Live {
    pub(crate) room: Room,
    pub(crate) central: String,
    _server: Watched,
}

impl Live {
    pub(crate) fn start(custodians: &[&str]) -> Live {
        let room = Room::new(custodians);
        room.found(custodians, "2");
        let mut serve = room.command(&["serve", "--dir", "server", "--http", "127.0.0.1:0"]);
        serve.args(["--gateway", "31314=127.0.0.1:0"]);
        let mut server = Watched::start("server", serve);
        let central = format!("http://{}", server.event("serving")["http"].as_str().unwrap());
        let live = Live { room, central, _server: server };
        let password = live.room.dir.join("server/first-password").display().to_string();
        live.run(&["login", "--user", "admin", "--central", &live.central, "--password-file", &password]);
        live
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Value {
        let printed = output(self.command(arguments));
        serde_json::from_str(printed.lines().last().unwrap_or("null")).unwrap()
    }

    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.room.command(arguments);
        command.env("VOUCH_LOGIN_FILE", self.room.dir.join("login.json"));
        command
    }

    /// Builds a release, has it approved, signed and assembled.
    pub(crate) fn release(&self, version: &str, names: [&str; 2]) -> String {
        self.room.file("image", &[7; 200_000]);
        let (folder, bundle) = (format!("release-{version}"), format!("{version}.vouchos"));
        self.room.build(version, &folder);
        for name in names {
            self.run(&words(&self.room.approve(name, &folder, None)));
        }
        self.run(&words(&self.room.sign(&folder, &names)));
        self.run(&["release", "assemble", &folder, "--ceremony", "ceremony", "--out", &bundle]);
        bundle
    }
}

#[test]
fn an_uploaded_release_is_in_the_log_and_the_bundle_says_so() {
    let live = Live::start(&["ada", "ben"]);
    let bundle = live.release("1.0.0", ["ada", "ben"]);
    let root = "ceremony/roots/1.root.json";
    let before = live.run(&["release", "verify", &bundle, "--root", root]);
    assert_eq!((&before["log"], &before["images"][0]["log"]), (&json!("iot.example/log"), &Value::Null));
    let mut shown = vouch();
    shown.current_dir(&live.room.dir).args(["release", "verify", &bundle]);
    assert!(output(shown).contains("no proof that it is in the transparency log iot.example/log"));

    let uploaded = live.run(&["release", "upload", &bundle, "--out", "proved.vouchos"]);
    assert_eq!(uploaded["bundle"]["has_log_proofs"], true);
    let proved = live.run(&["release", "verify", "proved.vouchos", "--root", root]);
    assert_eq!(proved["images"][0]["log"], json!({ "number": 0, "size": 1 }));
    // In its own place, and again: the same release, the same number.
    for _ in 0..2 {
        assert_eq!(live.run(&["release", "upload", &bundle])["id"], uploaded["id"]);
        assert_eq!(live.run(&["release", "verify", &bundle])["images"][0]["log"]["number"], 0);
    }
    let mut shown = vouch();
    shown.current_dir(&live.room.dir).args(["release", "verify", &bundle]);
    let shown = output(shown);
    assert!(
        shown.contains("in the transparency log, number 0 of tree size 1, checkpoint of iot.example/log"),
        "{shown}"
    );

    let read = ["release", "log", &live.central, "--root", root, "--checkpoint", "kept"];
    let first = live.run(&read);
    assert_eq!((&first["size"], &first["consistent_with_size"]), (&json!(1), &Value::Null));
    assert_eq!(first["entries"][0]["manifest_sha256"], proved["images"][0]["manifest_sha256"]);
    fs::copy(live.room.dir.join("kept"), live.room.dir.join("kept-1")).unwrap();
    let second = live.release("1.1.0", ["ben", "ada"]);
    live.run(&["release", "upload", &second]);
    let later = live.run(&read);
    assert_eq!((&later["size"], &later["consistent_with_size"]), (&json!(2), &json!(1)));
    assert_eq!(later["entries"][1]["version"], "1.1.0");

    // What another log signed is no beginning of this one.
    let other = Live::start(&["ada", "ben"]);
    let kept = live.room.dir.join("kept").display().to_string();
    let refused = other.refused(&["release", "log", &other.central, "--root", root, "--checkpoint", &kept]);
    assert!(refused.contains("not signed by the expected key"), "{refused}");
}

#[test]
fn what_is_no_release_is_refused_before_it_is_sent() {
    let live = Live::start(&["ada", "ben"]);
    let bundle = live.release("1.0.0", ["ada", "ben"]);
    let mut bytes = fs::read(live.room.dir.join(&bundle)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    live.room.file("damaged.vouchos", &bytes);
    let refused = live.refused(&["release", "upload", "damaged.vouchos"]);
    assert!(refused.contains("is not the one of its manifest"), "{refused}");
    assert!(live.refused(&["release", "upload", "nothing.vouchos"]).contains("cannot read nothing.vouchos"));
    assert_eq!(live.run(&["release", "list"]), json!([]));
}
