//! What is written behind: log lines, diaries, when devices were seen. One task writes it, many lines to a transaction.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use keys::public::SpkiHash;
use sqlx::{Sqlite, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{Store, StoreError, diaries, logs};
use crate::fleet::{DiaryReport, LogEntry};

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
        let task = JournalTask { store: self.clone(), queue, batch: limits.journal_batch };
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

    async fn write(&self, batch: &[Entry]) -> Result<(), StoreError> {
        if batch.iter().all(|entry| matches!(entry, Entry::Flush(_))) {
            return Ok(());
        }
        let limits = &self.store.0.limits;
        let mut change = self.store.begin().await?;
        let mut numbers = logs::Numbers::default();
        let mut reporters = HashSet::new();
        for entry in batch {
            match entry {
                Entry::Log(line) => numbers.append(&mut change, line).await?,
                Entry::Diary(device, report) => {
                    diaries::append(&mut change, device, report).await?;
                    reporters.insert(*device);
                }
                Entry::Seen { device, at_ms, address } => seen(&mut change, device, *at_ms, *address).await?,
                Entry::OsVersion(device, version) => os_version(&mut change, device, version).await?,
                Entry::FreeMemory(device, bytes) => free_memory(&mut change, device, *bytes).await?,
                Entry::Flush(_) => {}
            }
        }
        numbers.prune(&mut change, limits.logs_kept).await?;
        for device in reporters {
            diaries::prune(&mut change, &device, limits.diaries_kept).await?;
        }
        change.commit().await?;
        Ok(())
    }
}

async fn seen(
    change: &mut Transaction<'static, Sqlite>,
    device: &SpkiHash,
    at_ms: i64,
    address: IpAddr,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE devices SET seen_ms = $2, address = $3 WHERE spki = $1")
        .bind(device.as_bytes().as_slice())
        .bind(at_ms)
        .bind(address.to_string())
        .execute(&mut **change)
        .await?;
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
