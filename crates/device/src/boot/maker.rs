//! A maker with custodians for tests: roots, approvals, and what a server adds to them.

use std::sync::OnceLock;

use keys::hashes::sha256;
use keys::metadata;
use keys::pki::{OperatorPki, RootsBundle, ServerName};
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::release_key;
use keys::signer::Signer;
use keys::time::Now;
use minicbor::bytes::ByteVec;
use protocol::os::Trust;
use release::anchors::{Anchors, Layers};
use release::apps::{ApprovedApp, app_target};
use release::assignment::Assignment;
use release::author::{Delegation, Draft, OnlineRole, TargetsSpec, approved_apps, snapshot, timestamp};
use release::manifest::Manifest;
use release::root::{Custodian, OnlineKeys, RootContent};

use super::fixture::{Image, anchors};
use crate::clock::DeviceClock;

/// How long what the server signs holds, in seconds.
pub(crate) const DAY: u64 = 86_400;

/// Three custodians, of whom two are needed, and the keys of a server.
pub(crate) struct Maker {
    /// The time of the test, in Unix seconds.
    pub(crate) now: u64,
    pub(crate) root: RootContent,
    /// Of snapshot and timestamp; the targets have one more.
    pub(crate) version: u64,
    pub(crate) snapshot: Signer,
    cards: Vec<Signer>,
    timestamp: Signer,
    director: Signer,
    approved: Vec<Manifest>,
    /// Who approves apps.
    pub(crate) apps: Vec<Delegation>,
    roots: Vec<Vec<u8>>,
}

fn tls_roots() -> &'static RootsBundle {
    static ROOTS: OnceLock<RootsBundle> = OnceLock::new();
    ROOTS.get_or_init(other_tls_roots)
}

/// TLS roots that nobody had before.
pub(crate) fn other_tls_roots() -> RootsBundle {
    let now = Now { mono_ms: 0, unix_ms: crate::clock::BUILD_FLOOR_UNIX_MS };
    let names = [ServerName::try_from("iot.example").unwrap()];
    OperatorPki::create("Test", &names, now).unwrap().serving.server_roots
}

/// What is in an image's manifest.
pub(crate) fn manifest_of(image: &Image) -> Manifest {
    Manifest::from_cbor(&release_key::danger_unverified(&image.manifest).unwrap()).unwrap()
}

fn signed(mut draft: Draft, signers: &[&Signer]) -> Vec<u8> {
    for signer in signers {
        let signature = metadata::sign(signer, draft.to_be_signed()).unwrap();
        draft.sign_der(signer.public(), &signature).unwrap();
    }
    draft.to_json()
}

impl Maker {
    pub(crate) fn new() -> Maker {
        let card = || Signer::generate(KeyPurpose::AppApproval).unwrap();
        let online = |purpose| Signer::generate(purpose).unwrap();
        let cards = vec![card(), card(), card()];
        let (snapshot, timestamp) = (online(KeyPurpose::ReleaseSnapshot), online(KeyPurpose::ReleaseTimestamp));
        let director = online(KeyPurpose::ReleaseDirector);
        let custodian = |(name, card): (&str, &Signer)| Custodian {
            name: name.into(),
            signing: card.public().clone(),
            agreement: online(KeyPurpose::DeviceKeyAgreement).public().clone(),
        };
        let now = u64::try_from(DeviceClock::new(0).now().unix_ms / 1000).unwrap();
        let root = RootContent {
            version: 1,
            expires_unix_s: i64::try_from(now + 1000 * DAY).unwrap(),
            custodians: ["ada", "ben", "cleo"].into_iter().zip(&cards).map(custodian).collect(),
            root_needed: 2,
            release_needed: 2,
            online: OnlineKeys {
                snapshot: snapshot.public().clone(),
                timestamp: timestamp.public().clone(),
                director: director.public().clone(),
                apps: card().public().clone(),
            },
            release_keys: anchors().release_keys().to_vec(),
            tls_roots: tls_roots().clone(),
            log: None,
        };
        let (approved, apps, roots) = (Vec::new(), Vec::new(), Vec::new());
        let mut maker = Maker { now, root, version: 1, snapshot, cards, timestamp, director, approved, apps, roots };
        maker.publish_root();
        maker
    }

    /// Signs the root as it is now, with one version more than the one before.
    pub(crate) fn publish_root(&mut self) {
        let root = self.next_root_by(&[0, 2]);
        self.roots.push(root);
    }

    /// The next root, signed by the custodians at these places. It is not published.
    pub(crate) fn next_root_by(&mut self, cards: &[usize]) -> Vec<u8> {
        let cards: Vec<_> = cards.iter().map(|at| &self.cards[*at]).collect();
        self.root.version = self.roots.len() as u64 + 1;
        signed(Draft::of_root(&self.root).unwrap(), &cards)
    }

    /// The roots that follow this version.
    pub(crate) fn roots_after(&self, version: usize) -> Vec<ByteVec> {
        self.roots[version..].iter().cloned().map(Into::into).collect()
    }

    /// Anchors with the first root, for a device of this model.
    pub(crate) fn anchors_for(&self, model: &str) -> Anchors {
        let layers = Layers::Quorum { root: self.roots[0].clone() };
        Anchors::new("test".into(), model.into(), anchors().release_keys().to_vec(), layers).unwrap()
    }

    /// The newest root.
    pub(crate) fn newest_root(&self) -> &[u8] {
        &self.roots[self.roots.len() - 1]
    }

    pub(crate) fn anchors(&self) -> Anchors {
        self.anchors_for("test-1")
    }

    /// Approves these images and no others, in newer metadata.
    pub(crate) fn approve(&mut self, images: &[&Image]) -> &mut Maker {
        self.version += 1;
        self.approved = images.iter().map(|image| manifest_of(image)).collect();
        self
    }

    /// What the server says of an image to a device that trusts the first root.
    pub(crate) fn trust(&self, device: SpkiHash, image: &Image) -> Trust {
        self.trust_by(&[&self.cards[0], &self.cards[1]], device, image)
    }

    /// The same with one custodian's signature alone.
    pub(crate) fn trust_by_one(&self, device: SpkiHash, image: &Image) -> Trust {
        self.trust_by(&[&self.cards[1]], device, image)
    }

    /// The same with targets that these signed.
    pub(crate) fn trust_by(&self, signers: &[&Signer], device: SpkiHash, image: &Image) -> Trust {
        Trust {
            assignment: Some(self.assignment(device, image, self.now + DAY).into()),
            ..self.metadata(signers, None)
        }
    }

    /// What the server says of an app, with what these approved: the server's role, or that of the owner's quorum.
    pub(crate) fn trust_app(
        &self,
        owner: &str,
        app: &[u8],
        role: &str,
        approved: &[(&str, &[u8])],
        by: &[&Signer],
    ) -> Trust {
        let app_of = |(owner, app): &(&str, &[u8])| ApprovedApp {
            owner: (*owner).to_owned(),
            sha256: sha256(app),
            length: app.len() as u64,
        };
        let apps: Vec<_> = approved.iter().map(app_of).collect();
        let approval = signed(approved_apps(1, i64::try_from(self.now + DAY).unwrap(), &apps).unwrap(), by);
        Trust {
            delegated: Some(approval.clone().into()),
            path: Some(app_target(owner, app)),
            ..self.metadata(
                &[&self.cards[0], &self.cards[1]],
                Some(OnlineRole { name: role, version: 1, file: &approval }),
            )
        }
    }

    fn metadata(&self, signers: &[&Signer], delegated: Option<OnlineRole<'_>>) -> Trust {
        let expires = i64::try_from(self.now + DAY).unwrap();
        let (version, manifests) = (self.version + 1, self.approved.clone());
        let targets = TargetsSpec { version, expires: expires * 2, manifests, apps: self.apps.clone() };
        let targets = signed(targets.draft().unwrap(), signers);
        let role = OnlineRole { name: "targets", version, file: &targets };
        let roles: Vec<_> = [role].into_iter().chain(delegated).collect();
        let snapshot = signed(snapshot(self.version, expires, &roles).unwrap(), &[&self.snapshot]);
        let timestamp = timestamp(self.version, expires, self.version, &snapshot).unwrap();
        Trust {
            roots: self.roots_after(1),
            timestamp: Some(signed(timestamp, &[&self.timestamp]).into()),
            snapshot: Some(snapshot.into()),
            targets: Some(targets.into()),
            ..Trust::default()
        }
    }

    /// The director's word.
    pub(crate) fn assignment(&self, device: SpkiHash, image: &Image, expires: u64) -> Vec<u8> {
        let assignment = Assignment::new(device, manifest_of(image).hash(), expires);
        metadata::sign_assignment(&self.director, &assignment.to_cbor()).unwrap()
    }
}
