//! Connection diaries: what devices report of their attempts to connect.

use keys::public::SpkiHash;
use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::fleet::DiaryReport;

impl Store {
    /// A device's diary reports, the newest first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn diaries(&self, device: SpkiHash) -> Result<Vec<DiaryReport>, StoreError> {
        let rows = sqlx::query_as::<_, (i64, String)>(
            "SELECT at_ms, entries FROM diaries WHERE spki = $1 ORDER BY number DESC LIMIT $2",
        )
        .bind(device.as_bytes().as_slice())
        .bind(i64::from(self.0.limits.diaries_kept))
        .fetch_all(self.readers())
        .await?;
        Ok(rows.into_iter().map(|(at_ms, entries)| DiaryReport { at_ms, entries }).collect())
    }
}

pub(super) async fn append(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    report: &DiaryReport,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO diaries (spki, number, at_ms, entries)
         VALUES ($1, (SELECT COALESCE(MAX(number), 0) + 1 FROM diaries WHERE spki = $1), $2, $3)",
    )
    .bind(device.as_bytes().as_slice())
    .bind(report.at_ms)
    .bind(&report.entries)
    .execute(&mut **change)
    .await?;
    Ok(())
}

pub(super) async fn prune(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    kept: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM diaries WHERE spki = $1 AND number <= (SELECT MAX(number) FROM diaries WHERE spki = $1) - $2",
    )
    .bind(device.as_bytes().as_slice())
    .bind(i64::from(kept))
    .execute(&mut **change)
    .await?;
    Ok(())
}
