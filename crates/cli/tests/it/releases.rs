//! Releases against a server that runs: from the ceremony to the log that anybody reads, command by command.

use std::fs;
use std::ops::Deref;

use serde_json::{Value, json};

use crate::ceremony::{Room, words};
use crate::support::{Watched, loopback, output, vouch};

/// Any free port.
const ANY: &str = "31314=127.0.0.1:0";

/// A server of a ceremony, as a process, with a login.
pub(crate) struct Live {
    room: Room,
    pub(crate) central: String,
    _server: Watched,
}

impl Deref for Live {
    type Target = Room;

    fn deref(&self) -> &Room {
        &self.room
    }
}

impl Live {
    /// With these cards, of which the first two are the custodians', and a gateway at this address.
    pub(crate) fn start(cards: &[&str], gateway: &str) -> Live {
        let room = Room::new(cards);
        room.found(&cards[..2], "2");
        let mut serve = room.command(&["serve", "--dir", "server", "--http", "127.0.0.1:0"]);
        serve.args(["--gateway", gateway]);
        let mut server = Watched::start("server", serve);
        let central = format!("http://{}", server.event("serving")["http"].as_str().unwrap());
        let live = Live { room, central, _server: server };
        let password = live.dir.join("server/first-password").display().to_string();
        live.run(&["login", "--user", "admin", "--central", &live.central, "--password-file", &password]);
        live
    }

    /// Builds a release, has it approved, signed and assembled.
    pub(crate) fn release(&self, version: &str, names: [&str; 2]) -> String {
        self.file("image", &[7; 200_000]);
        self.build(version, &format!("release-{version}"));
        self.finish(version, names)
    }

    /// The same beside a release that stays approved.
    fn release_beside(&self, kept: &str, version: &str, names: [&str; 2]) -> String {
        self.room.build_with(version, &format!("release-{version}"), &["--keep", kept]);
        self.finish(version, names)
    }

    fn finish(&self, version: &str, names: [&str; 2]) -> String {
        let (folder, bundle) = (format!("release-{version}"), format!("{version}.vouchos"));
        for name in names {
            self.run(&words(&self.approve(name, &folder, None)));
        }
        self.run(&words(&self.sign(&folder, &names)));
        self.run(&["release", "assemble", &folder, "--ceremony", "ceremony", "--out", &bundle]);
        bundle
    }
}

#[test]
fn an_uploaded_release_is_in_the_log_and_the_bundle_says_so() {
    let live = Live::start(&["ada", "ben"], ANY);
    let bundle = live.release("1.0.0", ["ada", "ben"]);
    let root = "ceremony/roots/1.root.json";
    let before = live.run(&["release", "verify", &bundle, "--root", root]);
    assert_eq!((&before["log"], &before["images"][0]["log"]), (&json!("iot.example/log"), &Value::Null));
    let mut shown = vouch();
    shown.current_dir(&live.dir).args(["release", "verify", &bundle]);
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
    shown.current_dir(&live.dir).args(["release", "verify", &bundle]);
    let shown = output(shown);
    assert!(
        shown.contains("in the transparency log, number 0 of tree size 1, checkpoint of iot.example/log"),
        "{shown}"
    );

    let read = ["release", "log", &live.central, "--root", root, "--checkpoint", "kept"];
    let first = live.run(&read);
    assert_eq!((&first["size"], &first["consistent_with_size"]), (&json!(1), &Value::Null));
    assert_eq!(first["entries"][0]["manifest_sha256"], proved["images"][0]["manifest_sha256"]);
    fs::copy(live.dir.join("kept"), live.dir.join("kept-1")).unwrap();
    let second = live.release("1.1.0", ["ben", "ada"]);
    live.run(&["release", "upload", &second]);
    let later = live.run(&read);
    assert_eq!((&later["size"], &later["consistent_with_size"]), (&json!(2), &json!(1)));
    assert_eq!(later["entries"][1]["version"], "1.1.0");

    // What another log signed is no beginning of this one.
    let other = Live::start(&["ada", "ben"], ANY);
    let kept = live.dir.join("kept").display().to_string();
    let refused = other.refused(&["release", "log", &other.central, "--root", root, "--checkpoint", &kept]);
    assert!(refused.contains("not signed by the expected key"), "{refused}");
}

#[test]
fn what_is_no_release_is_refused_before_it_is_sent() {
    let live = Live::start(&["ada", "ben"], ANY);
    let bundle = live.release("1.0.0", ["ada", "ben"]);
    let mut bytes = fs::read(live.dir.join(&bundle)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    live.file("damaged.vouchos", &bytes);
    let refused = live.refused(&["release", "upload", "damaged.vouchos"]);
    assert!(refused.contains("is not the one of its manifest"), "{refused}");
    assert!(live.refused(&["release", "upload", "nothing.vouchos"]).contains("cannot read nothing.vouchos"));
    assert_eq!(live.run(&["release", "list"]), json!([]));
}

#[test]
fn an_owners_quorum_approves_apps_with_cards_and_nobody_else_does() {
    let live = Live::start(&["ada", "ben", "olga", "pete"], ANY);
    let owner = live.run(&["product", "list"])[0]["relationships"]["owner"]["id"].as_str().unwrap().to_owned();
    let key = |name: &str| live.run(&["release", "app", "key", &live.card(name)])["spki"].clone();
    let owners = json!([{ "owner": owner, "threshold": 2, "keys": [key("olga"), key("pete")] }]);
    live.file("owners.json", owners.to_string().as_bytes());
    live.file("image", &[7; 1000]);
    let image = format!("till-1={}", live.dir.join("image").display());
    live.run(&[
        "release",
        "build",
        "--ceremony",
        "ceremony",
        "--image",
        &image,
        "--out",
        "release-1.0.0",
        "--os-version",
        "1.0.0",
        "--server-keys",
        "server-keys.json",
        "--app-owners",
        "owners.json",
    ]);
    live.run(&["release", "upload", &live.finish("1.0.0", ["ada", "ben"])]);

    live.file("device.nut", b"#require \"Four:1.0.0\"\nserver.log(FOUR);\n");
    live.file("four.nut", b"const FOUR = 4;\n");
    live.file("other.nut", b"server.log(5);\n");
    live.file("agent.nut", b"");
    live.run(&["library", "add", "four.nut", "--as", "Four:1.0.0"]);
    let deploy = |device: &'static str, approval: bool| {
        let mut arguments = vec!["deploy", "--device", device, "--agent", "agent.nut"];
        arguments.extend(if approval { &["--approval", "apps.json"][..] } else { &[] });
        arguments
    };
    let refused = live.refused(&deploy("device.nut", false));
    assert!(refused.contains("has a quorum for their apps") && refused.contains(&owner), "{refused}");
    let library = ["--library", "Four:1.0.0=four.nut"];
    let draft = ["release", "app", "draft", "--owner", &owner, "--device", "device.nut", "--out", "apps.json"];
    assert!(live.refused(&draft).contains("--library Four:1.0.0=FILE"));
    assert_eq!(live.run(&[&draft[..], &library].concat())["version"], 1);
    let approve = |name: &str, more: &[&str]| {
        let card = live.card(name);
        let arguments = ["release", "app", "approve", "apps.json", "--yes", "--card", &card];
        [&arguments[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = live.refused(&words(&approve("olga", &["--device", "other.nut"])));
    assert!(refused.contains("not among those of the approval; nothing was signed"), "{refused}");
    live.run(&words(&approve("olga", &[&["--device", "device.nut"], &library[..]].concat())));
    assert!(live.refused(&deploy("device.nut", true)).contains("1/2"));
    // A custodian is none of the owner's people.
    live.run(&words(&approve("ada", &[])));
    assert!(live.refused(&deploy("device.nut", true)).contains("1/2"));
    live.run(&words(&approve("pete", &[])));
    live.run(&deploy("device.nut", true));
    live.run(&deploy("device.nut", false));
    assert!(live.refused(&deploy("other.nut", true)).contains("has not approved the device app"));
    live.file("ei.nut", b"server.log(__EI.PRODUCT_NAME);\n");
    let draft = ["release", "app", "draft", "--owner", &owner, "--device", "ei.nut", "--out", "ei.json"];
    assert!(live.refused(&draft).contains("uses __EI"));
}

#[test]
fn a_rollout_is_begun_held_advanced_and_ended_by_hand() {
    let here = &loopback();
    let live = Live::start(&["ada", "ben"], here);
    let bundle = live.release("1.0.0", ["ada", "ben"]);
    let refused = live.refused(&["rollout", "start", "1.0.0"]);
    assert!(refused.contains("there is no release \"1.0.0\""), "{refused}");
    live.run(&["release", "upload", &bundle]);
    for device in ["one", "two"] {
        let token = format!("token-{device}");
        live.run(&["enrolment-token", "--out", &token]);
        live.run(&[
            "device",
            "provision",
            "--server",
            "iot.example",
            "--address",
            here,
            "--token-file",
            &token,
            "--dir",
            device,
            "--model",
            "till-1",
            "--keys",
            "danger-software",
        ]);
    }
    let begun = live.run(&["rollout", "start", "1.0.0", "--phases", "1,100%", "--max-failures", "7"]);
    let id = begun["id"].as_str().unwrap();
    let told = &begun["attributes"];
    assert_eq!((&told["devices"], &told["phase"], &told["max_failures"]), (&json!(2), &json!(1), &json!(7)));
    let order = |order: &str| live.run(&["rollout", order, id])["attributes"].clone();
    assert_eq!(order("pause")["state"], "paused");
    assert!(live.refused(&["rollout", "pause", id]).contains("Only a roll-out that runs"));
    assert_eq!(order("resume")["state"], "running");
    assert_eq!(order("advance")["phase"], 2);
    assert!(live.refused(&["rollout", "advance", id]).contains("last phase"));
    assert_eq!(order("abort")["state"], "aborted");
    assert!(live.refused(&["rollout", "resume", id]).contains("can be resumed"));
    let shown = live.run(&["rollout", "show", id]);
    assert_eq!((&shown["attributes"]["state"], &shown["failed_devices"]), (&json!("aborted"), &json!([])));
    assert_eq!(live.run(&["rollout", "list"])[0]["id"], id);
    assert!(live.refused(&["rollout", "show", "nothing"]).contains("no such rollout"));
    let skew = live.run(&["fleet", "skew"]);
    assert!(skew.to_string().contains("till-1"), "{skew}");
    let align = ["fleet", "align", "1.0.0"];
    assert_eq!(live.run(&align)[0]["attributes"]["state"], "running");
    assert_eq!(live.run(&align), json!([]), "its roll-out runs already");
    assert!(live.refused(&["fleet", "align", "9.9.9"]).contains("vouch release list"));
}

#[test]
fn a_rotated_ceremony_signs_the_next_release_and_the_server_follows_its_root() {
    let live = Live::start(&["ada", "ben", "dora"], ANY);
    live.run(&["release", "upload", &live.release("1.0.0", ["ada", "ben"])]);
    let hsm = live.hsm.token("hsm");
    let [ada, ben, dora] = ["ada", "ben", "dora"].map(|name| live.card(name));
    let rotate = ["ceremony", "rotate", "--dir", "ceremony", "--hsm", &hsm, "--custodian", &ada];
    let refused = live.refused(&[&rotate[..], &["--custodian", &ben]].concat());
    assert!(refused.contains("nothing is to change"), "{refused}");
    let change = ["--remove", "ben", "--add", &dora, "--new-release-key"];
    assert!(live.refused(&[&rotate[..], &change].concat()).contains("1 custodians are here, 2 are needed"));
    let rotated = live.run(&[&rotate[..], &["--custodian", &ben], &change].concat());
    let changes: Vec<_> =
        rotated["changes"].as_array().unwrap().iter().map(|change| change.as_str().unwrap()).collect();
    let expected = ["ben leaves", "dora joins", "is new", "is revoked", "it is valid until "];
    assert!(
        changes.len() == 5 && changes.iter().zip(expected).all(|(change, part)| change.contains(part)),
        "{changes:?}"
    );
    assert_eq!(rotated["root_version"], 2);

    live.build("1.1.0", "release-1.1.0");
    let refused = live.refused(&words(&live.approve("ben", "release-1.1.0", None)));
    assert!(refused.contains("the root names no custodian ben"), "{refused}");
    fs::remove_dir_all(live.dir.join("release-1.1.0")).unwrap();
    let bundle = live.release("1.1.0", ["dora", "ada"]);
    live.run(&["release", "upload", &bundle]);
    let report = live.run(&["release", "verify", &bundle, "--root", "ceremony/roots/1.root.json"]);
    assert_eq!((&report["root_version"], &report["approved_by"]), (&json!(2), &json!(["ada", "dora"])));
    assert_eq!(report["images"][0]["log"], json!({ "number": 1, "size": 2 }));
}

#[test]
fn a_release_that_is_kept_goes_on_being_rolled_out_and_one_that_is_not_is_held() {
    let live = Live::start(&["ada", "ben"], ANY);
    let first = live.release("1.0.0", ["ada", "ben"]);
    live.run(&["release", "upload", &first]);
    let id = live.run(&["rollout", "start", "1.0.0", "--phases", "1,100%"])["id"].as_str().unwrap().to_owned();
    let state = || live.run(&["rollout", "show", &id])["attributes"]["state"].clone();
    let second = live.release_beside(&first, "1.1.0", ["ada", "ben"]);
    live.run(&["release", "upload", &second]);
    assert_eq!(state(), "running");
    live.run(&["rollout", "pause", &id]);
    live.run(&["rollout", "resume", &id]);
    let third = live.release("1.2.0", ["ben", "ada"]);
    live.run(&["release", "upload", &third]);
    assert_eq!(state(), "paused");
    for order in ["resume", "advance"] {
        let refused = live.refused(&["rollout", order, &id]);
        assert!(
            refused.contains("They approve OS 1.2.0") || refused.contains("Only a roll-out that runs"),
            "{refused}"
        );
    }
}
