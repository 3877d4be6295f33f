//! What is written behind: log lines, diaries, when devices were seen. One task writes it, many lines to a transaction.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keys::public::SpkiHash;
use sqlx::{QueryBuilder, Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{Store, StoreError, diaries, logs};
use crate::fleet::{DiaryReport, LogEntry};

/// How long the first entry waits for others to share its transaction and its sync. Streams have it at once.
const GATHER: Duration = Duration::from_millis(50);
/// Rows of one statement. A statement costs more than a row: it wakes the connection's thread and then ours.
pub(super) const ROWS: usize = 64;

/// The way into the journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
    limits: Arc<Bounds>,
}

struct Bounds {
    log_text_bytes: usize,
    diary_bytes: usize,
}

/// Writes the journal; run it once, until it returns.
pub struct JournalTask {
    store: Store,
    queue: mpsc::Receiver<Entry>,
    batch: usize,
    numbers: logs::Numbers,
}

pub(super) enum Entry {
    Log(LogEntry),
    Diary(SpkiHash, DiaryReport),
    Seen { device: SpkiHash, at_ms: i64, address: IpAddr },
    OsVersion(SpkiHash, String),
    FreeMemory(SpkiHash, u32),
    Flush(oneshot::Sender<()>),
}

impl Store {
    /// The journal of this store and the task that writes it.
    pub fn journal(&self) -> (Journal, JournalTask) {
        let limits = &self.0.limits;
        let (sender, queue) = mpsc::channel(limits.journal_queue);
        let bounds = Bounds { log_text_bytes: limits.log_text_bytes, diary_bytes: limits.diary_bytes };
        let task =
            JournalTask { store: self.clone(), queue, batch: limits.journal_batch, numbers: logs::Numbers::default() };
        (Journal { queue: sender, limits: Arc::new(bounds) }, task)
    }
}

impl Journal {
    /// Writes a log line down; waits while the queue is full. A text beyond the bound is cut.
    pub async fn log(&self, mut entry: LogEntry) {
        if entry.text.len() > self.limits.log_text_bytes {
            let end = entry.text.floor_char_boundary(self.limits.log_text_bytes);
            entry.text = entry.text.get(..end).unwrap_or_default().into();
        }
        self.put(Entry::Log(entry)).await;
    }

    /// Writes a device's diary down; waits while the queue is full. One beyond the bound is dropped.
    pub async fn diary(&self, device: SpkiHash, report: DiaryReport) {
        if report.entries.len() > self.limits.diary_bytes {
            tracing::warn!(%device, bytes = report.entries.len(), "a diary report was too long and is not kept");
            return;
        }
        self.put(Entry::Diary(device, report)).await;
    }

    /// Notes when and from where a device was seen last; dropped while the queue is full.
    pub fn seen(&self, device: SpkiHash, at_ms: i64, address: IpAddr) {
        self.offer(Entry::Seen { device, at_ms, address });
    }

    /// Notes the OS version that a device proved; dropped while the queue is full.
    pub fn os_version(&self, device: SpkiHash, version: String) {
        self.offer(Entry::OsVersion(device, version));
    }

    /// Notes the free memory that a device's app reported; dropped while the queue is full.
    pub fn free_memory(&self, device: SpkiHash, bytes: u32) {
        self.offer(Entry::FreeMemory(device, bytes));
    }

    /// Waits until everything put in so far is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.put(Entry::Flush(done)).await;
        // An error means that the task has ended: there is nothing more to wait for.
        let _ = written.await;
    }

    async fn put(&self, entry: Entry) {
        if self.queue.send(entry).await.is_err() {
            tracing::debug!("the journal has ended; an entry is lost");
        }
    }

    fn offer(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            tracing::debug!("the journal is full or has ended; a note is lost");
        }
    }
}

impl JournalTask {
    /// Writes until every [`Journal`] is gone.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch);
        while self.queue.recv_many(&mut batch, self.batch).await > 0 {
            self.gather(&mut batch).await;
            if let Err(error) = self.write(&batch).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    entries = batch.len(),
                    "the journal could not be written"
                );
            }
            for entry in batch.drain(..) {
                if let Entry::Flush(done) = entry {
                    // Who asked may have stopped waiting.
                    let _ = done.send(());
                }
            }
        }
    }

    /// Waits a moment for more entries, unless somebody waits for these.
    async fn gather(&mut self, batch: &mut Vec<Entry>) {
        if batch.len() >= self.batch || batch.iter().any(|entry| matches!(entry, Entry::Flush(_))) {
            return;
        }
        tokio::time::sleep(GATHER).await;
        while batch.len() < self.batch
            && let Ok(entry) = self.queue.try_recv()
        {
            batch.push(entry);
        }
    }

    async fn write(&mut self, batch: &[Entry]) -> Result<(), StoreError> {
        if batch.iter().all(|entry| matches!(entry, Entry::Flush(_))) {
            return Ok(());
        }
        let limits = &self.store.0.limits;
        let versions = batch.iter().any(|entry| matches!(entry, Entry::OsVersion(..)));
        let _changing = versions.then(|| self.store.0.logins.changing());
        let mut change = self.store.begin().await?;
        let lines: Vec<_> =
            batch.iter().filter_map(|entry| if let Entry::Log(line) = entry { Some(line) } else { None }).collect();
        self.numbers.append(&mut change, &lines, limits.logs_kept).await?;
        let mut reporters = HashSet::new();
        let mut last_seen = HashMap::new();
        for entry in batch {
            match entry {
                Entry::Diary(device, report) => {
                    diaries::append(&mut change, device, report).await?;
                    reporters.insert(*device);
                }
                Entry::Seen { device, at_ms, address } => drop(last_seen.insert(*device, (*at_ms, *address))),
                Entry::OsVersion(device, version) => os_version(&mut change, device, version).await?,
                Entry::FreeMemory(device, bytes) => free_memory(&mut change, device, *bytes).await?,
                Entry::Log(_) | Entry::Flush(_) => {}
            }
        }
        seen(&mut change, last_seen).await?;
        for device in reporters {
            diaries::prune(&mut change, &device, limits.diaries_kept).await?;
        }
        change.commit().await?;
        Ok(())
    }
}

async fn seen(
    change: &mut Transaction<'static, Sqlite>,
    devices: HashMap<SpkiHash, (i64, IpAddr)>,
) -> Result<(), sqlx::Error> {
    let devices: Vec<_> = devices.into_iter().collect();
    for devices in devices.chunks(ROWS) {
        let mut query = QueryBuilder::new("WITH seen(spki, at_ms, address) AS (");
        query.push_values(devices, |mut row, (device, (at_ms, address))| {
            row.push_bind(device.as_bytes().to_vec()).push_bind(*at_ms).push_bind(address.to_string());
        });
        query.push(
            ") UPDATE devices SET seen_ms = seen.at_ms, address = seen.address FROM seen WHERE devices.spki = seen.spki",
        );
        // As many texts as there are counts of rows: none is worth keeping.
        query.build().persistent(false).execute(&mut **change).await?;
    }
    Ok(())
}

async fn os_version(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    version: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE devices SET os_version = $2 WHERE spki = $1")
        .bind(device.as_bytes().as_slice())
        .bind(version)
        .execute(&mut **change)
        .await?;
    Ok(())
}

async fn free_memory(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    bytes: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE devices SET free_memory = $2 WHERE spki = $1")
        .bind(device.as_bytes().as_slice())
        .bind(i64::from(bytes))
        .execute(&mut **change)
        .await?;
    Ok(())
}
