//! The metadata of releases, file by file.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError, approvals};
use crate::fleet::Rollout;
use crate::repository::MetadataFile;

impl Store {
    /// All that is kept.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn release_metadata(&self) -> Result<Vec<MetadataFile>, StoreError> {
        let rows = sqlx::query_as::<_, (String, i64, i64, Vec<u8>)>(
            "SELECT role, version, expires_s, file FROM release_metadata ORDER BY role, version",
        )
        .fetch_all(self.readers())
        .await?;
        let number = |value: i64| u64::try_from(value).map_err(|_| StoreError::Damaged("release_metadata"));
        let file = |(role, version, expires, file): (String, i64, i64, Vec<u8>)| {
            Ok(MetadataFile { role, version: number(version)?, expires: number(expires)?, file })
        };
        rows.into_iter().map(file).collect()
    }

    /// Keeps files; of a role other than the root they take the place of older ones.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn put_release_metadata(&self, files: &[MetadataFile]) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        put(&mut change, files).await?;
        change.commit().await?;
        Ok(())
    }

    /// Keeps newer roots and targets. Gives the roll-outs that are paused by it, since they approve their releases no longer.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn publish_release_metadata(&self, files: &[MetadataFile]) -> Result<Vec<Rollout>, StoreError> {
        let mut change = self.begin().await?;
        put(&mut change, files).await?;
        let paused = approvals::pause_others(&mut change).await?;
        change.commit().await?;
        self.read_running().await?;
        Ok(paused)
    }
}

pub(super) async fn put(change: &mut Transaction<'static, Sqlite>, files: &[MetadataFile]) -> Result<(), sqlx::Error> {
    for MetadataFile { role, version, expires, file } in files {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM release_metadata WHERE role = $1 AND role <> 'root'")
            .bind(role)
            .execute(&mut **change)
            .await?;
        sqlx::query(
            "INSERT INTO release_metadata (role, version, expires_s, file) VALUES ($1, $2, $3, $4) ON CONFLICT (role, version) DO NOTHING",
        )
        .bind(role)
        .bind(number(*version))
        .bind(number(*expires))
        .bind(file)
        .execute(&mut **change)
        .await?;
    }
    Ok(())
}
