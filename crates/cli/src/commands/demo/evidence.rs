//! What was measured at the wire, held against each claim; nothing here is written from constants.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use keys::cose::{self, CosePurpose};
use keys::public::PublicKey;
use protocol::eat::Eat;
use protocol::facts::PORTS;
use serde_json::{Value, json};

use super::probe::{self, Attack};
use super::stage::{Actor, Stage};
use super::tampered::{self, Stranger};
use crate::output::{Output, Tone, paint};

/// The claims that each device of the demonstration must show.
const CLAIMS: [&str; 5] = ["C02", "C04", "C05", "C06", "C09"];
/// How long one device may take until its app speaks.
const SETTLE: Duration = Duration::from_secs(15);
/// How long the server may take to say what it saw of something that has happened.
const ECHO: Duration = Duration::from_secs(15);

/// One verified, or refuted, sentence.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) claim: &'static str,
    pub(super) what: String,
    pub(super) ok: bool,
    pub(super) profile: &'static str,
    pub(super) measured: Value,
}

impl Step {
    pub(super) fn to_json(&self) -> Value {
        json!({ "claim": self.claim, "device": self.profile, "what": self.what, "ok": self.ok, "measured": self.measured })
    }
}

/// Whether every claim was shown by both devices.
pub(super) fn is_complete(steps: &[Step]) -> bool {
    let shown =
        |profile: &str, claim: &str| steps.iter().any(|step| step.profile == profile && step.claim == claim && step.ok);
    let all = ["modern", "classic"].iter().all(|profile| CLAIMS.iter().all(|claim| shown(profile, claim)));
    all && steps.iter().all(|step| step.ok)
}

/// Waits for the devices, attacks the server, and judges.
pub(super) fn gather(stage: &mut Stage, output: &Output, deadline: Instant) -> Vec<Step> {
    for actor in &mut stage.actors {
        let until = deadline.min(Instant::now() + SETTLE);
        let result = actor.process.wait("first line of its app", until, |event| event["event"] == "app_log");
        if let Err(error) = result {
            output.say(&paint(Tone::Bad, &format!("device {} ({}): {error:#}", actor.device_id, actor.profile)));
        }
    }
    let attacks = attack(stage, output, deadline);
    let mut steps = Vec::new();
    for (index, attacks) in attacks.iter().enumerate() {
        hear(stage, index, deadline);
        let view = View { actor: &stage.actors[index], server: stage.server.events() };
        steps.extend([
            ports(&view),
            tls(&view),
            certificates(&view, attacks),
            challenge(&view, attacks),
            delivery(&view),
        ]);
        steps.extend(boot(&view));
        steps.push(agent(&view));
    }
    steps
}

/// Waits until the server has said what it saw of a device's login and download.
fn hear(stage: &mut Stage, index: usize, deadline: Instant) {
    let until = deadline.min(Instant::now() + ECHO);
    let seen = stage.actors[index].process.events();
    let Some(eat) = seen.iter().rev().find(|event| event["event"] == "challenge").map(|event| event["eat"].clone())
    else {
        return;
    };
    let login = stage.server.wait("login", until, |event| event["event"] == "answered" && event["cose"] == eat);
    let Ok(login) = login else { return };
    // What is missing after this wait is missing in the evidence too, and fails there.
    let _ = stage
        .server
        .wait("delivery", until, |event| event["event"] == "app_served" && event["connection"] == login["connection"]);
}

/// What the attacks on behalf of one device brought.
struct Attacks {
    strangers: Result<Stranger>,
    replay: Result<String>,
    stolen: Result<String>,
}

fn attack(stage: &mut Stage, output: &Output, deadline: Instant) -> Vec<Attacks> {
    output.say(&paint(Tone::Quiet, "attacking: a false server, a false client, a replayed answer, stolen TLS keys"));
    let foreign = tampered::Foreign::raise(stage, deadline);
    let mut all = Vec::new();
    for index in 0..stage.actors.len() {
        let strangers = match &foreign {
            Ok(_) => Err(anyhow!("not tried")),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        all.push(Attacks { strangers, replay: Err(anyhow!("not tried")), stolen: Err(anyhow!("not tried")) });
        let recorded =
            stage.actors[index].process.events().iter().rev().find(|event| event["event"] == "challenge").cloned();
        if let Some(recorded) = recorded {
            all[index].replay = probe::refusal(stage, index, &recorded, Attack::Replay);
            all[index].stolen = probe::refusal(stage, index, &recorded, Attack::WithoutIdentityKey);
        }
    }
    if let Ok(mut foreign) = foreign {
        for (index, attacks) in all.iter_mut().enumerate() {
            attacks.strangers = foreign.meet(stage, index, deadline);
        }
    }
    all
}

/// What both ends said about one device.
struct View<'a> {
    actor: &'a Actor,
    server: &'a [Value],
}

impl View<'_> {
    fn device(&self, name: &str) -> Value {
        self.actor.process.events().iter().rev().find(|event| event["event"] == name).cloned().unwrap_or_default()
    }

    /// The server's record of the very answer that the device says it gave.
    fn answered(&self) -> Value {
        let eat = self.device("challenge")["eat"].clone();
        self.server
            .iter()
            .find(|event| event["event"] == "answered" && event["cose"] == eat)
            .cloned()
            .unwrap_or_default()
    }

    /// What the server said about the connection on which the device answered.
    fn on_connection(&self, name: &str) -> Value {
        let connection = self.answered()["connection"].clone();
        let fits = |event: &&Value| event["event"] == name && event["connection"] == connection;
        if connection.is_null() { Value::Null } else { self.server.iter().find(fits).cloned().unwrap_or_default() }
    }

    fn step(&self, claim: &'static str, what: &str, ok: bool, measured: Value) -> Step {
        let profile = self.actor.profile;
        let mut measured = measured;
        measured["device_id"] = json!(self.actor.device_id);
        Step { claim, what: format!("{profile}: {what}"), ok, profile, measured }
    }
}

fn ports(view: &View<'_>) -> Step {
    let mut attempts = Vec::new();
    for event in
        view.actor.process.events().iter().filter(|event| event["event"] == "attempt" && event["purpose"] == "session")
    {
        attempts
            .push(json!({ "rule_port": event["rule_port"], "port": event["port"], "result": event["result"]["is"] }));
        if event["result"]["is"] == "welcomed" {
            break;
        }
    }
    let in_order = attempts.iter().zip(PORTS).all(|(attempt, port)| attempt["rule_port"] == port);
    let reached = attempts.last().is_some_and(|last| last["result"] == "welcomed");
    // One device finds the first listener closed and must go on; the other must not need to.
    let expected = if view.actor.first_port_closed { 2 } else { 1 };
    let refused = attempts.iter().rev().skip(1).all(|attempt| attempt["result"] == "tcp_refused");
    let ok = in_order && reached && refused && attempts.len() == expected;
    let what = if view.actor.first_port_closed {
        "31314 is closed, 993 comes next and answers"
    } else {
        "31314 comes first and answers"
    };
    view.step("C02", what, ok, json!({ "attempts": attempts }))
}

fn tls(view: &View<'_>) -> Step {
    let (device, server) = (view.device("tls"), view.on_connection("handshake"));
    let facts = |end: &Value| json!({ "version": end["version"], "suite": end["suite"], "group": end["group"] });
    let (device, server) = (facts(&device), facts(&server));
    let fits = |name: &str, wanted: &[&str]| device[name].as_str().is_some_and(|value| wanted.contains(&value));
    let right = match view.actor.profile {
        "modern" => {
            fits("version", &["TLSv1.3"])
                && fits("suite", &["TLS_AES_128_GCM_SHA256"])
                && fits("group", &["X25519MLKEM768"])
        }
        _ => {
            fits("version", &["TLSv1.2"])
                && fits("suite", &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"])
                && fits("group", &["X25519", "secp256r1"])
        }
    };
    let text = |name: &str| device[name].as_str().unwrap_or("nothing").to_owned();
    let what = format!("{}, {}, {}", text("version"), text("suite"), text("group"));
    let mut measured = device.clone();
    measured["server_reports"] = server.clone();
    view.step("C04", &what, right && device == server, measured)
}

fn certificates(view: &View<'_>, attacks: &Attacks) -> Step {
    let (device, server) = (view.device("tls"), view.on_connection("handshake"));
    let same = |name: &str| device[name].is_string() && device[name] == server[name];
    let mut measured = json!({
        "server_spki_sha256": device["server_spki_sha256"],
        "client_spki_sha256": server["client_spki_sha256"],
    });
    let refused = match &attacks.strangers {
        Ok(stranger) => {
            measured["foreign_server_alert"] = json!(stranger.server_alert);
            measured["foreign_client_alert"] = json!(stranger.client_alert);
            !stranger.server_alert.is_empty() && !stranger.client_alert.is_empty()
        }
        Err(error) => {
            measured["error"] = json!(format!("{error:#}"));
            false
        }
    };
    let ok = same("server_spki_sha256") && same("client_spki_sha256") && refused;
    view.step(
        "C05",
        "both ends showed certificates of this operator; a foreign server and a foreign client were refused",
        ok,
        measured,
    )
}

fn challenge(view: &View<'_>, attacks: &Attacks) -> Step {
    let (device, server) = (view.device("challenge"), view.answered());
    let mut measured = json!({
        "identity_spki": server["identity_spki"],
        "external_aad": server["external_aad"],
        "nonce": server["nonce"],
        "exporter_server": server["exporter"],
        "exporter_device": device["exporter"],
        "eat": server["cose"],
        "replay_refused": attacks.replay.as_ref().map_or_else(|error| format!("error: {error:#}"), Clone::clone),
        "without_identity_key_refused": attacks.stolen.as_ref().map_or_else(|error| format!("error: {error:#}"), Clone::clone),
    });
    let verified = verify(&device, &server);
    if let Err(error) = &verified {
        measured["error"] = json!(format!("{error:#}"));
    }
    let refused = attacks.replay.is_ok() && attacks.stolen.is_ok();
    let ok = verified.is_ok() && server["refused"].is_null() && refused;
    view.step("C06", "the challenge was signed by the device's own key for this connection; a replay and stolen TLS keys were refused", ok, measured)
}

/// Checks the signature, the nonce and the exporter again, from the records alone, as an outsider would; what the device has signed.
fn verify(device: &Value, server: &Value) -> Result<Eat> {
    let bytes = |end: &Value, name: &str| -> Result<Vec<u8>> {
        let text = end[name].as_str().ok_or_else(|| anyhow!("{name} was not recorded"))?;
        Ok(BASE64_STANDARD.decode(text)?)
    };
    let key = PublicKey::from_spki_der(&bytes(server, "identity_spki")?)?;
    if bytes(server, "external_aad")? != CosePurpose::Challenge.external_aad() {
        return Err(anyhow!("the external_aad is not that of a challenge"));
    }
    let payload = cose::verify(CosePurpose::Challenge, &key, &bytes(server, "cose")?)?;
    let eat = Eat::from_cbor(&payload, &protocol::limits::LIMITS)?;
    for (what, claim, recorded) in [("nonce", &eat.nonce, "nonce"), ("exporter", &eat.exporter, "exporter")] {
        if claim[..] != bytes(server, recorded)? || claim[..] != bytes(device, recorded)? {
            return Err(anyhow!("the {what} in the token is not the one of this connection"));
        }
    }
    Ok(eat)
}

/// What the answer to the challenge says of keys and boot, beside what the loader said; nothing of a device that runs with no verified boot.
fn boot(view: &View<'_>) -> Option<Step> {
    let Actor { booted, keys, .. } = view.actor;
    let version = booted["version"].as_str()?;
    let eat = verify(&view.device("challenge"), &view.answered()).ok();
    let measured = eat.as_ref().and_then(|eat| eat.boot).map(const_hex::encode);
    let level = eat.map(|eat| eat.attestation);
    let ok =
        measured.is_some() && measured.as_deref() == booted["manifest_sha256"].as_str() && level == Some(keys.level);
    let said = json!({ "loader": booted["manifest_sha256"], "proved": measured, "keys": keys.to_json() });
    let what =
        format!("OS {version} booted from an encrypted slot, as its signed answer says; its keys are {}", keys.said);
    Some(view.step("boot", &what, ok, said))
}

fn delivery(view: &View<'_>) -> Step {
    let device = view.device("app_downloaded");
    let fits = |event: &&Value| event["event"] == "app_served" && event["connection"] == view.answered()["connection"];
    let server = view.server.iter().find(fits).cloned().unwrap_or_default();
    let same = |name: &str| !device[name].is_null() && device[name] == server[name];
    let ran = view
        .actor
        .process
        .events()
        .iter()
        .any(|event| event["event"] == "app_started" && event["sha256"] == device["sha256"]);
    let measured = json!({
        "sha256_device": device["sha256"], "sha256_server": server["sha256"],
        "bytes_device": device["bytes"], "bytes_server": server["bytes"],
    });
    let bytes = device["bytes"].as_u64().unwrap_or_default();
    let what = format!("the app came over that session ({bytes} bytes) with the same hash at both ends, and runs");
    view.step("C09", &what, same("sha256") && same("bytes") && bytes > 0 && ran, measured)
}

/// Not a claim, but what it is all for: somebody outside asks the agent, and the device answers.
fn agent(view: &View<'_>) -> Step {
    let text = "are you there?";
    let answer = crate::central::ask("POST", &format!("{}/echo", view.actor.agent_url), text);
    let (ok, measured) = match answer {
        Ok((status, body)) => (status == 200 && body == text, json!({ "status": status, "echo": body })),
        Err(error) => (false, json!({ "error": format!("{error:#}") })),
    };
    view.step("main job", "text went to the agent's URL, to the device and back", ok, measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(claim: &'static str, profile: &'static str, ok: bool) -> Step {
        Step { claim, what: String::new(), ok, profile, measured: Value::Null }
    }

    #[test]
    fn every_claim_must_be_shown_by_both_devices() {
        let all = || {
            CLAIMS
                .iter()
                .flat_map(|claim| [step(claim, "modern", true), step(claim, "classic", true)])
                .collect::<Vec<_>>()
        };
        assert!(is_complete(&all()));
        for missing in 0..all().len() {
            let mut steps = all();
            steps.remove(missing);
            assert!(!is_complete(&steps));
            let mut steps = all();
            steps[missing].ok = false;
            assert!(!is_complete(&steps));
        }
    }

    #[test]
    fn an_answer_that_was_not_recorded_verifies_nothing() {
        assert!(verify(&Value::Null, &Value::Null).is_err());
    }
}
