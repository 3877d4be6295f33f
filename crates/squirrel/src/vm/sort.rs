//! `sort`: the reference's heapsort, step by step, since the order of equal elements can be seen.

use super::Vm;
use super::arith::Compared;
use super::task::Next;
use crate::throw::Throw;
use crate::value::Value;

/// A sort under way.
#[derive(Debug)]
pub(crate) struct Sort {
    pub(super) array: Value,
    pub(super) callback: Value,
    size: usize,
    /// Counts down through the building of the heap, then through the taking from it.
    i: usize,
    building: bool,
    root: usize,
    bottom: usize,
    largest: usize,
    waiting: Waiting,
    /// The comparison that the end of a slice came before.
    put_off: Option<(usize, usize)>,
}

/// Which comparison it waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waiting {
    /// None: a sift is to begin.
    Start,
    Children,
    Root,
}

impl Sort {
    pub(crate) fn new(array: Value, size: usize, callback: Value) -> Sort {
        let i = size / 2;
        let bottom = size.saturating_sub(1);
        Sort {
            array,
            callback,
            size,
            i,
            building: true,
            root: i,
            bottom,
            largest: 0,
            waiting: Waiting::Start,
            put_off: None,
        }
    }

    pub(super) fn step(&mut self, vm: &mut Vm, value: Option<Value>) -> Result<Next, Throw> {
        let mut result = match value {
            None => None,
            Some(v) => Some(
                v.to_int()
                    .ok_or_else(|| Throw::message("numeric value expected as return value of the compare function"))?,
            ),
        };
        loop {
            let pair = match (self.waiting, result.take()) {
                _ if self.put_off.is_some() => self.put_off.take().unwrap_or_default(),
                (Waiting::Children, Some(r)) => {
                    self.largest = if r > 0 { self.root * 2 } else { self.root * 2 + 1 };
                    self.waiting = Waiting::Root;
                    (self.root, self.largest)
                }
                (Waiting::Root, Some(r)) if r < 0 => {
                    if self.root == self.largest {
                        return Err(Throw::message("inconsistent compare function"));
                    }
                    self.swap(vm, self.root, self.largest)?;
                    self.root = self.largest;
                    match self.sift() {
                        Some(pair) => pair,
                        None => continue,
                    }
                }
                (Waiting::Root, Some(_)) => {
                    self.waiting = Waiting::Start;
                    if !self.advance(vm)? {
                        return Ok(Next::Done(Value::Null));
                    }
                    continue;
                }
                _ => match self.sift() {
                    Some(pair) => pair,
                    None if self.advance(vm)? => continue,
                    None => return Ok(Next::Done(Value::Null)),
                },
            };
            let (a, b) = (self.item(vm, pair.0)?, self.item(vm, pair.1)?);
            if !self.callback.is_null() {
                return Ok(Next::Call(self.callback, [vm.heap.root(), a, b], 3));
            }
            if vm.is_spent() {
                self.put_off = Some(pair);
                return Ok(Next::Pause);
            }
            vm.fuel.slice -= 1;
            match vm.compare(a, b)? {
                Compared::Is(r) => result = Some(r),
                Compared::Ask(meta) => return Ok(Next::Call(meta, [a, b, Value::Null], 2)),
            }
        }
    }

    /// The next comparison of this sift; None when it is at its end.
    fn sift(&mut self) -> Option<(usize, usize)> {
        let child = self.root * 2;
        if child > self.bottom || self.size == 0 {
            self.waiting = Waiting::Start;
            return None;
        }
        if child == self.bottom {
            self.largest = child;
            self.waiting = Waiting::Root;
            return Some((self.root, self.largest));
        }
        self.waiting = Waiting::Children;
        Some((child, child + 1))
    }

    /// The next sift; false when the array is sorted.
    fn advance(&mut self, vm: &mut Vm) -> Result<bool, Throw> {
        if self.building {
            if self.i > 0 {
                self.i -= 1;
                self.root = self.i;
                return Ok(true);
            }
            self.building = false;
            self.i = self.size;
        }
        if self.i < 2 {
            return Ok(false);
        }
        self.i -= 1;
        self.swap(vm, 0, self.i)?;
        self.root = 0;
        self.bottom = self.i - 1;
        Ok(true)
    }

    fn item(&self, vm: &Vm, at: usize) -> Result<Value, Throw> {
        let Value::Array(id) = self.array else { return Err(changed()) };
        vm.heap.arrays.get(id).get(at).map(|&v| vm.heap.read(v)).ok_or_else(changed)
    }

    fn swap(&self, vm: &mut Vm, a: usize, b: usize) -> Result<(), Throw> {
        let Value::Array(id) = self.array else { return Err(changed()) };
        let items = vm.heap.arrays.get_mut(id);
        if a.max(b) >= items.len() {
            return Err(changed());
        }
        items.swap(a, b);
        Ok(())
    }
}

fn changed() -> Throw {
    Throw::message("the array became shorter while it was sorted")
}
