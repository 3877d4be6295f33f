//! Log lines, numbered per device, the newest kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use keys::public::SpkiHash;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::StoreError;
use super::journal::ROWS;
use crate::fleet::LogEntry;

/// Lines beyond the bound are deleted this many at a time, so that not every line costs a deletion.
const PRUNE_EVERY: i64 = 128;
/// Devices whose last number is remembered; beyond it all are looked up again.
const REMEMBERED: usize = 65_536;

/// The number of the last line of each device that has written lately. Only the journal gives numbers, and there is one journal.
#[derive(Default)]
pub(super) struct Numbers(HashMap<SpkiHash, i64>);

impl Numbers {
    /// Writes lines and deletes the oldest of a device that has many more than `kept`.
    pub(super) async fn append(
        &mut self,
        change: &mut Transaction<'static, Sqlite>,
        lines: &[&LogEntry],
        kept: u32,
    ) -> Result<(), StoreError> {
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        let mut crowded = HashMap::new();
        for lines in lines.chunks(ROWS) {
            let mut numbered = Vec::with_capacity(lines.len());
            for line in lines {
                let number = self.next(change, line.device).await?;
                if number % PRUNE_EVERY == 0 {
                    crowded.insert(line.device, number);
                }
                numbered.push((number, *line));
            }
            let mut query = QueryBuilder::new("INSERT INTO logs (spki, number, at_ms, kind, production, line) ");
            query.push_values(numbered, |mut row, (number, line)| {
                row.push_bind(line.device.as_bytes().to_vec())
                    .push_bind(number)
                    .push_bind(line.at_ms)
                    .push_bind(line.kind.as_str())
                    .push_bind(i64::from(line.production))
                    .push_bind(line.text.to_string());
            });
            // As many texts as there are counts of rows: none is worth keeping.
            query.build().persistent(false).execute(&mut **change).await?;
        }
        for (device, last) in crowded {
            sqlx::query("DELETE FROM logs WHERE spki = $1 AND number <= $2")
                .bind(device.as_bytes().as_slice())
                .bind(last - i64::from(kept))
                .execute(&mut **change)
                .await?;
        }
        Ok(())
    }

    /// The next number of a device. One that a failed transaction took is not given again; a gap does no harm.
    async fn next(&mut self, change: &mut Transaction<'static, Sqlite>, device: SpkiHash) -> Result<i64, StoreError> {
        let last = match self.0.entry(device) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM logs WHERE spki = $1")
                    .bind(device.as_bytes().as_slice())
                    .fetch_one(&mut **change)
                    .await?;
                entry.insert(last.unwrap_or_default())
            }
        };
        *last = last.saturating_add(1);
        Ok(*last)
    }
}
