//! Uploads of releases: taken when all of it is right, refused by name when anything is not, and provable to a device afterwards.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use keys::content_key::{ContentKeyInfo, WrappedContentKey, unwrap};
use keys::metadata;
use keys::pki::{OperatorPki, RootsBundle, ServerName};
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::release_key::DangerSoftwareReleaseKey;
use keys::signer::Signer;
use keys::time::Now;
use protocol::os::Trust;
use release::anchors::ReleaseKeySlot;
use release::author::{Built, Delegation, Draft, TargetsSpec, encrypt, seal_content_key};
use release::bundle::{Bundle, BundleImage};
use release::floors::MetadataFloors;
use release::log::verify_checkpoint;
use release::manifest::{Description, Manifest};
use release::root::{Custodian, RootContent};
use release::tuf::{Files, Trusted, TufError, verify};
use release::version::OsVersion;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use vouch_server::limits::{LIMITS, Limits};
use vouch_server::repository::online_keys::KeySets;
use vouch_server::repository::{MetadataFile, Repository, UploadError};
use vouch_server::store::OS_IMAGES_FOLDER;

use crate::rig::{Answer, PATIENCE, Rig, id, now_ms};

/// A maker: three custodians, of whom two must approve, and a release key.
pub(crate) struct Maker {
    pub(crate) cards: Vec<Signer>,
    release_key: &'static DangerSoftwareReleaseKey,
    pub(crate) root: Vec<u8>,
    /// Those after it.
    newer: Vec<Vec<u8>>,
    /// Who approves apps.
    pub(crate) apps: Vec<Delegation>,
}

/// A release before its parts are put together, so that an attack can change one of them.
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    cose: Vec<u8>,
    sealed: Vec<u8>,
    content_key: [u8; 16],
    wrapped: Vec<u8>,
    targets: Vec<u8>,
}

pub(crate) fn seconds() -> i64 {
    now_ms() / 1000
}

pub(crate) fn signed_by(mut draft: Draft, signers: &[&Signer]) -> Vec<u8> {
    for signer in signers {
        let signature = metadata::sign(signer, draft.to_be_signed()).unwrap();
        draft.sign_der(signer.public(), &signature).unwrap();
    }
    draft.to_json()
}

/// Those of every server of these tests.
pub(crate) fn tls_roots() -> RootsBundle {
    static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
    ROOTS.get_or_init(other_tls_roots).clone()
}

fn other_tls_roots() -> RootsBundle {
    let names = [ServerName::try_from("iot.example").unwrap()];
    OperatorPki::create("Test", &names, Now { mono_ms: 0, unix_ms: now_ms() }).unwrap().serving.server_roots
}

/// The maker's key and a stranger's; each takes seconds to make.
fn release_keys() -> &'static [DangerSoftwareReleaseKey; 2] {
    static KEYS: OnceLock<[DangerSoftwareReleaseKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| std::array::from_fn(|_| DangerSoftwareReleaseKey::generate().unwrap()))
}

impl Maker {
    /// Whose root names the keys of this server.
    pub(crate) fn of(server: &Repository) -> Self {
        Self::with_log(server, Some(server.keys().log.key().to_string()))
    }

    /// Whose root names this log.
    pub(crate) fn with_log(server: &Repository, log: Option<String>) -> Self {
        Self::with(server, log, tls_roots())
    }

    fn with(server: &Repository, log: Option<String>, tls_roots: RootsBundle) -> Self {
        let key = |purpose| Signer::generate(purpose).unwrap();
        let cards: Vec<_> = (0..3).map(|_| key(KeyPurpose::AppApproval)).collect();
        let release_key = &release_keys()[0];
        let custodian = |(name, card): (&str, &Signer)| Custodian {
            name: name.to_owned(),
            signing: card.public().clone(),
            agreement: key(KeyPurpose::DeviceKeyAgreement).public().clone(),
        };
        let root = RootContent {
            version: 1,
            expires_unix_s: seconds() + 1_000_000,
            custodians: ["ada", "ben", "cleo"].into_iter().zip(&cards).map(custodian).collect(),
            root_needed: 2,
            release_needed: 2,
            online: server.keys().public(),
            release_keys: vec![ReleaseKeySlot { key: release_key.public().clone(), revoked: false }],
            tls_roots,
            log,
        };
        let root = signed_by(Draft::of_root(&root).unwrap(), &[&cards[0], &cards[1]]);
        Self { cards, release_key, root, newer: Vec::new(), apps: Vec::new() }
    }

    pub(crate) fn release(
        &self,
        server: &Repository,
        version: OsVersion,
        targets_version: u64,
        cards: &[usize],
    ) -> Parts {
        let plain = vec![7; 200_000];
        let description = Description {
            product: "lamps".to_owned(),
            models: vec!["lamp".to_owned()],
            version,
            security_epoch: 3,
            built: 1_790_000_000,
            sbom: None,
            mud: None,
        };
        let (sealed, Built { manifest, content_key }) = encrypt(&plain, description).unwrap();
        let manifests = vec![manifest.clone()];
        let spec =
            TargetsSpec { version: targets_version, expires: seconds() + 100_000, manifests, apps: self.apps.clone() };
        let signers: Vec<_> = cards.iter().map(|at| &self.cards[*at]).collect();
        let wrapped = seal_content_key(&content_key, manifest.hash(), server.keys().release_wrap.public()).unwrap();
        Parts {
            cose: self.sign(&manifest),
            sealed,
            content_key: *content_key.expose(),
            wrapped: wrapped.as_bytes().to_vec(),
            targets: signed_by(spec.draft().unwrap(), &signers),
            manifest,
        }
    }

    fn sign(&self, manifest: &Manifest) -> Vec<u8> {
        self.release_key.sign_manifest(&manifest.to_cbor()).unwrap()
    }

    /// The next root.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut RootContent)) -> Vec<u8> {
        let mut content = RootContent::from_file(self.newer.last().unwrap_or(&self.root)).unwrap();
        content.version += 1;
        change(&mut content);
        let root = signed_by(Draft::of_root(&content).unwrap(), &[&self.cards[0], &self.cards[1]]);
        self.newer.push(root.clone());
        root
    }

    /// The bundle as somebody writes it who checks nothing.
    pub(crate) fn bundle(&self, parts: &Parts) -> Vec<u8> {
        self.bundle_with_proof(parts, None)
    }

    pub(crate) fn bundle_with_proof(&self, parts: &Parts, proof: Option<Vec<u8>>) -> Vec<u8> {
        let image = BundleImage::new(parts.cose.clone(), parts.wrapped.clone(), proof).unwrap();
        let roots = [&self.root].into_iter().chain(&self.newer).cloned().collect();
        let mut bundle = Bundle::new(roots, parts.targets.clone(), vec![], vec![image]).unwrap().head();
        bundle.extend_from_slice(&parts.sealed);
        bundle
    }
}

pub(crate) async fn upload(rig: &Rig, bundle: &[u8]) -> Answer {
    let headers = format!("Authorization: Bearer {}\r\n", rig.token);
    rig.raw("POST", "/v5/releases/bundle", &headers, bundle).await
}

pub(crate) const V: OsVersion = OsVersion::new(1, 4, 0);

#[tokio::test]
async fn a_right_release_is_kept_and_can_be_proved_to_a_device() {
    let rig = Rig::start().await;
    let maker = Maker::of(&rig.repository);
    let parts = maker.release(&rig.repository, V, 1, &[0, 2]);
    let made = upload(&rig, &maker.bundle(&parts)).await.expect(201).json();
    let image = parts.manifest.hash().0;
    assert_eq!(made["data"]["attributes"]["version"], "1.4.0");
    assert_eq!(made["data"]["attributes"]["images"][0]["sha256"], const_hex::encode(image));
    let kept = std::fs::read(rig.dir.path().join(OS_IMAGES_FOLDER).join(const_hex::encode(image))).unwrap();
    assert_eq!(kept, parts.sealed);
    let files = std::fs::read_dir(rig.dir.path().join(OS_IMAGES_FOLDER)).unwrap().count();
    assert_eq!(files, 1, "the upload itself is gone");

    // A device that trusts the root accepts what the server adds, also after the server was started again.
    for repository in [
        rig.repository.clone(),
        Repository::open(rig.dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS).await.unwrap(),
    ] {
        let trust = repository.trust(SpkiHash([1; 32]), image, false, 0).await.unwrap();
        assert_eq!(trust.roots, [maker.root.clone().into()]);
        let trusted = judged(&repository, &maker.root, image).await.unwrap();
        trusted.approve(&parts.manifest).unwrap();
        assert!(repository.trust(SpkiHash([1; 32]), image, false, 1).await.unwrap().roots.is_empty());
    }
    let device = rig.enrol(None).await;
    assert_eq!(rig.repository.content_key(device.spki, image).await.unwrap(), None, "no roll-out has assigned it");
    let own = &rig.repository.keys().release_wrap;
    let info = ContentKeyInfo { manifest_sha256: image, identity: own.public().spki_hash() };
    assert_eq!(
        *unwrap(own, &WrappedContentKey::from_bytes(&parts.wrapped).unwrap(), &info).unwrap(),
        parts.content_key
    );
}

/// Attack: a release with one approval too few, one whose manifest or image was changed after the approval, one from another maker, and
/// one that is cut or goes on.
#[tokio::test]
async fn a_release_with_anything_wrong_is_refused_and_leaves_nothing() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let maker = Maker::of(server);
    let parts = || maker.release(server, V, 1, &[0, 1]);
    let refused = async |bundle: Vec<u8>, why: &str| {
        let error = upload(&rig, &bundle).await.expect(422).error();
        assert!(error.starts_with("Release Refused: ") && error.contains(why), "{error} says nothing of {why:?}");
    };
    refused(maker.bundle(&maker.release(server, V, 1, &[1])), "not approved").await;

    let mut changed = parts();
    changed.manifest.security_epoch = 0;
    changed.cose = maker.sign(&changed.manifest);
    refused(maker.bundle(&changed), "not among those that the custodians approved").await;

    let mut stranger = parts();
    stranger.cose = release_keys()[1].sign_manifest(&stranger.manifest.to_cbor()).unwrap();
    refused(maker.bundle(&stranger), "not signed by a release key in force").await;

    let mut damaged = parts();
    damaged.sealed[100_000] ^= 1;
    refused(maker.bundle(&damaged), "not the one of its manifest").await;

    let whole = maker.bundle(&parts());
    refused(whole[..whole.len() - 1].to_vec(), "not the one of its manifest").await;
    refused([&whole[..], b"x"].concat(), "goes on").await;
    refused(b"not a bundle".to_vec(), "not a release bundle").await;

    let mut other_key = parts();
    other_key.wrapped[70] ^= 1;
    refused(maker.bundle(&other_key), "not sealed to this server").await;

    let dir = tempfile::tempdir().unwrap();
    let elsewhere =
        Repository::open(dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS).await.unwrap();
    let foreign = Maker::of(&elsewhere);
    refused(foreign.bundle(&foreign.release(server, V, 1, &[0, 1])), "other online keys").await;

    assert_eq!(std::fs::read_dir(rig.dir.path().join(OS_IMAGES_FOLDER)).unwrap().count(), 0);
    assert!(rig.get("/v5/releases").await.expect(200).json()["data"].as_array().unwrap().is_empty());
    upload(&rig, &maker.bundle(&parts())).await.expect(201);
}

/// Keeps the errors that this thread logs.
struct Errors(Arc<Mutex<String>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut kept = self.0.lock().unwrap();
        let mut keep = |_: &Field, value: &dyn Debug| writeln!(kept, "{value:?}").unwrap();
        event.record(&mut keep);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_server_whose_tls_roots_are_not_in_its_newest_root_says_so_at_the_start() {
    let rig = Rig::start().await;
    let maker = Maker::of(&rig.repository);
    let errors = Errors(Arc::default());
    let said = Arc::clone(&errors.0);
    let _logs = tracing::subscriber::set_default(errors);
    let open = |roots| Repository::open(rig.dir.path(), rig.store.clone(), "server.example", roots, &LIMITS);
    open(other_tls_roots()).await.unwrap();
    upload(&rig, &maker.bundle(&maker.release(&rig.repository, V, 1, &[0, 1]))).await.expect(201);
    open(tls_roots()).await.unwrap();
    assert_eq!(*said.lock().unwrap(), "", "no root yet, and one that names them");
    open(other_tls_roots()).await.unwrap();
    assert!(said.lock().unwrap().contains("names other TLS roots"), "{said:?}");
}

/// Attack: a root that is sound, and by which every device would lose its server.
#[tokio::test]
async fn attack_a_root_by_which_devices_would_not_find_the_server_is_refused() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let log = || Some(server.keys().log.key().to_string());
    let strange = Maker::with(server, log(), other_tls_roots());
    let bundle = strange.bundle(&strange.release(server, V, 1, &[0, 1]));
    let error = upload(&rig, &bundle).await.expect(422).error();
    assert!(error.contains("names other TLS roots"), "{error}");
    assert_eq!(server.root_version(), None);
    // The one in use may be the second of a pair.
    let [ours, theirs] = [tls_roots(), other_tls_roots()];
    let root = |bundle: &RootsBundle, profile| bundle.root(profile).clone();
    let pair = RootsBundle::new(root(&theirs, Profile::Classic), root(&theirs, Profile::Modern)).unwrap();
    let pair = pair.with_next(root(&ours, Profile::Classic), root(&ours, Profile::Modern)).unwrap();
    let follows = Maker::with(server, log(), pair);
    upload(&rig, &follows.bundle(&follows.release(server, V, 1, &[0, 1]))).await.expect(201);
    assert_eq!(server.root_version(), Some(1));
}

/// Attack: whoever has the server's account uploads a release of a maker of their own, or brings old approvals back.
#[tokio::test]
async fn after_the_first_release_no_other_root_and_no_older_approval_is_taken() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let maker = Maker::of(server);
    upload(&rig, &maker.bundle(&maker.release(server, V, 2, &[0, 1]))).await.expect(201);
    let other = Maker::of(server);
    let error = upload(&rig, &other.bundle(&other.release(server, V, 3, &[0, 1]))).await.expect(422).error();
    assert!(error.contains("another root"), "{error}");
    for targets in [1, 2] {
        let next = OsVersion::new(1, 5, 0);
        let error =
            upload(&rig, &maker.bundle(&maker.release(server, next, targets, &[0, 1]))).await.expect(422).error();
        assert!(error.contains("this server has 2 already"), "{error}");
    }
    let again = upload(&rig, &maker.bundle(&maker.release(server, V, 3, &[0, 1]))).await.expect(409).error();
    assert!(again.contains("a version never changes"), "{again}");
    upload(&rig, &maker.bundle(&maker.release(server, OsVersion::new(1, 5, 0), 3, &[0, 1]))).await.expect(201);
    let nobody = rig.raw("POST", "/v5/releases/bundle", "", b"x").await.expect(401);
    assert!(nobody.body.contains("Unauthorized"));
}

/// Attack: an older release goes on being rolled out, or is begun, after the custodians approved another one in its place.
#[tokio::test]
async fn a_release_that_is_no_longer_approved_is_not_rolled_out() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let maker = Maker::of(server);
    let group = rig.group(&rig.product("lamps").await, "field").await;
    let device = rig.enrol(Some(&group)).await;
    let old = maker.bundle(&maker.release(server, V, 1, &[0, 1]));
    let first = id(&upload(&rig, &old).await.expect(201));
    let order = |release: &str| {
        json!({ "data": { "type": "rollout", "attributes": { "phases": ["100%"] }, "relationships": {
            "release": { "type": "release", "id": release },
            "devicegroup": { "type": "development_devicegroup", "id": group },
        }}})
    };
    let running = id(&rig.post("/v5/rollouts", &order(&first)).await.expect(201));
    let offered = async || rig.store.os_update(device.spki, "lamp", OsVersion::new(1, 0, 0)).await.unwrap();
    assert!(offered().await.is_some());

    let second = upload(&rig, &maker.bundle(&maker.release(server, OsVersion::new(1, 5, 0), 2, &[0, 1]))).await;
    let second = second.expect(201);
    assert_eq!(second.json()["data"]["attributes"]["paused_rollouts"], json!([running]));
    assert!(offered().await.is_none());
    let shown = rig.get(&format!("/v5/rollouts/{running}")).await.expect(200).json()["data"]["attributes"].clone();
    assert_eq!((&shown["state"], &shown["failed"]), (&json!("paused"), &json!(0)));
    assert!(shown["reason"].as_str().unwrap().contains("1.5.0"), "{shown}");
    let begin = rig.post("/v5/rollouts", &order(&first)).await.expect(409);
    let resume = rig.post(&format!("/v5/rollouts/{running}/resume"), &json!(null)).await.expect(409);
    let align = json!({ "data": { "type": "rollout", "attributes": {} } });
    let align = rig.post(&format!("/v5/releases/{first}/align"), &align).await.expect(409);
    for refused in [begin, resume, align] {
        assert!(refused.error().contains("They approve OS 1.5.0"), "{}", refused.error());
    }
    upload(&rig, &old).await.expect(200);
    rig.post("/v5/rollouts", &order(&first)).await.expect(409);
    rig.post("/v5/rollouts", &order(&id(&second))).await.expect(201);
    assert!(offered().await.is_some());
}

#[tokio::test]
async fn the_same_release_under_newer_targets_is_in_force_at_once() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let maker = Maker::of(server);
    let mut parts = maker.release(server, V, 1, &[0, 1]);
    let image = parts.manifest.hash().0;
    upload(&rig, &maker.bundle(&parts)).await.expect(201);
    let first = parts.targets.clone();
    let manifests = vec![parts.manifest.clone()];
    let spec = TargetsSpec { version: 2, expires: seconds() + 200_000, manifests, apps: Vec::new() };
    parts.targets = signed_by(spec.draft().unwrap(), &[&maker.cards[0], &maker.cards[1]]);
    upload(&rig, &maker.bundle(&parts)).await.expect(200);
    let second = std::mem::replace(&mut parts.targets, first);
    upload(&rig, &maker.bundle(&parts)).await.expect(200);
    let again =
        Repository::open(rig.dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS).await.unwrap();
    for repository in [server, &again] {
        let trust = repository.trust(SpkiHash([1; 32]), image, false, 0).await.unwrap();
        assert_eq!(trust.targets.unwrap(), second.clone().into());
    }
}

/// Uploads to another server than that of the rig, over the same database.
pub(crate) async fn accept(rig: &Rig, server: &Repository, bundle: &[u8]) -> Result<bool, UploadError> {
    let mut file = rig.store.new_os_image().unwrap();
    file.write(bundle).unwrap();
    server.accept(file, rig.account.parse().unwrap()).await.map(|accepted| accepted.is_known)
}

/// What a device makes of what it is given for an image, when it trusts this root.
async fn judged(server: &Repository, root: &[u8], image: [u8; 32]) -> Result<Trusted, TufError> {
    let trust =
        server.trust(SpkiHash([1; 32]), image, false, RootContent::from_file(root).unwrap().version).await.unwrap();
    verify(root, files(&trust), (), &MetadataFloors::NONE, u64::try_from(seconds()).unwrap())
}

fn files(trust: &Trust) -> Files {
    let mut files = Files::new();
    for root in &trust.roots {
        let version = RootContent::from_file(root).unwrap().version;
        files.insert(&format!("{version}.root.json"), root.to_vec()).unwrap();
    }
    for (name, file) in
        [("timestamp.json", &trust.timestamp), ("snapshot.json", &trust.snapshot), ("targets.json", &trust.targets)]
    {
        files.insert(name, file.clone().unwrap().into()).unwrap();
    }
    files
}

#[tokio::test]
async fn new_online_keys_sign_from_the_release_on_whose_root_names_them() {
    let rig = Rig::start().await;
    let mut maker = Maker::of(&rig.repository);
    let old = rig.repository.keys();
    maker.apps.push(Delegation::Server { key: old.apps.public().clone() });
    let one = maker.release(&rig.repository, V, 1, &[0, 1]);
    upload(&rig, &maker.bundle(&one)).await.expect(201);
    let stolen = rig.repository.trust(SpkiHash([1; 32]), one.manifest.hash().0, false, 1).await.unwrap();

    let made = KeySets::open(rig.dir.path(), "server.example").unwrap().add(rig.dir.path(), "server.example").unwrap();
    let second = maker.rotate(|root| (root.online, root.log) = (made.public(), Some(made.log.key().to_string())));
    let next = maker.release(&rig.repository, OsVersion::new(1, 5, 0), 2, &[0, 1]);
    let error = upload(&rig, &maker.bundle(&next)).await.expect(422).error();
    assert!(error.contains("restart the server"), "{error}");
    let open = || Repository::open(rig.dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS);
    let server = open().await.unwrap();
    assert_eq!(server.keys().public(), old.public(), "no root names the new ones yet");
    judged(&server, &maker.root, one.manifest.hash().0).await.unwrap();
    // Targets of before leave apps to the stolen key.
    let refused = accept(&rig, &server, &maker.bundle(&next)).await.unwrap_err();
    assert!(matches!(refused, UploadError::OtherAppsKey), "{refused}");
    assert_eq!(server.keys().public(), old.public());

    maker.apps = vec![Delegation::Server { key: made.apps.public().clone() }];
    // Its content keys are sealed to the old key, as those of releases of before are.
    let next = maker.release(&rig.repository, OsVersion::new(1, 5, 0), 2, &[0, 1]);
    accept(&rig, &server, &maker.bundle(&next)).await.unwrap();
    for server in [&server, &open().await.unwrap()] {
        assert_eq!(server.keys().public(), made.public());
        for root in [&maker.root, &second] {
            let trusted = judged(server, root, next.manifest.hash().0).await.unwrap();
            assert_eq!(trusted.root(), second);
            let approval = trusted.approve(&next.manifest).unwrap();
            let proof = server.log_proof(&next.manifest.hash().0).unwrap().unwrap();
            trusted.prove_logged(approval, &next.manifest, &proof).unwrap();
        }
        verify_checkpoint(&made.log.key().to_string(), &server.log_checkpoint()).unwrap();
    }
    // Sealed to the new key.
    let last = maker.release(&server, OsVersion::new(1, 6, 0), 3, &[0, 1]);
    accept(&rig, &server, &maker.bundle(&last)).await.unwrap();
    let now = u64::try_from(seconds()).unwrap();
    assert!(verify(&second, files(&stolen), (), &MetadataFloors::NONE, now).is_err(), "what the old keys signed");
}

#[tokio::test]
async fn the_same_release_under_a_newer_root_is_in_force_at_once() {
    let rig = Rig::start().await;
    let mut maker = Maker::of(&rig.repository);
    let parts = maker.release(&rig.repository, V, 1, &[0, 1]);
    let made = id(&upload(&rig, &maker.bundle(&parts)).await.expect(201));
    let image = parts.manifest.hash().0;
    assert_eq!(judged(&rig.repository, &maker.root, image).await.unwrap().root(), maker.root);
    let newer = maker.rotate(|root| root.custodians.truncate(2));
    assert_eq!(id(&upload(&rig, &maker.bundle(&parts)).await.expect(200)), made);
    let again =
        Repository::open(rig.dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS).await.unwrap();
    for server in [&rig.repository, &again] {
        let trusted = judged(server, &maker.root, image).await.unwrap();
        assert_eq!(trusted.root(), newer);
        trusted.approve(&parts.manifest).unwrap();
    }
    // Without the root that is known, or with another in its place, it is refused.
    let known = maker.newer.pop().unwrap();
    assert!(upload(&rig, &maker.bundle(&parts)).await.expect(422).error().contains("this server has 2 already"));
    let other = maker.rotate(|root| root.expires_unix_s += 1);
    assert_ne!(known, other);
    let error = upload(&rig, &maker.bundle(&parts)).await.expect(422).error();
    assert!(error.contains("version 2 is not the one that this server knows"), "{error}");
}

/// What a device that trusts a root of this version has asked for until nothing is missing: all roots, and how many answers it took.
async fn asked(server: &Repository, mut version: u64, image: [u8; 32]) -> (Trust, usize) {
    let mut roots = Vec::new();
    for answers in 1.. {
        let trust = server.trust(SpkiHash([1; 32]), image, false, version).await.unwrap();
        assert!(trust.roots.len() <= protocol::limits::LIMITS.trust_roots);
        version += trust.roots.len() as u64;
        roots.extend(trust.roots.clone());
        if trust.timestamp.is_some() {
            return (Trust { roots, ..trust }, answers);
        }
        assert!(!trust.roots.is_empty(), "an answer that brings nothing");
    }
    unreachable!()
}

#[tokio::test]
async fn a_device_follows_as_many_roots_in_a_session_as_the_limit_says_and_no_more() {
    let rig = Rig::start().await;
    let mut maker = Maker::of(&rig.repository);
    let parts = maker.release(&rig.repository, V, 1, &[0, 1]);
    let image = parts.manifest.hash().0;
    let now = u64::try_from(seconds()).unwrap();
    let most = release::limits::LIMITS.root_rotations as usize;
    let in_one = protocol::limits::LIMITS.trust_roots;
    // How many newer roots there are, in how many answers, and whether they are followed.
    for (newer, answers, followed) in [(in_one, 1, true), (in_one + 1, 2, true), (most, 2, true), (most + 1, 3, false)]
    {
        while maker.newer.len() < newer {
            maker.rotate(|root| root.expires_unix_s += 1);
        }
        upload(&rig, &maker.bundle(&parts)).await;
        let (trust, took) = asked(&rig.repository, 1, image).await;
        assert_eq!((trust.roots.len(), took), (newer, answers));
        let verified = verify(&maker.root, files(&trust), (), &MetadataFloors::NONE, now);
        assert_eq!(verified.is_ok(), followed, "{newer} newer roots");
    }
}

/// Attack: a roll-out from before the server knew better goes on with a release that the custodians' newest targets do not name.
#[tokio::test]
async fn a_rollout_that_the_newest_targets_do_not_name_is_neither_advanced_nor_goes_on_after_a_start() {
    let rig = Rig::start().await;
    let server = &rig.repository;
    let maker = Maker::of(server);
    let group = rig.group(&rig.product("lamps").await, "field").await;
    let first = id(&upload(&rig, &maker.bundle(&maker.release(server, V, 1, &[0, 1]))).await.expect(201));
    let order = json!({ "data": { "type": "rollout", "attributes": { "phases": ["1", "100%"] }, "relationships": {
        "release": { "type": "release", "id": first },
        "devicegroup": { "type": "development_devicegroup", "id": group },
    }}});
    let rollout = id(&rig.post("/v5/rollouts", &order).await.expect(201));
    let state =
        async || rig.get(&format!("/v5/rollouts/{rollout}")).await.expect(200).json()["data"]["attributes"].clone();
    let open = || Repository::open(rig.dir.path(), rig.store.clone(), "server.example", tls_roots(), &LIMITS);
    open().await.unwrap();
    assert_eq!(state().await["state"], "running", "it is approved");
    // As a server wrote them that did not pause anything.
    let newer = maker.release(server, OsVersion::new(1, 5, 0), 2, &[0, 1]).targets;
    let newer = MetadataFile { role: "targets".to_owned(), version: 2, expires: 0, file: newer };
    rig.store.put_release_metadata(&[newer]).await.unwrap();
    assert_eq!(state().await["state"], "running");
    let refused = rig.post(&format!("/v5/rollouts/{rollout}/advance"), &json!(null)).await.expect(409);
    assert!(refused.error().contains("They approve OS 1.5.0"), "{}", refused.error());
    assert_eq!(state().await["phase"], 1);
    open().await.unwrap();
    assert_eq!(state().await["state"], "paused");
    assert!(state().await["reason"].as_str().unwrap().contains("1.5.0"));
    assert!(!rig.store.is_rolling_out(group.parse().unwrap()));
    let refused = rig.post(&format!("/v5/rollouts/{rollout}/resume"), &json!(null)).await.expect(409);
    assert!(refused.error().contains("They approve OS 1.5.0"), "{}", refused.error());
}

/// Attack: a client of the server sends a byte now and then, so that nobody else can upload.
#[tokio::test]
async fn an_upload_that_never_ends_gives_its_place_back() {
    let deadline = Duration::from_millis(500);
    let rig = Rig::with(Limits { upload_deadline: deadline, ..LIMITS }).await;
    let mut tcp = TcpStream::connect(rig.addr).await.unwrap();
    let head = format!(
        "POST /v5/releases/bundle HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\n\r\n",
        rig.token
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = tcp.into_split();
    let begun = Instant::now();
    let dripping = tokio::spawn(async move {
        let mut every = interval(Duration::from_millis(20));
        while to.write_all(b"x").await.is_ok() {
            every.tick().await;
        }
    });
    let mut answer = vec![0; 12];
    timeout(PATIENCE, from.read_exact(&mut answer)).await.expect("an end").unwrap();
    dripping.abort();
    assert_eq!(answer, b"HTTP/1.1 503");
    assert!(begun.elapsed() >= deadline, "a client that is in time is not cut off");
    let maker = Maker::of(&rig.repository);
    upload(&rig, &maker.bundle(&maker.release(&rig.repository, V, 1, &[0, 1]))).await.expect(201);
}
