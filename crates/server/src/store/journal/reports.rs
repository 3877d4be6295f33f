//! Numbered reports of devices: each number of a ring is written once, in the same transaction as the note of how far that ring is kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use keys::public::SpkiHash;
use protocol::report::RingId;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::ROWS;
use crate::store::StoreError;

/// Devices whose positions are remembered; beyond it all are looked up again.
const REMEMBERED: usize = 8_192;

/// The count to which the reports of one session belong. When one of them could not be written, none that follows is, so that what is
/// missing comes again, in its place, in the device's next session.
#[derive(Debug)]
pub struct ReportRing {
    /// The device.
    pub device: SpkiHash,
    /// The name of its count.
    pub id: RingId,
    broken: AtomicBool,
}

impl ReportRing {
    /// The reports of a session that begins.
    pub fn new(device: SpkiHash, id: RingId) -> Self {
        Self { device, id, broken: AtomicBool::new(false) }
    }

    /// From now on nothing of this session is written.
    pub fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    Logs,
    Diary,
}

impl Counted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "log",
            Self::Diary => "diary",
        }
    }
}

/// What a report with a certain number is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is written already, from here on it is not: so many of its items are to be passed over.
    Known(u64),
    /// It is the next one.
    Next,
    /// So many before it never came.
    After(u64),
}

#[derive(Clone, Copy, Debug)]
struct Position {
    ring: RingId,
    next: u64,
}

/// How far the rings of devices that have reported lately are kept. Only the journal writes them, and there is one journal.
#[derive(Default)]
pub(super) struct Positions {
    known: HashMap<(SpkiHash, Counted), Position>,
    changed: HashSet<(SpkiHash, Counted)>,
}

impl Positions {
    /// Where items from `first` on stand, `count` of them; they count as written from now on.
    pub(super) async fn advance(
        &mut self,
        change: &mut Transaction<'static, Sqlite>,
        ring: &ReportRing,
        counted: Counted,
        first: u64,
        count: u64,
    ) -> Result<Place, StoreError> {
        let key = (ring.device, counted);
        let position = match self.known.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let found = read(change, ring.device, counted).await?;
                entry.insert(found.unwrap_or(Position { ring: ring.id, next: 0 }))
            }
        };
        if position.ring != ring.id {
            *position = Position { ring: ring.id, next: 0 };
        }
        let place = match position.next.checked_sub(first) {
            None => Place::After(first.saturating_sub(position.next)),
            Some(0) => Place::Next,
            Some(known) => Place::Known(known.min(count)),
        };
        let next = first.saturating_add(count);
        if next > position.next {
            position.next = next;
            self.changed.insert(key);
        }
        Ok(place)
    }

    /// Writes down what has changed.
    pub(super) async fn write(&mut self, change: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let known = &self.known;
        let changed: Vec<_> = self.changed.drain().filter_map(|key| known.get(&key).map(|at| (key, *at))).collect();
        for positions in changed.chunks(ROWS) {
            let mut query = QueryBuilder::new("INSERT INTO report_positions (spki, kind, ring, next) ");
            query.push_values(positions, |mut row, ((device, counted), position)| {
                row.push_bind(device.as_bytes().to_vec())
                    .push_bind(counted.as_str())
                    .push_bind(position.ring.to_vec())
                    .push_bind(i64::try_from(position.next).unwrap_or(i64::MAX));
            });
            query.push(" ON CONFLICT (spki, kind) DO UPDATE SET ring = excluded.ring, next = excluded.next");
            // As many texts as there are counts of rows: none is worth keeping.
            query.build().persistent(false).execute(&mut **change).await?;
        }
        Ok(())
    }

    /// Forgets everything when a transaction failed, and when there is too much.
    pub(super) fn settle(&mut self, written: bool) {
        if !written || self.known.len() > REMEMBERED {
            self.known.clear();
            self.changed.clear();
        }
    }
}

async fn read(
    change: &mut Transaction<'static, Sqlite>,
    device: SpkiHash,
    counted: Counted,
) -> Result<Option<Position>, StoreError> {
    let row =
        sqlx::query_as::<_, (Vec<u8>, i64)>("SELECT ring, next FROM report_positions WHERE spki = $1 AND kind = $2")
            .bind(device.as_bytes().as_slice())
            .bind(counted.as_str())
            .fetch_optional(&mut **change)
            .await?;
    let Some((ring, next)) = row else { return Ok(None) };
    let ring = RingId::try_from(ring).map_err(|_| StoreError::Damaged("report_positions.ring"))?;
    let next = u64::try_from(next).map_err(|_| StoreError::Damaged("report_positions.next"))?;
    Ok(Some(Position { ring, next }))
}
