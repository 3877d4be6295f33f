//! How much there is of everything, for the server's status.

use sqlx::FromRow;

use super::{Store, StoreError};

/// Counts of what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// Products.
    pub products: i64,
    /// Device groups.
    pub devicegroups: i64,
    /// Enrolled devices, revoked ones included.
    pub devices: i64,
    /// Revoked devices.
    pub revoked: i64,
    /// Devices in no group.
    pub unassigned: i64,
}

impl Store {
    /// Counts what is kept.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let totals = sqlx::query_as::<_, Totals>(
            "SELECT (SELECT COUNT(*) FROM products) AS products, (SELECT COUNT(*) FROM devicegroups) AS devicegroups,
             (SELECT COUNT(*) FROM devices) AS devices, (SELECT COUNT(revoked_ms) FROM devices) AS revoked,
             (SELECT COUNT(*) FROM devices WHERE group_id IS NULL) AS unassigned",
        )
        .fetch_one(self.readers())
        .await?;
        Ok(totals)
    }
}
