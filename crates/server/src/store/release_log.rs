//! The entries of the transparency log: appended with the release that they are of, never changed.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError, approvals, release_metadata, row};
use crate::fleet::Rollout;
use crate::repository::MetadataFile;

/// One entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLogEntry {
    /// Its number: as many as there were before.
    pub number: u64,
    /// The manifest that it is of.
    pub image: [u8; 32],
    /// What it says.
    pub entry: Vec<u8>,
}

impl Store {
    /// All entries, in their order, each with the manifest that it is of.
    ///
    /// # Errors
    /// The state could not be read, or one is missing.
    pub async fn release_log(&self) -> Result<Vec<([u8; 32], Vec<u8>)>, StoreError> {
        let rows = sqlx::query_as::<_, (i64, Vec<u8>, Vec<u8>)>(
            "SELECT number, image, entry FROM release_log ORDER BY number",
        )
        .fetch_all(self.readers())
        .await?;
        let mut entries = Vec::with_capacity(rows.len());
        for (number, image, entry) in rows {
            if usize::try_from(number) != Ok(entries.len()) {
                return Err(StoreError::Damaged("release_log.number"));
            }
            entries.push((row::hash("release_log.image", &image)?, entry));
        }
        Ok(entries)
    }

    /// Appends entries of a release that is there already, and keeps newer metadata that came with it. Gives the roll-outs that are paused by
    /// it, since the metadata approve their releases no longer.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn append_release_log(
        &self,
        entries: &[NewLogEntry],
        metadata: &[MetadataFile],
    ) -> Result<Vec<Rollout>, StoreError> {
        let mut change = self.begin().await?;
        append(&mut change, entries).await?;
        release_metadata::put(&mut change, metadata).await?;
        let paused = approvals::pause_others(&mut change).await?;
        change.commit().await?;
        self.read_running().await?;
        Ok(paused)
    }
}

pub(super) async fn append(
    change: &mut Transaction<'static, Sqlite>,
    entries: &[NewLogEntry],
) -> Result<(), sqlx::Error> {
    for NewLogEntry { number, image, entry } in entries {
        sqlx::query("INSERT INTO release_log (number, image, entry) VALUES ($1, $2, $3)")
            .bind(i64::try_from(*number).unwrap_or(i64::MAX))
            .bind(image.as_slice())
            .bind(entry)
            .execute(&mut **change)
            .await?;
    }
    Ok(())
}
