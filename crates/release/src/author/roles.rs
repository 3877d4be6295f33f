//! What each role of the metadata says.

use keys::public::PublicKey;
use serde_json::{Map, Value, json};

use super::{Draft, DraftError};
use crate::apps::{ApprovedApp, SERVER_ROLE, app_path};
use crate::manifest::Manifest;
use crate::root::{SPEC_VERSION, key_id, key_object, time};
use crate::tuf::{content_of, os_target};

/// Some of several keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// The keys, each once.
    pub keys: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: usize,
}

/// The targets: what the custodians approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsSpec {
    /// Higher than the targets before.
    pub version: u64,
    /// Unix seconds.
    pub expires: i64,
    /// The manifests of all models that may be installed from now on; a release before whose manifests are not among them is not.
    pub manifests: Vec<Manifest>,
    /// Who approves apps, in order: owners with a quorum first.
    pub apps: Vec<Delegation>,
}

/// Who approves the apps below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delegation {
    /// An owner who demands a quorum: nobody else approves their apps.
    Owner {
        /// The owner's id.
        owner: String,
        /// The owner's keys.
        quorum: Quorum,
    },
    /// The server's online key, for all other owners.
    Server {
        /// The key.
        key: PublicKey,
    },
}

/// The metadata of a role whose version is listed in a snapshot or timestamp.
#[derive(Debug, Clone, Copy)]
pub struct OnlineRole<'a> {
    /// The role's name, without `.json`.
    pub name: &'a str,
    /// Its version.
    pub version: u64,
    /// Its file.
    pub file: &'a [u8],
}

impl TargetsSpec {
    /// The targets, to be signed.
    ///
    /// # Errors
    /// [`DraftError`] when a quorum is none.
    pub fn draft(&self) -> Result<Draft, DraftError> {
        let mut targets = Map::new();
        for manifest in &self.manifests {
            let content = content_of(&manifest.to_cbor());
            let hash = const_hex::encode(&content.sha256[..]);
            targets.insert(os_target(manifest), json!({ "length": content.length, "hashes": { "sha256": hash } }));
        }
        let mut signed = json!({
            "_type": "targets",
            "expires": time(self.expires)?,
            "spec_version": SPEC_VERSION,
            "targets": targets,
            "version": self.version,
        });
        let mut keys = Map::new();
        let mut roles = Vec::new();
        for delegation in &self.apps {
            roles.push(match delegation {
                Delegation::Owner { owner, quorum } => {
                    if !crate::apps::is_owner_id(owner) {
                        return Err(DraftError::Bound("an owner id has 1 to 64 letters, digits and hyphens"));
                    }
                    quorum.delegation(&crate::apps::owner_role(owner), &format!("apps/{owner}/*"), true, &mut keys)?
                }
                Delegation::Server { key } => {
                    let quorum = Quorum { keys: vec![key.clone()], threshold: 1 };
                    quorum.delegation(SERVER_ROLE, "apps/*/*", false, &mut keys)?
                }
            });
        }
        if !roles.is_empty() {
            signed["delegations"] = json!({ "keys": keys, "roles": roles });
        }
        Draft::new(signed)
    }
}

impl Quorum {
    /// The keys' names and the threshold; adds the keys to those that the metadata holds.
    fn role(&self, role: &str, keys: &mut Map<String, Value>) -> Result<Value, DraftError> {
        let mut ids = Vec::new();
        for key in &self.keys {
            let id = key_id(key)?;
            if ids.contains(&id) {
                return Err(DraftError::SameKey(role.to_owned()));
            }
            keys.insert(id.clone(), key_object(key));
            ids.push(id);
        }
        if !(1..=ids.len()).contains(&self.threshold) {
            let (role, keys, threshold) = (role.to_owned(), ids.len(), self.threshold);
            return Err(DraftError::Threshold { role, keys, threshold });
        }
        Ok(json!({ "keyids": ids, "threshold": self.threshold }))
    }

    fn delegation(
        &self,
        name: &str,
        path: &str,
        terminating: bool,
        keys: &mut Map<String, Value>,
    ) -> Result<Value, DraftError> {
        let mut role = self.role(name, keys)?;
        role["name"] = name.into();
        role["paths"] = json!([path]);
        role["terminating"] = terminating.into();
        Ok(role)
    }
}

/// A delegated role that approves these apps: the server's, or that of an owner's quorum.
///
/// # Errors
/// [`DraftError`] for an owner's id that is none, or more than devices take.
pub fn approved_apps(version: u64, expires: i64, apps: &[ApprovedApp]) -> Result<Draft, DraftError> {
    let mut targets = Map::new();
    for ApprovedApp { owner, sha256, length } in apps {
        if !crate::apps::is_owner_id(owner) {
            return Err(DraftError::Bound("an owner id has 1 to 64 letters, digits and hyphens"));
        }
        let hashes = json!({ "sha256": const_hex::encode(sha256) });
        targets.insert(app_path(owner, sha256), json!({ "length": length, "hashes": hashes }));
    }
    Draft::new(json!({
        "_type": "targets",
        "expires": time(expires)?,
        "spec_version": SPEC_VERSION,
        "targets": targets,
        "version": version,
    }))
}

/// The snapshot: the versions of the targets and of all delegated roles that exist.
///
/// # Errors
/// [`DraftError`].
pub fn snapshot(version: u64, expires: i64, roles: &[OnlineRole<'_>]) -> Result<Draft, DraftError> {
    online("snapshot", version, expires, roles)
}

/// The timestamp: the version of the snapshot.
///
/// # Errors
/// [`DraftError`].
pub fn timestamp(version: u64, expires: i64, snapshot_version: u64, snapshot: &[u8]) -> Result<Draft, DraftError> {
    let snapshot = OnlineRole { name: "snapshot", version: snapshot_version, file: snapshot };
    online("timestamp", version, expires, &[snapshot])
}

fn online(kind: &str, version: u64, expires: i64, roles: &[OnlineRole<'_>]) -> Result<Draft, DraftError> {
    let mut meta = Map::new();
    for OnlineRole { name, version, file } in roles {
        let content = content_of(file);
        let hashes = json!({ "sha256": const_hex::encode(&content.sha256[..]) });
        meta.insert(format!("{name}.json"), json!({ "version": version, "length": content.length, "hashes": hashes }));
    }
    Draft::new(json!({
        "_type": kind,
        "expires": time(expires)?,
        "meta": meta,
        "spec_version": SPEC_VERSION,
        "version": version,
    }))
}
