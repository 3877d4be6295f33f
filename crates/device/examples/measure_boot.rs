//! How long a verified boot takes: `cargo run --release --package vouch-device --example measure_boot`.
//!
//! One image of 10 MB in a slot, read from the page cache: each round loads it as `vouch device boot` does at each start
//! (signature, decryption with authentication, SHA-256, a sealed and locked file in memory). Beside it, in the same process: the
//! same bytes in memory decrypted chunk by chunk, and hashed. The median of the rounds is printed.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

#[path = "../src/boot/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::time::{Duration, Instant};

use keys::chunks::ContentKey;
use keys::hashes::sha256;
use keys::storage::StorageRoot;
use release::floors::Floors;
use vouch_device::boot::{BootFolder, Source};
use vouch_device::limits::LIMITS;
use vouch_device::storage::FolderDisk;

const BYTES: usize = 10_000_000;
const CHUNK: usize = 64 * 1024;
const ROUNDS: usize = 50;

fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

fn said(what: &str, time: Duration) {
    let ms = time.as_secs_f64() * 1000.0;
    println!("{what:<48} {ms:>7.2} ms  {:>7.0} MB/s", BYTES as f64 / 1e6 / time.as_secs_f64());
}

fn main() {
    let program: Vec<u8> = (0..BYTES).map(|at| (at * 31 + at / 251) as u8).collect();
    let (dir, root) = (tempfile::tempdir().unwrap(), StorageRoot::generate());
    let image = fixture::image("1.0.0", 0, &program);
    let disk = FolderDisk::new(dir.path());
    BootFolder::create(disk.clone(), &root, &fixture::anchors(), image.source(), &LIMITS).unwrap();

    let key = ContentKey::generate().chunks([0; 7]).unwrap();
    let mut sealed: Vec<Vec<u8>> = program.chunks(CHUNK).map(<[u8]>::to_vec).collect();
    for (position, chunk) in sealed.iter_mut().enumerate() {
        key.seal(position as u32, false, b"", chunk).unwrap();
    }
    let mut plain = vec![0; CHUNK];
    let raw = median(|| {
        for (position, chunk) in sealed.iter().enumerate() {
            key.open_into(position as u32, false, b"", chunk, &mut plain[..chunk.len() - 16]).unwrap();
        }
        black_box(&plain);
    });
    let hash = median(|| {
        black_box(sha256(&program));
    });
    let load = median(|| {
        let mut boot = BootFolder::open(disk.clone(), &root, &LIMITS).unwrap();
        black_box(boot.load(&Floors::NONE, true).unwrap());
    });
    said("AES-128-GCM in memory, 64 KiB chunks", raw);
    said("SHA-256 in memory", hash);
    said("a whole load from the slot", load);
    let rest = load.saturating_sub(hash);
    println!(
        "decryption with authentication, without the hash: {:.2} of AES-128-GCM in memory",
        raw.as_secs_f64() / rest.as_secs_f64()
    );
}
