//! The transparency log as an outsider reads it over HTTP, after the rules of C2SP tlog-tiles alone; and what never becomes a second tree.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keys::note::{NoteKey, NoteSigner};
use keys::public::SpkiHash;
use release::author::{Log, encrypt};
use release::floors::MetadataFloors;
use release::log::{LogError, LoggedRelease, entry, verify_logged};
use release::manifest::{Description, Manifest};
use release::tuf::{Files, verify};
use release::version::OsVersion;
use tlog_tiles::{
    Checkpoint, Error, Hash, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree,
    record_hash, tree_hash,
};
use vouch_server::limits::LIMITS;
use vouch_server::repository::{
    CHECKPOINT_FILE, ENTRIES_FILE, ReleaseLogError, Repository, RepositoryError, UploadError,
};

use crate::releases::{Maker, V, accept, seconds, upload};
use crate::rig::Rig;

/// Beyond the border of the first tile, which has 256 hashes.
const MANY: u64 = 300;

fn manifest(version: u16) -> Manifest {
    let description = Description {
        product: "lamps".to_owned(),
        models: vec!["lamp".to_owned()],
        version: OsVersion::new(1, version, 0),
        security_epoch: 3,
        built: 1_790_000_000,
        sbom: None,
        mud: None,
    };
    encrypt(&[7], description).unwrap().1.manifest
}

/// As the file of the log holds them.
fn entries(manifests: &[Manifest]) -> String {
    manifests.iter().map(|manifest| const_hex::encode(entry(manifest)) + "\n").collect()
}

/// Fetches as anybody may: status, head, body.
fn get(addr: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    write!(tcp, "GET /log/{path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap().to_ascii_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, bytes[at + 4..].to_vec())
}

/// Tiles over HTTP, each fetched once; one of them can be damaged on the way.
struct Tiles {
    addr: SocketAddr,
    fetched: RefCell<HashMap<String, Vec<u8>>>,
    damaged: Option<&'static str>,
}

impl Tiles {
    fn of(addr: SocketAddr, damaged: Option<&'static str>) -> Self {
        Self { addr, fetched: RefCell::default(), damaged }
    }

    fn fetch(&self, path: &str) -> Vec<u8> {
        let fetch = || {
            let (status, head, mut body) = get(self.addr, path);
            assert_eq!(status, 200, "{path}");
            assert!(head.contains("content-type: application/octet-stream"), "{head}");
            assert!(head.contains("immutable"), "{head}");
            if self.damaged == Some(path) {
                body[70] ^= 1;
            }
            body
        };
        self.fetched.borrow_mut().entry(path.to_owned()).or_insert_with(fetch).clone()
    }

    /// All entries, bundle after bundle.
    fn entries(&self, size: u64) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for number in 0..size.div_ceil(256) {
            let width = (size - number * 256).min(256);
            let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
            let bundle = self.fetch(&format!("tile/entries/{number:03}{partial}"));
            let mut rest = &bundle[..];
            while let Some((length, behind)) = rest.split_first_chunk::<2>() {
                let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
                entries.push(entry.to_vec());
                rest = behind;
            }
        }
        entries
    }
}

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(tiles.iter().map(|tile| self.fetch(&tile.path().replacen("tile/8/", "tile/", 1))).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

/// The newest checkpoint, its signature checked.
fn checkpoint(addr: SocketAddr, key: &NoteKey) -> (String, Checkpoint) {
    let (status, head, note) = get(addr, "checkpoint");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; charset=utf-8") && head.contains("no-store"), "{head}");
    let note = String::from_utf8(note).unwrap();
    let checkpoint = Checkpoint::from_bytes(key.verify(&note).unwrap().as_bytes()).unwrap();
    assert_eq!(checkpoint.origin(), "server.example/log");
    (note, checkpoint)
}

#[tokio::test]
async fn anybody_recomputes_the_log_from_what_is_served_and_each_proof_holds() {
    let manifests: Vec<_> = (0..MANY).map(|n| manifest(u16::try_from(n).unwrap())).collect();
    let rig = Rig::logged(LIMITS, &entries(&manifests)).await;
    let (addr, key) = (rig.addr, rig.repository.keys().log.key().clone());
    for manifest in &manifests {
        let proof = rig.repository.log_proof(&manifest.hash().0).unwrap().unwrap();
        let logged = verify_logged(&key.to_string(), manifest, &proof).unwrap();
        assert_eq!(logged.size, MANY);
        assert_eq!(manifests[usize::try_from(logged.index).unwrap()], *manifest);
    }
    let read = tokio::task::spawn_blocking(move || {
        let (_, signed) = checkpoint(addr, &key);
        let tiles = Tiles::of(addr, None);
        let entries = tiles.entries(signed.size());
        assert_eq!((signed.size(), entries.len() as u64), (MANY, MANY));
        let reader = TileHashReader::new(signed.size(), *signed.hash(), &tiles);
        assert!(tree_hash(signed.size(), &reader).unwrap() == *signed.hash());
        for (number, entry) in (0..).zip(&entries) {
            let proof = prove_record(signed.size(), number, &reader).unwrap();
            check_record(&proof, signed.size(), *signed.hash(), number, record_hash(entry)).unwrap();
        }
        // What was read is what was appended, and the tree over its beginning is the beginning of this one.
        let beginning = Log::of(entries[..257].to_vec()).unwrap().root(257).unwrap();
        let proof = prove_tree(signed.size(), 257, &reader).unwrap();
        check_tree(&proof, signed.size(), *signed.hash(), 257, Hash(beginning)).unwrap();
        check_tree(&proof, signed.size(), *signed.hash(), 257, Hash([1; 32])).unwrap_err();
        entries
    });
    let entries = read.await.unwrap();
    for (entry, manifest) in entries.iter().zip(&manifests) {
        let read = LoggedRelease::from_entry(entry).unwrap();
        assert_eq!((read.manifest, read.version), (manifest.hash(), manifest.version));
    }
}

#[tokio::test]
async fn the_log_serves_exactly_the_files_of_its_tree() {
    let manifests: Vec<_> = (0..MANY).map(|n| manifest(u16::try_from(n).unwrap())).collect();
    let rig = Rig::logged(LIMITS, &entries(&manifests)).await;
    let addr = rig.addr;
    let asked = tokio::task::spawn_blocking(move || {
        for (path, length) in [("0/000", 8192), ("0/000.p/255", 255 * 32), ("0/001.p/44", 44 * 32), ("1/000.p/1", 32)] {
            let (status, _, body) = get(addr, &format!("tile/{path}"));
            assert_eq!((status, body.len()), (200, length), "{path}");
        }
        let beyond = ["0/001", "0/001.p/45", "0/002.p/1", "1/000", "1/000.p/2", "2/000.p/1", "entries/001"];
        let wrong = [
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/0",
            "0/000/",
            "00/000",
            "63/000",
            "64/000",
            "256/000",
            "entries/x000/000",
            "0/x000/000",
            "data/000",
            "-1/000",
            "0/000.p/",
            "0/000.p/x",
            "0",
            "checkpoint",
            "entries/x999/x999/x999/x999/x999/x999/999",
            "5/x018/x446/x744/x073/x709/551.p/1",
            "0/%2e%2e/000",
            "0/001.p/+44",
        ];
        for path in beyond.into_iter().chain(wrong) {
            assert_eq!(get(addr, &format!("tile/{path}")).0, 404, "{path}");
        }
        assert_eq!(get(addr, "").0, 404);
    });
    asked.await.unwrap();
}

/// Attack: somebody between the log and its reader changes a byte of a tile, or puts a checkpoint of their own in its place.
#[tokio::test]
async fn a_flipped_byte_and_a_foreign_checkpoint_are_noticed() {
    let manifests: Vec<_> = (0..MANY).map(|n| manifest(u16::try_from(n).unwrap())).collect();
    let rig = Rig::logged(LIMITS, &entries(&manifests)).await;
    let (addr, key) = (rig.addr, rig.repository.keys().log.key().clone());
    let (note, proof) = (rig.repository.log_checkpoint(), rig.repository.log_proof(&manifests[7].hash().0));
    let read = tokio::task::spawn_blocking(move || {
        let (_, signed) = checkpoint(addr, &key);
        for damaged in ["tile/0/000", "tile/0/001.p/44"] {
            let tiles = Tiles::of(addr, Some(damaged));
            let reader = TileHashReader::new(signed.size(), *signed.hash(), &tiles);
            let entries = tiles.entries(signed.size());
            // The library's reader does not look at every tile by itself: what counts is that no proof from it holds.
            for number in [3, 299] {
                let leaf = record_hash(&entries[usize::try_from(number).unwrap()]);
                let proved = prove_record(signed.size(), number, &reader)
                    .and_then(|proof| check_record(&proof, signed.size(), *signed.hash(), number, leaf));
                assert_eq!(proved.is_err(), number == 3 || damaged != "tile/0/000", "{damaged}: {number}");
            }
        }
        key
    });
    let key = read.await.unwrap();
    let (stranger, _) = NoteSigner::generate("server.example/log").unwrap();
    assert!(stranger.key().verify(&note).is_err());
    let foreign = Log::of(manifests.iter().map(entry)).unwrap().prove(7, MANY, &stranger).unwrap();
    let refused = verify_logged(&key.to_string(), &manifests[7], &keys::cbor::encode(&foreign));
    assert!(matches!(refused, Err(LogError::Checkpoint(_))));
    let mut changed = proof.unwrap().unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    assert_eq!(verify_logged(&key.to_string(), &manifests[7], &changed), Err(LogError::NotIncluded));
}

#[tokio::test]
async fn a_release_is_in_the_log_once_with_its_upload_and_devices_get_the_proof() {
    let rig = Rig::start().await;
    let (addr, key) = (rig.addr, rig.repository.keys().log.key().clone());
    let signed = {
        let key = key.clone();
        move || {
            tokio::task::spawn_blocking({
                let key = key.clone();
                move || checkpoint(addr, &key)
            })
        }
    };
    assert_eq!(signed().await.unwrap().1.size(), 0, "an empty log is one as well");
    let maker = Maker::of(&rig.repository);
    let parts = maker.release(&rig.repository, V, 1, &[0, 1]);
    let bundle = maker.bundle(&parts);
    let made = upload(&rig, &bundle).await.expect(201).json();
    let proof = |answer: &serde_json::Value| {
        let proof = answer["data"]["attributes"]["images"][0]["log_proof"].as_str().unwrap();
        BASE64.decode(proof).unwrap()
    };
    let logged = verify_logged(&key.to_string(), &parts.manifest, &proof(&made)).unwrap();
    assert_eq!((logged.index, logged.size), (0, 1));

    // The same release again: the same answer, and no second leaf. With its proof inside it is the same release as well.
    let again = upload(&rig, &bundle).await.expect(200).json();
    assert_eq!(again, made);
    let again = upload(&rig, &maker.bundle_with_proof(&parts, Some(proof(&made)))).await.expect(200).json();
    assert_eq!(again, made);
    assert_eq!(signed().await.unwrap().1.size(), 1);
    let id = made["data"]["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/v5/releases/{id}")).await.expect(200).json(), made);
    assert_eq!(rig.get("/v5/releases").await.expect(200).json()["data"].as_array().unwrap().len(), 1);

    let trust = rig.repository.trust(SpkiHash([1; 32]), parts.manifest.hash().0, false, 1).await.unwrap();
    let mut files = Files::new();
    for (name, file) in
        [("timestamp.json", &trust.timestamp), ("snapshot.json", &trust.snapshot), ("targets.json", &trust.targets)]
    {
        files.insert(name, file.clone().unwrap().into()).unwrap();
    }
    let now = u64::try_from(seconds()).unwrap();
    let trusted = verify(&maker.root, files, (), &MetadataFloors::NONE, now).unwrap();
    let approval = trusted.approve(&parts.manifest).unwrap();
    trusted.prove_logged(approval, &parts.manifest, &trust.log_proof.unwrap()).unwrap();
    let unknown = rig.repository.trust(SpkiHash([1; 32]), [9; 32], false, 1).await.unwrap();
    assert_eq!(unknown.log_proof, None);
}

/// Attack: a bundle whose proof was changed, and a release whose root names a log that is not this server's.
#[tokio::test]
async fn a_wrong_proof_and_the_root_of_another_log_are_refused() {
    let rig = Rig::start().await;
    let maker = Maker::of(&rig.repository);
    let parts = maker.release(&rig.repository, V, 1, &[0, 1]);
    let mut log = Log::default();
    log.append(&parts.manifest).unwrap();
    let (stranger, _) = NoteSigner::generate("server.example/log").unwrap();
    let foreign = keys::cbor::encode(&log.prove(0, 1, &stranger).unwrap());
    let error = upload(&rig, &maker.bundle_with_proof(&parts, Some(foreign))).await.expect(422).error();
    assert!(error.contains("transparency log does not hold"), "{error}");
    let other = Maker::with_log(&rig.repository, Some(stranger.key().to_string()));
    let error = upload(&rig, &other.bundle(&other.release(&rig.repository, V, 1, &[0, 1]))).await.expect(422).error();
    assert!(error.contains("another transparency log"), "{error}");
    // A root that names none is one from before there was a log.
    let silent = Maker::with_log(&rig.repository, None);
    upload(&rig, &silent.bundle(&silent.release(&rig.repository, V, 1, &[0, 1]))).await.expect(201);
}

async fn opened(rig: &Rig) -> Result<Repository, RepositoryError> {
    Repository::open(rig.dir.path(), rig.store.clone(), "another.example", crate::releases::tls_roots(), &LIMITS).await
}

#[tokio::test]
async fn a_restart_keeps_the_tree_and_its_name() {
    let manifests: Vec<_> = (0..5).map(manifest).collect();
    let rig = Rig::logged(LIMITS, &entries(&manifests[..3])).await;
    let again = opened(&rig).await.unwrap();
    assert_eq!(again.log_checkpoint(), rig.repository.log_checkpoint());
    assert_eq!(again.log_tile("0/000.p/3"), rig.repository.log_tile("0/000.p/3"));
    // The power went after one entry and in the middle of another, before the checkpoint: the next start signs what is whole.
    let file = rig.dir.path().join(ENTRIES_FILE);
    let all = entries(&manifests);
    fs::write(&file, &all[..all.len() - 1]).unwrap();
    let again = opened(&rig).await.unwrap();
    let proof = again.log_proof(&manifests[3].hash().0).unwrap().unwrap();
    assert_eq!(verify_logged(&again.keys().log.key().to_string(), &manifests[3], &proof).unwrap().size, 4);
    assert_eq!(again.log_proof(&manifests[4].hash().0).unwrap(), None);
    // What was cut off leaves nothing behind when the next release comes.
    let maker = Maker::of(&again);
    let parts = maker.release(&again, V, 1, &[0, 1]);
    accept(&rig, &again, &maker.bundle(&parts)).await.unwrap();
    let expected = entries(&[&manifests[..4], std::slice::from_ref(&parts.manifest)].concat());
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(opened(&rig).await.unwrap().log_checkpoint(), again.log_checkpoint());
}

/// Attack, or a mishap: a database from before is put back, or another one, beside a log that was signed already.
#[tokio::test]
async fn a_database_that_was_put_back_makes_no_second_tree() {
    let first = Rig::start().await;
    let maker = Maker::of(&first.repository);
    let one = maker.release(&first.repository, V, 1, &[0, 1]);
    let two = maker.release(&first.repository, OsVersion::new(1, 5, 0), 2, &[0, 1]);
    for parts in [&one, &two] {
        upload(&first, &maker.bundle(parts)).await.expect(201);
    }
    let checkpoint = first.repository.log_checkpoint();
    let logged = fs::read_to_string(first.dir.path().join(ENTRIES_FILE)).unwrap();

    // The same keys and the same log, beside a database without the releases.
    let rig = Rig::start().await;
    let keys = Path::new("online-keys");
    let files = fs::read_dir(first.dir.path().join(keys)).unwrap().map(|file| keys.join(file.unwrap().file_name()));
    for file in files.chain([CHECKPOINT_FILE.into(), ENTRIES_FILE.into()]) {
        fs::copy(first.dir.path().join(&file), rig.dir.path().join(&file)).unwrap();
    }
    let server = opened(&rig).await.unwrap();
    assert_eq!(server.log_checkpoint(), checkpoint, "the log is whole");
    assert!(server.log_proof(&one.manifest.hash().0).unwrap().is_some());

    // A lost release that comes again has its place; another one in the place of a lost one gets a place of its own.
    let other = maker.release(&first.repository, OsVersion::new(1, 5, 0), 2, &[0, 1]);
    for parts in [&one, &other] {
        assert!(!accept(&rig, &server, &maker.bundle(parts)).await.unwrap());
    }
    for server in [&server, &opened(&rig).await.unwrap()] {
        for (number, parts) in (0..).zip([&one, &two, &other]) {
            let proof = server.log_proof(&parts.manifest.hash().0).unwrap().unwrap();
            let logged = verify_logged(&server.keys().log.key().to_string(), &parts.manifest, &proof).unwrap();
            assert_eq!((logged.index, logged.size), (number, 3));
        }
    }
    let now = fs::read_to_string(rig.dir.path().join(ENTRIES_FILE)).unwrap();
    assert!(now.starts_with(&logged), "what was signed stays the beginning");
}

/// Attack, or a mishap: files of the log that do not belong together.
#[tokio::test]
async fn a_log_that_is_not_the_one_that_was_signed_is_not_gone_on_with() {
    let manifests: Vec<_> = (0..3).map(manifest).collect();
    let rig = Rig::logged(LIMITS, &entries(&manifests)).await;
    let (file, checkpoint) = (rig.dir.path().join(ENTRIES_FILE), rig.dir.path().join(CHECKPOINT_FILE));
    let refused = async |content: &str| {
        fs::write(&file, content).unwrap();
        match opened(&rig).await.map(|_| ()) {
            Err(RepositoryError::Log(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let short = refused(&entries(&manifests[..2])).await;
    assert!(matches!(short, ReleaseLogError::Short { have: 2, signed: 3, .. }), "{short}");
    let whole = entries(&manifests);
    let cut = refused(&whole[..whole.len() - 1]).await;
    assert!(matches!(cut, ReleaseLogError::Short { have: 2, signed: 3, .. }), "{cut}");
    let forked = refused(&entries(&[manifest(1), manifest(2), manifest(9), manifest(10)])).await;
    assert!(matches!(forked, ReleaseLogError::Forked { signed: 3, .. }), "{forked}");
    for (line, damage) in [(2, whole.replacen('\n', "\n\n", 1)), (4, format!("{whole}00\n")), (1, format!("0x{whole}"))]
    {
        let damaged = refused(&damage).await;
        assert!(matches!(damaged, ReleaseLogError::Damaged { line: at, .. } if at == line), "{damaged}");
    }
    fs::write(&file, &whole).unwrap();
    opened(&rig).await.unwrap();
    fs::remove_file(&checkpoint).unwrap();
    assert!(matches!(refused(&whole).await, ReleaseLogError::NoCheckpoint(_)));

    let other = Rig::start().await;
    fs::copy(other.dir.path().join(CHECKPOINT_FILE), &checkpoint).unwrap();
    assert!(matches!(refused(&whole).await, ReleaseLogError::Checkpoint(_)));
}

/// Attack, or a mishap: a backup that knew the database alone is put back, or somebody removes the log of a server that runs.
#[tokio::test]
async fn a_server_with_releases_and_without_its_log_begins_no_second_tree() {
    let rig = Rig::start().await;
    let maker = Maker::of(&rig.repository);
    upload(&rig, &maker.bundle(&maker.release(&rig.repository, V, 1, &[0, 1]))).await.expect(201);
    let checkpoint = rig.repository.log_checkpoint();
    let files = [ENTRIES_FILE, CHECKPOINT_FILE].map(|file| rig.dir.path().join(file));
    let away = files.each_ref().map(|file| rig.dir.path().join("away").join(file.file_name().unwrap()));
    fs::create_dir(rig.dir.path().join("away")).unwrap();
    for (file, away) in files.iter().zip(&away) {
        fs::rename(file, away).unwrap();
    }
    let refused = opened(&rig).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, RepositoryError::Log(ReleaseLogError::Gone(_))), "{refused}");
    assert!(refused.to_string().contains("Restore this file and release-log.checkpoint"), "{refused}");
    let next = maker.bundle(&maker.release(&rig.repository, OsVersion::new(1, 5, 0), 2, &[0, 1]));
    let refused = accept(&rig, &rig.repository, &next).await.unwrap_err();
    assert!(matches!(refused, UploadError::Log(ReleaseLogError::Gone(_))), "{refused}");
    assert!(files.iter().all(|file| !file.exists()), "nothing was signed");
    for (file, away) in files.iter().zip(&away) {
        fs::rename(away, file).unwrap();
    }
    assert_eq!(opened(&rig).await.unwrap().log_checkpoint(), checkpoint);
    accept(&rig, &rig.repository, &next).await.unwrap();
}
