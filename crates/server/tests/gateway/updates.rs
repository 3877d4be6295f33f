//! OS updates over real sessions: what an assigned device gets, and who gets nothing.

use keys::chunks::ContentKey;
use keys::content_key::{ContentKeyInfo, WrappedContentKey, unwrap, wrap};
use keys::profile::Profile;
use keys::public::{DeviceId, PublicKey};
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use protocol::limits::LIMITS;
use protocol::message::{ToDevice, ToServer};
use protocol::os::OsState;
use protocol::reason::OsTrouble;
use protocol::session::DeviceEvent;
use release::assignment::Assignment;
use release::manifest::ManifestHash;
use release::version::OsVersion;
use vouch_server::fleet::{NewRelease, NewReleaseImage, ReleaseImage, Rollout, RolloutState};
use vouch_server::store::{NewRollout, Page, RolloutOrder};

use crate::rig::device::TestDevice;
use crate::rig::link::{Link, RawLink};
use crate::rig::{Rig, now};

const IMAGE: [u8; 32] = [0x05; 32];
const LEN: usize = 5 * LIMITS.chunk + 17;

/// A server that holds a release for the model "test".
struct Maker {
    rig: Rig,
    bytes: Vec<u8>,
    content_key: ContentKey,
}

impl Maker {
    async fn with_release() -> Self {
        Self::sealed_to(None).await
    }

    /// Whose content keys are sealed to another key than the server's.
    async fn sealed_to(other: Option<&PublicKey>) -> Self {
        let rig = Rig::start().await;
        let bytes: Vec<u8> = (0..LEN).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut file = rig.store.new_os_image().unwrap();
        file.write(&bytes).unwrap();
        file.keep(&IMAGE).unwrap();
        let content_key = ContentKey::generate();
        let server = other.unwrap_or(rig.repository.keys().release_wrap.public());
        let for_server = ContentKeyInfo { manifest_sha256: IMAGE, identity: server.spki_hash() };
        let image = |image, model: &str| NewReleaseImage {
            shown: ReleaseImage { image, models: vec![model.to_owned()], len: u32::try_from(LEN).unwrap() },
            manifest: b"manifest".to_vec(),
            sealed_key: wrap(content_key.expose(), server, &for_server).unwrap().as_bytes().to_vec(),
        };
        let new = NewRelease {
            product: "lamps".to_owned(),
            version: OsVersion::new(1, 4, 0),
            security_epoch: 1,
            uploader: rig.owner,
            images: vec![image(IMAGE, "test"), image([6; 32], "other")],
        };
        rig.store.create_release(&new, &[]).await.unwrap();
        Self { rig, bytes, content_key }
    }

    /// Begins a roll-out and tells the devices, as central does.
    async fn roll_out(&self, phases: &str) -> Rollout {
        let page = Page { number: 1, size: 1 };
        let release = self.rig.store.releases(page).await.unwrap().items.remove(0).id;
        let (group, creator, phases) = (self.rig.group, self.rig.owner, phases.parse().unwrap());
        let new = NewRollout { release, group, creator, phases, max_failures: 10 };
        let rollout = self.rig.store.create_rollout(&new).await.unwrap();
        self.tell().await;
        rollout
    }

    async fn tell(&self) {
        self.rig.bus.group_changed(&self.rig.store, self.rig.group).await.unwrap();
    }

    async fn now(&self, rollout: &Rollout) -> Rollout {
        self.rig.store.rollout(rollout.id).await.unwrap().unwrap()
    }

    async fn connected(&self) -> (TestDevice, Link) {
        let device = self.rig.device(Profile::Modern).await;
        let (link, _) = Link::login(&device, self.rig.addr()).await.unwrap();
        (device, link)
    }

    async fn keys_given(&self, device: &TestDevice) -> usize {
        let page = Page { number: 1, size: 100 };
        self.rig.store.key_releases(device.spki(), page).await.unwrap().items.len()
    }
}

async fn available(link: &mut Link) {
    let event = link.event().await;
    assert!(
        matches!(&event, DeviceEvent::OsAvailable(os) if os.image == IMAGE && os.manifest == b"manifest"),
        "{event:?}"
    );
}

async fn removed(link: &mut Link) {
    let event = link.event().await;
    assert!(matches!(event, DeviceEvent::OsRemoved), "{event:?}");
}

/// Fetches from a byte on; `stop` after so many pieces.
async fn fetch(link: &mut Link, from: usize, pieces: usize) -> Vec<u8> {
    let (len, from_) = (u32::try_from(LEN).unwrap(), u32::try_from(from).unwrap());
    link.machine.want_os(IMAGE, len, from_, now()).unwrap();
    let mut got = Vec::new();
    for _ in 0..pieces {
        match link.event().await {
            DeviceEvent::OsChunk { image: IMAGE, offset, data } => {
                assert_eq!(offset as usize, from + got.len());
                got.extend(data);
            }
            other => panic!("{other:?}"),
        }
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assigned_device_gets_image_key_and_proof_and_its_word_counts() {
    let maker = Maker::with_release().await;
    let (device, mut link) = maker.connected().await;
    let rollout = maker.roll_out("100%").await;
    available(&mut link).await;
    assert_eq!(fetch(&mut link, 0, 2).await, maker.bytes[..2 * LIMITS.chunk]);
    drop(link);
    // After a cut it is offered again, and the fetching goes on at any byte.
    let (mut link, _) = Link::login(&device, maker.rig.addr()).await.unwrap();
    available(&mut link).await;
    let from = LIMITS.chunk + 7;
    assert_eq!(fetch(&mut link, from, 5).await, maker.bytes[from..]);

    link.machine.want_os_key(IMAGE, now()).unwrap();
    let DeviceEvent::OsKey { image: IMAGE, wrapped } = link.event().await else { panic!("no key") };
    assert_eq!(maker.keys_given(&device).await, 1, "noted before it was sent");
    let info = ContentKeyInfo { manifest_sha256: IMAGE, identity: device.spki() };
    let opened = unwrap(&device.key_agreement, &WrappedContentKey::from_bytes(&wrapped).unwrap(), &info).unwrap();
    assert_eq!(*opened, *maker.content_key.expose());

    link.machine.want_trust(IMAGE, 0, now()).unwrap();
    let DeviceEvent::Trust { subject: IMAGE, trust } = link.event().await else { panic!("no trust") };
    let director = maker.rig.repository.keys().director.public();
    let (assignment, seconds) = (trust.assignment.unwrap(), u64::try_from(now().unix_ms / 1000).unwrap());
    let verify = |at| Assignment::verify(director, &assignment, device.spki(), ManifestHash(IMAGE), at);
    assert_eq!(verify(seconds), Ok(()));
    assert!(verify(seconds + 2 * 24 * 3600).is_err(), "it ends");

    link.machine.os_state(IMAGE, OsState::Confirmed).unwrap();
    link.flush().await;
    link.machine.want_os_key(IMAGE, now()).unwrap();
    removed(&mut link).await;
    assert_eq!(maker.now(&rollout).await.confirmed, 1);
    assert_eq!(maker.keys_given(&device).await, 1, "whoever is done gets no key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_skew_has_the_version_of_a_device_as_soon_as_it_counts_as_confirmed() {
    let maker = Maker::with_release().await;
    maker.roll_out("100%").await;
    let (_, mut link) = maker.connected().await;
    available(&mut link).await;
    link.machine.os_state(IMAGE, OsState::Confirmed).unwrap();
    link.flush().await;
    link.machine.want_os_key(IMAGE, now()).unwrap();
    removed(&mut link).await;
    let skew = maker.rig.store.skew(Some(maker.rig.group)).await.unwrap();
    assert!(skew.iter().any(|run| run.version.as_deref() == Some("1.0.0")), "{skew:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_is_paused_is_withdrawn_and_one_that_too_many_fail_reaches_nobody_else() {
    let maker = Maker::with_release().await;
    let (first, mut link) = maker.connected().await;
    let rollout = maker.roll_out("1,100%").await;
    available(&mut link).await;
    maker.rig.store.order_rollout(rollout.id, RolloutOrder::Pause).await.unwrap();
    maker.tell().await;
    removed(&mut link).await;
    maker.rig.store.order_rollout(rollout.id, RolloutOrder::Resume).await.unwrap();
    maker.tell().await;
    available(&mut link).await;
    let (_, mut other) = maker.connected().await;
    link.machine.os_state(IMAGE, OsState::fell_back(OsTrouble::NotConnected, "no session within 300 s")).unwrap();
    link.machine.want_os_key(IMAGE, now()).unwrap();
    removed(&mut link).await;
    let stopped = maker.now(&rollout).await;
    assert_eq!(stopped.state, RolloutState::Stopped);
    let failed = maker.rig.store.rollout_devices(rollout.id, true, Page { number: 1, size: 5 }).await.unwrap().items;
    assert_eq!(failed[0].id, DeviceId::from(first.spki()));
    assert_eq!(failed[0].reason, "it had no session in time: no session within 300 s");
    other.machine.want_os(IMAGE, 100, 0, now()).unwrap();
    removed(&mut other).await;
}

/// Attack: a device that no roll-out has reached asks for the content key and the bytes of an image whose name it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unassigned_device_gets_neither_key_nor_bytes() {
    let maker = Maker::with_release().await;
    let (_, mut reached) = maker.connected().await;
    maker.roll_out("1,100%").await;
    available(&mut reached).await;
    let (device, mut link) = maker.connected().await;
    for image in [IMAGE, [6; 32], [7; 32]] {
        link.machine.want_os_key(image, now()).unwrap();
        removed(&mut link).await;
        link.machine.want_os(image, 100, 0, now()).unwrap();
        removed(&mut link).await;
    }
    link.machine.want_trust(IMAGE, 0, now()).unwrap();
    let DeviceEvent::Trust { trust, .. } = link.event().await else { panic!("no answer") };
    assert_eq!(trust.assignment, None, "metadata are public, an assignment is not made for it");
    assert_eq!(maker.keys_given(&device).await, 0);
}

/// Attack: a device asks for the content key of the image of another model.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_another_model_gets_no_key() {
    let maker = Maker::with_release().await;
    let (device, mut link) = maker.connected().await;
    maker.roll_out("100%").await;
    available(&mut link).await;
    link.machine.want_os_key([6; 32], now()).unwrap();
    let event = link.event().await;
    assert!(
        matches!(&event, DeviceEvent::OsAvailable(os) if os.image == IMAGE),
        "told again what is its own: {event:?}"
    );
    assert_eq!(maker.keys_given(&device).await, 0);
}

/// Attack: a device that was revoked, and one that has not proved itself, ask for a content key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_and_an_unproved_device_get_no_key() {
    let maker = Maker::with_release().await;
    let (device, mut link) = maker.connected().await;
    maker.roll_out("100%").await;
    available(&mut link).await;
    // Its session has not been ended yet.
    maker.rig.store.revoke_device(DeviceId::from(device.spki())).await.unwrap();
    link.machine.want_os_key(IMAGE, now()).unwrap();
    let event = link.event().await;
    assert!(matches!(event, DeviceEvent::OsRemoved | DeviceEvent::Closed { .. }), "{event:?}");
    assert_eq!(maker.keys_given(&device).await, 0);

    let other = maker.rig.device(Profile::Modern).await;
    for asks in [ToServer::WantOsKey { image: IMAGE }, ToServer::WantOs { image: IMAGE, offset: 0 }] {
        let mut raw = RawLink::connect(&other, maker.rig.addr()).await.unwrap();
        raw.challenge(&other).await;
        raw.send(&asks).await;
        let answer = raw.recv().await;
        assert!(!matches!(answer, Some(ToDevice::OsKey { .. } | ToDevice::OsChunk { .. })), "{answer:?}");
        assert!(raw.recv().await.is_none(), "the connection ends");
    }
    assert_eq!(maker.keys_given(&other).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_key_that_the_server_cannot_open_ends_no_session() {
    let lost = Signer::generate(KeyPurpose::ReleaseWrap).unwrap();
    let maker = Maker::sealed_to(Some(lost.public())).await;
    let (device, mut link) = maker.connected().await;
    maker.roll_out("100%").await;
    available(&mut link).await;
    link.machine.want_os_key(IMAGE, now()).unwrap();
    removed(&mut link).await;
    link.machine.want_trust(IMAGE, 0, now()).unwrap();
    let event = link.event().await;
    assert!(matches!(event, DeviceEvent::Trust { .. }), "the session goes on, and nothing is offered anew: {event:?}");
    assert_eq!(maker.keys_given(&device).await, 0, "what was not given is not noted");
}
