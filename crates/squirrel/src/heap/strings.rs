//! Byte strings: short ones interned, so that equal strings have equal numbers; long ones kept as they are.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use super::slab::{Slab, block};

/// The longest string that is interned. Longer ones are compared by content.
pub(crate) const INTERNED_MAX: usize = 40;

#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) bytes: Box<[u8]>,
    /// The hash that decides a table's order.
    hash: u32,
    /// Keyed hash for the intern index: the language's own hash is trivial to collide.
    keyed: u32,
}

/// The string hash of Squirrel 3.0.4 on x86, where `char` is signed.
pub(crate) fn language_hash(bytes: &[u8]) -> u32 {
    let mut h = bytes.len() as u32;
    let step = (bytes.len() >> 5) | 1;
    let mut left = bytes.len();
    let mut rest = bytes.iter();
    while left >= step {
        let Some(&b) = rest.next() else { break };
        let extended = u32::from(i16::from(b as i8) as u16);
        h ^= (h << 5).wrapping_add(h >> 2).wrapping_add(extended);
        left -= step;
    }
    h
}

/// A folded-multiply hash under a key drawn once for the process.
fn keyed_hash(bytes: &[u8]) -> u32 {
    static KEYS: OnceLock<(u64, u64)> = OnceLock::new();
    let &(k0, k1) = KEYS.get_or_init(|| (RandomState::new().hash_one(1), RandomState::new().hash_one(2) | 1));
    let fold = |a: u64, b: u64| {
        let wide = u128::from(a) * u128::from(b);
        (wide as u64) ^ ((wide >> 64) as u64)
    };
    let mut h = k0 ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, more)) = rest.split_first_chunk::<8>()
        && !more.is_empty()
    {
        h = fold(h ^ u64::from_le_bytes(*word), k1);
        rest = more;
    }
    fold(fold(h ^ last_word(rest), k1), k0 | 1) as u32
}

/// The last 0 to 8 bytes as one number, without a loop.
fn last_word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    match bytes {
        [a] => u64::from(*a),
        [a, b] => u64::from(*a) | u64::from(*b) << 8,
        [a, b, c] => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
        _ => 0,
    }
}

/// Open-addressed set of string numbers.
#[derive(Clone, Debug, Default)]
struct Index {
    places: Vec<u32>,
    used: usize,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    fn find(&self, keyed: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mask = self.places.len() - 1;
        let mut at = keyed as usize & mask;
        while self.places[at] != EMPTY {
            if is(self.places[at]) {
                return Some(self.places[at]);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn put(&mut self, id: u32, keyed: u32) {
        let mask = self.places.len() - 1;
        let mut at = keyed as usize & mask;
        while self.places[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at] = id;
        self.used += 1;
    }

    fn is_full(&self) -> bool {
        (self.used + 1) * 4 > self.places.len() * 3
    }

    fn rebuild(&mut self, size: usize, entries: impl Iterator<Item = (u32, u32)>) {
        self.places.clear();
        self.places.resize(size, EMPTY);
        self.places.shrink_to_fit();
        self.used = 0;
        for (id, keyed) in entries {
            self.put(id, keyed);
        }
    }
}

/// The strings that the library and a program bring: built once, shared by every VM of a deployment.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedStrings {
    entries: Vec<Entry>,
    index: Index,
}

impl SharedStrings {
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> u32 {
        let keyed = keyed_hash(bytes);
        if let Some(id) = self.index.find(keyed, |id| &*self.entries[id as usize].bytes == bytes) {
            return id;
        }
        if self.index.is_full() {
            let size = (self.index.places.len() * 2).max(64);
            let entries = self.entries.iter().enumerate().map(|(i, e)| (i as u32, e.keyed));
            self.index.rebuild(size, entries);
        }
        let id = self.entries.len() as u32;
        self.entries.push(Entry { bytes: bytes.into(), hash: language_hash(bytes), keyed });
        self.index.put(id, keyed);
        id
    }

    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        self.entries.get(id as usize).map_or(&[], |e| &e.bytes)
    }
}

/// All strings of one VM: the shared ones first, then its own.
#[derive(Clone, Debug)]
pub(crate) struct Strings {
    shared: Arc<SharedStrings>,
    base: u32,
    local: Slab<Entry>,
    index: Index,
    /// Work that the instruction budget was not charged for yet, in sixteenths of an instruction.
    work: Cell<u64>,
    /// A quick walk was given up.
    long: Cell<bool>,
}

/// A walk over so many nodes is free.
const FREE_PROBES: u32 = 8;
/// Sixteenths of an instruction in one.
const SIXTEENTHS: u64 = 16;

impl Strings {
    /// Counts a long walk over nodes or objects.
    #[inline(always)]
    pub(crate) fn count_probes(&self, steps: u32) {
        if steps > FREE_PROBES {
            self.work.set(self.work.get().saturating_add(steps.into()));
        }
    }

    /// Counts work that costs as much as so many instructions.
    #[inline]
    pub(crate) fn count_work(&self, units: u64) {
        self.work.set(self.work.get().saturating_add(units.saturating_mul(SIXTEENTHS)));
    }

    /// Sixteenths of instructions that were not charged yet.
    #[inline(always)]
    pub(crate) fn work(&self) -> u64 {
        self.work.get()
    }

    /// The work that was not charged yet, in instructions.
    pub(crate) fn take_work(&self) -> u64 {
        self.work.take() / SIXTEENTHS
    }

    /// A quick look-up leaves a long walk to one that is charged for.
    #[cold]
    pub(super) fn give_up(&self) {
        self.long.set(true);
    }

    /// Whether a quick look-up gave up since this was asked last.
    #[inline(always)]
    pub(super) fn gave_up(&self) -> bool {
        self.long.take()
    }

    pub(crate) fn new(shared: Arc<SharedStrings>) -> Self {
        let base = shared.entries.len() as u32;
        Strings {
            shared,
            base,
            local: Slab::new(),
            index: Index::default(),
            work: Cell::new(0),
            long: Cell::new(false),
        }
    }

    #[inline(always)]
    fn entry(&self, id: u32) -> &Entry {
        if id < self.base { &self.shared.entries[id as usize] } else { self.local.get(id - self.base) }
    }

    #[inline(always)]
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        &self.entry(id).bytes
    }

    #[inline(always)]
    pub(crate) fn hash(&self, id: u32) -> u32 {
        self.entry(id).hash
    }

    pub(crate) fn is_long(&self, id: u32) -> bool {
        self.entry(id).bytes.len() > INTERNED_MAX
    }

    #[inline(always)]
    pub(crate) fn equal(&self, a: u32, b: u32) -> bool {
        a == b || self.long_equal(a, b)
    }

    fn long_equal(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.entry(a).bytes, &self.entry(b).bytes);
        if a.len() <= INTERNED_MAX || a.len() != b.len() {
            return false;
        }
        self.count_work(a.len() as u64 / 64);
        a == b
    }

    /// The number of an interned string that is already there.
    pub(crate) fn find(&self, bytes: &[u8], keyed: u32) -> Option<u32> {
        let shared = &self.shared;
        let in_shared = shared.index.find(keyed, |id| {
            let e = &shared.entries[id as usize];
            e.keyed == keyed && &*e.bytes == bytes
        });
        if in_shared.is_some() {
            return in_shared;
        }
        self.index.find(keyed, |id| {
            let e = self.local.get(id - self.base);
            e.keyed == keyed && &*e.bytes == bytes
        })
    }

    pub(crate) fn key_of(bytes: &[u8]) -> Option<u32> {
        (bytes.len() <= INTERNED_MAX).then(|| keyed_hash(bytes))
    }

    /// Bytes that the next insert takes beside the string's own.
    pub(crate) fn growth(&self) -> usize {
        self.local.growth() + if self.index.is_full() { self.index.places.len() * 4 + 64 } else { 0 }
    }

    /// Adds a string that `find` did not find; `keyed` is None for one too long to be interned.
    pub(crate) fn insert(&mut self, bytes: Box<[u8]>, keyed: Option<u32>) -> u32 {
        let hash = language_hash(&bytes);
        let id = self.local.insert(Entry { bytes, hash, keyed: keyed.unwrap_or(0) }) + self.base;
        if let Some(keyed) = keyed {
            if self.index.is_full() {
                let size = (self.index.places.len() * 2).max(16);
                self.reindex(size);
            } else {
                self.index.put(id, keyed);
            }
        }
        id
    }

    fn reindex(&mut self, size: usize) {
        let base = self.base;
        let short = self.local.iter().filter(|(_, e)| e.bytes.len() <= INTERNED_MAX);
        self.index.rebuild(size, short.map(|(i, e)| (i + base, e.keyed)));
    }

    pub(crate) fn mark(&mut self, id: u32) {
        if id >= self.base {
            self.local.mark(id - self.base);
        }
    }

    /// Frees what is not marked; returns the bytes freed.
    pub(crate) fn sweep(&mut self) -> usize {
        let mut freed = 0;
        let mut short = false;
        self.local.sweep(|_, e| {
            short |= e.bytes.len() <= INTERNED_MAX;
            freed += Self::cost(e.bytes.len());
        });
        if short {
            let mut size = self.index.places.len();
            // Half at most: the next turn of the program probably makes as many strings again.
            if size > 16 && self.local.len() * 8 < size {
                size /= 2;
            }
            self.reindex(size);
        }
        freed
    }

    /// Bytes that a string of this length is charged for.
    pub(crate) fn cost(len: usize) -> usize {
        block(len) + Slab::<Entry>::place() + 8
    }

    pub(crate) fn spare(&self) -> usize {
        self.local.spare() + self.index.places.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_samples_from_the_front() {
        assert_eq!(language_hash(b""), 0);
        assert_eq!(language_hash(b"a"), 1 ^ (32 + 97));
        let long = [b'x'; 200];
        let mut other = long;
        other[150] = b'y';
        assert_eq!(language_hash(&long), language_hash(&other));
    }

    #[test]
    fn equal_short_strings_have_one_number_and_die_when_unmarked() {
        let mut shared = SharedStrings::default();
        let len = shared.intern(b"len");
        assert_eq!(shared.intern(b"len"), len);
        let mut strings = Strings::new(Arc::new(shared));
        assert_eq!(strings.find(b"len", keyed_hash(b"len")), Some(len));
        let key = Strings::key_of(b"abc");
        let id = strings.insert(b"abc".as_slice().into(), key);
        for i in 0..100_u32 {
            let s = i.to_string();
            strings.insert(s.as_bytes().into(), Strings::key_of(s.as_bytes()));
        }
        assert_eq!(strings.find(b"abc", keyed_hash(b"abc")), Some(id));
        strings.mark(id);
        assert!(strings.sweep() > 0);
        assert_eq!(strings.find(b"abc", keyed_hash(b"abc")), Some(id));
        assert_eq!(strings.find(b"42", keyed_hash(b"42")), None);
    }
}
