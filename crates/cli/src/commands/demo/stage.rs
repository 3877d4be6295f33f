//! The demonstration's stage: an operator, a server process and two device processes on loopback addresses of their own.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use device::boot::BOOT_FOLDER;
use device::folder::Folder;
use device::store::Record;
use protocol::facts::PORTS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::back_end::BackEnd;
use super::image::{Factory, MODEL};
use super::maker::{Maker, Place};
use super::process::Process;
use crate::central::{Central, LoginFile};
use crate::commands::password;
use crate::names;
use crate::output::{Output, Tone, paint};

/// The server's name in the demonstration; it is never looked up.
pub(super) const SERVER_NAME: &str = "gateway.vouch.test";
/// The ports used where the privileged ones cannot be bound.
const UNPRIVILEGED: [u16; 3] = [31314, 10993, 10443];
/// The application that is deployed first, compiled in so that the binary needs no source tree.
const HELLO: Application = Application {
    name: "hello",
    device: include_str!("../../../../../examples/hello/device.nut"),
    agent: include_str!("../../../../../examples/hello/agent.nut"),
};

/// An example.
pub(super) struct Application {
    pub(super) name: &'static str,
    pub(super) device: &'static str,
    pub(super) agent: &'static str,
}

/// Where the demonstration's parts listen; kept in its folder so that a second run finds the devices' server again.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Places {
    /// All three ports of the rule are open here.
    pub(super) open: Ipv4Addr,
    /// The first port of the rule is closed here.
    pub(super) first_closed: Ipv4Addr,
    /// The ports that stand for the rule's.
    pub(super) ports: [u16; 3],
}

/// One device of the demonstration.
pub(super) struct Actor {
    pub(super) profile: &'static str,
    pub(super) first_port_closed: bool,
    pub(super) device_id: String,
    pub(super) agent_url: String,
    /// What was booted; null where the device runs with no verified boot.
    pub(super) booted: Value,
    pub(super) dir: PathBuf,
    pub(super) log: PathBuf,
    /// The words that start it, but for its folder.
    pub(super) words: Vec<&'static str>,
    /// Stops before what holds its keys.
    pub(super) process: Process,
    pub(super) keys: BackEnd,
}

/// Everything that is up and running. Devices stop before the server.
pub(super) struct Stage {
    pub(super) actors: Vec<Actor>,
    pub(super) server: Process,
    pub(super) places: Places,
    pub(super) dir: PathBuf,
    pub(super) central: String,
    pub(super) account: &'static str,
    pub(super) password_file: PathBuf,
    pub(super) login_file: PathBuf,
    /// Who makes the devices' OS releases; none where there is no image, or no HSM.
    pub(super) maker: Option<Maker>,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// What stands beside the steps in the end: where each device keeps its keys, and what it has booted, by profile.
    pub(super) fn facts(&self) -> [(&'static str, Value); 2] {
        let by_profile = |fact: fn(&Actor) -> Value| {
            Value::Object(self.actors.iter().map(|actor| (actor.profile.to_owned(), fact(actor))).collect())
        };
        [("keys", by_profile(|actor| actor.keys.to_json())), ("boots", by_profile(|actor| actor.booted.clone()))]
    }

    /// Makes what is missing in `dir` and starts everything, with central at `http`.
    pub(super) fn raise(
        dir: &Path,
        http: &str,
        os_image: Option<&Path>,
        interrupted: Arc<AtomicBool>,
        output: &Output,
        deadline: Instant,
    ) -> Result<Stage> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let places = places(dir, output)?;
        let (server_dir, login_file) = (dir.join("server"), dir.join("login.json"));
        let password_file = server_dir.join(server::FIRST_PASSWORD_FILE);
        step(output, "operator", "makes roots of its own (a server CA and a device CA, RSA-2048 and P-256 each)");
        make_server(&server_dir)?;
        let mut errand = Errand { dir, places, factory: None, interrupted: &interrupted, deadline };
        let (server, central) = errand.serve(&server_dir, http)?;
        step(output, "server", &format!("gateway on {} ports {:?}; central on {central}", places.open, places.ports));
        let account = server::FIRST_ACCOUNT;
        let login = LoginFile::at(&login_file);
        let mut client = Central::log_in(&login, &central, None, account, &password::read(Some(&password_file))?)?;
        deploy(&mut client, &HELLO, output)?;
        let (maker, factory) = match os_image {
            Some(program) => {
                let (server_dir, login_file, interrupted) = (&server_dir, &login_file, &interrupted);
                let place = Place { dir: &dir.join("maker"), server_dir, login_file, program, interrupted };
                release(&place, output)?
            }
            None => (None, None),
        };
        errand.factory = factory.as_ref();
        let mut actors = Vec::new();
        for (profile, first_port_closed) in [("modern", false), ("classic", true)] {
            actors.push(errand.device(&mut client, profile, first_port_closed, output)?);
        }
        let dir = dir.to_owned();
        Ok(Stage { actors, server, places, dir, central, account, password_file, login_file, maker, interrupted })
    }
}

/// Makes the first OS release: by a ceremony where SoftHSM is installed, with one key in a file otherwise.
fn release(place: &Place<'_>, output: &Output) -> Result<(Option<Maker>, Option<Factory>)> {
    let Some(maker) = Maker::find(place) else {
        step(
            output,
            "maker",
            "softhsm2 is not installed: no ceremony and no updates; one key in a file signs the OS image (danger-l1-only)",
        );
        return Ok((None, Some(Factory::danger_l1_only(place.dir, place.program)?)));
    };
    maker.begin(output)?;
    let factory = Factory::of(&maker);
    Ok((Some(maker), Some(factory)))
}

/// What a person reads of a boot.
fn told(booted: &Value) -> String {
    let Some(version) = booted["version"].as_str() else {
        return "no verified boot: give --os-image FILE (scripts/os-image builds one)".to_owned();
    };
    let layers = booted["layers"].as_str().unwrap_or_default();
    let memory = match booted["danger_unlocked_memory"].as_bool() {
        Some(false) => "locked",
        _ => "danger: NOT locked, this user may lock too little",
    };
    format!("OS {version} from an encrypted slot, in sealed memory ({memory}); its anchors: {layers}")
}

/// Whether this user may lock as much memory as the image needs.
fn may_lock(factory: Option<&Factory>) -> bool {
    let needed = factory.and_then(|factory| fs::metadata(&factory.image).ok()).map_or(0, |image| image.len());
    // Each parent raises its limit. Only trying shows who may: root in a container has the capability, and its host says no.
    let none = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Memlock, none).is_ok() || getrlimit(Resource::Memlock).maximum.is_none_or(|most| most >= needed)
}

fn step(output: &Output, who: &str, what: &str) {
    output.say(&format!("{} {what}", paint(Tone::Strong, &format!("{who:<9}"))));
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))
}

/// Chooses loopback addresses that nobody else uses, and real ports where this user may bind them.
fn places(dir: &Path, output: &Output) -> Result<Places> {
    let file = dir.join("demo.json");
    if let Ok(known) = fs::read(&file) {
        return serde_json::from_slice(&known)
            .with_context(|| format!("{} is damaged: choose another --dir", file.display()));
    }
    let bind = |address: Ipv4Addr, port: u16| TcpListener::bind(SocketAddr::new(IpAddr::V4(address), port));
    let is_free = |address: &Ipv4Addr| {
        let taken = |port| bind(*address, port).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        !UNPRIVILEGED.into_iter().any(taken)
    };
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    // The last of them is for strangers.
    let three = |net: u8| [1, 2, 3].map(|last| Ipv4Addr::new(127, 64 | (high & 0x3f), low.wrapping_add(net), last));
    let free = (0..=u8::MAX).map(three).find(|addresses| addresses.iter().all(is_free));
    let taken = || format!("another program has one of the ports {UNPRIVILEGED:?} at every address of loopback");
    let [open, first_closed, _] = free.with_context(taken)?;
    let ports = if PORTS.into_iter().all(|port| bind(open, port).is_ok()) {
        PORTS
    } else {
        step(
            output,
            "note",
            &format!("ports below 1024 need a privilege: {UNPRIVILEGED:?} stand for {PORTS:?}, in the same order"),
        );
        UNPRIVILEGED
    };
    let places = Places { open, first_closed, ports };
    fs::write(&file, serde_json::to_vec_pretty(&places)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(places)
}

/// Makes an operator in `dir` unless there is one.
pub(super) fn make_server(dir: &Path) -> Result<()> {
    if dir.exists() {
        return Ok(());
    }
    crate::commands::init::make(dir, &[SERVER_NAME.to_owned()]).map(|_| ())
}

/// Deploys an example unless exactly this code is the current deployment already.
pub(super) fn deploy(central: &mut Central, example: &Application, output: &Output) -> Result<()> {
    let Application { name, device, agent } = example;
    let group = names::group_or_only(central, None)?;
    let id = group["id"].as_str().unwrap_or_default();
    if let Some(current) = group["relationships"]["current_deployment"]["id"].as_str() {
        let attributes = central.get(&format!("/deployments/{current}"))?["data"]["attributes"].clone();
        if attributes["device_code"] == *device && attributes["agent_code"] == *agent {
            step(output, "deploy", &format!("examples/{name} is there already"));
            return Ok(());
        }
    }
    let body = json!({ "data": {
        "type": "deployment",
        "attributes": { "device_code": device, "agent_code": agent, "description": format!("examples/{name}") },
        "relationships": { "devicegroup": { "type": group["type"], "id": id } },
    }});
    let answer = central.post("/deployments", &body)?;
    let sha = answer["data"]["attributes"]["sha"].as_str().unwrap_or_default().to_owned();
    central.post(&format!("/devicegroups/{id}/restart"), &Value::Null)?;
    let sources = &sha[..sha.len().min(16)];
    step(output, "deploy", &format!("examples/{name}, compiled on the server; sources {sources}"));
    Ok(())
}

/// What the processes of one operator have in common.
pub(super) struct Errand<'a> {
    pub(super) dir: &'a Path,
    pub(super) places: Places,
    /// Devices that are enrolled get this image.
    pub(super) factory: Option<&'a Factory>,
    pub(super) interrupted: &'a Arc<AtomicBool>,
    pub(super) deadline: Instant,
}

impl Errand<'_> {
    /// Starts the server in a folder; with it comes central's address.
    pub(super) fn serve(&self, server_dir: &Path, http: &str) -> Result<(Process, String)> {
        let Places { open, first_closed, ports } = self.places;
        let mut arguments =
            vec!["serve".to_owned(), "--dir".into(), text(server_dir)?.into(), "--http".into(), http.into()];
        for (index, (rule_port, port)) in PORTS.into_iter().zip(ports).enumerate() {
            arguments.extend(["--gateway".to_owned(), format!("{rule_port}={open}:{port}")]);
            if index > 0 && first_closed != open {
                arguments.extend(["--gateway".to_owned(), format!("{rule_port}={first_closed}:{port}")]);
            }
        }
        let mut process = Process::start(self.dir, "server", &arguments, self.interrupted.clone())?;
        let serving = process.wait("start of the server", self.deadline, |event| event["event"] == "serving")?;
        let http = serving["http"].as_str().ok_or_else(|| anyhow!("the server does not say where it listens"))?;
        Ok((process, format!("http://{http}")))
    }

    /// Makes a device unless an earlier run did, and starts it.
    fn device(
        &self,
        central: &mut Central,
        profile: &'static str,
        first_port_closed: bool,
        output: &Output,
    ) -> Result<Actor> {
        let name = format!("device-{profile}");
        let dir = self.dir.join(&name);
        let keys = BackEnd::of(&dir, self.factory.is_some())?;
        if !dir.exists() {
            let target = if first_port_closed { self.places.first_closed } else { self.places.open };
            self.enrol(central, &dir, profile, target, &keys.spec)?;
        } else if let Ok(folder) = Folder::open(&dir) {
            // A device keeps its app; this run shows again how it is delivered.
            folder.store.remove(Record::App)?;
        }
        let mut words = vec!["device", if dir.join(BOOT_FOLDER).exists() { "boot" } else { "run" }];
        if words.contains(&"boot") && !may_lock(self.factory) {
            words.push("--danger-unlocked-memory");
        }
        let mut process = self.start(&name, &words, &dir)?;
        let started = process.wait("start", self.deadline, |event| event["event"] == "started")?;
        let device_id = started["device_id"].as_str().unwrap_or_default().to_owned();
        // A device that central does not know has no agent; it will fail where that is verified.
        let agent_url = agent_url(central, &device_id).unwrap_or_default();
        step(output, "device", &format!("{device_id} ({profile}) starts; its keys were born {}", keys.said));
        step(output, "boot", &told(&started["booted"]));
        let (booted, log) = (started["booted"].clone(), self.dir.join(format!("{name}.jsonl")));
        Ok(Actor { profile, first_port_closed, device_id, agent_url, booted, dir, log, words, process, keys })
    }

    /// Starts what is in a device's folder.
    pub(super) fn start(&self, name: &str, words: &[&str], dir: &Path) -> Result<Process> {
        let arguments = [words, &["--dir", text(dir)?]].concat();
        Process::start(self.dir, name, &arguments, self.interrupted.clone())
    }

    /// Makes a token and runs `vouch device provision` with it to its end.
    pub(super) fn enrol(
        &self,
        central: &mut Central,
        device_dir: &Path,
        profile: &str,
        target: Ipv4Addr,
        keys: &str,
    ) -> Result<()> {
        let group = names::group_or_only(central, None)?;
        let body = json!({ "data": {
            "type": "enrolment_token",
            "attributes": { "uses": 1, "minutes": 10 },
            "relationships": { "devicegroup": { "type": group["type"], "id": group["id"] } },
        }});
        let answer = central.post("/enrolment_tokens", &body)?;
        let token = answer["data"]["attributes"]["token"].as_str().ok_or_else(|| anyhow!("central sent no token"))?;
        // A temporary file is born with mode 0600 and gone when this returns.
        let mut token_file = tempfile::NamedTempFile::new_in(self.dir).context("cannot write the token")?;
        token_file.write_all(token.as_bytes()).context("cannot write the token")?;
        let map: Vec<String> =
            PORTS.iter().zip(self.places.ports).map(|(rule, port)| format!("{rule}={port}")).collect();
        let (map, target) = (map.join(","), target.to_string());
        let mut arguments = vec![
            "device",
            "provision",
            "--server",
            SERVER_NAME,
            "--address",
            &target,
            "--ports",
            &map,
            "--profile",
            profile,
            "--model",
            MODEL,
            "--keys",
            keys,
            "--token-file",
            text(token_file.path())?,
            "--dir",
            text(device_dir)?,
        ];
        if let Some(Factory { anchors, image, content_key }) = self.factory {
            arguments.extend(["--anchors", text(anchors)?, "--image", text(image)?]);
            if let Some(content_key) = content_key {
                arguments.extend(["--content-key-file", text(content_key)?]);
            }
        }
        let name = format!("{}-provision", device_dir.file_name().and_then(|name| name.to_str()).unwrap_or("device"));
        let mut process = Process::start(self.dir, &name, &arguments, self.interrupted.clone())?;
        let is_end = |event: &Value| event.get("device_id").is_some() || event.get("error").is_some();
        let end = process.wait("end of the enrolment", self.deadline, is_end)?;
        end["error"].as_str().map_or(Ok(()), |error| Err(anyhow!("{error}")))
    }
}

fn agent_url(central: &mut Central, device_id: &str) -> Result<String> {
    let answer = central.get(&format!("/devices/{device_id}"))?;
    let url = answer["data"]["attributes"]["agent_url"].as_str();
    url.map(str::to_owned).ok_or_else(|| anyhow!("device {device_id} has no agent"))
}
