//! The shapes of all resources, compared with a committed file: names, order and nulls are part of the wire format.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use vouch_server::fleet::{LogEntry, LogType};
use vouch_server::status::Severity;

use crate::rig::{Rig, id};

/// Puts names in the place of what differs in every run, in the order of appearance.
struct Masks(HashMap<String, String>);

impl Masks {
    fn apply(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for letter in text.chars().chain([' ']) {
            if letter.is_ascii_alphanumeric() || "-_.:".contains(letter) {
                word.push(letter);
                continue;
            }
            out += &self.mask(&std::mem::take(&mut word));
            out.push(letter);
        }
        out.trim_end().to_owned()
    }

    fn mask(&mut self, word: &str) -> String {
        let hex = |length: usize| word.len() == length && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let kind = match word.len() {
            36 if word.matches('-').count() == 4 => "uuid",
            24 if word.ends_with('Z') && word.starts_with("20") => return "TIME".to_owned(),
            64 if hex(64) => "hash",
            16 if hex(16) => "device",
            _ if word.starts_with("127.0.0.1:") => return "HOST".to_owned(),
            _ => return self.0.get(word).cloned().unwrap_or_else(|| word.to_owned()),
        };
        let next = format!("{kind}-{}", self.0.len());
        self.0.entry(word.to_owned()).or_insert(next).clone()
    }
}

#[tokio::test]
async fn shapes_are_those_of_the_committed_file() {
    let rig = Rig::start().await;
    let product = rig.product("lamp").await;
    let group = rig.group(&product, "test").await;
    let deployment = id(&rig.deploy(&group, "local a = 1;", "local b = 2;").await.expect(201));
    let token = rig.enrolment_token(Some(&group), 2).await;
    let device = rig.redeem(&token, crate::rig::new_device()).await.unwrap();
    let agent = (device.agent.to_string(), "AGENT".to_owned());
    let version = (env!("CARGO_PKG_VERSION").to_owned(), "VERSION".to_owned());
    let mut masks = Masks(HashMap::from([agent, version, (token.id().to_string(), "TOKEN".to_owned())]));
    let (at_ms, text) = (1_516_650_570_423, "a line".into());
    rig.bus.log(LogEntry { device: device.spki, at_ms, kind: LogType::ServerLog, production: false, text }).await;
    rig.troubles.note(Severity::Warning, "a device was refused");
    let mut text = String::new();
    for path in [
        "accounts/me".to_owned(),
        "accounts".to_owned(),
        format!("products/{product}"),
        "products?page[number]=1&page[size]=1".to_owned(),
        format!("devicegroups/{group}"),
        format!("deployments/{deployment}"),
        "deployments".to_owned(),
        format!("devices/{}", device.id),
        format!("enrolment_tokens/{}", token.id()),
        format!("devices/{}/logs", device.id),
        "devices/nobody".to_owned(),
        "accounts/me/refresh_tokens".to_owned(),
        "status".to_owned(),
    ] {
        let answer = rig.get(&format!("/v5/{path}")).await;
        let parsed = answer.json();
        assert!(parsed.is_object());
        text += &format!("GET {path}\n{}\n{}\n\n", answer.status, answer.body);
    }
    let refused = json!({ "data": { "type": "product", "attributes": { "name": "lamp" } } });
    text += &format!("POST products\n{}\n", rig.post("/v5/products", &refused).await.expect(409).body);
    text += &format!("POST deployments\n{}\n", rig.deploy(&group, "local", "").await.expect(400).body);
    let shown = masks.apply(&text) + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/central/shapes.txt");
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    if shown != committed {
        let seen = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes.txt");
        std::fs::write(&seen, &shown).unwrap();
        panic!("the shapes differ from {}: compare it with {}", file.display(), seen.display());
    }
}
