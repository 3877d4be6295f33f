//! The device on disk: complete or not there, private, never overwritten, and clear about what is missing or damaged.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keys::keystore::KeystoreSpec;
use keys::profile::Profile;
use protocol::reason::EnrolRefusal;
use vouch_device::ProvisionError;
use vouch_device::config::{DeviceConfig, ProxyConfig, ProxyCredentials};
use vouch_device::connect::attempt::AttemptResult;
use vouch_device::folder::{Folder, FolderError};
use zeroize::Zeroizing;

use crate::server::{Seen, TestServer, true_roots};

const FILES: [&str; 10] = [
    "vault/index",
    "vault/configuration.1",
    "vault/roots.1",
    "vault/floors.1",
    "keys/keystore",
    "keys/storage-root.key",
    "keys/device-identity.key",
    "keys/device-key-agreement.key",
    "keys/device-tls-modern.key",
    "keys/device-tls-modern.chain",
];

async fn provisioned() -> (TestServer, tempfile::TempDir) {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    (server, dir)
}

fn everything(dir: &Path) -> Vec<Vec<u8>> {
    FILES.iter().map(|name| std::fs::read(dir.join(name)).unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_provisioned_folder_is_private_and_opens() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("keys")), 0o700);
    assert_eq!(mode(&dir.join("vault")), 0o700);
    for name in FILES {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    let folder = Folder::open(&dir).unwrap();
    assert_eq!(folder.config.server, "iot.test");
    assert!(folder.time_floor_unix_ms > 0);
}

#[tokio::test]
async fn both_profiles_can_be_provisioned() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    for profile in Profile::ALL {
        let device = dir.path().join(profile.as_str());
        let done = server.provision(&device, profile).await.unwrap();
        assert_eq!(done.device_id, done.identity_spki_sha256[..16]);
        assert_eq!(Folder::open(&device).unwrap().config.profile, profile);
    }
}

#[tokio::test]
async fn a_second_provisioning_is_refused_and_touches_no_key() {
    let (server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    let before = everything(&dir);
    let again = server.provision(&dir, Profile::Modern).await.unwrap_err();
    assert!(matches!(again, ProvisionError::Folder(FolderError::AlreadyDevice(_))), "{again}");
    assert_eq!(everything(&dir), before);
    std::fs::remove_dir_all(dir.join("vault")).unwrap();
    let damaged = server.provision(&dir, Profile::Modern).await.unwrap_err();
    assert!(matches!(damaged, ProvisionError::Folder(FolderError::AlreadyDevice(_))), "{damaged}");
}

#[tokio::test]
async fn a_folder_with_something_else_in_it_is_left_alone() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
    let refused = server.provision(dir.path(), Profile::Modern).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::Folder(FolderError::NotEmpty(_))), "{refused}");
}

#[tokio::test]
async fn an_unfinished_provisioning_is_no_device_and_does_not_hinder_the_next() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("d");
    let unfinished = dir.path().join(".d.unfinished");
    std::fs::create_dir_all(unfinished.join("keys")).unwrap();
    std::fs::write(unfinished.join("keys/device-identity.key"), b"half a key").unwrap();
    assert!(matches!(Folder::open(&device), Err(FolderError::NoDevice(_))));
    server.provision(&device, Profile::Modern).await.unwrap();
    assert!(Folder::open(&device).is_ok());
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn a_failed_provisioning_leaves_no_device() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("d");
    server.rules().refuse_enrolment = Some(EnrolRefusal::TokenUsedUp);
    let refused = server.provision(&device, Profile::Modern).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::Refused(EnrolRefusal::TokenUsedUp)), "{refused}");
    server.rules().refuse_enrolment = None;
    server.rules().cut_after_request = true;
    let uncertain = server.provision(&device, Profile::Modern).await.unwrap_err();
    assert!(matches!(uncertain, ProvisionError::Uncertain(_)), "{uncertain}");
    assert!(matches!(Folder::open(&device), Err(FolderError::NoDevice(_))));
}

#[tokio::test]
async fn a_false_enrolment_server_gets_nothing() {
    let server = TestServer::start().await;
    let foreign = TestServer::foreign().await;
    let dir = tempfile::tempdir().unwrap();
    // Another server altogether, then one that shows the true roots without having a certificate of theirs.
    for false_roots in [None, Some(true_roots())] {
        foreign.rules().false_roots = false_roots.clone();
        let mut options = vouch_device::ProvisionOptions {
            dir: dir.path().join("d"),
            config: foreign.config(Profile::Modern),
            token: server.token(),
            keys: KeystoreSpec::DangerSoftware,
            factory: Default::default(),
            limits: crate::server::QUICK,
        };
        options.config.ports = crate::server::ports([foreign.address.port(); 3]);
        let failed = vouch_device::provision(options, &vouch_device::events::Observer::nobody()).await.unwrap_err();
        let ProvisionError::NotReached(attempts) = failed else { panic!("{failed}") };
        assert_eq!(attempts.0.len(), 3);
        match (&false_roots, &attempts.0[0].result) {
            (None, AttemptResult::LoginBroken { why }) => assert!(why.contains("roots"), "{why}"),
            (Some(_), AttemptResult::TlsCertificate { .. }) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    assert!(foreign.rules().known.is_empty());
}

#[tokio::test]
async fn a_damaged_token_is_refused_before_anything_is_done() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let options = vouch_device::ProvisionOptions {
        dir: dir.path().join("d"),
        config: server.config(Profile::Modern),
        token: Zeroizing::new("abc.def".to_owned()),
        keys: KeystoreSpec::DangerSoftware,
        factory: Default::default(),
        limits: crate::server::QUICK,
    };
    let failed = vouch_device::provision(options, &vouch_device::events::Observer::nobody()).await.unwrap_err();
    assert!(matches!(failed, ProvisionError::Token(_)), "{failed}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn each_missing_file_is_named() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    for name in FILES {
        let path = dir.join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = Folder::open(&dir).unwrap_err().to_string();
        let file_name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(file_name), "{name}: {error}");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    Folder::open(&dir).unwrap();
}

#[tokio::test]
async fn each_torn_file_is_found_wherever_it_was_cut() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    for name in FILES {
        let path = dir.join(name);
        let bytes = std::fs::read(&path).unwrap();
        // The last byte of a JSON file is only its line end.
        let meant = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        for length in [0, 1, meant.len() / 2, meant.len() - 1] {
            std::fs::write(&path, &meant[..length]).unwrap();
            assert!(Folder::open(&dir).is_err(), "{name} cut to {length} bytes was taken");
        }
        std::fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(Folder::open(&dir).is_err(), "{name} with a trailing byte was taken");
        std::fs::write(&path, &bytes).unwrap();
    }
    Folder::open(&dir).unwrap();
}

#[tokio::test]
async fn a_folder_or_file_that_others_can_read_is_refused() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    let open = |path: &Path, mode: u32| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(&dir, 0o750);
    assert!(matches!(Folder::open(&dir), Err(FolderError::Open(_))));
    open(&dir, 0o700);
    for name in FILES.into_iter().filter(|name| name.ends_with(".key")) {
        open(&dir.join(name), 0o640);
        let error = Folder::open(&dir).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{name}: {error}");
        open(&dir.join(name), 0o600);
    }
}

#[tokio::test]
async fn a_device_runs_once_only() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    let first = Folder::open(&dir).unwrap();
    assert!(matches!(Folder::open(&dir), Err(FolderError::InUse(_))));
    drop(first);
    Folder::open(&dir).unwrap();
}

#[tokio::test]
async fn a_proxy_with_its_password_is_kept_and_taken_out_again() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    let proxy = ProxyConfig {
        host: "127.0.0.1".to_owned(),
        port: 1,
        credentials: Some(ProxyCredentials { user: "u".to_owned(), password: Zeroizing::new("p".to_owned()) }),
    };
    for expected in [Some(proxy), None] {
        let mut folder = Folder::open(&dir).unwrap();
        let config = DeviceConfig { proxy: expected.clone(), ..folder.config.clone() };
        folder.store_config(config).unwrap();
        drop(folder);
        assert_eq!(Folder::open(&dir).unwrap().config.proxy, expected);
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_not_kept() {
    let (_server, dir) = provisioned().await;
    let mut folder = Folder::open(&dir.path().join("d")).unwrap();
    let before = folder.store.generation();
    let config = DeviceConfig { server: "a b".to_owned(), ..folder.config.clone() };
    assert!(matches!(folder.store_config(config), Err(FolderError::Store { .. })));
    assert_eq!(folder.store.generation(), before);
    assert_eq!(folder.config.server, "iot.test");
}

#[tokio::test]
async fn a_folder_from_before_the_vault_is_refused_with_a_reason() {
    let (_server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    std::fs::write(dir.join("config.json"), b"{}").unwrap();
    assert!(matches!(Folder::open(&dir), Err(FolderError::WithoutVault(_))));
}

#[tokio::test]
async fn the_vault_of_another_device_is_refused() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for device in [&one, &two] {
        server.provision(device, Profile::Modern).await.unwrap();
    }
    std::fs::remove_dir_all(one.join("vault")).unwrap();
    std::fs::rename(two.join("vault"), one.join("vault")).unwrap();
    let error = Folder::open(&one).unwrap_err().to_string();
    assert!(error.contains("written by another device"), "{error}");
}

#[tokio::test]
async fn the_time_floor_is_raised_and_never_lowered() {
    let (server, dir) = provisioned().await;
    let dir = dir.path().join("d");
    let mut folder = Folder::open(&dir).unwrap();
    let floor = folder.time_floor_unix_ms;
    folder.store_time_floor(floor - 1).unwrap();
    drop(folder);
    let mut folder = Folder::open(&dir).unwrap();
    assert_eq!(folder.time_floor_unix_ms, floor);
    folder.store_time_floor(floor + 1).unwrap();
    drop(folder);
    assert_eq!(Folder::open(&dir).unwrap().time_floor_unix_ms, floor + 1);
    assert!(matches!(server.next().await, Seen::Enrolled));
}
