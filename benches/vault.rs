//! What the vault costs: beside one file that is written and synced, and beside nothing but the cipher.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use device::storage::{DurableFiles, FolderDisk};
use keys::chunks::{ContentKey, TAG_BYTES};
use keys::hashes::sha256;
use keys::storage::StorageRoot;
use release::cipher::Decryptor;
use release::header::ImageHeader;
use vault::limits::LIMITS;
use vault::{Change, Record, Storage, Vault, VaultKeys};

use crate::table::Rounds;

/// Rounds; each measures everything once, and the first is thrown away.
pub const ROUNDS: usize = 9;
/// The lengths of what is stored, in bytes.
pub const SIZES: [usize; 3] = [100, 4 * 1024, 1024 * 1024];
/// Writes of a round.
pub const WRITES: usize = 40;
/// Reads of a round.
pub const READS: usize = 200;
/// The longest record, in bytes.
pub const LARGE: usize = LIMITS.app;
/// An OS image, in bytes.
pub const IMAGE: usize = 10 << 20;
/// Plain bytes of a chunk, in the vault and in an image.
const CHUNK: usize = LIMITS.chunk;
const LARGE_READS: usize = 20;

/// Values of one comparison, with the ratio of each round.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The yardstick.
    pub bare: Rounds,
    /// Ours.
    pub ours: Rounds,
    /// Ours by the yardstick.
    pub ratio: Rounds,
}

impl Comparison {
    fn add(&mut self, bare: f64, ours: f64) {
        self.bare.push(bare);
        self.ours.push(ours);
        self.ratio.push(ours / bare);
    }
}

/// Microseconds to store and to read one record of this length in `dir`, beside a plain file: written over and synced, and read.
pub fn on_disk(dir: &Path, size: usize) -> Result<(Comparison, Comparison)> {
    let content = vec![0x5a; size];
    let raw = dir.join("raw");
    let keys = VaultKeys::derive(&StorageRoot::generate())?;
    let change = [Change { record: Record::App, to: Some(&content) }];
    let folder = dir.join(format!("vault-{size}"));
    std::fs::create_dir(&folder)?;
    let mut vault = Vault::create(DurableFiles(FolderDisk::new(&folder)), keys, 0, &change)?;
    let (mut writes, mut reads) = (Comparison::default(), Comparison::default());
    for round in 0..=ROUNDS {
        let write = each(WRITES, || {
            Ok(File::create(&raw).and_then(|mut file| file.write_all(&content).and_then(|()| file.sync_all()))?)
        })?;
        let sealed = each(WRITES, || Ok(vault.write(&change)?))?;
        let read = each(READS, || Ok(std::fs::read(&raw)?))?;
        let opened = each(READS, || vault.read(Record::App)?.context("the record is gone"))?;
        if round > 0 {
            writes.add(write, sealed);
            reads.add(read, opened);
        }
    }
    Ok((writes, reads))
}

/// Megabytes per second of opening the longest record that memory holds, beside the cipher alone on the same chunks.
pub fn record_in_memory() -> Result<Comparison> {
    let content = vec![0x5a; LARGE];
    let keys = VaultKeys::derive(&StorageRoot::generate())?;
    let vault = Vault::create(Memory::default(), keys, 0, &[Change { record: Record::App, to: Some(&content) }])?;
    let cipher = Cipher::new(&content)?;
    compare(
        LARGE,
        // In place, as the vault does: so it, too, needs anew each time what it is to open.
        || {
            let mut copy = cipher.sealed.clone();
            for (at, chunk) in copy.chunks_mut(CHUNK + TAG_BYTES).enumerate() {
                cipher.key.open_in_place(nonce(at), Aad::empty(), chunk)?;
            }
            Ok(())
        },
        || vault.read(Record::App)?.context("the record is gone"),
    )
}

/// Megabytes per second of decrypting an OS image that memory holds, beside the cipher alone on the same chunks.
pub fn image_in_memory() -> Result<Comparison> {
    let content = vec![0x5a; IMAGE];
    let key = ContentKey::generate();
    let header = ImageHeader { chunk_log2: CHUNK.ilog2() as u8, prefix: [1; 7], length: IMAGE as u64, id: [2; 16] };
    // What each chunk authenticates, as docs/image.cddl has it.
    let (chunks, aad) = (key.chunks(header.prefix)?, sha256(&header.to_bytes()));
    let mut image = Vec::new();
    for (at, plain) in content.chunks(CHUNK).enumerate() {
        let mut chunk = plain.to_vec();
        chunks.seal(u32::try_from(at)?, (at + 1) as u64 == header.chunks(), &aad, &mut chunk)?;
        image.append(&mut chunk);
    }
    let cipher = Cipher::new(&content)?;
    let mut plain = vec![0; CHUNK];
    compare(
        IMAGE,
        || {
            for (at, chunk) in cipher.sealed.chunks(CHUNK + TAG_BYTES).enumerate() {
                let (chunk, tag) = chunk.split_at(chunk.len() - TAG_BYTES);
                cipher.key.open_separate_gather(nonce(at), Aad::empty(), chunk, tag, &mut plain[..chunk.len()])?;
            }
            Ok(())
        },
        || {
            let (mut decryptor, mut rest) = (Decryptor::new(header, &key)?, &image[..]);
            while decryptor.next_chunk(&mut rest)?.is_some() {}
            Ok(decryptor.finish()?)
        },
    )
}

/// The cipher without anything around it, and what it is to open.
struct Cipher {
    key: LessSafeKey,
    sealed: Vec<u8>,
}

impl Cipher {
    fn new(content: &[u8]) -> Result<Cipher> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16])?);
        let mut sealed = Vec::new();
        for (at, chunk) in content.chunks(CHUNK).enumerate() {
            let mut chunk = chunk.to_vec();
            key.seal_in_place_append_tag(nonce(at), Aad::empty(), &mut chunk)?;
            sealed.append(&mut chunk);
        }
        Ok(Cipher { key, sealed })
    }
}

fn nonce(at: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(at as u64).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Megabytes per second of two ways to open `length` bytes.
fn compare<A, B>(
    length: usize,
    mut bare: impl FnMut() -> Result<A>,
    mut ours: impl FnMut() -> Result<B>,
) -> Result<Comparison> {
    let mut speed = Comparison::default();
    for round in 0..=ROUNDS {
        let (bare, ours) = (each(LARGE_READS, &mut bare)?, each(LARGE_READS, &mut ours)?);
        if round > 0 {
            speed.add(length as f64 / bare, length as f64 / ours);
        }
    }
    Ok(speed)
}

/// Microseconds that each of `count` calls takes.
fn each<T>(count: usize, mut call: impl FnMut() -> Result<T>) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..count {
        drop(call()?);
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / count as f64)
}

/// A storage without a disk.
#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Storage for Memory {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).map(|bytes| bytes[..bytes.len().min(most.saturating_add(1))].to_vec()))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}
