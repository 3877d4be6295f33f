//! What the server adds to a release: freshness, the assignment to a device, and the content key for that device alone.
//!
//! Start at [`Repository`]. Nothing here can make a device install what the custodians and the release key did not sign.

mod apps;
mod log;
mod metadata;
pub mod online_keys;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keys::content_key::ContentKeyInfo;
use keys::content_key::{ContentKeyError, WrappedContentKey, wrap};
use keys::metadata::sign_assignment;
use keys::pki::RootsBundle;
use keys::profile::Profile;
use keys::public::{PublicKey, PublicKeyError, SpkiHash};
use keys::signer::SignError;
use protocol::limits::LIMITS;
use protocol::os::{ROOTS_ALONE, Trust};
use release::apps::{SERVER_ROLE, app_path, owner_role};
use release::assignment::Assignment;
use release::author::DraftError;
use release::manifest::ManifestHash;
use release::root::{RootContent, RootError};

pub use self::apps::{Admitted, AppRefused, Deploying};
use self::log::ReleaseLog;
pub use self::log::{CHECKPOINT_FILE, ENTRIES_FILE, ReleaseLogError};
use self::metadata::Metadata;
pub use self::metadata::{Expiring, MetadataFile};
use self::online_keys::{KeySets, OnlineKeys, OnlineKeysError};
pub use self::upload::{Accepted, UploadError};
use crate::limits::Limits;
use crate::store::{Store, StoreError, unix_ms};

/// How long an assignment of an image to a device holds, seconds. A device asks again when it is older.
pub const ASSIGNMENT_VALID_S: u64 = 24 * 60 * 60;

/// The server's online roles. Cheap to clone.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    store: Store,
    keys: KeySets,
    /// The roots from which the gateway's certificates come.
    tls_roots: RootsBundle,
    metadata: tokio::sync::Mutex<Metadata>,
    /// Held by whoever changes roots and targets.
    accepting: tokio::sync::Mutex<()>,
    log: ReleaseLog,
    /// The version of the newest root; 0 while there is none.
    root_version: AtomicU64,
    /// [`Limits::approved_apps`].
    approved_apps: usize,
}

/// Why the server cannot do its part.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] OnlineKeysError),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A content key.
    #[error("a content key cannot be given: {0}")]
    ContentKey(#[from] ContentKeyError),
    /// The device's key-agreement key.
    #[error("a damaged value in devices.key_agreement_spki: restore the database from a backup")]
    Agreement(#[from] PublicKeyError),
    /// Metadata.
    #[error("release metadata cannot be written: {0}")]
    Draft(#[from] DraftError),
    /// The newest root.
    #[error("a damaged value in release_metadata.file: restore the database from a backup: {0}")]
    Root(#[from] RootError),
    /// A signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The transparency log.
    #[error(transparent)]
    Log(#[from] ReleaseLogError),
    /// The runtime ends.
    #[error("the server is ending")]
    Ending,
}

impl Repository {
    /// The roles of the server in this folder, which people know by this name and devices by these roots.
    ///
    /// # Errors
    /// Keys or state cannot be read.
    pub async fn open(
        dir: &Path,
        store: Store,
        name: &str,
        tls_roots: RootsBundle,
        limits: &Limits,
    ) -> Result<Self, RepositoryError> {
        let keys = KeySets::open(dir, name)?;
        // What an upload does, for roll-outs from before it did.
        store.publish_release_metadata(&[]).await?;
        let metadata = Metadata::read(&store).await?;
        let root_version = metadata.root_version();
        let newest = metadata.newest_root().map(RootContent::from_file).transpose()?;
        if newest.as_ref().is_some_and(|root| !keys.put_in_force(root)) {
            tracing::error!(
                "the newest root names other online keys than this server's: no device believes it. Restore its folder online-keys from a copy, or hold a ceremony (vouch ceremony rotate --server-keys)"
            );
        }
        if newest.is_some_and(|root| !names_tls_roots(&root, &tls_roots)) {
            tracing::error!(
                "the newest root names other TLS roots than the one that this server's certificate comes from: no device that follows roots connects. Restore its folder pki from the newest copy, or hold a ceremony with what `vouch release server-keys` writes here"
            );
        }
        // A release is in the log before its root is in the database.
        let log = ReleaseLog::open(dir, keys.all(), &keys.in_force().log, root_version > 0)?;
        Ok(Self(Arc::new(Inner {
            store,
            keys,
            tls_roots,
            metadata: tokio::sync::Mutex::new(metadata),
            accepting: tokio::sync::Mutex::default(),
            log,
            root_version: AtomicU64::new(root_version),
            approved_apps: limits.approved_apps,
        })))
    }

    /// The version of the newest root metadata that it has.
    pub fn root_version(&self) -> Option<u64> {
        Some(self.0.root_version.load(Ordering::SeqCst)).filter(|version| *version > 0)
    }

    /// What the custodians signed and must sign again within this time.
    pub async fn expiring(&self, within: Duration) -> Vec<Expiring> {
        let within = i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
        self.0.metadata.lock().await.expiring(seconds().saturating_add(within))
    }

    /// Puts files in force that are on the disk, and the keys that the newest root names; whether that root is another than before.
    fn publish(&self, metadata: &mut Metadata, files: Vec<MetadataFile>, newest: &RootContent) -> bool {
        files.into_iter().for_each(|file| metadata.put(file));
        self.0.keys.put_in_force(newest);
        let version = metadata.root_version();
        self.0.root_version.swap(version, Ordering::SeqCst) != version
    }

    /// Its keys that the newest root names.
    pub fn keys(&self) -> &OnlineKeys {
        self.0.keys.in_force()
    }

    /// The content key of an image, wrapped for a device that a running roll-out has assigned it to, and for nobody else. That it was given
    /// is on the disk before this returns.
    ///
    /// # Errors
    /// The state could not be read or written, or the key not be unwrapped.
    pub async fn content_key(
        &self,
        device: SpkiHash,
        image: [u8; 32],
    ) -> Result<Option<WrappedContentKey>, RepositoryError> {
        let Some(sealed) = self.0.store.sealed_key(&image).await? else { return Ok(None) };
        let inner = Arc::clone(&self.0);
        let opening = tokio::task::spawn_blocking(move || inner.keys.open_content_key(&sealed, ManifestHash(image)));
        let key = opening.await.map_err(|_| RepositoryError::Ending)??;
        let Some(agreement) = self.0.store.note_key_release(device, &image).await? else { return Ok(None) };
        let wrapped = tokio::task::spawn_blocking(move || {
            let for_device = ContentKeyInfo { manifest_sha256: image, identity: device };
            Ok::<_, RepositoryError>(wrap(&key, &PublicKey::from_spki_der(&agreement)?, &for_device)?)
        });
        Ok(Some(wrapped.await.map_err(|_| RepositoryError::Ending)??))
    }

    /// Whose app it is, if that is what the device is to run.
    async fn owner_of_app(&self, device: SpkiHash, subject: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let login = self.0.store.device_login(device).await?;
        let runs = login.filter(|login| login.app.is_some_and(|app| app.sha256 == *subject));
        Ok(runs.map(|login| login.owner.to_string()))
    }

    /// The proof that an image is in the transparency log, under its newest checkpoint: `log-proof` in `docs/image.cddl`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn log_proof(&self, image: &[u8; 32]) -> Result<Option<Vec<u8>>, RepositoryError> {
        Ok(self.0.log.proof(image, &self.keys().log)?)
    }

    /// The newest checkpoint of the transparency log.
    pub fn log_checkpoint(&self) -> String {
        self.0.log.checkpoint()
    }

    /// A file of the transparency log, by its path below `tile/`; none when the tree has no such file.
    pub fn log_tile(&self, path: &str) -> Option<Vec<u8>> {
        self.0.log.tile(path)
    }

    /// What proves an image or an app to a device that trusts the root of this version: metadata that are fresh, and for an image that is
    /// assigned to the device the director's word. For [`ROOTS_ALONE`] newer roots and nothing else.
    ///
    /// # Errors
    /// The state could not be read or written, or nothing be signed.
    pub async fn trust(
        &self,
        device: SpkiHash,
        subject: [u8; 32],
        is_assigned: bool,
        root_version: u64,
    ) -> Result<Trust, RepositoryError> {
        let now = u64::try_from(seconds()).unwrap_or_default();
        let mut metadata = self.0.metadata.lock().await;
        let roots: Vec<_> = metadata.roots_after(root_version).into_iter().map(Into::into).collect();
        let most = LIMITS.trust_roots;
        if roots.len() > most || subject == ROOTS_ALONE {
            return Ok(within_bounds(Trust { roots: roots.into_iter().take(most).collect(), ..Trust::default() }));
        }
        let log_proof = self.log_proof(&subject)?.map(Into::into);
        let mut trust = Trust { roots, log_proof, ..Trust::default() };
        if let Some(fresh) = metadata.fresh(&self.0.store, self.keys(), self.0.approved_apps, now).await? {
            trust.timestamp = Some(fresh.timestamp.into());
            trust.snapshot = Some(fresh.snapshot.into());
            trust.targets = Some(fresh.targets.into());
            if let Some(owner) = self.owner_of_app(device, &subject).await? {
                let own = fresh.delegated.get(&owner_role(&owner)).or_else(|| fresh.delegated.get(SERVER_ROLE));
                trust.delegated = own.cloned().map(Into::into);
                trust.path = Some(app_path(&owner, &subject));
            }
        }
        if is_assigned {
            let assignment = Assignment::new(device, ManifestHash(subject), now.saturating_add(ASSIGNMENT_VALID_S));
            trust.assignment = Some(sign_assignment(&self.keys().director, &assignment.to_cbor())?.into());
        }
        Ok(within_bounds(trust))
    }
}

/// Whether devices that follow this root believe certificates from the first of these roots.
fn names_tls_roots(root: &RootContent, roots: &RootsBundle) -> bool {
    Profile::ALL.iter().all(|profile| root.tls_roots.holds(*profile, roots.root(*profile)))
}

/// The clock, Unix seconds.
fn seconds() -> i64 {
    unix_ms() / 1000
}

/// Roots alone, as many as fit, when all together is too much for one answer: the device asks again from there.
fn within_bounds(trust: Trust) -> Trust {
    if trust.size() <= LIMITS.trust {
        return trust;
    }
    let mut alone = Trust::default();
    for root in trust.roots {
        if alone.size() + root.len() > LIMITS.trust {
            break;
        }
        alone.roots.push(root);
    }
    alone
}
