//! The last self-test of each device, as it signed it.

use keys::public::SpkiHash;

use super::{Store, StoreError, unix_ms};

/// A signed result, verified when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSelfTest {
    /// When it came, Unix milliseconds.
    pub received_ms: i64,
    /// The COSE_Sign1.
    pub cose: Vec<u8>,
}

impl Store {
    /// Keeps the result of a device's self-test in the place of the one before. Call it only with one whose signature was verified.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn keep_self_test(&self, device: SpkiHash, cose: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO self_tests (spki, received_ms, cose) VALUES ($1, $2, $3)
             ON CONFLICT (spki) DO UPDATE SET received_ms = excluded.received_ms, cose = excluded.cose",
        )
        .bind(device.as_bytes().as_slice())
        .bind(unix_ms())
        .bind(cose)
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// The result of a device's last self-test.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn self_test(&self, device: SpkiHash) -> Result<Option<StoredSelfTest>, StoreError> {
        let row = sqlx::query_as::<_, (i64, Vec<u8>)>("SELECT received_ms, cose FROM self_tests WHERE spki = $1")
            .bind(device.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await?;
        Ok(row.map(|(received_ms, cose)| StoredSelfTest { received_ms, cose }))
    }
}
