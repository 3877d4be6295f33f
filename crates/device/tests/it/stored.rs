//! What a device keeps: nothing in clear, the app and its configuration for the next start, and a clean end.

use std::path::{Path, PathBuf};

use keys::profile::Profile;
use vouch_device::config::{ProxyConfig, ProxyCredentials};
use vouch_device::events::DeviceEvent;
use vouch_device::folder::Folder;
use vouch_device::store::Record;
use zeroize::Zeroizing;

use crate::connect::{change_config, closed_port};
use crate::server::{QUICK, Running, Seen, TestServer, image, ports};

/// An app that keeps something for itself and says what it found.
const KEEPER: &str = "
    local found = imp.getuserconfiguration();
    server.log(\"found \" + (found == null ? \"nothing\" : found.tostring()));
    imp.setuserconfiguration(\"meter-constant-4711\");
    server.log(\"kept\");
";

async fn device(server: &TestServer) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    server.provision(&dir.path().join("d"), Profile::Modern).await.unwrap();
    dir
}

async fn logged(device: &mut Running, wanted: &str) {
    device
        .until(|event| matches!(event, DeviceEvent::AppLog { text, .. } if text.contains(wanted)).then_some(()))
        .await;
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found
}

/// Which of these texts stand in any file of the folder, as they are.
fn in_clear(dir: &Path, plain: &[Vec<u8>]) -> Vec<String> {
    let stands_in = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let mut found = Vec::new();
    for (path, bytes) in files(dir) {
        for text in plain.iter().filter(|text| stands_in(&bytes, text)) {
            found.push(format!("{}: {}", path.display(), String::from_utf8_lossy(text)));
        }
    }
    found
}

#[tokio::test]
async fn nothing_that_the_device_stores_stands_in_clear_in_its_folder() {
    let server = TestServer::start().await;
    let app = image(KEEPER);
    server.rules().app = Some(app.clone());
    let dir = device(&server).await;
    let path = dir.path().join("d");
    let mut running = Running::start(&path, QUICK);
    logged(&mut running, "kept").await;
    running.stop().await;
    change_config(dir.path(), |config| {
        let credentials = ProxyCredentials { user: "clerk-77".into(), password: Zeroizing::new("sesame-0815".into()) };
        config.proxy =
            Some(ProxyConfig { host: "proxy.plant.test".into(), port: 3128, credentials: Some(credentials) });
        config.dns = vec!["192.0.2.153:53".parse().unwrap()];
    });
    let folder = Folder::open(&path).unwrap();
    // All of it is there; the test would find nothing in an empty folder either.
    assert_eq!(folder.store.read(Record::App).unwrap().unwrap().expose(), app);
    assert_eq!(folder.store.read(Record::UserConfiguration).unwrap().unwrap().expose(), b"meter-constant-4711");
    assert!(folder.store.read(Record::Diary).unwrap().is_some());
    assert_eq!(folder.config.server, "iot.test");
    drop(folder);

    let texts = [
        "meter-constant-4711",
        "found nothing",
        "imp.setuserconfiguration",
        "clerk-77",
        "sesame-0815",
        "proxy.plant.test",
        "iot.test",
        "probe-1",
        "192.0.2.153",
        "127.0.0.1",
        "time_floor",
        "welcomed",
    ];
    let mut plain: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    // Any part of the app that is long enough not to stand somewhere by chance.
    plain.extend(app.chunks_exact(16).map(<[u8]>::to_vec));
    assert_eq!(in_clear(&path, &plain), Vec::<String>::new());
    // The search does find what stands in clear.
    std::fs::write(path.join("vault/forgotten"), b"x sesame-0815 y").unwrap();
    assert_eq!(in_clear(&path, &plain).len(), 1);
}

#[tokio::test]
async fn a_device_without_a_server_starts_the_app_it_has_stored() {
    let server = TestServer::start().await;
    server.rules().app = Some(image(KEEPER));
    let dir = device(&server).await;
    let path = dir.path().join("d");
    let mut running = Running::start(&path, QUICK);
    logged(&mut running, "kept").await;
    running.stop().await;
    let nowhere = [closed_port(); 3];
    change_config(dir.path(), |config| config.ports = ports(nowhere));
    let mut running = Running::start(&path, QUICK);
    logged(&mut running, "found meter-constant-4711").await;
    running.stop().await;
}

#[tokio::test]
async fn a_stored_app_is_not_fetched_again_and_goes_when_it_is_taken_away() {
    let server = TestServer::start().await;
    let app = image(KEEPER);
    server.rules().app = Some(app.clone());
    let dir = device(&server).await;
    let path = dir.path().join("d");
    let mut running = Running::start(&path, QUICK);
    logged(&mut running, "kept").await;
    running.stop().await;

    let sha256 = keys::hashes::sha256(&app);
    let mut running = Running::start(&path, QUICK);
    let fetched = running.until(|event| match event {
        DeviceEvent::AppDownloaded { .. } => Some(true),
        DeviceEvent::Welcomed(_) => Some(false),
        _ => None,
    });
    assert!(!fetched.await);
    server.until(|seen| matches!(seen, Seen::State(state) if state.sha256 == Some(sha256)).then_some(())).await;
    server.order(crate::server::Do::Remove);
    running.until(|event| matches!(event, DeviceEvent::AppRemoved).then_some(())).await;
    running.stop().await;
    assert!(Folder::open(&path).unwrap().store.read(Record::App).unwrap().is_none());
}

#[tokio::test]
async fn a_device_that_is_stopped_closes_tls_and_stores_its_diary() {
    let server = TestServer::start().await;
    let dir = device(&server).await;
    let path = dir.path().join("d");
    let mut running = Running::start(&path, QUICK);
    running.until(|event| matches!(event, DeviceEvent::Welcomed(_)).then_some(())).await;
    running.stop().await;
    server.until(|seen| matches!(seen, Seen::SaidGoodbye).then_some(())).await;
    let store = Folder::open(&path).unwrap().store;
    assert_eq!(vouch_device::connect::diary::Diary::stored(&store).unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_app_does_not_keep_a_device_from_running() {
    let server = TestServer::start().await;
    let dir = device(&server).await;
    let path = dir.path().join("d");
    Folder::open(&path).unwrap().store.write(Record::App, b"of another version").unwrap();
    server.rules().app = Some(image(KEEPER));
    let mut running = Running::start(&path, QUICK);
    logged(&mut running, "kept").await;
    running.stop().await;
}
