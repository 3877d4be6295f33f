//! The table: a node array with the collision placement and rehash order of Squirrel 3.0.4, because scripts see it.

use super::block_of;
use super::strings::Strings;
use crate::value::{Value, float_to_int};

const MIN_NODES: usize = 4;
const NONE: u32 = u32::MAX;
/// Nodes that a quick look-up walks over at most.
const QUICK_NODES: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Node {
    key: Value,
    value: Value,
    next: u32,
    /// The node whose `next` this is: keys made to collide must not cost a walk to find it.
    before: u32,
}

const FREE: Node = Node { key: Value::Null, value: Value::Null, next: NONE, before: NONE };

/// Slots in node order, and the delegate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    nodes: Vec<Node>,
    first_free: u32,
    used: u32,
    pub(crate) delegate: Option<u32>,
}

/// The hash of a key; objects hash by their number.
#[inline(always)]
pub(crate) fn hash_of(key: Value, strings: &Strings) -> u32 {
    match key {
        Value::Str(s) => strings.hash(s),
        Value::Int(i) => i as u32,
        Value::Bool(b) => u32::from(b),
        Value::Float(f) => float_to_int(f) as u32,
        Value::Null => 0,
        Value::Table(i) | Value::Array(i) | Value::Closure(i) | Value::Native(i) | Value::Class(i) => i,
        Value::Instance(i) | Value::Generator(i) | Value::Weak(i) | Value::Host(i) | Value::Cell(i) => i,
    }
}

impl Table {
    /// A table with room for `n` slots, as a literal with `n` slots has.
    pub(crate) fn with_room(n: usize) -> Self {
        let mut table = Table::default();
        if n > 0 {
            table.reset(n.next_power_of_two().max(MIN_NODES));
        }
        table
    }

    /// Bytes of the node array for `n` slots.
    pub(crate) fn cost_of_room(n: usize) -> usize {
        if n == 0 { 0 } else { block_of::<Node>(n.next_power_of_two().max(MIN_NODES)) }
    }

    pub(crate) fn bytes(&self) -> usize {
        block_of::<Node>(self.nodes.len())
    }

    /// Nodes, free ones included.
    pub(crate) fn places(&self) -> usize {
        self.nodes.len()
    }

    fn reset(&mut self, size: usize) {
        self.nodes = vec![FREE; size];
        self.first_free = size as u32 - 1;
        self.used = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.used as usize
    }

    /// The node whose key `is` the one that is looked for. Long walks are counted: keys can be made to collide.
    #[inline(always)]
    fn walk(&self, hash: u32, strings: &Strings, is: impl Fn(Value) -> bool) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut at = hash as usize & (self.nodes.len() - 1);
        let mut steps = 0;
        loop {
            let node = &self.nodes[at];
            if is(node.key) {
                strings.count_probes(steps);
                return Some(at);
            }
            if node.next == NONE {
                strings.count_probes(steps);
                return None;
            }
            at = node.next as usize;
            steps += 1;
        }
    }

    /// As `walk`, but a long walk is given up, which [`Strings::gave_up`] tells: the dispatch's quick
    /// look-ups are not charged for.
    #[inline(always)]
    fn walk_quick(&self, hash: u32, strings: &Strings, is: impl Fn(Value) -> bool) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut at = hash as usize & (self.nodes.len() - 1);
        for _ in 0..QUICK_NODES {
            let node = &self.nodes[at];
            if is(node.key) {
                return Some(at);
            }
            if node.next == NONE {
                return None;
            }
            at = node.next as usize;
        }
        strings.give_up();
        None
    }

    /// For a string too long to be interned.
    #[cold]
    fn find_long(&self, id: u32, hash: u32, strings: &Strings) -> Option<usize> {
        self.walk(hash, strings, |key| matches!(key, Value::Str(k) if strings.equal(k, id)))
    }

    #[inline(always)]
    fn locate(&self, key: Value, strings: &Strings) -> Option<usize> {
        match key {
            Value::Null => None,
            Value::Str(id) if strings.is_long(id) => self.find_long(id, strings.hash(id), strings),
            key => self.walk(hash_of(key, strings), strings, |k| k.same_bits(key)),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, key: Value, strings: &Strings) -> Option<Value> {
        self.locate(key, strings).map(|at| self.nodes[at].value)
    }

    /// A quick `get` of any key: none too when the walk is long.
    #[inline(always)]
    pub(crate) fn get_quick(&self, key: Value, strings: &Strings) -> Option<Value> {
        match key {
            Value::Null => None,
            Value::Str(id) if strings.is_long(id) => None,
            key => {
                let at = self.walk_quick(hash_of(key, strings), strings, |k| k.same_bits(key))?;
                Some(self.nodes[at].value)
            }
        }
    }

    /// A quick `get` for an interned string whose hash is known.
    #[inline(always)]
    pub(crate) fn get_interned(&self, id: u32, hash: u32, strings: &Strings) -> Option<Value> {
        let at = self.walk_quick(hash, strings, |key| matches!(key, Value::Str(k) if k == id))?;
        Some(self.nodes[at].value)
    }

    /// A quick `set` for an interned string whose hash is known.
    #[inline(always)]
    pub(crate) fn set_interned(&mut self, id: u32, hash: u32, value: Value, strings: &Strings) -> bool {
        match self.walk_quick(hash, strings, |key| matches!(key, Value::Str(k) if k == id)) {
            Some(at) => {
                self.nodes[at].value = value;
                true
            }
            None => false,
        }
    }

    /// Replaces the value of a slot that exists; false when there is none.
    #[inline(always)]
    pub(crate) fn set(&mut self, key: Value, value: Value, strings: &Strings) -> bool {
        match self.locate(key, strings) {
            Some(at) => {
                self.nodes[at].value = value;
                true
            }
            None => false,
        }
    }

    /// The most bytes that inserting one more key may add; as much as is there is needed for the move.
    pub(crate) fn growth(&self) -> usize {
        if self.nodes.is_empty() {
            return block_of::<Node>(MIN_NODES);
        }
        // Only a collision takes the free node, so this over-estimates; the difference is given back.
        if self.first_free == 0 || self.used as usize * 4 >= self.nodes.len() * 3 { self.bytes() } else { 0 }
    }

    /// Adds or replaces a slot; true when it is new. The key is not null.
    pub(crate) fn insert(&mut self, key: Value, value: Value, strings: &Strings) -> bool {
        if self.set(key, value, strings) {
            return false;
        }
        if self.nodes.is_empty() {
            self.reset(MIN_NODES);
        }
        while !self.insert_new(key, value, strings) {
            self.rehash(true, strings);
            if self.set(key, value, strings) {
                break;
            }
        }
        true
    }

    /// Places a key that is not there. False when no free node is left after it: the key is in, with
    /// a null value and uncounted, and a rehash must follow, as the reference does it.
    fn insert_new(&mut self, key: Value, value: Value, strings: &Strings) -> bool {
        let mask = self.nodes.len() - 1;
        let mut at = hash_of(key, strings) as usize & mask;
        if !self.nodes[at].key.is_null() {
            let free = self.first_free as usize;
            let home = hash_of(self.nodes[at].key, strings) as usize & mask;
            if at > free && home != at {
                let node = self.nodes[at];
                self.link(node.before, free as u32);
                self.nodes[free] = Node { before: node.before, next: NONE, ..node };
                self.link(free as u32, node.next);
                self.nodes[at] = FREE;
            } else {
                let next = self.nodes[at].next;
                self.link(free as u32, next);
                self.link(at as u32, free as u32);
                at = free;
            }
        }
        self.nodes[at].key = key;
        loop {
            let free = &self.nodes[self.first_free as usize];
            if free.key.is_null() && free.next == NONE {
                self.nodes[at].value = value;
                self.used += 1;
                return true;
            }
            if self.first_free == 0 {
                return false;
            }
            self.first_free -= 1;
        }
    }

    /// Makes `next` the node after `at`; either may be none.
    fn link(&mut self, at: u32, next: u32) {
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.before = at;
        }
    }

    fn rehash(&mut self, force: bool, strings: &Strings) {
        let old = self.nodes.len().max(MIN_NODES);
        let used = self.used as usize;
        let size = if used >= old - old / 4 {
            old * 2
        } else if used <= old / 4 && old > MIN_NODES {
            old / 2
        } else if force {
            old
        } else {
            return;
        };
        let nodes = std::mem::take(&mut self.nodes);
        strings.count_probes(nodes.len() as u32);
        self.reset(size);
        for node in nodes {
            // Every key is a new one here, and there is room for all.
            if !node.key.is_null() {
                self.insert_new(node.key, node.value, strings);
            }
        }
    }

    /// Removes a slot and returns its value.
    pub(crate) fn remove(&mut self, key: Value, strings: &Strings) -> Option<Value> {
        let at = self.locate(key, strings)?;
        let value = std::mem::take(&mut self.nodes[at].value);
        self.nodes[at].key = Value::Null;
        self.used -= 1;
        self.rehash(false, strings);
        Some(value)
    }

    pub(crate) fn clear(&mut self) {
        let old = self.nodes.len();
        if old > 0 {
            self.reset(if old > MIN_NODES { old / 2 } else { old });
        }
    }

    /// The first slot at node `from` or after: (its node, key, value).
    #[inline(always)]
    pub(crate) fn next(&self, from: usize) -> Option<(usize, Value, Value)> {
        let rest = self.nodes.get(from..)?;
        let skip = rest.iter().position(|n| !n.key.is_null())?;
        Some((from + skip, rest[skip].key, rest[skip].value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Value, Value)> {
        self.nodes.iter().filter(|n| !n.key.is_null()).map(|n| (n.key, n.value))
    }

    /// A copy as `clone` makes it: the same number of nodes, slots inserted again in node order.
    pub(crate) fn copy(&self, strings: &Strings) -> Table {
        let mut table = Table::with_room(self.nodes.len());
        for (key, value) in self.iter() {
            table.insert(key, value, strings);
        }
        table.delegate = self.delegate;
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::strings::SharedStrings;
    use std::sync::Arc;

    fn order(names: &[&str], room: usize) -> Vec<String> {
        let mut shared = SharedStrings::default();
        let ids: Vec<u32> = names.iter().map(|n| shared.intern(n.as_bytes())).collect();
        let strings = Strings::new(Arc::new(shared));
        let mut table = Table::with_room(room);
        for id in ids {
            table.insert(Value::Str(id), Value::Int(1), &strings);
        }
        let name = |v| match v {
            Value::Str(s) => String::from_utf8_lossy(strings.bytes(s)).into_owned(),
            _ => String::new(),
        };
        table.iter().map(|(k, _)| name(k)).collect()
    }

    #[test]
    fn slots_come_in_the_order_of_the_reference() {
        assert_eq!(order(&["i1", "i2"], 2), ["i1", "i2"]);
        let five = ["one", "two", "three", "four", "five"];
        assert_eq!(order(&five, 5), ["five", "three", "one", "two", "four"]);
    }

    #[test]
    fn removing_and_adding_keeps_every_other_slot() {
        let strings = Strings::new(Arc::default());
        let mut table = Table::default();
        for i in 0..1000 {
            assert!(table.insert(Value::Int(i * 64), Value::Int(i), &strings));
        }
        for i in (0..1000).step_by(3) {
            assert_eq!(table.remove(Value::Int(i * 64), &strings), Some(Value::Int(i)));
        }
        for i in 0..1000 {
            let want = (i % 3 != 0).then_some(Value::Int(i));
            assert_eq!(table.get(Value::Int(i * 64), &strings), want);
        }
        assert_eq!(table.len(), table.iter().count());
    }

    #[test]
    fn keys_in_each_others_places_are_moved_without_a_walk() {
        // Half of the keys fill one chain, the other half want the places of its members, the deepest first.
        let n = 1 << 15;
        let strings = Strings::new(Arc::default());
        let mut table = Table::with_room(2 * n);
        let step = 2 * n as i32;
        for i in 0..n as i32 / 2 {
            table.insert_new(Value::Int(i * step), Value::Int(i), &strings);
        }
        for i in 0..n as i32 / 2 {
            table.insert_new(Value::Int(step - 1 - i), Value::Int(i), &strings);
        }
        assert_eq!(table.len(), n);
        for i in [0, 1, n as i32 / 4, n as i32 / 2 - 1] {
            assert_eq!(table.get(Value::Int(step - 1 - i), &strings), Some(Value::Int(i)));
        }
        assert_eq!(table.get(Value::Int(step * 5), &strings), Some(Value::Int(5)));
    }
}
