//! The door in front of TLS: so many handshakes at a time, first come first served, and no address may fill it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::lobby::Source;
use crate::gateway::limits::GatewayLimits;

/// Admits connections to their handshake.
///
/// Within a source the order is first in, first out; sources with someone waiting take turns. A source never holds more than its share, so
/// that connections which stop half-way keep nobody else out.
#[derive(Debug)]
pub(crate) struct Door {
    share: usize,
    most_waiting: usize,
    most_waiting_per_source: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    waiting: usize,
    sources: HashMap<Source, Queue>,
    /// Sources whose turn can come: someone waits and the share is not used up. Each at most once.
    turns: VecDeque<Source>,
}

#[derive(Debug, Default)]
struct Queue {
    inside: usize,
    in_turn: bool,
    waiting: VecDeque<oneshot::Sender<DoorPass>>,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoorFull;

/// The right to one handshake and one challenge; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct DoorPass {
    /// None once the pass is void: nobody took it, and its place was given back already.
    door: Option<Arc<Door>>,
    source: Source,
}

impl Door {
    pub(crate) fn new(limits: &GatewayLimits) -> Arc<Self> {
        Arc::new(Self {
            share: limits.door_per_source,
            most_waiting: limits.waiting,
            most_waiting_per_source: limits.waiting_per_source,
            state: Mutex::new(State { free: limits.door, ..State::default() }),
        })
    }

    /// Joins the queue; the receiver yields the pass. Dropping the receiver leaves the queue. When too many wait, a source below its share
    /// takes the place of the newest of the source that has most; that one's receiver ends without a pass.
    ///
    /// # Errors
    /// [`DoorFull`] when too many wait, and this source has its share or none has more than it. Who can come in at once is never refused.
    pub(crate) fn enter(self: &Arc<Self>, source: Source) -> Result<oneshot::Receiver<DoorPass>, DoorFull> {
        let (grant, pass) = oneshot::channel();
        let mut state = self.lock();
        let (free, waiting) = (state.free, state.waiting);
        let queue = state.sources.entry(source).or_default();
        let at_once = free > 0 && queue.waiting.is_empty() && queue.inside < self.share;
        if !at_once && waiting >= self.most_waiting {
            let has_share = queue.waiting.len() >= self.most_waiting_per_source;
            if has_share || !state.push_out(self.most_waiting_per_source) {
                state.forget_if_unused(source);
                return Err(DoorFull);
            }
        }
        state.sources.entry(source).or_default().waiting.push_back(grant);
        state.waiting += 1;
        state.offer_turn(source, self.share);
        self.admit(&mut state);
        Ok(pass)
    }

    /// Lets in whoever can come in.
    fn admit(self: &Arc<Self>, state: &mut State) {
        while state.free > 0
            && let Some(source) = state.turns.pop_front()
        {
            let Some(queue) = state.sources.get_mut(&source) else { continue };
            queue.in_turn = false;
            let Some(grant) = queue.waiting.pop_front() else { continue };
            state.waiting -= 1;
            // A connection that is gone costs a look, never a place. The pass is voided rather than dropped, since its drop takes the lock.
            match grant.send(DoorPass { door: Some(self.clone()), source }) {
                Ok(()) => {
                    queue.inside += 1;
                    state.free -= 1;
                }
                Err(mut unused) => drop(unused.door.take()),
            }
            state.offer_turn(source, self.share);
            state.forget_if_unused(source);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn offer_turn(&mut self, source: Source, share: usize) {
        if let Some(queue) = self.sources.get_mut(&source)
            && !queue.in_turn
            && !queue.waiting.is_empty()
            && queue.inside < share
        {
            queue.in_turn = true;
            self.turns.push_back(source);
        }
    }

    /// Sends away the newest of the source that has most in the queue, if that is more than its share.
    fn push_out(&mut self, share: usize) -> bool {
        let greedy = self.sources.iter_mut().max_by_key(|(_, queue)| queue.waiting.len());
        let Some((&source, queue)) = greedy.filter(|(_, queue)| queue.waiting.len() > share) else { return false };
        queue.waiting.pop_back();
        self.waiting -= 1;
        self.forget_if_unused(source);
        true
    }

    fn forget_if_unused(&mut self, source: Source) {
        if self
            .sources
            .get(&source)
            .is_some_and(|queue| queue.inside == 0 && queue.waiting.is_empty() && !queue.in_turn)
        {
            self.sources.remove(&source);
        }
    }
}

impl Drop for DoorPass {
    fn drop(&mut self) {
        let Some(door) = self.door.take() else { return };
        let mut state = door.lock();
        state.free += 1;
        if let Some(queue) = state.sources.get_mut(&self.source) {
            queue.inside -= 1;
        }
        state.offer_turn(self.source, door.share);
        door.admit(&mut state);
        state.forget_if_unused(self.source);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    type Waiting = oneshot::Receiver<DoorPass>;

    fn source(last: u8) -> Source {
        Source::from(SocketAddr::from(([127, 0, 0, last], 1)))
    }

    fn door(places: usize, share: usize) -> Arc<Door> {
        Door::new(&GatewayLimits {
            door: places,
            door_per_source: share,
            waiting: 8,
            waiting_per_source: 4,
            ..GatewayLimits::default()
        })
    }

    fn enter(door: &Arc<Door>, last: u8) -> Waiting {
        door.enter(source(last)).unwrap()
    }

    fn inside(waiting: &mut Waiting) -> Option<DoorPass> {
        waiting.try_recv().ok()
    }

    #[test]
    fn lets_in_as_many_as_it_has_places_then_in_order() {
        let door = door(2, 2);
        let mut all: Vec<_> = (0..4).map(|_| enter(&door, 2)).collect();
        let first = inside(&mut all[0]).unwrap();
        let second = inside(&mut all[1]).unwrap();
        assert!(inside(&mut all[2]).is_none());
        drop(second);
        let _third = inside(&mut all[2]).unwrap();
        assert!(inside(&mut all[3]).is_none());
        drop(first);
        assert!(inside(&mut all[3]).is_some());
    }

    #[test]
    fn one_address_never_fills_the_door() {
        let door = door(3, 2);
        let mut greedy: Vec<_> = (0..4).map(|_| enter(&door, 2)).collect();
        let passes: Vec<_> = greedy.iter_mut().filter_map(inside).collect();
        assert_eq!(passes.len(), 2, "its share, though a place is free");
        assert!(inside(&mut enter(&door, 3)).is_some(), "the other comes in at once");
    }

    #[test]
    fn waiting_addresses_take_turns() {
        let door = door(1, 1);
        let mut holder = enter(&door, 9);
        let pass = inside(&mut holder).unwrap();
        let (mut a1, mut a2, mut b1) = (enter(&door, 2), enter(&door, 2), enter(&door, 3));
        drop(pass);
        let pass = inside(&mut a1).unwrap();
        assert!(inside(&mut b1).is_none());
        drop(pass);
        let pass = inside(&mut b1).expect("not behind the second of the first address");
        drop(pass);
        assert!(inside(&mut a2).is_some());
    }

    #[test]
    fn one_address_may_fill_the_queue_and_makes_room_for_others_down_to_its_share() {
        let door = door(1, 1);
        let _inside = enter(&door, 9);
        let mut eight: Vec<_> = (0..8).map(|_| enter(&door, 2)).collect();
        assert_eq!(door.enter(source(2)).unwrap_err(), DoorFull);
        let others: Vec<_> = (3..7).map(|last| enter(&door, last)).collect();
        let is_out = |waiting: &mut Waiting| matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let out: Vec<_> = eight.iter_mut().map(is_out).collect();
        assert_eq!(out, [false, false, false, false, true, true, true, true], "its newest leave");
        assert_eq!(door.enter(source(7)).unwrap_err(), DoorFull, "nobody has more than the share");
        drop((eight, others));
        assert_eq!(door.lock().waiting, 8, "whoever left is passed over when its turn comes");
    }

    #[test]
    fn a_full_queue_of_one_address_does_not_refuse_who_can_come_in_at_once() {
        let door = Door::new(&GatewayLimits {
            door: 2,
            door_per_source: 1,
            waiting: 1,
            waiting_per_source: 1,
            ..GatewayLimits::default()
        });
        let _crowd = (enter(&door, 2), enter(&door, 2));
        assert!(door.enter(source(2)).is_err());
        assert!(inside(&mut enter(&door, 3)).is_some());
    }

    #[test]
    fn who_left_the_queue_takes_no_place_and_nothing_is_left_behind() {
        let door = door(1, 1);
        let mut first = enter(&door, 2);
        let pass = inside(&mut first).unwrap();
        drop(enter(&door, 2));
        drop(enter(&door, 3));
        let mut last = enter(&door, 4);
        drop(pass);
        let pass = inside(&mut last).expect("those who left are passed over");
        drop(pass);
        // A pass that was granted but never taken is given back too.
        drop(enter(&door, 5));
        let state = door.lock();
        assert_eq!((state.free, state.waiting, state.sources.len(), state.turns.len()), (1, 0, 0, 0));
    }

    #[test]
    fn thousands_who_left_do_not_exhaust_the_stack() {
        let limits = GatewayLimits {
            door: 1,
            door_per_source: 1,
            waiting: 100_000,
            waiting_per_source: 100_000,
            ..GatewayLimits::default()
        };
        let door = Door::new(&limits);
        let mut first = enter(&door, 2);
        let pass = inside(&mut first).unwrap();
        for _ in 0..100_000 {
            drop(enter(&door, 2));
        }
        drop(pass);
        assert!(inside(&mut enter(&door, 2)).is_some());
    }
}
