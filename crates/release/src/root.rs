//! What the TUF root of an operator says: the custodians and how many are needed, the server's online keys, the release keys, the TLS roots.
//!
//! A root is JSON as TUF 1.0 has it; what TUF has no place for is under `x-vouch`. It is read strictly: exactly what
//! [`RootContent::to_signed`] writes, so that a root has one meaning only, and no key stands under two names.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use keys::hashes::sha256;
use keys::pki::RootsBundle;
use keys::public::PublicKey;
use keys::release_key::ReleaseKey;
use serde_json::{Map, Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::trusted::TrustedMetadataSet;

use crate::anchors::ReleaseKeySlot;
use crate::limits::LIMITS;

/// The version of the TUF specification that is followed.
pub const SPEC_VERSION: &str = "1.0.31";
/// The member of a root's `signed` part that holds what TUF has no place for.
pub const EXTENSION: &str = "x-vouch";
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----\n";
const PEM_END: &str = "-----END PUBLIC KEY-----\n";
const PEM_COLUMNS: usize = 64;

/// A person with a smartcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    /// What the others call this person.
    pub name: String,
    /// The card's key that approves and signs roots: P-256.
    pub signing: PublicKey,
    /// The card's key to which shares of secrets are sealed: P-256, another one.
    pub agreement: PublicKey,
}

/// The server's keys that sign often and can only withhold, never invent: all P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineKeys {
    /// Signs which metadata belong together.
    pub snapshot: PublicKey,
    /// Signs, again and again, what is newest.
    pub timestamp: PublicKey,
    /// Signs which device is to have which release.
    pub director: PublicKey,
    /// Signs apps of owners without a quorum of their own.
    pub apps: PublicKey,
}

/// The content of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootContent {
    /// Counts from 1.
    pub version: u64,
    /// Until when it says what is valid: whole seconds since 1970.
    pub expires_unix_s: i64,
    /// The custodians, in their order.
    pub custodians: Vec<Custodian>,
    /// How many must sign the next root; never fewer than approve a release.
    pub root_needed: usize,
    /// How many must approve a release.
    pub release_needed: usize,
    /// The server's.
    pub online: OnlineKeys,
    /// The keys that may sign an OS manifest: at least one that is not revoked.
    pub release_keys: Vec<ReleaseKeySlot>,
    /// The roots that a device's server must come from.
    pub tls_roots: RootsBundle,
    /// The verifier key of the transparency log, as signed notes write it; absent where there is no log.
    pub log: Option<String>,
}

/// Why bytes are no root of this system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the root is not usable: {0}")]
pub struct RootError(pub String);

pub(crate) fn wrong(what: impl Into<String>) -> RootError {
    RootError(what.into())
}

impl RootContent {
    /// Checks what a reader and a writer must both be sure of.
    ///
    /// # Errors
    /// [`RootError`] when a rule is broken; the text names it.
    pub fn check(&self) -> Result<(), RootError> {
        let people = self.custodians.len();
        let most = keys::limits::LIMITS.quorum_people;
        if self.release_needed < 2 || self.root_needed > people || people > most {
            return Err(wrong(format!(
                "{} and {} of {people} custodians are no quorum: at least 2 must be needed, at most all, of at most {most}",
                self.release_needed, self.root_needed
            )));
        }
        if self.root_needed < self.release_needed {
            return Err(wrong(format!(
                "{} custodians would change the keys, while {} must approve a release: a root needs at least as many",
                self.root_needed, self.release_needed
            )));
        }
        if self.version == 0 {
            return Err(wrong("versions count from 1"));
        }
        self.check_names()?;
        self.check_keys()?;
        let usable = self.release_keys.iter().filter(|slot| !slot.revoked).count();
        if usable == 0 || self.release_keys.len() > LIMITS.release_keys {
            let most = LIMITS.release_keys;
            return Err(wrong(format!("there must be 1 to {most} release keys, and one that is not revoked")));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), RootError> {
        for (at, custodian) in self.custodians.iter().enumerate() {
            let name = &custodian.name;
            let is_plain = name.chars().all(|character| character.is_alphanumeric() || " .-_'".contains(character));
            if name.is_empty() || name.len() > LIMITS.custodian_name || !is_plain {
                let most = LIMITS.custodian_name;
                return Err(wrong(format!("{name:?} is no custodian's name: 1 to {most} bytes of letters and digits")));
            }
            if self.custodians.iter().take(at).any(|earlier| earlier.name == *name) {
                return Err(wrong(format!("two custodians are called {name}")));
            }
        }
        if self.log.as_ref().is_some_and(|log| log.len() > LIMITS.log_key || log.chars().any(char::is_control)) {
            return Err(wrong("the log's verifier key is too long or has control characters"));
        }
        Ok(())
    }

    /// One card under two names would count twice; one key with two purposes is two doors with one lock.
    fn check_keys(&self) -> Result<(), RootError> {
        let cards = self.custodians.iter().flat_map(|custodian| {
            let own = |what| format!("{what} key of {}", custodian.name);
            [(own("the signing"), &custodian.signing), (own("the agreement"), &custodian.agreement)]
        });
        let OnlineKeys { snapshot, timestamp, director, apps } = &self.online;
        let online = [("snapshot", snapshot), ("timestamp", timestamp), ("director", director), ("apps", apps)];
        let online = online.map(|(name, key)| (format!("the server's {name} key"), key));
        let mut seen: Vec<(String, &PublicKey)> = Vec::new();
        for (name, key) in cards.chain(online) {
            PublicKey::from_spki_der(key.spki_der()).map_err(|error| wrong(format!("{name}: {error}")))?;
            if let Some((other, _)) = seen.iter().find(|(_, earlier)| earlier.spki_hash() == key.spki_hash()) {
                return Err(wrong(format!("{name} and {other} are the same key")));
            }
            seen.push((name, key));
        }
        for (at, slot) in self.release_keys.iter().enumerate() {
            if self.release_keys.iter().take(at).any(|earlier| earlier.key == slot.key) {
                return Err(wrong("a release key is listed twice"));
            }
        }
        Ok(())
    }

    /// The `signed` part of the root's JSON.
    ///
    /// # Errors
    /// [`RootError`] when the content breaks a rule.
    pub fn to_signed(&self) -> Result<Value, RootError> {
        self.check()?;
        let mut keys = Map::new();
        let mut ids = Vec::new();
        for custodian in &self.custodians {
            let id = key_id(&custodian.signing)?;
            let mut object = key_object(&custodian.signing);
            object["x-vouch-custodian"] = json!({
                "name": custodian.name,
                "agreement": BASE64.encode(custodian.agreement.spki_der()),
            });
            keys.insert(id.clone(), object);
            ids.push(id);
        }
        let mut online = |key: &PublicKey| -> Result<Value, RootError> {
            let id = key_id(key)?;
            keys.insert(id.clone(), key_object(key));
            Ok(json!({ "keyids": [id], "threshold": 1 }))
        };
        let (snapshot, timestamp) = (online(&self.online.snapshot)?, online(&self.online.timestamp)?);
        let people = |needed: usize| json!({ "keyids": ids, "threshold": needed });
        Ok(json!({
            "_type": "root",
            "spec_version": SPEC_VERSION,
            "version": self.version,
            "expires": time(self.expires_unix_s)?,
            "consistent_snapshot": false,
            "keys": keys,
            "roles": {
                "root": people(self.root_needed),
                "targets": people(self.release_needed),
                "snapshot": snapshot,
                "timestamp": timestamp,
            },
            EXTENSION: self.extension(),
        }))
    }

    fn extension(&self) -> Value {
        let slots = self
            .release_keys
            .iter()
            .map(|slot| json!({ "spki": BASE64.encode(slot.key.spki_der()), "revoked": slot.revoked }));
        let mut extension = json!({
            "director": BASE64.encode(self.online.director.spki_der()),
            "apps": BASE64.encode(self.online.apps.spki_der()),
            "release_keys": slots.collect::<Vec<_>>(),
            "tls_roots": BASE64.encode(self.tls_roots.to_cbor()),
        });
        if let Some(log) = &self.log {
            extension["log"] = json!(log);
        }
        extension
    }

    /// Reads a root file whose signatures are somebody else's to check.
    ///
    /// # Errors
    /// [`RootError`] as [`RootContent::from_signed`].
    pub fn from_file(file: &[u8]) -> Result<RootContent, RootError> {
        let value: Value = serde_json::from_slice(file).map_err(|error| wrong(error.to_string()))?;
        RootContent::from_signed(&value["signed"])
    }

    /// Reads the `signed` part of a root whose signatures are somebody else's to check.
    ///
    /// # Errors
    /// [`RootError`] unless it is exactly what [`RootContent::to_signed`] writes.
    pub fn from_signed(signed: &Value) -> Result<RootContent, RootError> {
        let role = |name: &str| -> Result<(Vec<&str>, usize), RootError> {
            let role = &signed["roles"][name];
            let ids = role["keyids"].as_array().ok_or_else(|| wrong(format!("the role {name} has no keys")))?;
            let threshold = role["threshold"].as_u64().and_then(|number| usize::try_from(number).ok());
            let threshold = threshold.ok_or_else(|| wrong(format!("the role {name} has no threshold")))?;
            Ok((ids.iter().filter_map(Value::as_str).collect(), threshold))
        };
        let (people, root_needed) = role("root")?;
        let (_, release_needed) = role("targets")?;
        let one = |name: &str| -> Result<PublicKey, RootError> {
            let (ids, _) = role(name)?;
            from_key_object(&signed["keys"][ids.first().copied().unwrap_or_default()])
        };
        let extension = &signed[EXTENSION];
        let content = RootContent {
            version: signed["version"].as_u64().ok_or_else(|| wrong("it has no version"))?,
            expires_unix_s: from_time(&signed["expires"])?,
            custodians: people.iter().map(|id| from_custodian(&signed["keys"][*id])).collect::<Result<_, _>>()?,
            root_needed,
            release_needed,
            online: OnlineKeys {
                snapshot: one("snapshot")?,
                timestamp: one("timestamp")?,
                director: from_spki(&extension["director"])?,
                apps: from_spki(&extension["apps"])?,
            },
            release_keys: from_slots(&extension["release_keys"])?,
            tls_roots: from_roots(&extension["tls_roots"])?,
            log: extension["log"].as_str().map(str::to_owned),
        };
        if content.to_signed()? == *signed {
            Ok(content)
        } else {
            Err(wrong("it has parts that this version does not know, or writes them in another way"))
        }
    }

    /// The custodian whose signing key has this TUF key id.
    pub fn custodian(&self, id: &str) -> Option<&Custodian> {
        self.custodians.iter().find(|custodian| key_id(&custodian.signing).is_ok_and(|own| own == id))
    }
}

/// A root that follows from the first one, each signed by enough of those before it and of its own.
#[derive(Debug, Clone)]
pub struct RootChain {
    /// What the newest says.
    pub content: RootContent,
    /// The state with which metadata below it are checked.
    pub trusted: TrustedMetadataSet,
}

impl RootChain {
    /// Follows root files from the first one, which is believed, to the newest.
    ///
    /// # Errors
    /// [`RootError`] when one has too few signatures, skips a version, or is not written as this version writes it.
    pub fn follow<'a>(files: impl Iterator<Item = &'a [u8]>) -> Result<RootChain, RootError> {
        let mut chain: Option<RootChain> = None;
        for file in files {
            if file.len() > LIMITS.metadata {
                return Err(wrong(format!("it has {} bytes, at most {} are read", file.len(), LIMITS.metadata)));
            }
            let trusted = match chain {
                None => TrustedMetadataSet::from_root(file).map_err(|error| wrong(error.to_string()))?,
                Some(RootChain { mut trusted, .. }) => {
                    trusted.update_root(file).map_err(|error| wrong(error.to_string()))?;
                    trusted
                }
            };
            chain = Some(RootChain { content: RootContent::from_file(file)?, trusted });
        }
        chain.ok_or_else(|| wrong("there is none"))
    }
}

/// A key as TUF metadata write it.
pub fn key_object(key: &PublicKey) -> Value {
    let text = BASE64.encode(key.spki_der());
    let mut pem = PEM_BEGIN.to_owned();
    for line in text.as_bytes().chunks(PEM_COLUMNS) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(PEM_END);
    json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": { "public": pem } })
}

/// The TUF key id: SHA-256 over the canonical form of [`key_object`], in hex.
///
/// # Errors
/// [`RootError`], which no P-256 key causes.
pub fn key_id(key: &PublicKey) -> Result<String, RootError> {
    let canonical = to_canonical_bytes(&key_object(key)).map_err(|error| wrong(error.to_string()))?;
    Ok(const_hex::encode(sha256(&canonical)))
}

/// Seconds since 1970 as TUF metadata write a time.
///
/// # Errors
/// [`RootError`] for a time beyond the calendar.
pub fn time(unix_s: i64) -> Result<String, RootError> {
    let time = Timestamp::from_second(unix_s).map_err(|_| wrong("its time is beyond the calendar"))?;
    Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

pub(crate) fn from_time(value: &Value) -> Result<i64, RootError> {
    let time = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    Ok(time.ok_or_else(|| wrong("it has no time at which it expires"))?.as_second())
}

pub(crate) fn from_key_object(value: &Value) -> Result<PublicKey, RootError> {
    let pem = value["keyval"]["public"].as_str().unwrap_or_default();
    let text: String =
        pem.strip_prefix(PEM_BEGIN).and_then(|pem| pem.strip_suffix(PEM_END)).unwrap_or_default().split('\n').collect();
    from_spki(&json!(text))
}

fn from_custodian(value: &Value) -> Result<Custodian, RootError> {
    let card = &value["x-vouch-custodian"];
    Ok(Custodian {
        name: card["name"].as_str().ok_or_else(|| wrong("a custodian has no name"))?.to_owned(),
        signing: from_key_object(value)?,
        agreement: from_spki(&card["agreement"])?,
    })
}

fn from_spki(value: &Value) -> Result<PublicKey, RootError> {
    PublicKey::from_spki_der(&from_base64(value)?).map_err(|error| wrong(error.to_string()))
}

fn from_slots(value: &Value) -> Result<Vec<ReleaseKeySlot>, RootError> {
    let slots = value.as_array().ok_or_else(|| wrong("it lists no release keys"))?;
    let read = |slot: &Value| {
        let key = ReleaseKey::from_spki_der(&from_base64(&slot["spki"])?).map_err(|error| wrong(error.to_string()))?;
        let revoked =
            slot["revoked"].as_bool().ok_or_else(|| wrong("a release key does not say whether it is revoked"))?;
        Ok(ReleaseKeySlot { key, revoked })
    };
    slots.iter().take(LIMITS.release_keys.saturating_add(1)).map(read).collect()
}

fn from_roots(value: &Value) -> Result<RootsBundle, RootError> {
    RootsBundle::from_cbor(&from_base64(value)?).map_err(|error| wrong(format!("its TLS roots: {error}")))
}

fn from_base64(value: &Value) -> Result<Vec<u8>, RootError> {
    let text = value.as_str().ok_or_else(|| wrong("a key or certificate is missing"))?;
    BASE64.decode(text).map_err(|_| wrong("a key or certificate is not in base64"))
}
