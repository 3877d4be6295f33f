//! The maker of the demonstration: custodians with smartcards, an HSM that two of them open together, and the releases that they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use keys::hashes::random;
use keys::pkcs11::SoftHsm;
use keys::private_file::{self, Existing};
use release::version::OsVersion;
use serde_json::Value;

use super::image::MODEL;
use super::process::Interrupted;
use super::stage::text;
use crate::output::{Output, Tone, paint};

const HSM: &str = "hsm";
const CUSTODIANS: [&str; 3] = ["ada", "ben", "cleo"];
/// How many of them must approve a release, and open the HSM.
const THRESHOLD: &str = "2";
const PRODUCT: &str = "demo";

/// Who makes the OS releases of the demonstration's devices.
pub(super) struct Maker {
    dir: PathBuf,
    hsm: SoftHsm,
    server_dir: PathBuf,
    login_file: PathBuf,
    program: PathBuf,
    interrupted: Arc<AtomicBool>,
}

/// A folder's operator, and what is to be released.
pub(super) struct Place<'a> {
    /// Where the maker's things are kept.
    pub(super) dir: &'a Path,
    /// The server's folder, for its public keys.
    pub(super) server_dir: &'a Path,
    /// Whose login uploads.
    pub(super) login_file: &'a Path,
    /// The program that is the OS image.
    pub(super) program: &'a Path,
    /// Set by Ctrl-C.
    pub(super) interrupted: &'a Arc<AtomicBool>,
}

impl Maker {
    /// The maker, where SoftHSM is installed to stand in for the HSM and the cards.
    pub(super) fn find(place: &Place<'_>) -> Option<Maker> {
        Some(Maker {
            dir: place.dir.to_owned(),
            hsm: SoftHsm::find(place.dir)?,
            server_dir: place.server_dir.to_owned(),
            login_file: place.login_file.to_owned(),
            program: place.program.to_owned(),
            interrupted: place.interrupted.clone(),
        })
    }

    /// Holds the founding ceremony and brings the first release to the group, unless an earlier run did.
    pub(super) fn begin(&self, output: &Output) -> Result<()> {
        if self.versions() > 0 {
            return Ok(());
        }
        self.hsm.make().with_context(|| format!("cannot make {}", self.dir.display()))?;
        private_file::write(&self.dir.join("so.pin"), &pin(), Existing::Replace)?;
        for name in [HSM].iter().chain(&CUSTODIANS) {
            let pin_file = self.dir.join(format!("{name}.pin"));
            private_file::write(&pin_file, &pin(), Existing::Replace)?;
            self.run(&[
                "ceremony",
                "prepare",
                &self.hsm.token(name),
                "--pin-file",
                text(&pin_file)?,
                "--so-pin-file",
                "so.pin",
            ])?;
        }
        self.run(&["release", "server-keys", "--dir", text(&self.server_dir)?, "--out", "server-keys.json"])?;
        let hsm = self.hsm.token(HSM);
        let mut founding =
            vec!["ceremony", "init", "--dir", "ceremony", "--product", PRODUCT, "--threshold", THRESHOLD];
        founding.extend(["--hsm", &hsm, "--hsm-pin-file", "hsm.pin", "--hsm-so-pin-file", "so.pin"]);
        founding.extend(["--server-keys", "server-keys.json"]);
        let cards: Vec<String> = CUSTODIANS.iter().map(|name| self.card(name)).collect();
        cards.iter().for_each(|card| founding.extend(["--custodian", card]));
        let founded = self.run(&founding)?;
        let hsm_is = founded["hsm_validation"].as_str().unwrap_or_default();
        let people = CUSTODIANS.join(", ");
        say(
            output,
            &format!(
                "{people} found a ceremony: an RSA-4096 key is born in an HSM that {THRESHOLD} of their cards open"
            ),
        );
        say(output, &format!("SoftHSM stands in for the HSM and the cards ({hsm_is})"));
        self.run(&["ceremony", "anchors", "--dir", "ceremony", "--model", MODEL, "--out", "anchors"])?;
        let version = self.release(output)?;
        self.roll_out(&version).map(|_| ())
    }

    /// What a device is told to believe.
    pub(super) fn anchors(&self) -> PathBuf {
        self.dir.join("anchors")
    }

    /// The bundle that new devices are provisioned with: that of the newest release, which is rolled out.
    pub(super) fn newest(&self) -> PathBuf {
        self.bundle(self.versions().saturating_sub(1))
    }

    /// Makes the next release and uploads it: two custodians approve it, one of them against a build of their own, and open the HSM with
    /// a third. Returns its version.
    pub(super) fn release(&self, output: &Output) -> Result<String> {
        let number = self.versions();
        let (version, image) = (version(number), format!("{MODEL}={}", text(&self.program)?));
        let (draft, bundle) = (format!("release-{version}"), self.bundle(number));
        // What an interrupted run left is begun again.
        let _ = fs::remove_dir_all(self.dir.join(&draft));
        let build = ["release", "build", "--ceremony", "ceremony", "--image", &image, "--os-version", &version];
        self.run(&[&build[..], &["--server-keys", "server-keys.json", "--out", &draft]].concat())?;
        for (name, own_build) in [("ada", true), ("ben", false)] {
            let card = self.card(name);
            let approve = ["release", "approve", &draft, "--ceremony", "ceremony", "--yes", "--custodian", &card];
            let own: &[&str] = if own_build { &["--image", &image] } else { &[] };
            self.run(&[&approve[..], own].concat())?;
        }
        let (hsm, ben, cleo) = (self.hsm.token(HSM), self.card("ben"), self.card("cleo"));
        let sign = ["release", "sign", &draft, "--ceremony", "ceremony", "--hsm", &hsm];
        self.run(&[&sign[..], &["--custodian", &ben, "--custodian", &cleo]].concat())?;
        // Complete or not there: its name is what a later run counts.
        let unfinished = format!("{draft}/bundle");
        self.run(&["release", "assemble", &draft, "--ceremony", "ceremony", "--out", &unfinished])?;
        self.run(&["release", "upload", &unfinished, "--login-file", text(&self.login_file)?])?;
        self.run(&["release", "verify", &unfinished, "--root", "ceremony/roots/1.root.json"])?;
        fs::rename(self.dir.join(&unfinished), &bundle).context("cannot keep the release")?;
        say(
            output,
            &format!(
                "OS {version} is built, approved by ada (own build, the same) and ben, signed by the HSM, and uploaded"
            ),
        );
        Ok(version)
    }

    /// Begins to bring a release to the devices; the roll-out's id.
    pub(super) fn roll_out(&self, version: &str) -> Result<String> {
        let begun = self.ask(&["rollout", "start", version, "--phases", "100%"])?;
        begun["id"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("central names no roll-out"))
    }

    /// Runs a command that asks central; its answer.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Value> {
        self.run(&[arguments, &["--login-file", text(&self.login_file)?]].concat())
    }

    /// Runs `vouch --json` in the maker's folder to its end; the last line that it prints.
    fn run(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.arg("--json").args(arguments).current_dir(&self.dir);
        command.env(SoftHsm::CONFIGURED_BY, self.hsm.configuration());
        let done = command.stdin(Stdio::null()).output().context("cannot start this program again")?;
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        if !done.status.success() {
            let words = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
            bail!("vouch {words}: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        printed.lines().last().map_or(Ok(Value::Null), |line| Ok(serde_json::from_str(line)?))
    }

    fn card(&self, name: &str) -> String {
        format!("{name}={}", self.hsm.opened_token(name, &self.dir.join(format!("{name}.pin"))))
    }

    fn bundle(&self, number: u16) -> PathBuf {
        self.dir.join(format!("{PRODUCT}-{}.vouchos", version(number)))
    }

    /// How many releases there are.
    fn versions(&self) -> u16 {
        (0..u16::MAX).find(|number| !self.bundle(*number).exists()).unwrap_or(u16::MAX)
    }
}

fn version(number: u16) -> String {
    OsVersion::new(1, number, 0).to_string()
}

/// A PIN that nobody knows.
fn pin() -> Vec<u8> {
    const_hex::encode(random::<8>()).into_bytes()
}

fn say(output: &Output, what: &str) {
    output.say(&format!("{} {what}", paint(Tone::Strong, &format!("{:<9}", "maker"))));
}
