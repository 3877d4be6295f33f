//! What a parent does for its child, and what it refuses.

use super::*;
use crate::boot::fixture::{self, Image};
use crate::boot::maker::{self, Maker};
use crate::limits::LIMITS;
use crate::parent::message::SignFor;
use crate::store::tests::store_of;
use keys::content_key::{self, ContentKeyInfo};
use keys::cose::{self, CosePurpose};
use keys::keystore::AttestationLevel;
use keys::keystore::KeystoreSpec;
use keys::pki::{Authority, AuthorityKind, Csr};
use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use minicbor::bytes::ByteVec;
use protocol::eat::{DemandedLayers, Eat};
use protocol::self_test::SelfTest;
use std::num::NonZeroU64;
use std::time::Duration;

pub(in super::super) struct Bench {
    pub(in super::super) services: Services,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Installs version 1.1.0, which is tried then.
    pub(in super::super) fn install(&mut self, program: &[u8]) {
        let image = fixture::image("1.1.0", 0, program);
        self.services.boot.install(&Floors::NONE, image.source()).unwrap();
    }
}

pub(in super::super) fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keystore::create(&KeystoreSpec::DangerSoftware, &dir.path().join("keys"), Profile::Modern).unwrap();
    let now = keys::time::Now { mono_ms: 0, unix_ms: crate::clock::BUILD_FLOOR_UNIX_MS };
    let authority = Authority::create(AuthorityKind::Device, Profile::Modern, "Test", now).unwrap();
    let tls = keys.tls_key(Profile::Modern).unwrap();
    let csr = Csr::parse_and_verify(&Csr::create(&tls).unwrap()).unwrap();
    let leaf = authority.issue_device(&csr, keys.identity().device_id(), now, Duration::from_secs(60)).unwrap();
    let root = keys.storage_root().unwrap();
    let vault = dir.path().join(VAULT_FOLDER);
    std::fs::create_dir(&vault).unwrap();
    store_of(&vault, &root);
    let (image, disk) = (fixture::image("1.0.0", 0, b"program"), FolderDisk::new(dir.path()));
    BootFolder::create(disk.clone(), &root, &fixture::anchors(), image.source(), &LIMITS).unwrap();
    let mut boot = BootFolder::open(disk, &root, &LIMITS).unwrap();
    let hash = boot.load(&Floors::NONE, false).unwrap().hash;
    let services = Services {
        boot,
        is_pinned: false,
        booted: Some(Booted {
            manifest_sha256: hash.0.into(),
            version: "1.0.0".parse().unwrap(),
            security_epoch: 0,
            layers: DemandedLayers::DangerL1Only,
            danger_unlocked_memory: false,
            trying: false,
            fell_back: None,
            given_up: None,
            root_version: None,
            pinned: false,
        }),
        time_floor_unix_ms: 0,
        restart_due: false,
        diskless: false,
        vault,
        staging: dir.path().join(STAGING_FOLDER),
        vault_keys: VaultKeys::derive(&root).unwrap(),
        tls: Credential::new(tls, vec![leaf]).unwrap(),
        keys,
        counter: None,
        interface: Some(Interface::new("none")),
        _lock: File::open(dir.path()).unwrap(),
    };
    Bench { services, _dir: dir }
}

fn asked(services: &mut Services, request: Request) -> Answer {
    let packet = encode(&Question { number: 7, request });
    let reply: Reply = cbor::decode(&services.answer(&packet, &LIMITS)).unwrap();
    assert_eq!(reply.number, 7);
    reply.answer
}

fn refused(services: &mut Services, packet: &[u8]) -> String {
    let reply: Reply = cbor::decode(&services.answer(packet, &LIMITS)).unwrap();
    match reply.answer {
        Answer::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_but_the_questions_is_refused() {
    let mut bench = bench();
    let remove = encode(&Question { number: 1, request: Request::Remove });
    let longer = [&remove[..], &[0]].concat();
    // A purpose that no child asks for (enrolment), and one that does not exist.
    let mut enrolment = encode(&Question {
        number: 1,
        request: Request::Sign { purpose: SignFor::Challenge, payload: Vec::new().into() },
    });
    let at = enrolment.iter().rposition(|byte| *byte == 1).unwrap();
    enrolment[at] = 0;
    for packet in [&b""[..], b"{}", b"\xff", &remove[..remove.len() - 1], &longer, &enrolment] {
        assert!(refused(&mut bench.services, packet).contains("no question"), "{packet:?}");
    }
}

#[test]
fn a_question_has_its_longest_length() {
    let mut bench = bench();
    let sign = |length: usize| {
        let payload = vec![b' '; length].into();
        encode(&Question { number: 1, request: Request::Sign { purpose: SignFor::Renewal, payload } })
    };
    let overhead = sign(LIMITS.parent_message).len() - LIMITS.parent_message;
    let longest = sign(LIMITS.parent_message - overhead);
    assert_eq!(longest.len(), LIMITS.parent_message);
    let reply: Reply = cbor::decode(&bench.services.answer(&longest, &LIMITS)).unwrap();
    assert!(matches!(reply.answer, Answer::Signature(_)));
    assert!(refused(&mut bench.services, &sign(LIMITS.parent_message - overhead + 1)).contains("too long"));
}

#[test]
fn attack_a_child_obtains_no_signature_over_bytes_of_its_own() {
    let mut bench = bench();
    // The payload that it hands in is signed inside a Sig_structure of the purpose that it names, whatever it looks like.
    let forged = cose::to_be_signed(CosePurpose::Enrolment, b"mine");
    for purpose in [SignFor::Challenge, SignFor::SelfTest] {
        let request = Request::Sign { purpose, payload: forged.clone().into() };
        let answer = asked(&mut bench.services, request);
        assert!(matches!(answer, Answer::Failed(why) if why.contains("form that belongs to its purpose")));
    }
    let request = Request::Sign { purpose: SignFor::Renewal, payload: forged.clone().into() };
    let Answer::Signature(signature) = asked(&mut bench.services, request) else { panic!("no signature") };
    let signature: [u8; 64] = signature.to_vec().try_into().unwrap();
    let identity = bench.services.keys.identity().clone();
    assert!(identity.verify(&forged, &signature).is_err());
    let signed = cose::assemble(&forged, signature);
    assert_eq!(cose::verify(CosePurpose::Renewal, &identity, &signed).unwrap(), forged);
    assert!(cose::verify(CosePurpose::Enrolment, &identity, &signed).is_err());
    let tls = asked(&mut bench.services, Request::SignTls(forged.into()));
    assert!(matches!(tls, Answer::Failed(why) if why.contains("handshake")));
}

#[test]
fn a_child_learns_its_identity_and_the_keys_of_its_vault_alone() {
    let mut bench = bench();
    let Answer::Start(start) = asked(&mut bench.services, Request::Start) else { panic!("no start") };
    assert_eq!(&*start.identity_spki, bench.services.keys.identity().spki_der());
    assert!(VaultKeys::from_exposed(&start.vault_keys.0).is_ok());
    let root = bench.services.keys.storage_root().unwrap();
    for purpose in [KeyPurpose::BootAnchors, KeyPurpose::BootControl, KeyPurpose::BootSlot, KeyPurpose::BootIndex] {
        let key = *root.purpose_key(purpose).unwrap().expose();
        assert!(!start.vault_keys.0.chunks(16).any(|handed| handed == key), "{purpose}");
    }
}

#[test]
fn without_a_counter_none_is_stepped() {
    let mut bench = bench();
    let answer = asked(&mut bench.services, Request::StepCounter { to: 1 });
    assert!(matches!(answer, Answer::Failed(why) if why.contains("no counter")));
    bench.services.counter = Some(5);
    for to in [0, 4, 5, 7, u64::MAX] {
        let answer = asked(&mut bench.services, Request::StepCounter { to });
        assert!(matches!(answer, Answer::Failed(why) if why.contains("stands at 5")), "{to}");
    }
}

#[test]
fn a_network_that_would_strand_the_device_is_refused_before_anything_is_changed() {
    let mut bench = bench();
    let network = |gateway: &str| {
        let text = format!(r#"{{"address":"192.0.2.7","prefix":24,"gateway":"{gateway}","dns":["192.0.2.53"]}}"#);
        Request::Apply(serde_json::from_str(&text).unwrap())
    };
    let answer = asked(&mut bench.services, network("192.0.3.1"));
    assert!(matches!(answer, Answer::Failed(why) if why.contains("192.0.3.1")));
    let answer = asked(&mut bench.services, network("192.0.2.1"));
    assert!(matches!(answer, Answer::Failed(why) if why.contains("no interface none")));
    bench.services.interface = None;
    let answer = asked(&mut bench.services, network("192.0.2.1"));
    assert!(matches!(answer, Answer::Failed(why) if why.contains("--interface")));
    assert_eq!(asked(&mut bench.services, Request::Remove), Answer::Done);
}

#[test]
fn a_staged_image_is_judged_with_its_wrapped_key_and_installed() {
    let mut bench = bench();
    let update = fixture::image("1.1.0", 0, b"the next program");
    let staging = bench.services.staging.clone();
    std::fs::create_dir(&staging).unwrap();
    let hash = sha256(&release_key::danger_unverified(&update.manifest).unwrap());
    let wrap = |manifest_sha256| {
        let info = ContentKeyInfo { manifest_sha256, identity: bench.services.keys.identity().spki_hash() };
        content_key::wrap(update.content_key.expose(), bench.services.keys.agreement(), &info).unwrap()
    };
    let (good, other) = (wrap(hash), wrap([7; 32]));
    let install = |services: &mut Services, key: &WrappedContentKey| {
        let (manifest, content_key) = (update.manifest.clone().into(), key.as_bytes().to_vec().into());
        asked(services, Request::Install { manifest, content_key })
    };
    let services = &mut bench.services;
    assert!(matches!(install(services, &good), Answer::NotInstalled { why, .. } if why.contains("no image is in")));
    std::fs::write(staging.join(STAGED_IMAGE), &update.sealed).unwrap();
    let refused = install(services, &other);
    assert!(matches!(refused, Answer::NotInstalled { trouble: OsTrouble::BadKey, .. }), "{refused:?}");
    services.diskless = true;
    assert!(matches!(install(services, &good), Answer::NotInstalled { why, .. } if why.contains("diskless")));
    services.diskless = false;
    assert!(!services.is_restart_due());
    assert_eq!(install(services, &good), Answer::Done);
    assert!(services.is_restart_due() && services.is_trying());
    assert_eq!(asked(services, Request::Confirm), Answer::Done);
    assert!(!services.is_trying());
}

/// The parent of a device that demands the custodians' approval, with an update in its staging folder.
fn quorum_bench(maker: &mut Maker, update: &Image) -> (Bench, ByteVec) {
    let mut bench = bench();
    let services = &mut bench.services;
    let device = services.keys.identity().spki_hash();
    let first = fixture::image("1.0.0", 0, b"program");
    let trust = maker.approve(&[&first]).trust(device, &first);
    let proof = Some(Proof { trust: &trust, identity: device, now: maker.now });
    let source = Source { proof, ..first.source() };
    let (root, folder) = (services.keys.storage_root().unwrap(), bench._dir.path().join("quorum"));
    std::fs::create_dir_all(&services.staging).unwrap();
    std::fs::create_dir(&folder).unwrap();
    BootFolder::create(FolderDisk::new(&folder), &root, &maker.anchors(), source, &LIMITS).unwrap();
    services.boot = BootFolder::open(FolderDisk::new(&folder), &root, &LIMITS).unwrap();
    std::fs::write(services.staging.join(STAGED_IMAGE), &update.sealed).unwrap();
    let info = ContentKeyInfo { manifest_sha256: maker::manifest_of(update).hash().0, identity: device };
    let key = content_key::wrap(update.content_key.expose(), services.keys.agreement(), &info).unwrap();
    (bench, key.as_bytes().to_vec().into())
}

#[test]
fn an_update_is_proved_by_what_the_child_lays_down_and_refused_with_the_reason_that_the_server_counts() {
    let mut maker = Maker::new();
    let update = fixture::image("1.1.0", 0, b"the next program");
    let (mut bench, key) = quorum_bench(&mut maker, &update);
    let services = &mut bench.services;
    let device = services.keys.identity().spki_hash();
    let staged = services.staging.join(STAGED_TRUST);
    let install = |services: &mut Services, trust: Option<&Trust>| {
        match trust {
            Some(trust) => std::fs::write(&staged, cbor::encode(trust)).unwrap(),
            None => drop(std::fs::remove_file(&staged)),
        }
        let (manifest, content_key) = (update.manifest.clone().into(), key.clone());
        asked(services, Request::Install { manifest, content_key })
    };
    let refused = |answer: Answer| match answer {
        Answer::NotInstalled { trouble, .. } => trouble,
        other => panic!("{other:?}"),
    };
    let old = maker.trust(device, &update);
    let trust = maker.approve(&[&update]).trust(device, &update);
    let unassigned = Trust { assignment: None, ..trust.clone() };
    let stale = Trust { assignment: Some(maker.assignment(device, &update, maker.now).into()), ..trust.clone() };
    assert_eq!(refused(install(services, None)), OsTrouble::NoQuorum);
    assert_eq!(refused(install(services, Some(&old))), OsTrouble::NoQuorum);
    assert_eq!(refused(install(services, Some(&unassigned))), OsTrouble::NotAssigned);
    assert_eq!(refused(install(services, Some(&stale))), OsTrouble::Stale);
    assert_eq!(refused(install(services, Some(&old))), OsTrouble::Rollback);
    services.time_floor_unix_ms = i64::try_from((maker.now + maker::DAY + 1) * 1000).unwrap();
    assert_eq!(refused(install(services, Some(&trust))), OsTrouble::Stale, "the time floor counts");
    services.time_floor_unix_ms = 0;
    assert!(!services.is_restart_due() && !services.is_trying());
    assert_eq!(install(services, Some(&trust)), Answer::Done);
    assert!(services.is_restart_due() && services.is_trying());
}

#[test]
fn what_proves_an_update_has_its_longest_length() {
    let trust = |length| cbor::encode(&Trust { targets: Some(vec![0; length].into()), ..Trust::default() });
    let overhead = trust(LIMITS.trust_file).len() - LIMITS.trust_file;
    assert!(read_trust(&trust(LIMITS.trust_file - overhead), &LIMITS).is_ok());
    assert!(read_trust(&trust(LIMITS.trust_file - overhead + 1), &LIMITS).is_err());
    assert!(read_trust(b"{}", &LIMITS).is_err());
}

/// Has the parent verify these roots, as a child does.
fn learn(services: &mut Services, roots: Vec<ByteVec>) -> Result<Vec<u8>, String> {
    std::fs::write(services.staging.join(STAGED_ROOTS), cbor::encode(&Trust { roots, ..Trust::default() })).unwrap();
    match asked(services, Request::LearnRoots) {
        Answer::Root(root) => Ok(root.into()),
        Answer::Failed(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn newer_roots_are_verified_from_what_the_child_lays_down() {
    let mut maker = Maker::new();
    let (mut bench, _) = quorum_bench(&mut maker, &fixture::image("1.1.0", 0, b"the next program"));
    let services = &mut bench.services;
    assert!(matches!(asked(services, Request::LearnRoots), Answer::Failed(why) if why.contains("no root metadata")));
    let by_one = maker.next_root_by(&[0]);
    assert!(learn(services, vec![by_one.into()]).unwrap_err().contains("1/2 valid signatures"));
    maker.root.tls_roots = maker::other_tls_roots();
    maker.publish_root();
    services.diskless = true;
    assert!(learn(services, maker.roots_after(1)).unwrap_err().contains("diskless"));
    services.diskless = false;
    let too_many = vec![maker.newest_root().to_vec().into(); LIMITS.trust_roots + 1];
    assert!(learn(services, too_many).unwrap_err().contains("more than 32 new roots"));
    assert_eq!(learn(services, maker.roots_after(1)).unwrap(), maker.newest_root());
    // A child that missed the answer is told again.
    assert!(learn(services, maker.roots_after(1)).unwrap() == maker.newest_root());
    let Answer::Start(start) = asked(services, Request::Start) else { panic!("no start") };
    assert_eq!(start.root.unwrap().as_slice(), maker.newest_root());
    // Where the release key alone is believed, nobody brings roots.
    let mut bench = self::bench();
    std::fs::create_dir(&bench.services.staging).unwrap();
    assert!(learn(&mut bench.services, maker.roots_after(1)).unwrap_err().contains("release key alone"));
}

#[test]
fn attack_tls_roots_that_a_child_wrote_into_its_vault_are_not_taken_by_the_next_one() {
    let mut maker = Maker::new();
    let (mut bench, _) = quorum_bench(&mut maker, &fixture::image("1.1.0", 0, b"the next program"));
    let services = &mut bench.services;
    services.booted.as_mut().unwrap().root_version = Some(1);
    let own = maker::other_tls_roots();
    services.store().unwrap().write(vault::Record::Roots, &own.to_cbor()).unwrap();
    assert_eq!(services.store().unwrap().roots().unwrap(), own);
    let (near, far) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let link = crate::parent::ParentLink::new(near.into(), &LIMITS).unwrap();
    let dir = bench._dir.path().to_owned();
    let opening = std::thread::spawn(move || crate::folder::Folder::below_parent(&dir, link));
    let (parent, mut packet) = (std::os::unix::net::UnixDatagram::from(far), vec![0; LIMITS.parent_message]);
    let length = parent.recv(&mut packet).unwrap();
    parent.send(&services.answer(&packet[..length], &LIMITS)).unwrap();
    let folder = opening.join().unwrap().unwrap();
    assert_eq!(folder.roots, maker.root.tls_roots);
}

/// What an honest child says of this device.
fn honest(services: &Services) -> Eat {
    let booted = services.booted.as_ref().unwrap();
    Eat {
        nonce: [1; 32],
        identity: services.keys.identity().spki_hash(),
        exporter: [2; 32],
        model: "test-1".into(),
        os_version: "1.0.0".into(),
        attestation: AttestationLevel::Software,
        profile: Profile::Modern,
        boot: Some(*booted.manifest_sha256),
        vault_generation: NonZeroU64::new(services.store().unwrap().generation()),
        layers: Some(DemandedLayers::DangerL1Only),
        memory_locked: Some(true),
    }
}

#[test]
fn attack_an_image_that_lies_about_its_boot_gets_no_signature() {
    let mut bench = bench();
    let services = &mut bench.services;
    let sign = |services: &mut Services, purpose, payload: Vec<u8>| match asked(
        services,
        Request::Sign { purpose, payload: payload.into() },
    ) {
        Answer::Signature(_) => Ok(()),
        Answer::Failed(why) => Err(why),
        other => panic!("{other:?}"),
    };
    let eat = honest(services);
    sign(services, SignFor::Challenge, eat.to_cbor()).unwrap();
    // It wrote its vault in the meantime.
    services.store().unwrap().set_time_floor_unix_ms(9).unwrap();
    sign(services, SignFor::Challenge, eat.to_cbor()).unwrap();
    let generation = services.store().unwrap().generation();
    for (lie, eat) in [
        ("identity", Eat { identity: SpkiHash([3; 32]), ..eat.clone() }),
        ("model", Eat { model: "test-2".into(), ..eat.clone() }),
        ("place of its keys", Eat { attestation: AttestationLevel::Tpm, ..eat.clone() }),
        ("OS version", Eat { os_version: "2.0.0".into(), ..eat.clone() }),
        ("boot measurement", Eat { boot: Some([4; 32]), ..eat.clone() }),
        ("boot measurement", Eat { boot: None, layers: None, memory_locked: None, ..eat.clone() }),
        ("demand of signatures", Eat { layers: Some(DemandedLayers::L1AndL2), ..eat.clone() }),
        ("demand of signatures", Eat { layers: None, ..eat.clone() }),
        ("state of its memory", Eat { memory_locked: Some(false), ..eat.clone() }),
        ("generation of its vault", Eat { vault_generation: NonZeroU64::new(generation + 1), ..eat.clone() }),
        ("generation of its vault", Eat { vault_generation: None, ..eat.clone() }),
    ] {
        let refused = sign(services, SignFor::Challenge, eat.to_cbor()).unwrap_err();
        assert!(refused.contains(&format!("says another {lie} of itself")), "{lie}: {refused}");
    }
    let result =
        |os_version: &str, boot| SelfTest { unix_ms: 1, os_version: os_version.into(), boot, checks: Vec::new() };
    sign(services, SignFor::SelfTest, result("1.0.0", eat.boot).to_cbor()).unwrap();
    for lie in [result("1.0.1", eat.boot), result("1.0.0", None), result("1.0.0", Some([4; 32]))] {
        assert!(sign(services, SignFor::SelfTest, lie.to_cbor()).unwrap_err().contains("says another"));
    }
    services.diskless = true;
    assert!(sign(services, SignFor::Challenge, eat.to_cbor()).unwrap_err().contains("generation"));
    sign(services, SignFor::Challenge, Eat { vault_generation: None, ..eat }.to_cbor()).unwrap();
}
