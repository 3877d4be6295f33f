//! Alarms: what people must look at. Each is on the disk before the device hears that it was refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::public::SpkiHash;
use sqlx::{FromRow, QueryBuilder, Sqlite};

use super::cache::Cache;
use super::{Store, StoreError, row, unix_ms};
use crate::fleet::{Alarm, AlarmKind};

/// The same alarm within this counts once, and costs no write.
const SAME: Duration = Duration::from_secs(60);
/// Alarms of one device at most: one of each kind.
const KINDS: usize = AlarmKind::ALL.len();
/// Alarms that are listed at most.
const LISTED: i64 = 500;

type Raised = [Option<Instant>; KINDS];

/// When alarms were raised lately.
pub(super) struct Alarms(Mutex<Cache<SpkiHash, Raised>>);

#[derive(FromRow)]
struct Row {
    spki: Vec<u8>,
    id: String,
    kind: String,
    first_ms: i64,
    last_ms: i64,
    count: i64,
    detail: String,
}

impl TryFrom<Row> for Alarm {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            device: SpkiHash(row::hash("alarms.spki", &row.spki)?),
            device_id: row::text("devices.id", &row.id)?,
            kind: row::text("alarms.kind", &row.kind)?,
            first_ms: row.first_ms,
            last_ms: row.last_ms,
            count: row::count("alarms.count", row.count)?,
            detail: row.detail,
        })
    }
}

impl Alarms {
    pub(super) fn new(bound: usize) -> Self {
        Self(Mutex::new(Cache::new(bound)))
    }

    pub(super) fn forget(&self, device: &SpkiHash) {
        self.lock().remove(device);
    }

    /// Whether it is time to raise this alarm again; then it is noted as raised.
    fn is_due(&self, device: &SpkiHash, kind: AlarmKind) -> bool {
        let mut known = self.lock();
        let mut raised = known.get(device).unwrap_or_default();
        let Some(last) = raised.get_mut(kind as usize) else { return true };
        if last.is_some_and(|last| last.elapsed() < SAME) {
            return false;
        }
        *last = Some(Instant::now());
        known.put(*device, raised, 1);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Cache<SpkiHash, Raised>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Raises an alarm about a device, or raises it once more; `false` when the same was raised within the last minute.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn raise_alarm(&self, device: SpkiHash, kind: AlarmKind, detail: &str) -> Result<bool, StoreError> {
        if !self.0.alarms.is_due(&device, kind) {
            return Ok(false);
        }
        let raised = sqlx::query(
            "INSERT INTO alarms (spki, kind, first_ms, last_ms, count, detail) VALUES ($1, $2, $3, $3, 1, $4)
             ON CONFLICT (spki, kind) DO UPDATE SET last_ms = excluded.last_ms, count = alarms.count + 1, detail = excluded.detail",
        )
        .bind(device.as_bytes().as_slice())
        .bind(kind.as_str())
        .bind(unix_ms())
        .bind(detail)
        .execute(self.writer())
        .await;
        if raised.is_err() {
            self.0.alarms.forget(&device);
        }
        raised?;
        Ok(true)
    }

    /// All alarms, the last raised first, or those of one device.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn alarms(&self, device: Option<SpkiHash>) -> Result<Vec<Alarm>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT a.spki, d.id, a.kind, a.first_ms, a.last_ms, a.count, a.detail FROM alarms a JOIN devices d ON d.spki = a.spki",
        );
        if let Some(device) = device {
            query.push(" WHERE a.spki = ").push_bind(device.as_bytes().to_vec());
        }
        query.push(" ORDER BY a.last_ms DESC, d.id, a.kind LIMIT ").push_bind(LISTED);
        let rows = query.build_query_as::<Row>().fetch_all(self.readers()).await?;
        rows.into_iter().map(Alarm::try_from).collect()
    }

    /// The alarms of each device that has some.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn alarms_by_device(&self) -> Result<HashMap<SpkiHash, Vec<Alarm>>, StoreError> {
        let mut by_device: HashMap<_, Vec<Alarm>> = HashMap::new();
        for alarm in self.alarms(None).await? {
            by_device.entry(alarm.device).or_default().push(alarm);
        }
        Ok(by_device)
    }

    /// Forgets a device's alarms but the one that only accepting its vault ends; how many.
    ///
    /// # Errors
    /// The state could not be written.
    pub async fn dismiss_alarms(&self, device: SpkiHash) -> Result<u64, StoreError> {
        let dismissed = sqlx::query("DELETE FROM alarms WHERE spki = $1 AND kind <> $2")
            .bind(device.as_bytes().as_slice())
            .bind(AlarmKind::VaultFell.as_str())
            .execute(self.writer())
            .await?;
        self.0.alarms.forget(&device);
        Ok(dismissed.rows_affected())
    }
}
