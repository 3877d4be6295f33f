//! A disk as a power cut may have left it: what was flushed is there; of the rest some is lost and some torn.

use std::ops::Range;

use anyhow::{Context as _, Result};
use fastrand::Rng;

use crate::disk::acknowledgement_at;
use crate::log::{Entry, Log};

/// Of 10 writes that reach the disk without being flushed, how many reach it only in part.
const TORN_IN_TEN: u32 = 3;

/// What of a write reaches the disk whole or not at all, bytes: a block of the file system. ext4 takes a torn block at the end of its journal
/// for damage and does not mount; no writer above it can make up for that.
const BLOCK: usize = 1024;

/// The disk as it was last flushed, on its way through the log.
pub(crate) struct Replay<'a> {
    log: &'a Log,
    flushed: Vec<u8>,
    done: usize,
}

impl Replay<'_> {
    /// Begins with the disk before any write.
    pub(crate) fn new<'a>(base: &[u8], log: &'a Log) -> Replay<'a> {
        Replay { log, flushed: base.to_vec(), done: 0 }
    }

    /// The disk when power goes after the first `point` requests; `point` never falls from call to call.
    pub(crate) fn cut(&mut self, point: usize, random: &mut Rng) -> Result<Vec<u8>> {
        let before = self.log.entries.get(..point).context("a point behind the log's end")?;
        let last_flush = before.iter().rposition(|entry| entry.flushes).map_or(0, |at| at + 1);
        for entry in before.get(self.done..last_flush).unwrap_or_default() {
            put(&mut self.flushed, entry, entry.bytes.len())?;
        }
        self.done = self.done.max(last_flush);
        let mut disk = self.flushed.clone();
        for entry in before.get(self.done..).unwrap_or_default() {
            let (length, blocks) = (entry.bytes.len(), entry.bytes.len().div_ceil(BLOCK));
            let arrived = match entry.is_forced {
                true => length,
                false if random.bool() => 0,
                false if random.u32(..10) < TORN_IN_TEN => length.min(random.usize(..=blocks) * BLOCK),
                false => length,
            };
            put(&mut disk, entry, arrived)?;
        }
        Ok(disk)
    }
}

/// The points at which cutting the power can show anything.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Points {
    /// From the first acknowledgement on.
    pub(crate) all: Range<usize>,
    /// Those at which the newest promise is youngest: it is on the disk, and what comes next is not.
    fresh: Vec<usize>,
}

/// Finds the points of a log.
pub(crate) fn points(log: &Log, disk: usize) -> Result<Points> {
    let at = acknowledgement_at(disk).context("a disk without room")?;
    let entries = &log.entries;
    let said = |number: &usize| entries.get(*number).is_some_and(|entry| entry.at == at && !entry.bytes.is_empty());
    let mut fresh = Vec::new();
    for number in (0..entries.len()).filter(said) {
        let flush = entries.iter().skip(number).position(|entry| entry.flushes);
        fresh.extend(flush.map(|behind| number + behind + 1));
    }
    let first = (0..entries.len()).find(said).context("nothing was acknowledged in this log")?;
    Ok(Points { all: first + 1..entries.len() + 1, fresh })
}

impl Points {
    /// Draws `count` different points in order: up to half of them fresh, the others any.
    pub(crate) fn draw(&self, count: usize, random: &mut Rng) -> Vec<usize> {
        let mut drawn = random.choose_multiple(self.fresh.iter().copied(), count / 2);
        let others = self.all.clone().filter(|point| !drawn.contains(point));
        drawn.extend(random.choose_multiple(others, count - drawn.len()));
        drawn.sort_unstable();
        drawn
    }
}

fn put(disk: &mut [u8], entry: &Entry, length: usize) -> Result<()> {
    let to = disk.get_mut(entry.at..).and_then(|rest| rest.get_mut(..length));
    let from = entry.bytes.get(..length);
    to.zip(from).map(|(to, from)| to.copy_from_slice(from)).context("a write behind the disk's end")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    fn write(sector: usize, value: u8) -> Entry {
        Entry { at: sector * SECTOR, bytes: vec![value; 2 * SECTOR], flushes: false, is_forced: false }
    }

    fn flush() -> Entry {
        Entry { at: 0, bytes: Vec::new(), flushes: true, is_forced: false }
    }

    fn log(entries: Vec<Entry>) -> Log {
        Log { entries }
    }

    #[test]
    fn what_was_flushed_or_forced_is_there_and_of_the_rest_each_block_is_old_or_new() {
        let write = |block: usize, value| {
            let bytes = vec![value; 2 * BLOCK];
            Entry { at: block * BLOCK, bytes, flushes: false, is_forced: false }
        };
        let base = vec![0; 8 * BLOCK];
        let forced = Entry { is_forced: true, ..write(6, 4) };
        let log = log(vec![write(0, 1), flush(), write(0, 2), write(2, 3), forced]);
        let (mut old, mut torn, mut new) = (0, 0, 0);
        for seed in 0..100 {
            let disk = Replay::new(&base, &log).cut(5, &mut Rng::with_seed(seed)).unwrap();
            assert_eq!(disk[6 * BLOCK..], [4; 2 * BLOCK]);
            match (disk[0], disk[BLOCK]) {
                (1, 1) => old += 1,
                (2, 1) => torn += 1,
                (2, 2) => new += 1,
                other => panic!("{other:?}"),
            }
            assert!(disk[..BLOCK].iter().all(|byte| *byte == disk[0]), "within a block nothing is torn");
        }
        assert!(old > 20 && torn > 2 && new > 20, "{old} {torn} {new}");
    }

    #[test]
    fn a_later_cut_goes_on_from_an_earlier_one_and_the_same_seed_cuts_the_same() {
        let base = vec![0; 4 * SECTOR];
        let log = log(vec![write(0, 1), flush(), write(2, 2), flush(), write(0, 3)]);
        let mut replay = Replay::new(&base, &log);
        replay.cut(2, &mut Rng::with_seed(1)).unwrap();
        let step_by_step = replay.cut(5, &mut Rng::with_seed(2)).unwrap();
        assert_eq!(Replay::new(&base, &log).cut(5, &mut Rng::with_seed(2)).unwrap(), step_by_step);
        assert_eq!(step_by_step[2 * SECTOR..], [2; 2 * SECTOR]);
        assert!(replay.cut(6, &mut Rng::with_seed(1)).is_err(), "behind the log's end");
    }

    #[test]
    fn points_begin_behind_the_first_acknowledgement_and_half_of_them_follow_one_at_once() {
        let disk = 16 * SECTOR;
        let acknowledgement = || write(8, 9);
        let mut entries = vec![write(0, 1)];
        for _ in 0..100 {
            entries.extend([acknowledgement(), flush(), write(0, 2), flush(), write(2, 2), flush()]);
        }
        let points = points(&log(entries), disk).unwrap();
        assert_eq!((points.all.clone(), points.fresh[0], points.fresh.len()), (2..602, 3, 100));
        let drawn = points.draw(20, &mut Rng::with_seed(1));
        assert!(drawn.is_sorted_by(|one, next| one < next) && drawn.len() == 20, "none is drawn twice: {drawn:?}");
        assert!(drawn.iter().filter(|point| points.fresh.contains(point)).count() >= 10, "{drawn:?}");
        assert_eq!(points.draw(5_000, &mut Rng::with_seed(1)), points.all.collect::<Vec<_>>());
        assert!(super::points(&log(vec![write(0, 1)]), disk).is_err(), "without any acknowledgement");
    }
}
