//! A bounded cache: two halves, of which the older is forgotten when the younger is full.

use std::collections::HashMap;
use std::hash::Hash;

/// Keeps what was used lately, at most `bound` units in all.
pub(super) struct Cache<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_units: usize,
    half: usize,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    pub(super) fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_units: 0, half: bound / 2 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, units) = self.old.remove(key)?;
        self.put(*key, value.clone(), units);
        Some(value)
    }

    /// Keeps a value that costs `units`; one that would fill half the cache alone is not kept.
    pub(super) fn put(&mut self, key: K, value: V, units: usize) {
        self.remove(&key);
        if units > self.half {
            return;
        }
        if self.young_units.saturating_add(units) > self.half {
            self.old = std::mem::take(&mut self.young);
            self.young_units = 0;
        }
        self.young_units += units;
        self.young.insert(key, (value, units));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((_, units)) = self.young.remove(key) {
            self.young_units -= units;
        }
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let mut cache = Cache::new(8);
        cache.put(0, 'a', 1);
        for number in 1..1_000 {
            cache.put(number, 'b', 1);
            assert_eq!(cache.get(&0), Some('a'), "after {number}");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&999), Some('b'));
    }

    #[test]
    fn a_value_of_half_the_bound_is_kept_and_a_larger_one_is_not() {
        let mut cache = Cache::new(8);
        cache.put(1, 'a', 4);
        cache.put(2, 'b', 5);
        assert_eq!(cache.get(&1), Some('a'));
        assert_eq!(cache.get(&2), None);
    }

    #[test]
    fn what_is_removed_is_gone_from_both_halves() {
        let mut cache = Cache::new(2);
        cache.put(1, 'a', 1);
        cache.put(2, 'b', 1);
        cache.remove(&1);
        cache.remove(&2);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
        assert_eq!(cache.young_units, 0);
    }
}
