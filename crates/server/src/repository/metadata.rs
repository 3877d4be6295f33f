//! The metadata of releases (TUF): the custodians' as it was uploaded, and the two roles that the server signs again and again.

use std::collections::BTreeMap;

use keys::metadata::sign;
use keys::signer::Signer;
use release::apps::{ApprovedApp, SERVER_ROLE, verify_approval};
use release::author::{Draft, OnlineRole, approved_apps, snapshot, timestamp};

use super::RepositoryError;
use super::apps::to_approve;
use super::online_keys::OnlineKeys;
use crate::store::{Store, StoreError};

/// How long a timestamp holds, seconds: no longer can a newer release be hidden from a device. It is signed again when half of it is over.
pub(super) const TIMESTAMP_VALID_S: u64 = 24 * 60 * 60;
/// The same for a snapshot, and for the server's approval of apps.
pub(super) const SNAPSHOT_VALID_S: u64 = 7 * 24 * 60 * 60;

/// One file of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataFile {
    /// `root`, `targets`, `snapshot`, `timestamp`, or a delegated role: `apps` of the server, `apps-OWNER` of an owner's quorum.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// Until when it holds, Unix seconds; of interest for what the server signs itself.
    pub expires: u64,
    /// Its bytes.
    pub file: Vec<u8>,
}

/// Metadata of the custodians that end soon, or have ended: only they can sign the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// `root` or `targets`.
    pub role: &'static str,
    /// Its version.
    pub version: u64,
    /// When it ends, Unix seconds.
    pub expires: i64,
}

/// The newest of each role, and all roots.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    roots: BTreeMap<u64, Vec<u8>>,
    targets: Option<MetadataFile>,
    snapshot: Option<MetadataFile>,
    timestamp: Option<MetadataFile>,
    delegated: BTreeMap<String, MetadataFile>,
    /// The roles that the snapshot was signed for, with their versions.
    snapshot_of: Vec<(String, u64)>,
    approved: Approved,
}

/// What the server's approval of apps was signed for.
#[derive(Debug, Default)]
struct Approved {
    /// After how many changes of the fleet it was looked at, and at which targets.
    looked_at: Option<(u64, u64)>,
    apps: Option<Vec<ApprovedApp>>,
}

/// What a device gets of it.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) timestamp: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(super) delegated: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let mut metadata = Self::default();
        for file in store.release_metadata().await? {
            metadata.put(file);
        }
        Ok(metadata)
    }

    /// Takes a file in; of roles other than the root, the one of the highest version stays.
    pub(super) fn put(&mut self, file: MetadataFile) {
        let place = match file.role.as_str() {
            "root" => {
                if self.roots.insert(file.version, file.file).is_none() {
                    // It may name other keys, by which all is signed anew then.
                    self.snapshot_of.clear();
                    self.approved = Approved::default();
                }
                return;
            }
            "targets" => &mut self.targets,
            "snapshot" => &mut self.snapshot,
            "timestamp" => &mut self.timestamp,
            _ => {
                if self.delegated.get(&file.role).is_none_or(|known| known.version <= file.version) {
                    self.delegated.insert(file.role.clone(), file);
                }
                return;
            }
        };
        if place.as_ref().is_none_or(|known| known.version <= file.version) {
            *place = Some(file);
        }
    }

    /// All roots, oldest first, and the version of the targets.
    pub(super) fn known(&self) -> (Vec<Vec<u8>>, Option<u64>) {
        (self.roots.values().cloned().collect(), self.targets.as_ref().map(|file| file.version))
    }

    /// The version of the newest root; 0 while there is none.
    pub(super) fn root_version(&self) -> u64 {
        self.roots.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// The root in force.
    pub(super) fn newest_root(&self) -> Option<&[u8]> {
        self.roots.values().next_back().map(Vec::as_slice)
    }

    /// The newest root and the custodians' targets, if they hold no longer than until then: Unix seconds.
    pub(super) fn expiring(&self, until: i64) -> Vec<Expiring> {
        let root = self.roots.last_key_value().map(|(version, file)| ("root", *version, file));
        let targets = self.targets.as_ref().map(|file| ("targets", file.version, &file.file));
        let expires = |(role, version, file): (&'static str, u64, &Vec<u8>)| {
            Some(Expiring { role, version, expires: Draft::from_json(file).ok()?.expires()? })
        };
        [root, targets].into_iter().flatten().filter_map(expires).filter(|file| file.expires <= until).collect()
    }

    /// The custodians' targets.
    pub(super) fn targets(&self) -> Option<&[u8]> {
        self.targets.as_ref().map(|file| file.file.as_slice())
    }

    /// A delegated role.
    pub(super) fn delegated(&self, role: &str) -> Option<&MetadataFile> {
        self.delegated.get(role)
    }

    /// The roots beyond a version, oldest first.
    pub(super) fn roots_after(&self, version: u64) -> Vec<Vec<u8>> {
        let Some(first) = version.checked_add(1) else { return Vec::new() };
        self.roots.range(first..).map(|(_, file)| file.clone()).collect()
    }

    /// Signs what is about to expire, or what the newest targets are not in yet; `None` while there are no targets.
    pub(super) async fn fresh(
        &mut self,
        store: &Store,
        keys: &OnlineKeys,
        most_apps: usize,
        now: u64,
    ) -> Result<Option<Fresh>, RepositoryError> {
        let Some(targets) = self.targets.clone() else { return Ok(None) };
        let approving = self.approve_apps(store, keys, &targets, most_apps, now).await?;
        let (approval, approved) = approving.unzip();
        let roles = self.roles(&targets, approval.as_ref());
        let mut signed: Vec<MetadataFile> = approval.into_iter().collect();
        let listed: Vec<_> = roles.iter().map(|file| (file.role.clone(), file.version)).collect();
        let kept =
            self.snapshot.clone().filter(|file| !is_old(file, SNAPSHOT_VALID_S, now) && self.snapshot_of == listed);
        let snapshot_file = match kept {
            Some(file) => file,
            None => {
                let version = next(self.snapshot.as_ref(), now);
                let expires = now.saturating_add(SNAPSHOT_VALID_S);
                let online: Vec<_> = roles.iter().map(online).collect();
                let file = finish(snapshot(version, date(expires), &online)?, &keys.snapshot)?;
                let file = MetadataFile { role: "snapshot".to_owned(), version, expires, file };
                signed.push(file.clone());
                file
            }
        };
        let kept = self.timestamp.clone().filter(|file| !is_old(file, TIMESTAMP_VALID_S, now) && signed.is_empty());
        let timestamp_file = match kept {
            Some(file) => file,
            None => {
                let version = next(self.timestamp.as_ref(), now);
                let expires = now.saturating_add(TIMESTAMP_VALID_S);
                let draft = timestamp(version, date(expires), snapshot_file.version, &snapshot_file.file)?;
                let file = finish(draft, &keys.timestamp)?;
                let file = MetadataFile { role: "timestamp".to_owned(), version, expires, file };
                signed.push(file.clone());
                file
            }
        };
        if !signed.is_empty() {
            // A version is on the disk before anybody sees it, so that none is given twice.
            store.put_release_metadata(&signed).await?;
            self.snapshot_of = listed;
            self.approved = approved.unwrap_or_else(|| std::mem::take(&mut self.approved));
            signed.into_iter().for_each(|file| self.put(file));
        }
        Ok(Some(Fresh {
            timestamp: timestamp_file.file,
            snapshot: snapshot_file.file,
            targets: targets.file,
            delegated: roles.into_iter().skip(1).map(|file| (file.role, file.file)).collect(),
        }))
    }

    /// Signs the server's approval of apps anew, if it is old or other apps run.
    async fn approve_apps(
        &mut self,
        store: &Store,
        keys: &OnlineKeys,
        targets: &MetadataFile,
        most_apps: usize,
        now: u64,
    ) -> Result<Option<(MetadataFile, Approved)>, RepositoryError> {
        let known = self.delegated.get(SERVER_ROLE);
        let is_fresh = known.is_some_and(|file| !is_old(file, SNAPSHOT_VALID_S, now));
        let looked_at = Some((store.changes(), targets.version));
        if is_fresh && self.approved.looked_at == looked_at {
            return Ok(None);
        }
        let apps = to_approve(store, &targets.file, most_apps).await?;
        if is_fresh && self.approved.apps.as_ref() == Some(&apps) {
            self.approved.looked_at = looked_at;
            return Ok(None);
        }
        let (version, expires) = (next(known, now), now.saturating_add(SNAPSHOT_VALID_S));
        let file = finish(approved_apps(version, date(expires), &apps)?, &keys.apps)?;
        let file = MetadataFile { role: SERVER_ROLE.to_owned(), version, expires, file };
        Ok(Some((file, Approved { looked_at, apps: Some(apps) })))
    }

    /// What a snapshot lists: the targets first, then the delegated roles that are signed as these targets demand it.
    fn roles(&self, targets: &MetadataFile, apps: Option<&MetadataFile>) -> Vec<MetadataFile> {
        let mut roles = vec![targets.clone()];
        roles.extend(apps.or_else(|| self.delegated.get(SERVER_ROLE)).cloned());
        let holds = |file: &MetadataFile| match file.role.strip_prefix("apps-") {
            Some(owner) => verify_approval(&targets.file, owner, &file.file).is_ok(),
            None => false,
        };
        roles.extend(self.delegated.values().filter(|file| holds(file)).cloned());
        roles
    }
}

fn online(file: &MetadataFile) -> OnlineRole<'_> {
    OnlineRole { name: &file.role, version: file.version, file: &file.file }
}

fn is_old(file: &MetadataFile, valid: u64, now: u64) -> bool {
    now.saturating_add(valid / 2) >= file.expires
}

/// The version after this file's, and never below the time in Unix seconds: a database that was put back does not begin below what devices
/// have verified.
fn next(file: Option<&MetadataFile>, now: u64) -> u64 {
    file.map_or(1, |file| file.version.saturating_add(1)).max(now)
}

fn date(unix: u64) -> i64 {
    i64::try_from(unix).unwrap_or(i64::MAX)
}

fn finish(mut draft: Draft, key: &Signer) -> Result<Vec<u8>, RepositoryError> {
    let signature = sign(key, draft.to_be_signed())?;
    draft.sign_der(key.public(), &signature)?;
    Ok(draft.to_json())
}

#[cfg(test)]
mod tests {
    use keys::secret::Secret;

    use super::super::online_keys::KeySets;
    use super::*;
    use crate::fleet::AgentIdSecret;
    use crate::limits::LIMITS;

    fn version(file: &[u8]) -> u64 {
        Draft::from_json(file).unwrap().version().unwrap()
    }

    #[test]
    fn what_the_custodians_signed_is_told_when_it_ends_soon() {
        let file = |role: &str, version, expires| {
            let expires = release::root::time(expires).unwrap();
            let signed = format!(r#"{{"signatures":[],"signed":{{"expires":"{expires}","version":{version}}}}}"#);
            MetadataFile { role: role.to_owned(), version, expires: 0, file: signed.into_bytes() }
        };
        let mut metadata = Metadata::default();
        assert_eq!(metadata.expiring(i64::MAX), []);
        for file in [file("root", 1, 10), file("root", 2, 2_000), file("targets", 7, 1_000)] {
            metadata.put(file);
        }
        let root = Expiring { role: "root", version: 2, expires: 2_000 };
        let targets = Expiring { role: "targets", version: 7, expires: 1_000 };
        assert_eq!(metadata.expiring(999), [], "a root that another has followed does not matter");
        assert_eq!(metadata.expiring(1_000), [targets]);
        assert_eq!(metadata.expiring(1_999), [targets]);
        assert_eq!(metadata.expiring(2_000), [root, targets]);
    }

    #[tokio::test]
    async fn what_is_about_to_expire_is_signed_again_and_no_version_is_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let secret = AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]));
        let store = Store::create(dir.path(), secret, &LIMITS).await.unwrap();
        let keys = KeySets::open(dir.path(), "server.example").unwrap();
        let mut metadata = Metadata::default();
        assert!(metadata.fresh(&store, keys.in_force(), 9, 0).await.unwrap().is_none(), "there are no targets");
        let targets = |version| MetadataFile {
            role: "targets".to_owned(),
            version,
            expires: 0,
            file: format!("targets {version}").into_bytes(),
        };
        metadata.put(targets(1));
        let at = async |metadata: &mut Metadata, now| {
            let fresh = metadata.fresh(&store, keys.in_force(), 9, now).await.unwrap().unwrap();
            (version(&fresh.timestamp), version(&fresh.snapshot))
        };
        let (half_a_day, half_a_week) = (TIMESTAMP_VALID_S / 2, SNAPSHOT_VALID_S / 2);
        assert_eq!(at(&mut metadata, 0).await, (1, 1));
        assert_eq!(at(&mut metadata, half_a_day - 1).await, (1, 1));
        assert_eq!(at(&mut metadata, half_a_day).await, (half_a_day, 1));
        assert_eq!(at(&mut metadata, half_a_week).await, (half_a_week, half_a_week));
        metadata.put(targets(2));
        let newest = at(&mut metadata, half_a_week).await;
        assert_eq!(newest, (half_a_week + 1, half_a_week + 1), "new targets are in a new snapshot at once");
        metadata.put(targets(1));
        let fresh = metadata.fresh(&store, keys.in_force(), 9, SNAPSHOT_VALID_S / 2).await.unwrap().unwrap();
        assert_eq!(fresh.targets, b"targets 2", "older targets take no place");

        let mut again = Metadata::read(&store).await.unwrap();
        assert!(again.targets.is_none(), "the upload keeps these");
        again.put(targets(2));
        let (timestamp, snapshot) = at(&mut again, half_a_week).await;
        assert!(timestamp > newest.0 && snapshot > newest.1, "after a restart versions go on: {timestamp} {snapshot}");
        // A database from before all this.
        let mut put_back = Metadata::default();
        put_back.put(targets(2));
        let (later, snapshot_later) = at(&mut put_back, half_a_week + 60).await;
        assert!(later > timestamp && snapshot_later > snapshot, "{later} {snapshot_later}");
    }
}
