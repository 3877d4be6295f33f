//! A slab: objects of one type, named by a u32, with a mark for each.

/// What an allocation of `bytes` really takes: allocators add a header and round up.
pub(crate) const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => bytes.saturating_add(23) & !15,
    }
}

/// What the elements of a list with this capacity really take.
pub(crate) const fn block_of<T>(capacity: usize) -> usize {
    block(capacity.saturating_mul(size_of::<T>()))
}

/// Objects of one type. A freed place holds `T::default()`, so a stale number reads an empty object
/// and never another type or other memory.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    items: Vec<T>,
    marks: Vec<Mark>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Free,
    White,
    Black,
}

impl<T: Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { items: Vec::new(), marks: Vec::new(), free: Vec::new() }
    }

    /// The bytes that the next insert takes from the system; 0 while a freed place is left.
    pub(crate) fn growth(&self) -> usize {
        if !self.free.is_empty() || self.items.len() < self.items.capacity() { 0 } else { self.step() * Self::place() }
    }

    fn step(&self) -> usize {
        (self.items.len() / 4).clamp(8, 1 << 16)
    }

    /// Bytes of one place with its mark.
    pub(crate) const fn place() -> usize {
        size_of::<T>() + 1
    }

    pub(crate) fn insert(&mut self, item: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.items[id as usize] = item;
            self.marks[id as usize] = Mark::White;
            return id;
        }
        if self.items.len() == self.items.capacity() {
            let step = self.step();
            self.items.reserve_exact(step);
            self.marks.reserve_exact(step);
        }
        self.items.push(item);
        self.marks.push(Mark::White);
        (self.items.len() - 1) as u32
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: u32) -> &T {
        &self.items[id as usize]
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }

    /// Marks an object; true when it was not marked before.
    pub(crate) fn mark(&mut self, id: u32) -> bool {
        match self.marks.get_mut(id as usize) {
            Some(m @ Mark::White) => {
                *m = Mark::Black;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_marked(&self, id: u32) -> bool {
        self.marks.get(id as usize) == Some(&Mark::Black)
    }

    /// Frees what is not marked, handing each to `drop_item`, and clears the marks.
    pub(crate) fn sweep(&mut self, mut drop_item: impl FnMut(u32, T)) {
        for id in 0..self.items.len() {
            match self.marks[id] {
                Mark::Black => self.marks[id] = Mark::White,
                Mark::White => {
                    self.marks[id] = Mark::Free;
                    drop_item(id as u32, std::mem::take(&mut self.items[id]));
                }
                Mark::Free => {}
            }
        }
        self.trim();
    }

    /// Gives free places at the end back and lists the others, lowest first to be used.
    fn trim(&mut self) {
        while self.marks.last() == Some(&Mark::Free) {
            self.marks.pop();
            self.items.pop();
        }
        if self.items.capacity() > self.items.len() * 2 + 64 {
            self.items.shrink_to(self.items.len() + 8);
            self.marks.shrink_to(self.items.len() + 8);
        }
        self.free.clear();
        self.free.extend((0..self.marks.len()).rev().filter(|&i| self.marks[i] == Mark::Free).map(|i| i as u32));
        if self.free.capacity() > self.free.len() * 2 + 64 {
            self.free.shrink_to_fit();
        }
    }

    /// Every object that lives, with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.items.iter().enumerate().filter(|(i, _)| self.marks[*i] != Mark::Free).map(|(i, t)| (i as u32, t))
    }

    /// Objects that live.
    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// Bytes reserved from the system and not used by an object.
    pub(crate) fn spare(&self) -> usize {
        (self.items.capacity() - self.len()) * Self::place() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_marked_is_freed_and_its_place_used_again() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..10).map(|i| slab.insert(i)).collect();
        assert!(slab.mark(ids[3]));
        assert!(!slab.mark(ids[3]));
        slab.mark(ids[9]);
        let mut freed = 0;
        slab.sweep(|_, _| freed += 1);
        assert_eq!((freed, slab.len()), (8, 2));
        assert_eq!(*slab.get(3), 3);
        assert_eq!(slab.insert(77), 0);
    }

    #[test]
    fn free_places_at_the_end_are_given_back() {
        let mut slab = Slab::new();
        for i in 0..1000 {
            slab.insert(i);
        }
        slab.mark(0);
        slab.sweep(|_, _| {});
        assert!(slab.spare() < 200 * Slab::<i32>::place());
    }
}
