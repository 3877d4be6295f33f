//! Roll-outs as devices see them: whom they reach, what stops them, and that none goes back.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::sync::Arc;

use keys::profile::Profile;
use keys::public::SpkiHash;
use keys::purpose::KeyPurpose;
use keys::secret::Secret;
use keys::signer::Signer;
use release::version::OsVersion;
use tempfile::TempDir;
use vouch_server::fleet::{
    AccountId, AgentIdSecret, DeviceStep, EnvVars, GroupId, GroupType, NewDevice, NewRelease, NewReleaseImage, Release,
    ReleaseImage, Rollout, RolloutState, Rule, TokenId,
};
use vouch_server::limits::LIMITS;
use vouch_server::store::{ChangeError, NewRollout, NewToken, Page, RolloutOrder, Store};

const OLD: OsVersion = OsVersion::new(1, 3, 0);
const NEW: OsVersion = OsVersion::new(1, 4, 0);
const ALL: Page = Page { number: 1, size: 500 };

/// A store with one group, and what a maker does with it.
struct Shop {
    store: Store,
    account: AccountId,
    group: GroupId,
    dir: TempDir,
}

fn secret() -> AgentIdSecret {
    AgentIdSecret::new(Secret::new(vec![1; AgentIdSecret::BYTES]))
}

fn image(of: OsVersion, model: &str) -> [u8; 32] {
    let mut image = [0; 32];
    image[..2].copy_from_slice(&of.minor.to_be_bytes());
    image[2..2 + model.len()].copy_from_slice(model.as_bytes());
    image
}

impl Shop {
    async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::create(dir.path(), secret(), &LIMITS).await.unwrap();
        let account = store.create_account(&"maker".parse().unwrap(), "", "hash").await.unwrap();
        let product = store.create_product(account, account, "lamps", "").await.unwrap();
        let group = store
            .create_group(GroupType::Production, product.id, account, "field", "", &EnvVars::default())
            .await
            .unwrap()
            .id;
        Self { store, account, group, dir }
    }

    async fn devices(&self, model: &str, count: u32) -> Vec<SpkiHash> {
        let id = TokenId::new(keys::hashes::random());
        let (group, owner) = (Some(self.group), self.account);
        let token = NewToken { id, secret_sha256: [2; 32], owner, group, uses: count, minutes: 5 };
        self.store.create_enrolment_token(&token).await.unwrap();
        let mut made = Vec::new();
        for _ in 0..count {
            let key = || Signer::generate(KeyPurpose::DeviceIdentity).unwrap().public().clone();
            let device = NewDevice {
                identity: Arc::new(key()),
                key_agreement_spki: key().spki_der().to_vec(),
                tls_spki: SpkiHash([3; 32]),
                profile: Profile::Modern,
                model: model.to_owned(),
                attestation: keys::keystore::AttestationLevel::Software,
            };
            made.push(self.store.redeem_token(&id, &[2; 32], 0, device).await.unwrap().spki);
        }
        made
    }

    async fn release(&self, version: OsVersion, models: &[&str]) -> Release {
        let image = |model: &&str| NewReleaseImage {
            shown: ReleaseImage { image: image(version, model), models: vec![(*model).to_owned()], len: 1000 },
            manifest: b"manifest".to_vec(),
            sealed_key: b"sealed".to_vec(),
        };
        let new = NewRelease {
            product: "lamps".to_owned(),
            version,
            security_epoch: 1,
            uploader: self.account,
            images: models.iter().map(image).collect(),
        };
        self.store.create_release(&new, &[]).await.unwrap().0
    }

    async fn start(&self, release: &Release, phases: &str, max_failures: u32) -> Result<Rollout, ChangeError> {
        let (group, creator) = (self.group, self.account);
        let phases = phases.parse().unwrap();
        self.store.create_rollout(&NewRollout { release: release.id, group, creator, phases, max_failures }).await
    }

    /// Which of these devices, on the old version, are to install something now.
    async fn reached(&self, devices: &[SpkiHash]) -> Vec<SpkiHash> {
        let mut reached = Vec::new();
        for device in devices {
            if self.store.os_update(*device, "lamp", OLD).await.unwrap().is_some() {
                reached.push(*device);
            }
        }
        reached
    }

    async fn say(&self, device: SpkiHash, step: DeviceStep) {
        self.store.os_progress(device, &image(NEW, "lamp"), step, "why").await.unwrap();
    }

    async fn now(&self, rollout: &Rollout) -> Rollout {
        self.store.rollout(rollout.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn phases_follow_each_other_and_devices_that_join_later_are_reached() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 20).await;
    let rollout = shop.start(&shop.release(NEW, &["lamp"]).await, "5%,25%,100%", 10).await.unwrap();
    assert!(shop.store.is_rolling_out(shop.group));
    let first = shop.reached(&devices).await;
    assert_eq!(first.len(), 1);
    assert_eq!(shop.reached(&devices).await, first, "who was reached stays, and nobody else is");
    for step in [DeviceStep::Downloading, DeviceStep::Installed, DeviceStep::Trying] {
        shop.say(first[0], step).await;
        assert_eq!(shop.reached(&devices).await, first, "{step:?}");
    }
    shop.say(first[0], DeviceStep::Confirmed).await;
    let second = shop.reached(&devices).await;
    assert_eq!(second.len(), 4, "5 of 20, of which one is done");
    for device in second {
        shop.say(device, DeviceStep::Confirmed).await;
    }
    assert_eq!(shop.reached(&devices).await.len(), 15);
    let late = shop.devices("lamp", 3).await;
    assert_eq!(shop.reached(&late).await, late);
    let now = shop.now(&rollout).await;
    assert_eq!((now.phase, now.admitted, now.confirmed, now.failed), (2, 23, 5, 0));
    let (steps, fitting) = shop.store.rollout_steps(&now).await.unwrap();
    assert_eq!((steps[&DeviceStep::Confirmed], steps[&DeviceStep::Offered], fitting), (5, 18, 23));
}

#[tokio::test]
async fn a_person_begins_the_next_phase_when_devices_do_not_come_back() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 20).await;
    let rollout = shop.start(&shop.release(NEW, &["lamp"]).await, "1,25%,100%", 10).await.unwrap();
    let gone = shop.reached(&devices).await;
    assert_eq!(gone.len(), 1);
    let advance = async || shop.store.order_rollout(rollout.id, RolloutOrder::Advance).await;
    assert_eq!(advance().await.unwrap().phase, 1);
    let second = shop.reached(&devices).await;
    assert_eq!(second.len(), 5, "25 % of 20, and who was reached before is among them");
    assert!(gone.iter().all(|device| second.contains(device)));
    assert_eq!(advance().await.unwrap().phase, 2);
    assert_eq!(shop.reached(&devices).await.len(), 20);
    assert!(matches!(advance().await, Err(ChangeError::Rule(Rule::RolloutLastPhase))));
    shop.store.order_rollout(rollout.id, RolloutOrder::Pause).await.unwrap();
    assert!(matches!(advance().await, Err(ChangeError::Rule(Rule::RolloutNotRunning))));
}

#[tokio::test]
async fn too_many_failures_stop_a_rollout_and_it_says_why() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 20).await;
    let rollout = shop.start(&shop.release(NEW, &["lamp"]).await, "10,100%", 10).await.unwrap();
    let reached = shop.reached(&devices).await;
    assert_eq!(reached.len(), 10);
    shop.say(reached[0], DeviceStep::FellBack).await;
    assert_eq!(shop.now(&rollout).await.state, RolloutState::Running, "one of ten is allowed");
    shop.say(reached[0], DeviceStep::FellBack).await;
    shop.say(reached[0], DeviceStep::Confirmed).await;
    assert_eq!(shop.now(&rollout).await.failed, 1, "a device fails once, and what it said last stays");
    shop.say(reached[1], DeviceStep::Refused).await;
    let stopped = shop.now(&rollout).await;
    assert_eq!((stopped.state, stopped.failed), (RolloutState::Stopped, 2));
    assert_eq!(stopped.reason, "2 of 10 devices failed, more than 10 %");
    assert!(shop.reached(&devices).await.is_empty(), "nobody gets it any more");
    assert!(!shop.store.is_rolling_out(shop.group));
    let failed = shop.store.rollout_devices(rollout.id, true, ALL).await.unwrap().items;
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|device| device.reason == "why" && device.step.is_failure()));

    let resumed = shop.store.order_rollout(rollout.id, RolloutOrder::Resume).await.unwrap();
    assert_eq!((resumed.state, resumed.reason.as_str()), (RolloutState::Running, ""));
    let again = shop.reached(&devices).await;
    assert_eq!(again.len(), 8, "who failed is not tried again");
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_aborted_and_survives_a_restart() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 2).await;
    let rollout = shop.start(&shop.release(NEW, &["lamp"]).await, "100%", 10).await.unwrap();
    let order = async |order| shop.store.order_rollout(rollout.id, order).await;
    let refused = |result: Result<Rollout, ChangeError>| match result {
        Err(ChangeError::Rule(rule)) => rule,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(order(RolloutOrder::Resume).await), Rule::RolloutNotHeld);
    assert_eq!(shop.reached(&devices[..1]).await.len(), 1);
    order(RolloutOrder::Pause).await.unwrap();
    assert!(shop.reached(&devices).await.is_empty(), "neither who was reached nor anybody else");
    assert_eq!(refused(order(RolloutOrder::Pause).await), Rule::RolloutNotRunning);
    order(RolloutOrder::Resume).await.unwrap();
    assert_eq!(shop.reached(&devices).await.len(), 2);

    shop.store.close().await;
    let store = Store::open(shop.dir.path(), secret(), &LIMITS).await.unwrap();
    assert!(store.is_rolling_out(shop.group));
    assert!(store.os_update(devices[1], "lamp", OLD).await.unwrap().is_some());
    store.order_rollout(rollout.id, RolloutOrder::Abort).await.unwrap();
    assert!(!store.is_rolling_out(shop.group));
    assert_eq!(refused(store.order_rollout(rollout.id, RolloutOrder::Abort).await), Rule::RolloutOver);
    assert_eq!(refused(store.order_rollout(rollout.id, RolloutOrder::Resume).await), Rule::RolloutNotHeld);
}

/// Attack: an operator, or who has their account, rolls out an old release that has known holes.
#[tokio::test]
async fn no_device_gets_an_older_or_the_same_version() {
    let shop = Shop::open().await;
    let device = shop.devices("lamp", 1).await[0];
    shop.start(&shop.release(NEW, &["lamp"]).await, "100%", 10).await.unwrap();
    for runs in [NEW, OsVersion::new(1, 4, 1), OsVersion::new(2, 0, 0), OsVersion::new(1, 10, 0)] {
        assert_eq!(shop.store.os_update(device, "lamp", runs).await.unwrap(), None, "{runs}");
    }
    for runs in [OLD, OsVersion::new(1, 3, 65535)] {
        assert!(shop.store.os_update(device, "lamp", runs).await.unwrap().is_some(), "{runs}");
    }
}

#[tokio::test]
async fn each_model_gets_its_own_image_and_a_device_that_proves_another_model_none() {
    let shop = Shop::open().await;
    let (lamp, pump) = (shop.devices("lamp", 1).await[0], shop.devices("pump", 1).await[0]);
    shop.devices("valve", 1).await;
    shop.start(&shop.release(NEW, &["lamp", "pump"]).await, "100%", 10).await.unwrap();
    let given = async |device, model| shop.store.os_update(device, model, OLD).await.unwrap().map(|os| os.image);
    assert_eq!(given(lamp, "lamp").await, Some(image(NEW, "lamp")));
    assert_eq!(given(pump, "pump").await, Some(image(NEW, "pump")));
    assert_eq!(given(lamp, "pump").await, None, "it is enrolled as a lamp");
    assert_eq!(given(pump, "lamp").await, None);
}

#[tokio::test]
async fn a_newer_rollout_takes_the_place_of_the_older_one_of_the_group() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 1).await;
    let older = shop.start(&shop.release(NEW, &["lamp"]).await, "100%", 10).await.unwrap();
    let newest = OsVersion::new(1, 5, 0);
    shop.start(&shop.release(newest, &["lamp"]).await, "100%", 10).await.unwrap();
    assert_eq!(shop.now(&older).await.state, RolloutState::Replaced);
    let update = shop.store.os_update(devices[0], "lamp", OLD).await.unwrap().unwrap();
    assert_eq!(update.image, image(newest, "lamp"));
}

#[tokio::test]
async fn a_release_that_fits_nobody_is_not_rolled_out_and_a_version_never_changes() {
    let shop = Shop::open().await;
    let release = shop.release(NEW, &["pump"]).await;
    shop.start(&release, "100%", 10).await.expect("the group is empty: devices may join");
    shop.devices("lamp", 1).await;
    assert!(matches!(shop.start(&release, "100%", 10).await, Err(ChangeError::Rule(Rule::ReleaseFitsNobody))));
    let again = NewRelease {
        product: "lamps".to_owned(),
        version: NEW,
        security_epoch: 9,
        uploader: shop.account,
        images: Vec::new(),
    };
    assert!(matches!(shop.store.create_release(&again, &[]).await, Err(ChangeError::Rule(Rule::ReleaseVersionTaken))));
    assert_eq!(shop.store.releases(ALL).await.unwrap().items, [release]);
}

/// Attack: a content key is asked for by a device that was revoked, that no roll-out has reached, or whose roll-out is held.
#[tokio::test]
async fn a_content_key_is_noted_for_assigned_devices_only_and_before_it_is_given() {
    let shop = Shop::open().await;
    let devices = shop.devices("lamp", 3).await;
    let rollout = shop.start(&shop.release(NEW, &["lamp"]).await, "2,100%", 10).await.unwrap();
    assert_eq!(shop.reached(&devices).await, devices[..2]);
    let asks = async |device, image: [u8; 32]| shop.store.note_key_release(device, &image).await.unwrap();
    let (name, other) = (image(NEW, "lamp"), image(NEW, "pump"));
    assert_eq!(asks(devices[0], other).await, None, "an image that is not its own");
    assert_eq!(asks(devices[2], name).await, None, "not reached");
    assert_eq!(asks(SpkiHash([9; 32]), name).await, None, "unknown");
    asks(devices[0], name).await.expect("reached");
    assert_eq!(shop.store.sealed_key(&name).await.unwrap().unwrap(), b"sealed");
    let noted = shop.store.key_releases(devices[0], ALL).await.unwrap().items;
    assert_eq!(noted.iter().map(|(_, image)| *image).collect::<Vec<_>>(), [name]);

    shop.store.order_rollout(rollout.id, RolloutOrder::Pause).await.unwrap();
    assert_eq!(asks(devices[0], name).await, None, "held");
    shop.store.order_rollout(rollout.id, RolloutOrder::Resume).await.unwrap();
    let id = keys::public::DeviceId::from(devices[1]);
    shop.store.revoke_device(id).await.unwrap();
    assert_eq!(asks(devices[1], name).await, None, "revoked");
    shop.say(devices[0], DeviceStep::Confirmed).await;
    assert_eq!(asks(devices[0], name).await, None, "done");
    for device in [devices[1], devices[2]] {
        assert!(shop.store.key_releases(device, ALL).await.unwrap().items.is_empty());
    }
}

#[tokio::test]
async fn the_skew_counts_models_and_versions_and_who_is_behind() {
    let shop = Shop::open().await;
    shop.devices("lamp", 2).await;
    shop.devices("pump", 1).await;
    let skew = shop.store.skew(None).await.unwrap();
    let seen: Vec<_> = skew.iter().map(|run| (run.model.as_str(), run.version.as_deref(), run.devices)).collect();
    assert_eq!(seen, [("lamp", None, 2), ("pump", None, 1)]);
    assert_eq!(shop.store.skew(Some(GroupId::random())).await.unwrap(), []);
    let release = shop.release(NEW, &["lamp"]).await;
    assert_eq!(shop.store.groups_behind(release.id).await.unwrap(), [shop.group]);
    shop.start(&release, "100%", 10).await.unwrap();
    assert_eq!(shop.store.groups_behind(release.id).await.unwrap(), [], "its roll-out runs");
}

#[tokio::test]
async fn a_piece_of_an_image_reaches_to_the_next_multiple_and_the_unfinished_is_swept() {
    let shop = Shop::open().await;
    let chunk = protocol::limits::LIMITS.chunk;
    let bytes: Vec<u8> = (0..2 * chunk + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut new = shop.store.new_os_image().unwrap();
    bytes.chunks(1000).for_each(|part| new.write(part).unwrap());
    new.keep(&[7; 32]).unwrap();
    for offset in [0, 1, chunk - 1, chunk, 2 * chunk, 2 * chunk + 4, 2 * chunk + 5, 9 * chunk] {
        let end = ((offset / chunk + 1) * chunk).min(bytes.len());
        for _ in 0..2 {
            let piece = shop.store.os_piece([7; 32], u32::try_from(offset).unwrap()).await.unwrap();
            assert_eq!(piece[..], bytes[offset.min(end)..end], "{offset}");
        }
    }
    assert!(shop.store.os_piece([8; 32], 0).await.is_err());
    std::mem::forget(shop.store.new_os_image().unwrap());
    shop.store.close().await;
    Store::open(shop.dir.path(), secret(), &LIMITS).await.unwrap();
    let folder = shop.dir.path().join(vouch_server::store::OS_IMAGES_FOLDER);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "the image alone");
}
