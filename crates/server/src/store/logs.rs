//! Log lines, numbered per device, the newest kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use keys::public::SpkiHash;
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Page, Store, StoreError, row};
use crate::fleet::LogEntry;

/// Lines beyond the bound are deleted this many at a time, so that not every line costs a deletion.
const PRUNE_EVERY: i64 = 128;

#[derive(FromRow)]
struct Row {
    at_ms: i64,
    kind: String,
    production: i64,
    line: String,
}

impl Store {
    /// A device's log lines, the newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn logs(&self, device: SpkiHash, page: Page) -> Result<super::Listed<LogEntry>, StoreError> {
        let rows = sqlx::query_as::<_, Row>(
            "SELECT at_ms, kind, production, line FROM logs WHERE spki = $1 ORDER BY number DESC LIMIT $2 OFFSET $3",
        )
        .bind(device.as_bytes().as_slice())
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(self.readers())
        .await?;
        let entry = |row: Row| -> Result<LogEntry, StoreError> {
            Ok(LogEntry {
                device,
                at_ms: row.at_ms,
                kind: row::text("logs.kind", &row.kind)?,
                production: row.production != 0,
                text: row.line.into(),
            })
        };
        Ok(page.listed(rows.into_iter().map(entry).collect::<Result<_, _>>()?))
    }
}

/// The numbers given in one transaction: of each device, the first before it and the last.
#[derive(Default)]
pub(super) struct Numbers(HashMap<SpkiHash, (i64, i64)>);

impl Numbers {
    pub(super) async fn append(
        &mut self,
        change: &mut Transaction<'static, Sqlite>,
        line: &LogEntry,
    ) -> Result<(), StoreError> {
        let (_, last) = match self.0.entry(line.device) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM logs WHERE spki = $1")
                    .bind(line.device.as_bytes().as_slice())
                    .fetch_one(&mut **change)
                    .await?;
                let last = last.unwrap_or_default();
                entry.insert((last, last))
            }
        };
        *last = last.saturating_add(1);
        sqlx::query("INSERT INTO logs (spki, number, at_ms, kind, production, line) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(line.device.as_bytes().as_slice())
            .bind(*last)
            .bind(line.at_ms)
            .bind(line.kind.as_str())
            .bind(i64::from(line.production))
            .bind(&*line.text)
            .execute(&mut **change)
            .await?;
        Ok(())
    }

    pub(super) async fn prune(&self, change: &mut Transaction<'static, Sqlite>, kept: u32) -> Result<(), StoreError> {
        for (device, (before, last)) in &self.0 {
            if before / PRUNE_EVERY != last / PRUNE_EVERY {
                sqlx::query("DELETE FROM logs WHERE spki = $1 AND number <= $2")
                    .bind(device.as_bytes().as_slice())
                    .bind(last - i64::from(kept))
                    .execute(&mut **change)
                    .await?;
            }
        }
        Ok(())
    }
}
