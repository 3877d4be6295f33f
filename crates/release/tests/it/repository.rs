//! A maker's metadata: custodians, online keys, and what they sign.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use keys::metadata;
use keys::pki::{OperatorPki, RootsBundle, ServerName, ServingPki};
use keys::public::PublicKey;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use keys::time::Now;
use release::anchors::{Anchors, Layers};
use release::author::{Draft, OnlineRole, TargetsSpec, snapshot, timestamp};
use release::manifest::Manifest;
use release::root::{Custodian, OnlineKeys, RootContent};
use release::tuf::Files;

use crate::fixture::{release_keys, slot};

/// The day of the tests, in Unix seconds, and a day.
pub(crate) const NOW: u64 = 1_790_100_000;
pub(crate) const DAY: u64 = 86_400;

/// Who signs.
pub(crate) struct Site {
    pub(crate) cards: Vec<Signer>,
    pub(crate) snapshot: Signer,
    pub(crate) timestamp: Signer,
    pub(crate) root: RootContent,
    pub(crate) targets: TargetsSpec,
    /// The versions of snapshot and timestamp.
    pub(crate) online: (u64, u64),
    pub(crate) delegated: BTreeMap<String, (u64, Vec<u8>)>,
    /// The roots so far.
    pub(crate) roots: Vec<Vec<u8>>,
}

/// A key that signs metadata, as a custodian's card does.
pub(crate) fn card() -> Signer {
    Signer::generate(KeyPurpose::AppApproval).unwrap()
}

pub(crate) fn publics(cards: &[Signer]) -> Vec<PublicKey> {
    cards.iter().map(|card| card.public().clone()).collect()
}

pub(crate) fn signed_by(mut draft: Draft, signers: &[&Signer]) -> Draft {
    for signer in signers {
        let signature = metadata::sign(signer, draft.to_be_signed()).unwrap();
        draft.sign_der(signer.public(), &signature).unwrap();
    }
    draft
}

/// So many days after the tests', as metadata has dates.
pub(crate) fn date(days: u64) -> i64 {
    i64::try_from(NOW + days * DAY).unwrap()
}

pub(crate) fn custodian(name: &str, card: &Signer) -> Custodian {
    let agreement = Signer::generate(KeyPurpose::DeviceKeyAgreement).unwrap();
    Custodian { name: name.into(), signing: card.public().clone(), agreement: agreement.public().clone() }
}

pub(crate) fn tls_roots() -> &'static RootsBundle {
    static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let names = [ServerName::try_from("iot.example").unwrap()];
        let now = Now { mono_ms: 0, unix_ms: date(0) * 1000 };
        OperatorPki::create("Test", &names, now).unwrap().save(dir.path()).unwrap();
        ServingPki::load(dir.path()).unwrap().server_roots
    })
}

impl Site {
    /// Three custodians, of whom two approve releases and change the root.
    pub(crate) fn new() -> Site {
        let cards: Vec<Signer> = (0..3).map(|_| card()).collect();
        let online = |purpose| Signer::generate(purpose).unwrap();
        let (snapshot, timestamp) = (online(KeyPurpose::ReleaseSnapshot), online(KeyPurpose::ReleaseTimestamp));
        let root = RootContent {
            version: 1,
            expires_unix_s: date(1000),
            custodians: ["ada", "ben", "cleo"].iter().zip(&cards).map(|(name, card)| custodian(name, card)).collect(),
            root_needed: 2,
            release_needed: 2,
            online: OnlineKeys {
                snapshot: snapshot.public().clone(),
                timestamp: timestamp.public().clone(),
                director: online(KeyPurpose::ReleaseDirector).public().clone(),
                apps: online(KeyPurpose::AppApproval).public().clone(),
            },
            release_keys: vec![slot(release_keys()[0])],
            tls_roots: tls_roots().clone(),
            log: None,
        };
        let targets = TargetsSpec { version: 1, expires: date(300), manifests: Vec::new(), apps: Vec::new() };
        let (online, delegated) = ((1, 1), BTreeMap::new());
        let mut site = Site { cards, snapshot, timestamp, root, targets, online, delegated, roots: Vec::new() };
        site.publish_root(&[0, 1]);
        site
    }

    /// Signs the root as it is now.
    pub(crate) fn publish_root(&mut self, cards: &[usize]) {
        let signers: Vec<&Signer> = cards.iter().map(|at| &self.cards[*at]).collect();
        let root = signed_by(Draft::of_root(&self.root).unwrap(), &signers);
        self.roots.push(root.to_json());
    }

    pub(crate) fn anchors(&self) -> Anchors {
        let layers = Layers::Quorum { root: self.roots[0].clone() };
        Anchors::new("Thermostat".into(), "hall-1".into(), vec![slot(release_keys()[0])], layers).unwrap()
    }

    /// Approves these manifests in the next targets version.
    pub(crate) fn approve(&mut self, manifests: &[&Manifest]) -> &mut Site {
        self.targets.version += 1;
        self.targets.manifests = manifests.iter().map(|manifest| (*manifest).clone()).collect();
        self.online = (self.online.0 + 1, self.online.1 + 1);
        self
    }

    /// All files, the targets signed by these cards.
    pub(crate) fn files_by(&self, cards: &[usize]) -> Files {
        let signers: Vec<&Signer> = cards.iter().map(|at| &self.cards[*at]).collect();
        self.files_with(&signed_by(self.targets.draft().unwrap(), &signers).to_json())
    }

    pub(crate) fn files(&self) -> Files {
        self.files_by(&[0, 2])
    }

    /// All files with these targets.
    pub(crate) fn files_with(&self, targets: &[u8]) -> Files {
        let mut roles = vec![OnlineRole { name: "targets", version: self.targets.version, file: targets }];
        roles.extend(self.delegated.iter().map(|(name, (version, file))| OnlineRole { name, version: *version, file }));
        let day = date(1);
        let snapshot = signed_by(snapshot(self.online.0, day, &roles).unwrap(), &[&self.snapshot]).to_json();
        let timestamp = timestamp(self.online.1, day, self.online.0, &snapshot).unwrap();
        let mut files = Files::new();
        let mut put = |name: String, file: &[u8]| files.insert(&name, file.to_vec()).unwrap();
        for (at, root) in self.roots.iter().enumerate() {
            put(format!("{}.root.json", at + 1), root);
        }
        put("timestamp.json".into(), &signed_by(timestamp, &[&self.timestamp]).to_json());
        put("snapshot.json".into(), &snapshot);
        put("targets.json".into(), targets);
        for (name, (_, file)) in &self.delegated {
            put(format!("{name}.json"), file);
        }
        files
    }
}
