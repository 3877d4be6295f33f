//! A ceremony and a release as people hold them, command by command, with SoftHSM for the HSM and the cards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keys::hashes::sha256;
use keys::pkcs11::SoftHsm;
use serde_json::Value;

use crate::support::{output, soft_hsm, vouch};

pub(crate) struct Room {
    pub(crate) dir: PathBuf,
    pub(crate) hsm: SoftHsm,
    _temporary: Option<tempfile::TempDir>,
}

impl Room {
    /// A server, an HSM and cards that were just unpacked.
    pub(crate) fn new(custodians: &[&str]) -> Room {
        let temporary = tempfile::tempdir().unwrap();
        let mut init = vouch();
        init.current_dir(&temporary).args(["init", "--dir", "server", "--name", "iot.example"]);
        output(init);
        let room = Room::beside_server(temporary.path(), custodians);
        Room { _temporary: Some(temporary), ..room }
    }

    /// An HSM and cards that were just unpacked, in the folder that holds that of the server.
    pub(crate) fn beside_server(dir: &Path, custodians: &[&str]) -> Room {
        let room = Room { dir: dir.to_owned(), hsm: soft_hsm(dir), _temporary: None };
        room.file("so.pin", b"so-first");
        for name in ["hsm"].iter().chain(custodians) {
            room.file(&format!("{name}.pin"), format!("pin-of-{name}").as_bytes());
            let (place, pin) = (room.hsm.token(name), format!("{name}.pin"));
            let made = room.run(&["ceremony", "prepare", &place, "--pin-file", &pin, "--so-pin-file", "so.pin"]);
            assert_eq!(made["token"], **name);
        }
        room.run(&["release", "server-keys", "--dir", "server", "--out", "server-keys.json"]);
        room
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.join(name), bytes).unwrap();
        fs::set_permissions(self.dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn vouch(&self) -> Command {
        let mut command = vouch();
        command.current_dir(&self.dir).env(SoftHsm::CONFIGURED_BY, self.hsm.configuration());
        command.env("VOUCH_LOGIN_FILE", "login.json");
        command
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.vouch();
        command.arg("--json").args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Value {
        let printed = output(self.command(arguments));
        serde_json::from_str(printed.lines().last().unwrap_or("null")).unwrap()
    }

    /// What people read.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let mut command = self.vouch();
        command.args(arguments);
        output(command)
    }

    /// Runs what must fail; returns what it says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} was not refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn card(&self, name: &str) -> String {
        format!("{name}={}", self.hsm.opened_token(name, &self.dir.join(format!("{name}.pin"))))
    }

    pub(crate) fn found(&self, custodians: &[&str], threshold: &str) -> Value {
        let cards: Vec<String> = custodians.iter().map(|name| self.card(name)).collect();
        self.run(&words(&self.founding(&cards, threshold)))
    }

    fn founding(&self, cards: &[String], threshold: &str) -> Vec<String> {
        let hsm = self.hsm.token("hsm");
        let mut arguments = vec!["ceremony", "init", "--dir", "ceremony", "--product", "till", "--hsm", &hsm];
        arguments.extend(["--hsm-pin-file", "hsm.pin", "--hsm-so-pin-file", "so.pin", "--threshold", threshold]);
        arguments.extend(["--server-keys", "server-keys.json", "--note", "in the test"]);
        cards.iter().for_each(|card| arguments.extend(["--custodian", card]));
        arguments.into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn build(&self, version: &str, out: &str) {
        self.build_with(version, out, &[]);
    }

    pub(crate) fn build_with(&self, version: &str, out: &str, more: &[&str]) {
        let image = format!("till-1,till-2={}", self.dir.join("image").display());
        let mut arguments = vec!["release", "build", "--ceremony", "ceremony", "--image", &image, "--out", out];
        arguments.extend(["--os-version", version, "--server-keys", "server-keys.json"]);
        arguments.extend(more);
        self.run(&arguments);
    }

    pub(crate) fn approve(&self, name: &str, out: &str, image: Option<&str>) -> Vec<String> {
        let mut arguments =
            ["release", "approve", out, "--ceremony", "ceremony", "--yes", "--custodian"].map(str::to_owned).to_vec();
        arguments.push(self.card(name));
        arguments.extend(image.into_iter().flat_map(|image| ["--image".to_owned(), image.to_owned()]));
        arguments
    }

    pub(crate) fn sign(&self, out: &str, names: &[&str]) -> Vec<String> {
        let hsm = self.hsm.token("hsm");
        let mut arguments =
            ["release", "sign", out, "--ceremony", "ceremony", "--hsm", &hsm].map(str::to_owned).to_vec();
        names.iter().for_each(|name| arguments.extend(["--custodian".to_owned(), self.card(name)]));
        arguments
    }
}

pub(crate) fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The day so many days from now.
fn day(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%d").to_string()
}

/// How moments of this year begin where people read them.
fn shown_year() -> String {
    jiff::Timestamp::now().strftime("%Y-").to_string()
}

fn flip_a_byte(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_release_is_built_approved_signed_assembled_and_verified_by_anybody() {
    let room = Room::new(&["ada", "ben", "cleo"]);
    let founded = room.found(&["ada", "ben", "cleo"], "2");
    assert_eq!(founded["hsm_validation"], "not validated: a stand-in in software");
    room.run(&["ceremony", "anchors", "--dir", "ceremony", "--model", "till-1", "--out", "anchors"]);
    room.file("image", &[7; 200_000]);
    room.file("sbom", b"the parts");
    room.file("mud", b"the network");
    room.build_with("1.0.0", "release", &["--sbom", "sbom", "--mud", "mud"]);

    // One approval is not enough, and the HSM is not asked.
    let same = format!("till-1={}", room.dir.join("image").display());
    let approved = room.run(&words(&room.approve("ada", "release", Some(&same))));
    assert_eq!((&approved["compared"], &approved["approvals"]), (&true.into(), &1.into()));
    let refused = room.refused(&words(&room.sign("release", &["ada", "ben"])));
    assert!(refused.contains("1 of 3 custodians have approved"), "{refused}");
    // A build that is another one is noticed before anything is signed.
    room.file("other", &[8; 200_000]);
    let other = format!("till-1={}", room.dir.join("other").display());
    assert!(room.refused(&words(&room.approve("cleo", "release", Some(&other)))).contains("is not the image"));

    let approved = room.run(&words(&room.approve("cleo", "release", None)));
    assert_eq!((&approved["compared"], &approved["approvals"]), (&false.into(), &2.into()));
    // Approved is not opened: one card does not open the HSM.
    let refused = room.refused(&words(&room.sign("release", &["ada"])));
    assert!(refused.contains("1 custodians are here, 2 are needed"), "{refused}");
    room.run(&words(&room.sign("release", &["ben", "cleo"])));
    let again = room.refused(&words(&room.sign("release", &["ben", "cleo"])));
    assert!(again.contains("was signed before"), "{again}");
    room.run(&["release", "assemble", "release", "--ceremony", "ceremony", "--out", "till.vouchos"]);

    let report = room.run(&["release", "verify", "till.vouchos", "--root", "ceremony/roots/1.root.json"]);
    assert_eq!(report["approved_by"], serde_json::json!(["ada", "cleo"]));
    let shown = room.text(&["release", "verify", "till.vouchos"]);
    let (year, image) = (shown_year(), &report["images"][0]);
    for part in
        [&format!("ada {year}"), "(compared with an own build)", &format!("cleo {year}"), "(contents not checked)"]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(shown.contains(&format!("built {year}")) && shown.contains("security epoch 1"), "{shown}");
    let (sbom, mud) = (const_hex::encode(sha256(b"the parts")), const_hex::encode(sha256(b"the network")));
    assert_eq!((image["sbom_sha256"].as_str(), image["mud_sha256"].as_str()), (Some(&*sbom), Some(&*mud)));
    assert!(shown.contains(&format!("SBOM SHA-256 {sbom}; MUD SHA-256 {mud}")), "{shown}");
    assert_eq!((report["version"].as_str(), report["approvals_needed"].as_u64()), (Some("1.0.0"), Some(2)));
    let inspected = room.run(&["release", "inspect", "till.vouchos"]);
    assert_eq!(inspected["images"][0]["models"], serde_json::json!(["till-1", "till-2"]));
    let record = output(room.command(&["ceremony", "record", "--dir", "ceremony"]));
    let entries: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let approvals = &entries[1]["act"]["approvals"];
    assert_eq!((&approvals[0]["custodian"], &approvals[0]["compared"]), (&"ada".into(), &true.into()));
    assert_eq!((&approvals[1]["custodian"], &approvals[1]["compared"]), (&"cleo".into(), &false.into()));
    assert_eq!(report["approvals"], *approvals, "the bundle says the same");
    let times = [0, 1].map(|at| approvals[at]["unix_ms"].as_i64().unwrap());
    assert!(times[0] <= times[1] && times[1] <= entries[1]["unix_ms"].as_i64().unwrap());
    flip_a_byte(&room.dir.join("till.vouchos"));
    room.refused(&["release", "verify", "till.vouchos"]);
}

#[test]
fn a_custodian_sees_what_they_approve_and_nothing_is_signed_unless_they_say_yes() {
    let room = Room::new(&["ada", "ben"]);
    let stated = ["--hsm-certificate", "FIPS 140-3 number 4711", "--hsm-kept", "in the safe", "--days", "100"];
    let mut founding = room.founding(&["ada", "ben"].map(|name| room.card(name)), "2");
    founding.extend(stated.map(str::to_owned));
    room.run(&words(&founding));
    let recorded = &room.run(&["ceremony", "record", "--dir", "ceremony"])["hsm"];
    assert_eq!((&recorded["certificate"], &recorded["kept"]), (&stated[1].into(), &stated[3].into()));
    assert!(room.text(&["ceremony", "record", "--dir", "ceremony"]).contains("kept         in the safe"));
    let root: Value = serde_json::from_slice(&fs::read(room.dir.join("ceremony/roots/1.root.json")).unwrap()).unwrap();
    assert!(root["signed"]["expires"].as_str().unwrap().starts_with(&day(100)));
    room.file("image", &[7; 100]);
    room.file("sbom", b"the parts");
    room.file("mud", b"the network");
    room.build_with("1.0.0", "release", &["--sbom", "sbom", "--mud", "mud", "--days", "30"]);

    let mut unasked = room.approve("ada", "release", None);
    unasked.retain(|argument| argument != "--yes");
    let mut command = room.vouch();
    let refused = command.args(&unasked).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("no terminal to ask on"), "{said}");
    assert_eq!(fs::read_dir(room.dir.join("release/approvals")).unwrap().count(), 0, "nothing was signed");
    let shown = String::from_utf8_lossy(&refused.stdout).into_owned();
    let hash = |bytes: &[u8]| const_hex::encode(sha256(bytes));
    let image = format!("100 bytes, SHA-256 {} (contents not checked)", hash(&[7; 100]));
    let (sbom, mud) =
        (format!("SBOM            {}", hash(b"the parts")), format!("MUD             {}", hash(b"the network")));
    let until = format!("release 1, until {}", day(30));
    let first = ["this is the first release", "security epoch  1", "till-1, till-2", &image, &sbom, &mud, &until];
    for part in first.into_iter().chain(["contents not checked: no build of your own was given for every image"]) {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    for name in ["ada", "ben"] {
        room.run(&words(&room.approve(name, "release", None)));
    }
    room.run(&words(&room.sign("release", &["ada", "ben"])));

    // The next one says what is new, and whose build is the same.
    let next = format!("till-1,till-3={}", room.dir.join("image").display());
    let mut build =
        vec!["release", "build", "--ceremony", "ceremony", "--image", &next, "--out", "next", "--epoch", "2"];
    build.extend(["--os-version", "1.1.0", "--server-keys", "server-keys.json"]);
    room.run(&build);
    let shown = room.text(&words(&room.approve("ben", "next", Some(&next))));
    let news = "since the last release: OS 1.0.0 -> 1.1.0; security epoch 1 -> 2; new: till-3; gone: till-2";
    for part in [news, "(the same as your own build)", "SBOM            none", "release 2, until "] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(!shown.contains("contents not checked"), "{shown}");
}

#[test]
fn a_rotation_changes_how_many_are_needed_the_servers_keys_and_how_long_the_root_holds() {
    let room = Room::new(&["ada", "ben", "cleo"]);
    room.found(&["ada", "ben", "cleo"], "2");
    let hsm = room.hsm.token("hsm");
    let cards = ["ada", "ben", "cleo"].map(|name| room.card(name));
    let rotate = |present: usize, change: &[&'static str]| {
        let mut arguments = vec!["ceremony", "rotate", "--dir", "ceremony", "--hsm", &hsm];
        cards[..present].iter().for_each(|card| arguments.extend(["--custodian", card]));
        arguments.extend(change);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let root = |version: usize| -> Value {
        let file = fs::read(room.dir.join(format!("ceremony/roots/{version}.root.json"))).unwrap();
        serde_json::from_slice::<Value>(&file).unwrap()["signed"].take()
    };
    let refused = room.refused(&words(&rotate(2, &["--threshold", "3"])));
    assert!(refused.contains("a root needs at least as many"), "{refused}");
    let to_three = ["--threshold", "3", "--root-threshold", "3"];
    assert!(room.refused(&words(&rotate(2, &to_three))).contains("2 custodians are here, 3 are needed"));
    let rotated = room.run(&words(&rotate(3, &to_three)));
    let said = ["3 instead of 2 custodians must approve a release", "3 instead of 2 custodians must sign a root"];
    assert_eq!((&rotated["changes"][0], &rotated["changes"][1]), (&said[0].into(), &said[1].into()));
    let thresholds = |root: &Value| ["root", "targets"].map(|role| root["roles"][role]["threshold"].as_u64().unwrap());
    assert_eq!((thresholds(&root(1)), thresholds(&root(2))), ([2, 2], [3, 3]));

    // A root that is about to end is renewed alone, by as many as it now takes.
    let refused = room.refused(&words(&rotate(2, &["--days", "10"])));
    assert!(refused.contains("2 custodians are here, 3 are needed"), "{refused}");
    assert!(room.refused(&words(&rotate(3, &[]))).contains("nothing is to change"));
    let renewed = room.run(&words(&rotate(3, &["--days", "10"])));
    assert!(renewed["changes"].as_array().unwrap().len() == 1, "{renewed}");
    let day = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(240)).strftime("%Y-%m-%d").to_string();
    assert!(root(3)["expires"].as_str().unwrap().starts_with(&day) && renewed["changes"][0].to_string().contains(&day));

    // The keys and TLS roots of another server; then the numbers of before, by which the next release is approved.
    let mut init = room.vouch();
    init.args(["init", "--dir", "other", "--name", "other.example"]);
    output(init);
    room.run(&["release", "server-keys", "--dir", "other", "--out", "other.json"]);
    let moved = room.run(&words(&rotate(3, &["--server-keys", "other.json"])));
    let said: Vec<_> = moved["changes"].as_array().unwrap().iter().map(|change| change.as_str().unwrap()).collect();
    let expected = ["other online keys", "other TLS roots", "log is another", "valid until"];
    assert!(said.len() == 4 && said.iter().zip(expected).all(|(said, part)| said.contains(part)), "{said:?}");
    assert!(
        ["director", "apps", "tls_roots", "log"]
            .iter()
            .all(|part| root(3)["x-vouch"][part] != root(4)["x-vouch"][part])
    );
    assert!(room.refused(&words(&rotate(3, &["--server-keys", "other.json"]))).contains("nothing is to change"));
    room.run(&words(&rotate(3, &["--threshold", "2", "--root-threshold", "2"])));
    room.file("image", &[7; 100]);
    room.build("1.0.0", "release");
    for name in ["ada", "cleo"] {
        room.run(&words(&room.approve(name, "release", None)));
    }
    room.run(&words(&room.sign("release", &["ben", "cleo"])));
    let record = output(room.command(&["ceremony", "record", "--dir", "ceremony"]));
    assert_eq!(record.lines().count(), 6, "founded, four roots, one release: {record}");
}

#[test]
fn attack_whoever_builds_a_release_has_the_custodians_sign_more_than_its_manifests() {
    let room = Room::new(&["ada", "ben"]);
    room.found(&["ada", "ben"], "2");
    room.file("image", &[7; 100]);
    room.build("1.0.0", "release");
    let file = room.dir.join("release/targets.json");
    let honest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut metadata = honest.clone();
        change(&mut metadata["signed"]);
        fs::write(&file, metadata.to_string()).unwrap();
        room.refused(&words(&room.approve("ada", "release", None)))
    };
    // No later release would ever be accepted.
    assert!(changed(&|signed| signed["version"] = (i64::MAX).into()).contains("somebody has changed it"));
    assert!(changed(&|signed| signed["expires"] = "9999-01-01T00:00:00Z".into()).contains("more than 3650 days"));
    // An owner's quorum gone, or one more approver of apps; a member that nobody shows.
    assert!(
        changed(&|signed| signed["delegations"]["roles"][0]["paths"] = serde_json::json!(["*"])).contains("not those")
    );
    assert!(changed(&|signed| signed["x"] = 1.into()).contains("not those"));
    assert!(changed(&|signed| signed["_type"] = "root".into()).contains("not those"));
    fs::write(&file, honest.to_string()).unwrap();
    room.run(&words(&room.approve("ada", "release", None)));
}

/// The approval in a release's folder by this custodian, as they carry it over: its file and what is in it.
fn approval_of(room: &Room, release: &str, name: &str) -> (PathBuf, Value) {
    let root: Value = serde_json::from_slice(&fs::read(room.dir.join("ceremony/roots/1.root.json")).unwrap()).unwrap();
    let keys = root["signed"]["keys"].as_object().unwrap();
    let (id, _) = keys.iter().find(|(_, key)| key["x-vouch-custodian"]["name"] == name).unwrap();
    let files = fs::read_dir(room.dir.join(release).join("approvals")).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: PathBuf| (file.clone(), serde_json::from_slice(&fs::read(file).unwrap()).unwrap());
    let by = |(_, approval): &(PathBuf, Value)| approval["metadata"]["signatures"][0]["keyid"] == **id;
    files.map(read).find(by).unwrap()
}

#[test]
fn attack_whoever_carries_an_approval_changes_who_gave_it_and_whether_they_compared() {
    let room = Room::new(&["ada", "ben"]);
    room.found(&["ada", "ben"], "2");
    room.file("image", &[7; 100]);
    for (version, release) in [("1.0.0", "release"), ("1.0.1", "other")] {
        room.build(version, release);
        for name in ["ada", "ben"] {
            room.run(&words(&room.approve(name, release, None)));
        }
    }
    let (file, honest) = approval_of(&room, "release", "ada");
    let (_, of_ben) = approval_of(&room, "release", "ben");
    let (_, of_other) = approval_of(&room, "other", "ada");
    let sign = room.sign("release", &["ada", "ben"]);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut approval = honest.clone();
        change(&mut approval);
        fs::write(&file, approval.to_string()).unwrap();
        room.refused(&words(&sign))
    };
    // "not compared" becomes "compared", and ada becomes eve: each is one byte or three of what the card has signed.
    let said = BASE64.decode(honest["approval"].as_str().unwrap()).unwrap();
    let at = said.windows(5).position(|bytes| bytes == b"\x63ada\xf4").unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut said = said.clone();
        change(&mut said);
        changed(&|approval| approval["approval"] = BASE64.encode(&said).into())
    };
    assert!(with(&|said| said[at + 4] = 0xf5).contains("no custodian of this root has signed it"));
    assert!(with(&|said| said[at + 1..at + 4].copy_from_slice(b"eve")).contains("no custodian"));
    // What somebody else said, what ada said of another release, and both signatures in one file.
    let refused = changed(&|approval| approval["approval"] = of_ben["approval"].clone());
    assert!(refused.contains("not signed by ben"), "{refused}");
    let refused = changed(&|approval| approval["approval"] = of_other["approval"].clone());
    assert!(refused.contains("ada said it of another release"), "{refused}");
    let refused = changed(&|approval| {
        let both = approval["metadata"]["signatures"].as_array_mut().unwrap();
        both.push(of_ben["metadata"]["signatures"][0].clone());
    });
    assert!(refused.contains("not by ada alone"), "{refused}");
    fs::write(&file, honest.to_string()).unwrap();
    fs::write(file.with_extension("copy"), honest.to_string()).unwrap();
    assert!(room.refused(&words(&sign)).contains("approval of ada as well"));
    fs::remove_file(file.with_extension("copy")).unwrap();
    room.run(&words(&sign));
}

#[test]
fn a_manifest_changed_after_approval_and_an_approval_for_another_release_are_refused() {
    let room = Room::new(&["ada", "ben"]);
    room.found(&["ada", "ben"], "2");
    room.file("image", &[7; 100]);
    room.build("1.0.0", "one");
    room.build("1.0.1", "two");
    for name in ["ada", "ben"] {
        room.run(&words(&room.approve(name, "one", None)));
    }
    // The approvals of one release laid beside another.
    for entry in fs::read_dir(room.dir.join("one/approvals")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), room.dir.join("two/approvals").join(entry.file_name())).unwrap();
    }
    let refused = room.refused(&words(&room.sign("two", &["ada", "ben"])));
    assert!(refused.contains("not signed over the same content"), "{refused}");
    // The manifest of another image under the approvals of this one.
    fs::copy(room.dir.join("two/0.manifest"), room.dir.join("one/0.manifest")).unwrap();
    let refused = room.refused(&words(&room.sign("one", &["ada", "ben"])));
    assert!(refused.contains("not those of the manifests"), "{refused}");
    flip_a_byte(&room.dir.join("two/0.image"));
    let refused = room.refused(&words(&room.approve("ada", "two", None)));
    assert!(refused.contains("is not the image"), "{refused}");
}

#[test]
fn a_founding_that_was_cut_off_before_its_folder_was_whole_begins_again() {
    let room = Room::new(&["ada", "ben"]);
    fs::create_dir_all(room.dir.join("ceremony/roots")).unwrap();
    fs::write(room.dir.join("ceremony/roots/1.root.json"), "of a founding that was cut off").unwrap();
    let record = ["ceremony", "record", "--dir", "ceremony"];
    assert!(room.refused(&record).contains("holds no ceremony"));
    room.found(&["ada", "ben"], "2");
    room.run(&record);
    // A ceremony that was founded is never begun again, also when its state is lost.
    fs::remove_file(room.dir.join("ceremony/state.json")).unwrap();
    assert!(room.refused(&record).contains("it is missing; take the folder from a copy"));
    let cards = ["ada", "ben"].map(|name| room.card(name));
    let refused = room.refused(&words(&room.founding(&cards, "2")));
    assert!(refused.contains("it is missing; take the folder from a copy"), "{refused}");
}

/// Cards as they are bought often have one label.
#[test]
fn cards_with_the_same_label_are_told_apart_by_their_serial_numbers() {
    let room = Room::new(&["ada"]);
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("softhsm2-util");
        command.env(SoftHsm::CONFIGURED_BY, room.hsm.configuration()).args(arguments);
        output(command)
    };
    tool(&["--init-token", "--free", "--label", "ada", "--pin", "pin-of-ada", "--so-pin", "so-first"]);
    let shown = tool(&["--show-slots"]);
    let serials: Vec<&str> = shown
        .split("Slot ")
        .filter(|slot| {
            slot.lines().any(|line| line.trim().strip_prefix("Label:").is_some_and(|label| label.trim() == "ada"))
        })
        .filter_map(|slot| slot.lines().find_map(|line| line.trim().strip_prefix("Serial number:")))
        .map(str::trim)
        .collect();
    let [first, second] = serials[..] else { panic!("{shown}") };

    let refused = room.refused(&["release", "app", "key", &room.card("ada")]);
    assert!(refused.contains("several tokens are labelled `ada`") && refused.contains("serial number"), "{refused}");
    assert!(refused.contains(first) && refused.contains(second), "{refused}");
    let none = room.refused(&["release", "app", "key", &format!("{};serial=12", room.card("ada"))]);
    assert!(none.contains("no token `ada;serial=12`"), "{none}");
    let cards = [("ada", first), ("ben", second)]
        .map(|(name, serial)| format!("{};serial={serial}", room.card("ada").replacen("ada=", &format!("{name}="), 1)));
    room.run(&words(&room.founding(&cards, "2")));
    room.file("image", &[7; 100]);
    room.build("1.0.0", "release");
    for card in &cards {
        room.run(&["release", "approve", "release", "--ceremony", "ceremony", "--yes", "--custodian", card]);
    }
    let mut sign = room.sign("release", &[]);
    cards.iter().rev().for_each(|card| sign.extend(["--custodian".to_owned(), card.clone()]));
    room.run(&words(&sign));
}

#[test]
fn a_release_says_what_it_keeps_and_what_it_takes_back_and_keeps_only_what_was_approved() {
    let room = Room::new(&["ada", "ben"]);
    room.found(&["ada", "ben"], "2");
    room.file("image", &[7; 100]);
    let bundle = |version: &str, more: &[&str]| {
        let file = format!("{version}.vouchos");
        room.build_with(version, version, more);
        let said = output(plain(&room, &words(&room.approve("ada", version, None))));
        room.run(&words(&room.approve("ben", version, None)));
        room.run(&words(&room.sign(version, &["ada", "ben"])));
        room.run(&["release", "assemble", version, "--ceremony", "ceremony", "--out", &file]);
        said
    };
    assert!(bundle("1.0.0", &[]).contains("this is the first release"));
    let said = bundle("1.1.0", &["--keep", "1.0.0.vouchos"]);
    assert!(said.contains("stays approved   OS 1.0.0 for till-1, till-2"), "{said}");
    let said = bundle("1.2.0", &["--keep", "1.1.0.vouchos"]);
    assert!(said.contains("stays approved   OS 1.1.0") && said.contains("approved no more  OS 1.0.0"), "{said}");

    // What was taken back does not come back as something that is kept.
    let image = format!("till-1={}", room.dir.join("image").display());
    let build = ["release", "build", "--ceremony", "ceremony", "--image", &image, "--server-keys", "server-keys.json"];
    let keep = ["--os-version", "1.3.0", "--out", "1.3.0", "--keep", "1.0.0.vouchos"];
    let refused = room.refused(&[&build[..], &keep].concat());
    assert!(refused.contains("which the release before did not approve"), "{refused}");
    // Nor does somebody get it past the custodians who lays its manifest into the folder.
    room.build_with("1.3.0", "honest", &["--keep", "1.2.0.vouchos"]);
    fs::copy(room.dir.join("1.0.0/0.manifest"), room.dir.join("honest/kept-0.manifest")).unwrap();
    let refused = room.refused(&words(&room.approve("ada", "honest", None)));
    assert!(refused.contains("not those of the manifests"), "{refused}");
}

#[test]
fn the_quorum_of_an_owner_is_never_left_out() {
    let room = Room::new(&["ada", "ben", "olga", "pete"]);
    room.found(&["ada", "ben"], "2");
    room.file("image", &[7; 100]);
    let key = |name: &str| room.run(&["release", "app", "key", &room.card(name)])["spki"].clone();
    let owners = |keys: &[&str], threshold: usize| {
        let keys: Vec<_> = keys.iter().map(|name| key(name)).collect();
        let owners = serde_json::json!([{ "owner": "shop", "threshold": threshold, "keys": keys }]);
        room.file("owners.json", owners.to_string().as_bytes());
    };
    owners(&["olga", "pete"], 2);
    room.build_with("1.0.0", "one", &["--app-owners", "owners.json"]);
    for name in ["ada", "ben"] {
        room.run(&words(&room.approve(name, "one", None)));
    }
    room.run(&words(&room.sign("one", &["ada", "ben"])));
    let image = format!("till-1={}", room.dir.join("image").display());
    let build = ["release", "build", "--ceremony", "ceremony", "--image", &image, "--server-keys", "server-keys.json"];
    let refused = room.refused(&[&build[..], &["--os-version", "1.1.0", "--out", "two"]].concat());
    assert!(refused.contains("quorum of the owner shop is left out") && refused.contains("never ended"), "{refused}");
    assert!(!room.dir.join("two").exists());
    // Its keys and its threshold may change, and a custodian is told.
    owners(&["olga"], 1);
    room.build_with("1.1.0", "two", &["--app-owners", "owners.json"]);
    let said = output(plain(&room, &words(&room.approve("ada", "two", None))));
    assert!(said.contains("who approves the apps of the owner shop changes") && said.contains("1 of 1 keys"), "{said}");
}

/// A command that says what people read.
fn plain(room: &Room, arguments: &[&str]) -> Command {
    let mut command = vouch();
    command.current_dir(&room.dir).env(SoftHsm::CONFIGURED_BY, room.hsm.configuration()).args(arguments);
    command
}
