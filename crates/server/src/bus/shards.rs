//! A map cut into parts with a lock each, so that devices rarely wait for each other.

use std::array;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 64;

pub(super) struct Shards<K, V> {
    hasher: RandomState,
    parts: [Mutex<HashMap<K, V>>; SHARDS],
}

impl<K: Hash + Eq, V> Shards<K, V> {
    /// Locks the part that holds `key`. Never keep the guard across an await.
    pub(super) fn lock(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.parts[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All keys, each part as it is at its moment.
    pub(super) fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        let keys = |part: &Mutex<HashMap<K, V>>| -> Vec<K> {
            part.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
        };
        self.parts.iter().flat_map(keys).collect()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), parts: array::from_fn(|_| Mutex::default()) }
    }
}
