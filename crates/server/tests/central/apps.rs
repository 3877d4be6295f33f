//! Who approves an app, at the server's door: the owner's quorum where the custodians gave the owner one, else the server's online key.

use futures_util::future::join_all;
use keys::purpose::KeyPurpose;
use keys::signer::Signer;
use release::apps::{AppError, ApprovedApp, OwnerQuorum, owner_role, verify_app};
use release::author::{Delegation, Quorum, approved_apps};
use release::floors::MetadataFloors;
use release::tuf::{Files, Trusted, os_target, verify};
use release::version::OsVersion;
use serde_json::json;
use squirrel::{CompileOptions, Source, compile};
use vouch_server::fleet::DeviceLogin;
use vouch_server::limits::{LIMITS, Limits};

use crate::releases::{Maker, V, seconds, signed_by, upload};
use crate::rig::{Answer, Rig};

const APP: &str = "server.log(\"one\");\n";
const OTHER: &str = "server.log(\"two\");\n";

struct Shop {
    rig: Rig,
    maker: Maker,
    /// The owner's people, of whom two must approve.
    owner: Vec<Signer>,
    product: String,
    group: String,
}

fn image(code: &str) -> Vec<u8> {
    let source = Source { name: "device_code", text: code.as_bytes() };
    compile(&[source], &CompileOptions::default()).unwrap().to_image()
}

fn approved(owner: &str, code: &str) -> ApprovedApp {
    let image = image(code);
    ApprovedApp { owner: owner.to_owned(), sha256: keys::hashes::sha256(&image), length: image.len() as u64 }
}

impl Shop {
    /// With a release whose custodians gave the owner a quorum, or none.
    async fn open(has_quorum: bool, limits: Limits) -> Self {
        let rig = Rig::with(limits).await;
        let owner: Vec<Signer> = (0..3).map(|_| Signer::generate(KeyPurpose::AppApproval).unwrap()).collect();
        let mut maker = Maker::of(&rig.repository);
        if has_quorum {
            let quorum = Quorum { keys: owner.iter().map(|key| key.public().clone()).collect(), threshold: 2 };
            maker.apps.push(Delegation::Owner { owner: rig.account.clone(), quorum });
        }
        maker.apps.push(Delegation::Server { key: rig.repository.keys().apps.public().clone() });
        upload(&rig, &maker.bundle(&maker.release(&rig.repository, V, 1, &[0, 1]))).await.expect(201);
        let product = rig.product("lamps").await;
        let group = rig.group(&product, "first").await;
        Self { rig, maker, owner, product, group }
    }

    async fn deploy(&self, group: &str, code: &str, approval: Option<Vec<u8>>) -> Answer {
        let approval = approval.map(|approval| String::from_utf8(approval).unwrap());
        let body = json!({ "data": {
            "type": "deployment",
            "attributes": { "device_code": code, "agent_code": "", "approval": approval },
            "relationships": { "devicegroup": { "type": "development_devicegroup", "id": group } },
        }});
        self.rig.post("/v5/deployments", &body).await
    }

    fn approval(&self, version: u64, codes: &[&str], signers: &[&Signer]) -> Vec<u8> {
        let apps: Vec<_> = codes.iter().map(|code| approved(&self.rig.account, code)).collect();
        signed_by(approved_apps(version, seconds() + 1000, &apps).unwrap(), signers)
    }

    async fn refused(&self, code: &str, approval: Option<Vec<u8>>, why: &str) {
        let error = self.deploy(&self.group, code, approval).await.expect(422).error();
        assert!(error.starts_with("App Not Approved: ") && error.contains(why), "{error} says nothing of {why:?}");
    }

    /// What a device is given for an app, verified from the maker's root on.
    async fn trusted(&self, device: &DeviceLogin, code: &str) -> Trusted {
        let app = approved(&self.rig.account, code);
        let trust = self.rig.repository.trust(device.spki, app.sha256, false, 1).await.unwrap();
        let mut files = Files::new();
        for (name, file) in
            [("timestamp.json", &trust.timestamp), ("snapshot.json", &trust.snapshot), ("targets.json", &trust.targets)]
        {
            files.insert(name, file.clone().unwrap().into()).unwrap();
        }
        for name in ["apps.json".to_owned(), format!("{}.json", owner_role(&self.rig.account))] {
            trust.delegated.clone().into_iter().for_each(|file| files.insert(&name, file.into()).unwrap());
        }
        let now = u64::try_from(seconds()).unwrap();
        verify(&self.maker.root, files, (), &MetadataFloors::NONE, now).unwrap()
    }

    async fn verified(&self, device: &DeviceLogin, code: &str) -> Result<OwnerQuorum, AppError> {
        verify_app(&mut self.trusted(device, code).await, &self.rig.account, &image(code), OwnerQuorum::None)
    }
}

#[tokio::test]
async fn the_server_approves_what_runs_of_an_owner_without_a_quorum_and_nothing_else() {
    let shop = Shop::open(false, LIMITS).await;
    shop.deploy(&shop.group, APP, None).await.expect(201);
    let device = shop.rig.enrol(Some(&shop.group)).await;
    assert_eq!(shop.verified(&device, APP).await.unwrap(), OwnerQuorum::None);
    assert!(shop.verified(&device, OTHER).await.is_err());
    shop.deploy(&shop.group, OTHER, None).await.expect(201);
    assert_eq!(shop.verified(&device, OTHER).await.unwrap(), OwnerQuorum::None);
    assert!(shop.verified(&device, APP).await.is_err(), "it runs nowhere any more");
    shop.refused(APP, Some(shop.approval(1, &[APP], &[&shop.owner[0], &shop.owner[1]])), "has no quorum").await;
}

/// Attack: the server, or whoever has its account, brings an app to devices of an owner with a quorum without their approval.
#[tokio::test]
async fn an_owner_with_a_quorum_has_no_app_deployed_or_approved_by_the_server() {
    let shop = Shop::open(true, LIMITS).await;
    let [ada, ben, cleo] = &shop.owner[..] else { panic!() };
    shop.refused(APP, None, "has a quorum for their apps").await;
    shop.refused(APP, Some(shop.approval(1, &[APP], &[ada])), "1/2").await;
    let server = &shop.rig.repository.keys().apps;
    shop.refused(APP, Some(shop.approval(1, &[APP], &[server, ada])), "1/2").await;
    shop.refused(APP, Some(shop.approval(1, &[OTHER], &[ada, ben])), "has not approved").await;
    shop.refused(APP, Some(b"{}".to_vec()), "refused").await;
    let ended = approved_apps(1, seconds() - 1, &[approved(&shop.rig.account, APP)]).unwrap();
    shop.refused(APP, Some(signed_by(ended, &[ada, ben])), "expired").await;

    shop.deploy(&shop.group, APP, Some(shop.approval(1, &[APP], &[ada, cleo]))).await.expect(201);
    let device = shop.rig.enrol(Some(&shop.group)).await;
    assert_eq!(shop.verified(&device, APP).await.unwrap(), OwnerQuorum::Demanded);
    // What it approved once may be deployed again; the server's own role holds nothing of this owner.
    shop.deploy(&shop.group, APP, None).await.expect(201);
    let mut trusted = shop.trusted(&device, APP).await;
    assert!(verify_app(&mut trusted, &shop.rig.account, &image(OTHER), OwnerQuorum::Demanded).is_err());
}

/// Attack: many apps are deployed at the same moment, each of which is the last that there is room for.
#[tokio::test]
async fn apps_that_are_deployed_at_once_are_admitted_one_after_the_other() {
    let shop = Shop::open(false, Limits { approved_apps: 1, ..LIMITS }).await;
    let mut groups = Vec::new();
    for number in 0..6 {
        groups.push((shop.rig.group(&shop.product, &format!("of {number}")).await, format!("server.log({number});\n")));
    }
    let all = join_all(groups.iter().map(|(group, code)| shop.deploy(group, code, None))).await;
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 5, "{statuses:?}");
}

/// Attack: the people of one owner approve apps of another, or an OS image.
#[tokio::test]
async fn an_approval_holds_for_the_apps_of_its_owner_alone() {
    let shop = Shop::open(true, LIMITS).await;
    let [ada, ben, _] = &shop.owner[..] else { panic!() };
    let mut apps = vec![approved(&shop.rig.account, APP), approved("another", OTHER)];
    let foreign = approved_apps(1, seconds() + 1000, &apps).unwrap();
    shop.refused(APP, Some(signed_by(foreign, &[ada, ben])), "no app of this owner").await;
    apps.pop();
    let manifest = shop.maker.release(&shop.rig.repository, V, 2, &[0, 1]).manifest;
    let mut file: serde_json::Value =
        serde_json::from_slice(&approved_apps(1, seconds() + 1000, &apps).unwrap().to_json()).unwrap();
    let payload = manifest.to_cbor();
    file["signed"]["targets"][os_target(&manifest)] =
        json!({ "length": payload.len(), "hashes": { "sha256": manifest.hash().to_string() } });
    let draft = release::author::Draft::from_json(file.to_string().as_bytes()).unwrap();
    shop.refused(APP, Some(signed_by(draft, &[ada, ben])), "no app of this owner").await;
}

#[tokio::test]
async fn an_approval_goes_on_from_the_last_one_and_leaves_out_nothing_that_runs() {
    let shop = Shop::open(true, LIMITS).await;
    let [ada, ben, _] = &shop.owner[..] else { panic!() };
    let second = shop.rig.group(&shop.product, "second").await;
    shop.deploy(&shop.group, APP, Some(shop.approval(2, &[APP], &[ada, ben]))).await.expect(201);
    let error = shop.deploy(&second, OTHER, Some(shop.approval(3, &[OTHER], &[ada, ben]))).await.expect(422).error();
    assert!(error.contains("leaves out"), "{error}");
    let error =
        shop.deploy(&second, OTHER, Some(shop.approval(2, &[APP, OTHER], &[ada, ben]))).await.expect(422).error();
    assert!(error.contains("has version 2"), "{error}");
    shop.deploy(&second, OTHER, Some(shop.approval(3, &[APP, OTHER], &[ada, ben]))).await.expect(201);
    for (group, code) in [(&shop.group, APP), (&second, OTHER)] {
        let device = shop.rig.enrol(Some(group)).await;
        assert_eq!(shop.verified(&device, code).await.unwrap(), OwnerQuorum::Demanded);
    }
}

#[tokio::test]
async fn the_server_approves_a_bounded_number_of_apps() {
    let shop = Shop::open(false, Limits { approved_apps: 2, ..LIMITS }).await;
    for (name, code, status) in [("a", APP, 201), ("b", OTHER, 201), ("c", "server.log(3);", 422), ("d", APP, 201)] {
        let group = shop.rig.group(&shop.product, name).await;
        let answer = shop.deploy(&group, code, None).await.expect(status);
        assert!(status == 201 || answer.error().contains("2 different device apps at most"), "{}", answer.body);
    }
}

/// Attack, or a mishap: a release that was built without the owner's quorum, which would hand their apps to the server's key.
#[tokio::test]
async fn a_release_that_leaves_out_an_owners_quorum_is_refused() {
    let mut shop = Shop::open(true, LIMITS).await;
    let apps = std::mem::take(&mut shop.maker.apps);
    let next = OsVersion::new(1, 5, 0);
    let release = |maker: &Maker| maker.bundle(&maker.release(&shop.rig.repository, next, 2, &[0, 1]));
    let error = upload(&shop.rig, &release(&shop.maker)).await.expect(422).error();
    assert!(error.contains(&shop.rig.account) && error.contains("--app-owners"), "{error}");
    shop.maker.apps = apps;
    upload(&shop.rig, &release(&shop.maker)).await.expect(201);
}
